"""Signals by name or number."""

from __future__ import annotations

import signal


def signal_number(value: str | int) -> int:
    """The number of a signal: ``TERM``, ``SIGTERM``, ``sigterm``, ``15``, ``RTMIN+3``.

    Raises ValueError, which names the nearest known signal, where this machine has none such.
    """
    if isinstance(value, str):
        name = value.strip().upper().removeprefix("SIG")
        number = int(name) if name.isascii() and name.isdecimal() and len(name) < 4 else _by_name(name)
    else:
        number = value
    if number not in signal.valid_signals():
        near = nearest_signal(value)
        raise ValueError(f"{value!r} is no signal here" + (f"; did you mean {near}?" if near else ""))
    return number


def signal_name(number: int) -> str:
    """``TERM`` for 15; the number itself where it has no name of its own (most real-time signals)."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)


def nearest_signal(value: object) -> str:
    """The name that is most like a misspelt one; empty if none is."""
    if not isinstance(value, str):
        return ""
    import difflib  # only faults need it

    name = value.strip().upper().removeprefix("SIG")
    names = [signal_name(known) for known in signal.valid_signals()]
    return next(iter(difflib.get_close_matches(name, names, 1)), "")


def _by_name(name: str) -> int:
    base, sign, offset = name.partition("+" if "+" in name else "-")
    number = signal.Signals.__members__.get(f"SIG{base}")
    if number is None or (
        sign
        and (
            base not in ("RTMIN", "RTMAX")
            or not (offset.isascii() and offset.isdecimal() and len(offset) < 3)
        )
    ):
        return -1
    return int(number) + (int(f"{sign}{offset}") if sign else 0)
