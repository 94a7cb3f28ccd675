"""Durations on the command line: types for argparse."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable


def duration(text: str) -> float:
    """Seconds, zero or more."""
    return _parsed(text, lambda seconds: seconds >= 0)


def longer_duration(text: str) -> float:
    """Seconds, more than zero."""
    return _parsed(text, lambda seconds: seconds > 0)


def _parsed(text: str, allowed: Callable[[float], bool]) -> float:
    from kmetad._config.units import parse_duration, suggest_durations

    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = -1.0
    if not allowed(seconds):
        near = " or ".join(suggest_durations(text))
        hint = f"; did you mean {near}?" if near else ""
        raise ArgumentTypeError(f"{text!r} is no duration such as 30s or 1m30s{hint}")
    return seconds
