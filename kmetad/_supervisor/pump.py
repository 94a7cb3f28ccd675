"""A stream of the app's on its way: read, given its tags, written. A thread each, asleep while nothing comes."""

from __future__ import annotations

import _thread
import os
import select

from kmetad._supervisor.messages import say
from kmetad._supervisor.splice import Counts, Splicer, Tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

AT_ONCE = 1 << 17
"""Bytes that are read at once. With tags they grow, and what is written shall fit into a pipe's buffer."""

_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Stream:
    """Where one of the app's streams goes, whichever app it is."""

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        """The descriptor, the app's as well as this process's."""
        self.name = name
        self.counts = Counts()
        self.tags: Tags | None = None
        """What lines that begin from here on carry."""
        self.turn = _thread.allocate_lock()
        """Of its pumps: the one of an app that has ended comes to its end before the next one begins."""

    def wear(self, tags: tuple[Any, ...] | None) -> None:
        """What lines that begin from here on carry: ``Tags``' values, None for nothing."""
        self.tags = None if tags is None else Tags(self.name, *tags)


class Pump:
    """From the pipe ``source``, which is closed in the end, to a stream.

    ``first`` waits for the first tags, as long as that is wanted. ``moved`` is called when all is done. Both
    are called on the pump's own thread.
    """

    def __init__(
        self, source: int, stream: Stream, first: Callable[[], None], moved: Callable[[], None]
    ) -> None:
        self.stream = stream
        self.done = False
        """Everything was written, or can't be any more."""
        self._source = source
        self._first = first
        self._moved = moved
        self._told = False
        self._plain = False

    def start(self) -> None:
        """Begin."""
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            with self.stream.turn:
                self._pump()
        except BrokenPipeError:
            pass  # nobody reads: so the app gets to know, as soon as its pipe has no reader either
        finally:
            os.close(self._source)
            self.done = True
            self._moved()

    def _pump(self) -> None:
        stream, to = self.stream, self.stream.number
        splicer = Splicer(stream.counts)
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        if _is_pipe(to):
            poll.register(to, 0)  # its reader's end is all there is to hear of
        first = True
        while True:
            events = dict(poll.poll())
            if events.get(to, 0) & _GONE:
                raise BrokenPipeError
            data = os.read(self._source, AT_ONCE)
            if not data:
                break
            if first:
                self._first()
                first = False
            self._write(self._spliced(splicer, data))
        self._write(self._spliced(splicer, b""))

    def _spliced(self, splicer: Splicer, data: bytes) -> list[bytes]:
        """What is to be written for what was read (nothing: at the end). Whatever goes wrong, only tags are lost."""
        if self._plain:
            return [data]
        try:
            tags = self.stream.tags
            return splicer.feed(data, tags) if data else splicer.end(tags)
        except Exception as error:  # such as no memory for a line
            self._plain = True
            what = f"the app's {self.stream.name} goes on without tags"
            say(f"this is a fault of kmetad, please report it; {what}: {error!r}")
            return [data]

    def _write(self, buffers: list[bytes]) -> None:
        """Write all, however long the reader takes. What the kernel refuses is lost, and what comes later isn't."""
        left: list[bytes | memoryview] = [buffer for buffer in buffers if buffer]
        while left:
            try:
                written = os.writev(self.stream.number, left)
            except BlockingIOError:  # somebody who has the file too has set it so
                poll = select.poll()
                poll.register(self.stream.number, select.POLLOUT)
                poll.poll()
                continue
            except BrokenPipeError:
                raise
            except OSError as error:
                self.stream.counts.lost += sum(map(len, left))
                if not self._told:
                    self._told = True
                    what = f"the app's {self.stream.name} can't be written: {error.strerror}"
                    say(f"{what}; what comes meanwhile is lost")
                return
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if written:
                left[0] = memoryview(left[0])[written:]


def _is_pipe(descriptor: int) -> bool:
    """Whether it is a pipe without a name: no reader ever comes again to one that has none left (pipe(7))."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:")
    except OSError:
        return False  # no /proc: then it's the next write that tells
