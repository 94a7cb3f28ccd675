"""Signals by name and number."""

from __future__ import annotations

import signal

import pytest

from kmetad._config.signals import nearest_signal, signal_name, signal_number


@pytest.mark.parametrize("value", ["TERM", "SIGTERM", "sigterm", "term", " Term ", "15", 15])
def test_spellings(value: str | int) -> None:
    """Case and the prefix don't count."""
    assert signal_number(value) == signal.SIGTERM


def test_real_time_signals() -> None:
    """They are counted from both ends."""
    assert signal_number("RTMIN") == signal.SIGRTMIN
    assert signal_number("SIGRTMIN+3") == signal.SIGRTMIN + 3
    assert signal_number("RTMAX-1") == signal.SIGRTMAX - 1


@pytest.mark.parametrize(
    "value", ["", "SIG", "TREM", "0", 0, -1, 4711, "RTMIN+99", "RTMIN+x", "TERM+1", "²", "9" * 5000]
)
def test_no_signal(value: str | int) -> None:
    """Anything else is none, 0 included, which signals nobody."""
    with pytest.raises(ValueError, match="is no signal here"):
        signal_number(value)


def test_nearest() -> None:
    """A misspelt name leads to the signal that was meant."""
    assert nearest_signal("sigtrem") == "TERM"
    assert nearest_signal("whatever") == ""
    assert nearest_signal(4711) == ""
    with pytest.raises(ValueError, match="did you mean HUP"):
        signal_number("HUPP")


def test_name_round_trip() -> None:
    """Every signal is found again by the name that is shown for it."""
    for number in signal.valid_signals():
        assert signal_number(signal_name(number)) == number
