"""The app's standard output and error, where their lines get tags: a pipe for each, and a pump behind it."""

from __future__ import annotations

import _thread
import os
import time

from kmetad._supervisor import signals
from kmetad._supervisor.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kmetad._supervisor.pump import Pump, Stream

_BUFFER = 1 << 18
"""Bytes that a pipe is asked to hold. All pipes of a user share a limit, on the whole node (pipe(7))."""
_F_SETPIPE_SZ, _F_GETPIPE_SZ = 1031, 1032


class Output:
    """See the module. Its tags outlive an app, and the daemon that said them."""

    def __init__(self) -> None:
        self._streams: tuple[Stream, ...] = ()
        """Once something goes through here."""
        self.said: dict[str, tuple[Any, ...]] = {}
        """The tags in force, by stream."""
        self._was_complete = False
        self._pumps: list[Pump] = []
        self._settled = False
        """The first tags are there, or were waited for long enough."""
        self._settling = _thread.allocate_lock()
        self._first = _thread.allocate_lock()
        self._first.acquire()
        self._patience = 0.0
        self._hold_until: float | None = None
        self._bell: tuple[int, int] | None = None

    # -- an app's start and end --------------------------------------------------------

    def open(self, mode: str, first_tags_timeout: float) -> list[tuple[int, tuple[int, ...]]]:
        """Pipes for an app that is about to start; none where it inherits what this process has.

        ``mode`` is ``inherit``, ``tag``, or ``force``, which takes terminals too. Seconds. Answers the
        writing end of each, to be closed once the app has it, and the app's descriptors that it is for.
        """
        self._pumps = [pump for pump in self._pumps if not pump.done]
        self._hold_until = None
        self._patience = first_tags_timeout
        if mode == "inherit":
            return []
        if not self._streams:
            from kmetad._supervisor.pump import Stream  # most apps need none

            self._streams = (Stream(1, "stdout"), Stream(2, "stderr"))
            self._tag()
            self._bell = os.pipe()
            signals.announce(self._bell[0])
        stdout, stderr = self._streams
        taken = [stream for stream in self._streams if _is_taken(stream.number, mode)]
        if mode == "tag" and os.isatty(stdout.number):
            taken = []
        if len(taken) == 2 and os.path.samestat(os.fstat(stdout.number), os.fstat(stderr.number)):
            # In one pipe, what is written to both keeps its order.
            wanted: list[tuple[Stream, tuple[int, ...]]] = [(stdout, (stdout.number, stderr.number))]
        else:
            wanted = [(stream, (stream.number,)) for stream in taken]
        return [(end, numbers) for stream, numbers in wanted if (end := self._pipe_to(stream)) is not None]

    def _pipe_to(self, stream: Stream) -> int | None:
        """A pipe whose pump has begun: its writing end. None where that can't be, and the app inherits the stream."""
        from kmetad._supervisor.pump import Pump

        reading = writing = -1
        try:
            reading, writing = os.pipe()
            _enlarge(reading)
            _enlarge(stream.number)
            pump = Pump(reading, stream, self._wait_for_tags, self._ring)
            pump.start()
        except (OSError, RuntimeError) as error:  # no descriptor is left, or no thread
            for descriptor in {reading, writing} - {-1}:
                os.close(descriptor)
            say(f"the app's {stream.name} gets no tags, for it can't pass through kmetad: {error}")
            return None
        self._pumps.append(pump)
        return writing

    def app_ended(self) -> None:
        """What it has written may still wait for its first tags."""
        self._hold_until = time.monotonic() + self._patience

    def listen(self) -> None:
        """Take note of what pumps have rung for."""
        if self._bell is not None:
            try:
                os.read(self._bell[0], 1 << 12)
            except BlockingIOError:
                pass

    def left(self) -> list[str]:
        """The streams to which apps have written what isn't passed on yet."""
        return [pump.stream.name for pump in self._pumps if not pump.done]

    def due(self) -> float | None:
        """Until when what is left of an app that has ended may wait for its first tags; None if nothing does."""
        if self._settled or self._hold_until is None or time.monotonic() >= self._hold_until:
            return None
        return self._hold_until if self.left() else None

    def counts(self) -> dict[str, tuple[int, int, int, int]]:
        """Lines, bytes, tagged lines and lost bytes of each stream that has gone through here."""
        counted = {stream.name: stream.counts for stream in self._streams}
        return {
            name: (counts.lines, counts.bytes, counts.tagged, counts.lost)
            for name, counts in counted.items()
            if counts.bytes
        }

    # -- tags --------------------------------------------------------------------------

    def tag(self, tags: Mapping[str, tuple[Any, ...]], complete: bool) -> None:
        """What lines that begin from here on carry: by stream, the values of ``splice.Tags``.

        ``complete``: everybody who has something to say has said it. What a new daemon says before that
        would take tags away that are only on their way.
        """
        if self._was_complete and not complete:
            return
        self._was_complete = complete
        self.said = {**tags}
        self._tag()
        if complete:
            self._settle()

    def _tag(self) -> None:
        for stream in self._streams:
            stream.wear(self.said.get(stream.name))

    def _wait_for_tags(self) -> None:
        if self._settled:
            return
        if self._first.acquire(timeout=self._patience):
            self._first.release()  # the other stream waits too
        else:
            self._settle()
            self._ring()

    def _settle(self) -> None:
        with self._settling:
            if not self._settled:
                self._settled = True
                self._first.release()

    def _ring(self) -> None:
        """Wake the main thread: something has moved here."""
        if self._bell is not None:
            os.write(self._bell[1], b"!")


def _is_taken(number: int, mode: str) -> bool:
    """Whether a stream goes through here. One that the app finds closed has nothing inheritable in its place."""
    return os.get_inheritable(number) and (mode == "force" or not os.isatty(number))


def _enlarge(descriptor: int) -> None:
    """A pipe's buffer, where it is one and the kernel doesn't mind."""
    import fcntl

    try:
        if fcntl.fcntl(descriptor, _F_GETPIPE_SZ) < _BUFFER:
            fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _BUFFER)
    except OSError:
        pass
