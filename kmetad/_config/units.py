"""Durations and sizes as Kubernetes writes them: ``1m30s``, ``128Mi``.

Durations have the syntax of Go's ``time.ParseDuration``, which Kubernetes' own
``Duration`` fields are read with (k8s.io/apimachinery, pkg/apis/meta/v1/duration.go).
"""

from __future__ import annotations

import re

from kmetad.quantity import Quantity

_UNITS_NS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,  # U+00B5, the micro sign
    "μs": 10**3,  # U+03BC, the Greek letter
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
_MAX_NS = 2**63 - 1  # an int64 of nanoseconds, some 292 years
_LONGEST = 40  # characters of one number with its unit; more is nobody's duration
_PART = re.compile(r"([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_FOREIGN = re.compile(r"\s*([0-9]+)\s*([a-zA-Z]+)\s*")
_FOREIGN_UNITS = {
    **dict.fromkeys(("msec", "msecs", "millis", "millisecond", "milliseconds"), (1, "ms")),
    **dict.fromkeys(("sec", "secs", "second", "seconds"), (1, "s")),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), (1, "m")),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), (1, "h")),
    **dict.fromkeys(("d", "day", "days"), (24, "h")),
    **dict.fromkeys(("w", "week", "weeks"), (7 * 24, "h")),
}


def parse_duration(text: str) -> float:
    """The seconds that a duration (``200ms``, ``1m30s``, ``1.5h``, ``-1s``, ``0``) stands for.

    Raises ValueError where it is none.
    """
    sign, rest = (-1 if text[:1] == "-" else 1), text.removeprefix("-" if text[:1] == "-" else "+")
    if rest == "0":
        return 0.0
    if not rest:
        raise ValueError(f"{text!r} is no duration")
    total = at = 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]) or len(part[0]) > _LONGEST:
            raise ValueError(f"{text!r} is no duration")
        whole, fraction = part[1] or "0", part[2] or ""
        # Exact, in integers; what is finer than a nanosecond is cut off, as Go does.
        total += int(whole + fraction) * _UNITS_NS[part[3]] // 10 ** len(fraction)
        at = part.end()
    if total > _MAX_NS:
        raise ValueError(f"{text!r} is longer than 292 years")
    return sign * total / 10**9


def format_duration(seconds: float) -> str:
    """Seconds, zero or more, in their shortest form: ``0s``, ``200ms``, ``1m30s``, ``5m``."""
    ns = round(seconds * 10**9)
    if ns == 0:
        return "0s"
    text = ""
    for unit in ("h", "m", "s", "ms", "us", "ns"):
        amount, ns = divmod(ns, _UNITS_NS[unit])
        text += f"{amount}{unit}" if amount else ""
    return text


def suggest_durations(value: object) -> list[str]:
    """What somebody may have meant who wrote this instead of a duration; nothing if nobody knows."""
    text = _written(value, int, float)
    found = _FOREIGN.fullmatch(text)
    if re.fullmatch(r"[0-9]+|[0-9]*\.[0-9]+", text):
        suggested = [f"{text}s", f"{text}ms"]
    elif found and found[2].lower() in _FOREIGN_UNITS:
        factor, unit = _FOREIGN_UNITS[found[2].lower()]
        suggested = [f"{int(found[1]) * factor}{unit}"]
    else:
        suggested = ["".join(text.split()).lower()]  # "5 s", "5S"
    return [duration for duration in suggested if _is_duration(duration)]


def _is_duration(text: str) -> bool:
    try:
        parse_duration(text)
    except ValueError:
        return False
    return True


def _written(value: object, *numbers: type) -> str:
    """A text, or a number of these types as text; empty for anything else, and for what is too long."""
    if type(value) in numbers and isinstance(value, (int, float)) and abs(value) < 10**_LONGEST:
        return str(value)
    return value if isinstance(value, str) and len(value) <= _LONGEST else ""


def parse_size(value: object) -> int:
    """The bytes that a size stands for, rounded up: a Kubernetes quantity (``128Mi``) or a number of bytes.

    Raises ValueError where it is none.
    """
    if type(value) is int:
        return value
    if not isinstance(value, str):
        raise ValueError("a size is a text such as '128Mi', or a number of bytes")
    return int(Quantity(value))


def format_size(size: int) -> str:
    """Bytes in the largest binary unit that keeps them whole: ``128Mi``."""
    for power, unit in ((60, "Ei"), (50, "Pi"), (40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")):
        if size and size % (1 << power) == 0:
            return f"{size >> power}{unit}"
    return str(size)


def suggest_sizes(value: object) -> list[str]:
    """What somebody may have meant who wrote this instead of a size: ``128MB``, ``128m``, ``128``."""
    text = _written(value, int)
    found = re.fullmatch(r"\s*([0-9]+)\s*([kmgtKMGT]?)(?:i?[bB]|i)?\s*", text)
    if not found:
        return []
    unit = found[2].upper() or "M"
    return [f"{found[1]}{unit}i"]
