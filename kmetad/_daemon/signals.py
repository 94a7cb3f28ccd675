"""Signals, and calls from other threads, for a main thread that has nothing else to wait for."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterable


class Signals:
    """Those of these numbers, in the order in which they came.

    The interpreter's C handler writes each into a pipe (``set_wakeup_fd``). A queue filled
    by a Python handler would lose one that comes just before the main thread falls asleep.
    """

    def __init__(self, numbers: Iterable[int]) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._write, False)  # as set_wakeup_fd asks for
        self._before = {number: signal.getsignal(number) for number in numbers}
        signal.set_wakeup_fd(self._write)
        for number in self._before:
            signal.signal(number, lambda _number, _frame: None)

    def get(self, timeout: float | None = None) -> int | None:
        """Sleep until there is one. None if there is none within so many seconds (None: for ever)."""
        if timeout is not None:
            poll = select.poll()
            poll.register(self._read, select.POLLIN)
            if not poll.poll(1000 * max(0.0, timeout)):
                return None
        return os.read(self._read, 1)[0]

    def put(self, number: int) -> None:
        """As if it had come: any number from 0 to 255. From any thread."""
        os.write(self._write, bytes((number,)))

    def left(self) -> set[int]:
        """What has come and nobody has got."""
        left = set()
        while (number := self.get(0)) is not None:
            left.add(number)
        return left

    def hand_over(self) -> int:
        """Leave what comes from here on to the program that this one is replaced with (``left_in``).

        It is blocked, which outlives an exec; what another thread takes meanwhile is in the pipe, whose
        descriptor is answered.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, self._before)
        return self._read

    def restore(self) -> None:
        """Handle them as before."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)


def left_in(descriptor: int) -> set[int]:
    """What came while this program took the place of another; the pipe is closed."""
    os.set_blocking(descriptor, False)  # a child that was only forked may have the other end
    try:
        return set(os.read(descriptor, select.PIPE_BUF))
    except BlockingIOError:
        return set()
    finally:
        os.close(descriptor)
