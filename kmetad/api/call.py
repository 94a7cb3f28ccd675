"""A request that is under way, and that others can end."""

from __future__ import annotations

import os
import socket
import threading
import time


class Call:
    """One request, or one watch. ``seconds``: after so many it is cut, whatever it is at; None: never.

    A socket's own time-out begins anew with each byte that comes, so a server that sends one now and then
    would hold its caller for ever. A context manager.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.late = False
        """It was cut because its time was over."""
        self.ended = False
        """It was cut."""
        self.connected = False
        """There was a connection, so that something may have been sent."""
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._until = None if seconds is None else time.monotonic() + seconds
        self._timer: threading.Timer | None = None
        if seconds is not None:
            self._timer = threading.Timer(seconds, self._too_late)
            self._timer.daemon = True
            self._timer.name = "api-timeout"
            self._timer.start()

    def __enter__(self) -> Call:
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            if self._line is not None:
                self._line.close()
                self._line = None

    def left(self, most: float) -> float:
        """Seconds that there still are, ``most`` at most, and never none: a time-out of 0 means something else."""
        return most if self._until is None else min(most, max(0.001, self._until - time.monotonic()))

    def goes_over(self, connection: socket.socket) -> None:
        """This is its connection from here on."""
        # A second descriptor, since whoever reads may close, or wrap in TLS, the first at any time.
        line = socket.socket(fileno=os.dup(connection.fileno()))
        with self._lock:
            if self._line is not None:
                self._line.close()
            self._line = line
            self.connected = True
            if self.ended:
                _shut(line)

    def cut(self) -> None:
        """End it, from any thread: whoever waits for the connection is told at once that it is over."""
        with self._lock:
            self.ended = True
            if self._line is not None:
                _shut(self._line)

    def _too_late(self) -> None:
        self.late = True
        self.cut()


def _shut(line: socket.socket) -> None:
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended by itself
