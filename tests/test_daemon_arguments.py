"""kmetad._daemon.arguments and .signals: how a daemon's process is started, and what its main thread waits for."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._daemon.arguments import Arguments, parse
from kmetad._daemon.signals import Signals, left_in

numbers = st.none() | st.integers(0, 10**6)


@given(
    st.builds(
        Arguments,
        config=st.text(),
        strict=st.booleans(),
        verbose=st.booleans(),
        link=numbers,
        memory=numbers,
        niceness=st.none() | st.integers(-20, 19),
        content=numbers,
        signals=numbers,
        check=st.booleans(),
        wrapped=st.booleans(),
    )
)
def test_there_and_back(arguments: Arguments) -> None:
    """A daemon that replaces itself hands on everything."""
    argv = arguments.argv()
    assert parse(argv[argv.index("kmetad._daemon") + 1 :]) == arguments


@pytest.mark.parametrize("argv", [["--nice"], ["--link"], ["--link", "x"], ["run"]])
def test_wrong_ones(argv: list[str]) -> None:
    """Nobody types them, so a plain error will do."""
    with pytest.raises(ValueError, match="option of kmetad's daemon|invalid literal"):
        parse(argv)


@pytest.fixture
def signals() -> Iterator[Signals]:
    """For USR1 and USR2; as before afterwards."""
    made = Signals((signal.SIGUSR1, signal.SIGUSR2))
    yield made
    made.restore()


def test_in_the_order_of_coming(signals: Signals) -> None:
    """Signals and calls from other threads, in one queue."""
    os.kill(os.getpid(), signal.SIGUSR2)
    signals.put(0)
    os.kill(os.getpid(), signal.SIGUSR1)
    thread = threading.Thread(target=signals.put, args=(255,))
    thread.start()
    thread.join()
    assert [signals.get() for _ in range(4)] == [signal.SIGUSR2, 0, signal.SIGUSR1, 255]


def test_with_a_deadline(signals: Signals) -> None:
    """None when it has passed; at once what is there."""
    assert signals.get(0) is None
    assert signals.get(0.01) is None
    signals.put(7)
    assert signals.get(0) == 7


def test_handed_over(signals: Signals) -> None:
    """What has come is answered; what comes later waits for the next program, or is in the pipe for it."""
    signal.raise_signal(signal.SIGUSR1)
    signals.put(7)
    assert signals.left() == {signal.SIGUSR1, 7}
    assert signals.left() == set()
    try:
        pipe = signals.hand_over()
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
        assert signals.get(0) is None
        assert signal.SIGUSR2 in signal.sigpending()
        signals.put(9)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGUSR1, signal.SIGUSR2))
    assert left_in(os.dup(pipe)) == {9, signal.SIGUSR2}
    assert left_in(os.dup(pipe)) == set()
    os.set_blocking(pipe, True)


def test_as_before() -> None:
    """Handlers, and that nobody else's signals go into the queue."""
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        signals = Signals((signal.SIGUSR1,))
        assert callable(signal.getsignal(signal.SIGUSR1))
        signals.restore()
        assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGUSR1, before)
