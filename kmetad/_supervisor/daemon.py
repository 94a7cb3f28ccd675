"""The daemon's process, as its supervisor has it: started, heard, told, started again when it ends."""

from __future__ import annotations

import os
import sys
import time

from kmetad import _link
from kmetad._supervisor import interpreter, processes, signals
from kmetad._supervisor.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from typing import Any

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 10.0
"""Seconds before a daemon that has ended is started again, doubling; afresh once one was up for the longest."""


class Daemon:
    """See the module. ``told`` is called with each message: its kind and its values."""

    def __init__(
        self,
        options: list[str],
        environ: Mapping[str, str],
        told: Callable[[str, tuple[Any, ...]], None],
    ) -> None:
        self.pid = 0
        """0: none runs."""
        self.sessions: set[int] = set()
        """Of this daemon and those before it. What it starts is no process of the app's."""
        self.due: float | None = None
        """When it is to be started, by the monotonic clock."""
        self._options = options
        self._environ = environ
        self._told = told
        self._link: socket.socket | None = None
        self._memory = _memory_file()
        self._pause = FIRST_PAUSE
        self._started = 0.0
        self.stopping = False
        """It was told to stop."""

    def start(self) -> None:
        """Start it. Where that fails, it is tried again later."""
        self.due = None
        self._started = time.monotonic()
        ours: socket.socket | None = None
        try:
            import socket

            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                signals.announce(ours.fileno())
                self.pid = self._spawn(theirs.fileno())
        except (OSError, ImportError) as error:  # the latter where no descriptor is left
            if ours is not None:
                ours.close()
            self.start_later(f"the daemon can't be started: {error}")
            return
        self._link = ours
        # The number of a session that has ended may come round again as one of the app's.
        in_use = {process.session for process in processes.descendants()}
        self.sessions = self.sessions & in_use | {self.pid}

    def listen(self) -> None:
        """Take what it has said, and act on it."""
        while (link := self._link) is not None:
            try:
                message = _link.receive(link)
            except BlockingIOError:
                return
            except ValueError as error:
                say(f"the daemon said what can't be understood: {error}")
                continue
            if message is None:
                link.close()
                self._link = None
            else:
                try:
                    self._told(*message)
                except Exception as error:  # a plugin may have written it
                    say(f"the daemon said {message[0]}, which can't be understood: {error}")

    def tell(self, kind: str, *values: Any) -> None:
        """Say something to it. One that is gone or hangs doesn't get to know."""
        if self._link is not None:
            _link.send(self._link, kind, *values)

    def was_checked(self) -> None:
        """It found no fault. Of those to come none ends for one: the app runs by then."""
        self._options = [option for option in self._options if option != "--strict"]

    def stop(self, seconds: float) -> None:
        """Have it end by itself within so many seconds, and start it no more."""
        self.stopping = True
        self.due = None
        self.tell("stop", seconds)
        if self.pid:
            # One that is still starting has nothing to finish, and goes at once.
            os.kill(self.pid, signals.TERM)

    def kill(self) -> None:
        """End it now."""
        if self.pid:
            os.kill(self.pid, signals.KILL)

    def ended(self) -> None:
        """It was waited for."""
        self.listen()  # to its last words
        if self._link is not None:
            self._link.close()
            self._link = None
        self.pid = 0

    def start_later(self, why: str) -> None:
        """Start the next one after a pause, unless none is wanted any more."""
        if self.stopping:
            return
        now = time.monotonic()
        if now - self._started > LONGEST_PAUSE:
            self._pause = FIRST_PAUSE
        say(f"{why}; it is started again in {self._pause:g} s, and the app is left alone")
        self.due = now + self._pause
        self._pause = min(LONGEST_PAUSE, 2 * self._pause)

    def _spawn(self, link: int) -> int:
        command = [sys.executable, *interpreter.options(), "-m", "kmetad._daemon", *self._options]
        command += ["--link", str(link)]
        inherited = [link]
        if self._memory is not None:
            command += ["--memory", str(self._memory)]
            inherited.append(self._memory)
        # The app's descriptors aren't the daemon's: who waits for the end of a pipe waits for all that have it.
        closed = [fd for fd in _inheritable() if fd > 2]
        for fd in inherited:
            os.set_inheritable(fd, True)
        try:
            return os.posix_spawn(
                sys.executable,
                command,
                self._environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, 2, 1),  # standard output belongs to the app
                    (os.POSIX_SPAWN_DUP2, 1, 2),  # inherited even where the app's is closed
                    *((os.POSIX_SPAWN_CLOSE, fd) for fd in closed),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=signals.ALL - {signals.KILL, signals.STOP},
            )
        finally:
            for fd in inherited:
                os.set_inheritable(fd, False)


def _inheritable() -> list[int]:
    try:
        descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    except OSError:
        return []  # no /proc
    found = []
    for fd in descriptors:
        try:
            if os.get_inheritable(fd):
                found.append(fd)
        except OSError:
            pass  # what listed them
    return found


def _memory_file() -> int | None:
    """What outlives the daemon's process: the state of its lanes, for the next one."""
    try:
        return os.memfd_create("kmetad-lanes")
    except (AttributeError, OSError):
        return None  # not with this C library or kernel
