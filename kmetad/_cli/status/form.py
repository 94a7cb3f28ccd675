"""What ``kmetad status`` takes for an answer: docs/status.md's JSON, and nothing else.

The form is that of ``kmetad.status``, without its imports, which would take longer than to
ask. What a later version says on top is let through.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LATEST = 1e11
"""Seconds: about 3000 years."""


def text(value: Any) -> bool:
    """A text."""
    return isinstance(value, str)


def flag(value: Any) -> bool:
    """True or false."""
    return isinstance(value, bool)


def count(value: Any) -> bool:
    """A number of things; nothing below 0."""
    return type(value) is int and value >= 0


def seconds(value: Any) -> bool:
    """How long, in seconds."""
    return type(value) in (int, float) and abs(value) < _LATEST


def moment(value: Any) -> bool:
    """A time, as RFC 3339 has it."""
    try:
        since_epoch(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def since_epoch(value: str) -> float:
    """Seconds since the epoch of a time as RFC 3339 has it."""
    from datetime import datetime

    return datetime.fromisoformat(value).timestamp()


def plain(value: Any) -> bool:
    """What a plugin may say of what it did."""
    return value is None or isinstance(value, (str, int, float))


ANY = "*"
"""Stands for each name of a table whose names aren't given."""

FAULT = {"time": moment, "hook": text, "error": text}
TRIED = {
    "time": moment,
    "result": text,
    "seconds": seconds,
    "changes": count,
    "error": text,
    "detail": {ANY: plain},
}
TOOK = {"bounds": [seconds], "counts": [count], "sum": seconds}
LANE = {
    "name": text,
    "state": text,
    "generation": (None, count),
    "attempt": count,
    "hook": text,
    "hook_seconds": seconds,
    "retry_seconds": seconds,
    "behind_seconds": seconds,
    "acknowledged": count,
    "faults": count,
    "stuck": count,
    "crashes": count,
    "last_fault": (None, FAULT),
    "last": (None, TRIED),
    "results": {ANY: count},
    "retries": count,
    "took": TOOK,
}
STREAM = {"lines": count, "bytes": count, "tagged": count, "lost": count}
FORM = {
    "ready": flag,
    "unready": [text],
    "version": text,
    "pid": count,
    "started": moment,
    "generation": count,
    "config": {"file": (None, text), "faults": [text], "refused": [text]},
    "sources": {ANY: {"status": text, "faults": count, "error": text}},
    "lanes": [LANE],
    "app": (None, {"pid": count, "starts": count, "output": {ANY: STREAM}}),
    "state": (None, {"dir": text, "error": text}),
    "counts": {"batches": count, "swaps": {ANY: count}, "changes": {ANY: count}, "api_calls": {ANY: count}},
}
"""By name, what a value has to be: a function says; ``[…]`` is a list of such, ``(…, …)`` one of these."""


def read(answer: bytes) -> dict[str, Any] | None:
    """The document; None if it is none of kmetad's, or cut off."""
    from json import loads

    try:
        document = loads(answer)
    except (ValueError, RecursionError):
        return None
    return document if fits(document, FORM) else None


def fits(value: Any, form: Any) -> bool:
    """Whether a value is of that form."""
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return False
        if ANY in form:
            return all(fits(part, form[ANY]) for part in value.values())
        return all(name in value and fits(value[name], part) for name, part in form.items())
    if isinstance(form, list):
        return isinstance(value, list) and all(fits(part, form[0]) for part in value)
    if isinstance(form, tuple):
        return any(fits(value, part) for part in form)
    return value is None if form is None else bool(form(value))
