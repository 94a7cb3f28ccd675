"""Requests that are under way, and how they are ended: by others, or because their time is over."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kmetad.api.errors import Unreachable


class Call:
    """One request, or one watch. A context manager."""

    def __init__(self, until: float | None = None, deadlines: Deadlines | None = None) -> None:
        """``until``: it is cut then, by the monotonic clock, whatever it is at; ``deadlines`` sees to that."""
        self.late = False
        """It was cut because its time was over."""
        self.ended = False
        """It was cut."""
        self.connected = False
        """There was a connection, so that something may have been sent."""
        self.kept = False
        """Its connection was kept from another call, so that the server may have closed it."""
        self._until = until
        self._deadlines = deadlines
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._line: socket.socket | None = None

    def __enter__(self) -> Call:
        if self._deadlines is not None and self._until is not None:
            self._deadlines.add(self, self._until)
        return self

    def __exit__(self, *_: object) -> None:
        if self._deadlines is not None:
            self._deadlines.remove(self)
        self.lets_go()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done in this takes none of its time: a person who has to sign in may need a while."""
        begun = time.monotonic()
        if self._deadlines is not None:
            self._deadlines.remove(self)
        try:
            yield
        finally:
            if self._deadlines is not None and self._until is not None:
                self._until += time.monotonic() - begun
                self._deadlines.add(self, self._until)

    def left(self, otherwise: float) -> float:
        """Seconds that there still are, and never none, for a time-out of 0 means another thing; or ``otherwise``."""
        return otherwise if self._until is None else max(0.001, self._until - time.monotonic())

    def goes_over(self, connection: socket.socket, *, connected: bool, kept: bool = False) -> None:
        """This is its connection from here on, still to be ``connected``, or ``kept`` from another call."""
        # A second descriptor, since whoever reads may close, or wrap in TLS, the first at any time.
        line = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            if self._line is not None:
                self._line.close()
            self._line = line
            self.connected = connected
            self.kept = kept
            if self.ended:
                _shut(line)

    def lets_go(self) -> None:
        """It has no connection any more."""
        with self._lock:
            if self._line is not None:
                self._line.close()
                self._line = None

    def cut(self, *, late: bool = False) -> None:
        """End it, from any thread: whoever waits for the connection is told at once that it is over."""
        if os.getpid() != self._pid:
            return  # a forked child: the connection is its parent's
        with self._lock:
            self.late = self.late or (late and not self.ended)
            self.ended = True
            if self._line is not None:
                _shut(self._line)


class Deadlines:
    """Cuts calls whose time is over.

    A socket's own time-out begins anew with each byte that comes, so a server that sends one now and then
    would hold its caller for ever. One thread looks after all calls. It is there while there are some, sleeps
    until the next is due, and is woken for nothing else.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: dict[Call, float] = {}
        self._thread: threading.Thread | None = None
        self._next = 0.0
        """When it wakes, by the monotonic clock."""

    def add(self, call: Call, until: float) -> None:
        """Cut it then. Raises Unreachable where nobody could."""
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="api-deadlines", daemon=True)
                try:
                    thread.start()  # it waits for this lock
                except RuntimeError:
                    raise Unreachable(
                        "no thread can be started, so nobody would end a call in time: "
                        "is there a limit of processes (pids.max)?"
                    ) from None
                self._thread, self._next = thread, until
            elif until < self._next:
                self._changed.notify()
            self._calls[call] = until

    def remove(self, call: Call) -> None:
        """It has come to its end."""
        with self._changed:
            self._calls.pop(call, None)

    def _run(self) -> None:
        with self._changed:
            while self._calls:
                self._next = min(self._calls.values())
                self._changed.wait(max(0.0, self._next - time.monotonic()))
                now = time.monotonic()
                for call in [call for call, until in self._calls.items() if until <= now]:
                    del self._calls[call]
                    call.cut(late=True)
            self._thread = None


def _shut(line: socket.socket) -> None:
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended by itself
