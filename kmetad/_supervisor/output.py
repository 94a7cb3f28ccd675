"""The app's standard output and error, where their lines get tags: pipes of this process, and a pump for each."""

from __future__ import annotations

import _thread
import os
import time

from kmetad._supervisor import signals
from kmetad._supervisor.pump import Pump
from kmetad._supervisor.splice import Counts, Tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kmetad._supervisor.settings import Settings

STREAMS = {1: "stdout", 2: "stderr"}

_BUFFER = 1 << 18
"""Bytes that a pipe is asked to hold. All pipes of a user share a limit, on the whole node (pipe(7))."""
_F_SETPIPE_SZ, _F_GETPIPE_SZ = 1031, 1032


class Output:
    """See the module. What the tags are outlives an app, and the daemon that said them."""

    def __init__(self) -> None:
        self.counts: dict[str, Counts] = {}
        """By stream, of all apps together; only those that go through here."""
        self._tags: dict[str, Tags] = {}
        self._pumps: list[Pump] = []
        self._turns = {number: _thread.allocate_lock() for number in STREAMS}
        self._settled = False
        """The first tags are there, or were waited for long enough."""
        self._first = _thread.allocate_lock()
        self._first.acquire()
        self._patience = 0.0
        self._hold_until: float | None = None
        self._bell: tuple[int, int] | None = None

    # -- an app's start and end --------------------------------------------------------

    def open(self, settings: Settings) -> list[Pipe]:
        """Pipes for an app that is about to start; none where it inherits what this process has."""
        self._pumps = [pump for pump in self._pumps if not pump.done]
        self._hold_until = None
        self._patience = settings.first_tags_timeout
        return [Pipe(number, also) for number, also in _streams(settings.output)]

    def begin(self, pipes: list[Pipe]) -> None:
        """The app has started with them."""
        for pipe in pipes:
            pipe.started()
            name = STREAMS[pipe.number]
            _enlarge(pipe.number)
            pump = Pump(
                pipe.reading,
                pipe.number,
                name,
                self.counts.setdefault(name, Counts()),
                tags=lambda name=name: self._tags.get(name),
                first=self._wait_for_tags,
                turn=self._turns[pipe.number],
                moved=self._ring,
            )
            if self._bell is None:
                self._bell = os.pipe()
                signals.announce(self._bell[0])
            self._pumps.append(pump)
            pump.start()

    def app_ended(self) -> None:
        """What it has written may still wait for its first tags."""
        self._hold_until = time.monotonic() + self._patience

    @property
    def done(self) -> bool:
        """Whether everything was written that apps have."""
        return all(pump.done for pump in self._pumps)

    @property
    def left(self) -> list[str]:
        """The streams of which something wasn't."""
        return [pump.name for pump in self._pumps if not pump.done]

    def due(self) -> float | None:
        """While an app that has ended has output that waits for its first tags: until when."""
        if self._settled or self.done or self._hold_until is None or time.monotonic() >= self._hold_until:
            return None
        return self._hold_until

    # -- tags --------------------------------------------------------------------------

    def tag(self, tags: Mapping[str, tuple[Any, ...]], complete: bool) -> None:
        """What lines that begin from here on carry, by stream: ``splice.Tags``. ``complete``: nobody has more to say."""
        self._tags = {stream: Tags(stream, *values) for stream, values in tags.items()}
        if complete:
            self._settle()

    def _wait_for_tags(self) -> None:
        if not self._settled and not self._first.acquire(timeout=self._patience):
            self._settled = True  # the other stream needn't wait as well
            self._ring()
        elif self._first.locked():
            self._first.release()

    def _settle(self) -> None:
        if not self._settled:
            self._settled = True
            self._first.release()

    def _ring(self) -> None:
        """Wake the main thread: something of this has moved."""
        if self._bell is not None:
            os.read(self._bell[0], 64) if os.write(self._bell[1], b"!") else None


class Pipe:
    """Between the app and its pump. ``also``: another number of the app's that leads to the same."""

    def __init__(self, number: int, also: int | None) -> None:
        self.number = number
        self.reading, self._writing = os.pipe()
        _enlarge(self.reading)
        self.actions = [(os.POSIX_SPAWN_DUP2, self._writing, to) for to in (number, also) if to is not None]

    def started(self) -> None:
        """The app has its end: then that of this process goes, or the pipe would never end."""
        os.close(self._writing)

    def close(self) -> None:
        """No app came of it."""
        os.close(self._writing)
        os.close(self.reading)


def _streams(output: str) -> list[tuple[int, int | None]]:
    """What goes through here, and what else leads to the same file: its writes keep their order in one pipe.

    A terminal is left to the app, unless ``output`` forces it.
    """
    if output == "inherit":
        return []
    there = [number for number in STREAMS if os.get_inheritable(number)]  # the others are closed, for the app
    if output != "force":
        if 1 in there and os.isatty(1):
            return []
        there = [number for number in there if not os.isatty(number)]
    if len(there) == 2 and os.path.samestat(os.fstat(1), os.fstat(2)):
        return [(1, 2)]
    return [(number, None) for number in there]


def _enlarge(descriptor: int) -> None:
    """A pipe's buffer, where it is one and the kernel doesn't mind."""
    import fcntl

    try:
        if fcntl.fcntl(descriptor, _F_GETPIPE_SZ) < _BUFFER:
            fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _BUFFER)
    except OSError:
        pass
