"""A stream of the app's on its way: read, given its tags, written. A thread each, asleep while nothing comes."""

from __future__ import annotations

import _thread
import os
import select

from kmetad._supervisor.messages import say
from kmetad._supervisor.pipes import capacity, in_pieces, is_pipe, tells_of_its_reader
from kmetad._supervisor.splice import Buffers, Counts, Splicer, Tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

AT_ONCE = 1 << 17
"""Bytes that are read at once. With tags they grow, and what is written shall fit into a pipe's buffer."""

_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Stream:
    """Where one of the app's streams goes, whichever app it is.

    ``shared``: kmetad's own messages and log go there too, between two lines and never within one.
    """

    def __init__(self, number: int, name: str, *, shared: bool = False) -> None:
        self.number = number
        """The descriptor, the app's as well as this process's."""
        self.name = name
        self.shared = shared
        self.counts = Counts()
        self.tags: Tags | None = None
        """What lines that begin from here on carry; None: nothing."""
        self.turn = _thread.allocate_lock()
        """Of its pumps: the one of an app that has ended comes to its end before the next one begins."""


class Pump:
    """From the pipe ``source``, which is closed in the end, to a stream.

    ``first`` waits for the first tags, as long as that is wanted. ``moved`` is called when all is done. Both
    are called on the pump's own thread; the methods are for the thread that made it.
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
        self._in_pieces = stream.shared and is_pipe(stream.number)
        self._finishing = False
        self._nudge = os.eventfd(0)
        self._reported = False
        self._untagged = False

    def start(self) -> None:
        """Begin."""
        _thread.start_new_thread(self._run, ())

    def finish(self) -> None:
        """The app has gone, so nobody counts who still has its pipe: pass on what is in it, and end."""
        self._finishing = True
        os.eventfd_write(self._nudge, 1)

    def close(self) -> None:
        """It is done, or was never started, and nobody will call it any more."""
        os.close(self._nudge)

    # -- on the pump's thread ----------------------------------------------------------

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
        splicer = Splicer(self.stream.counts)
        for data, more in self._read():
            self._pass_on(data, splicer, splicer.feed(data, self.stream.tags, more=more))
        self._pass_on(b"", splicer, splicer.end(self.stream.tags))

    def _read(self) -> Iterator[tuple[bytes, bool]]:
        """What comes, and whether there is surely more of it; until nobody has the pipe any more, or nobody who counts.

        Where there was more, and then isn't, that is said, too. Raises BrokenPipeError.
        """
        to = self.stream.number
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        poll.register(self._nudge, select.POLLIN)
        if tells_of_its_reader(to):
            poll.register(to, 0)
        begun = more = False
        left: int | None = None
        while left is None or left > 0:
            events = dict(poll.poll(0 if more or self._finishing else None))
            if events.get(to, 0) & _GONE:
                raise BrokenPipeError
            if self._finishing and left is None:
                left = capacity(self._source)  # it holds no more of the app's
            if self._source in events:
                data = os.read(self._source, AT_ONCE)
                if not data:
                    break
                if not begun:
                    begun = True
                    self._first()
                if left is not None:
                    left -= len(data)
                more = len(data) == AT_ONCE
                yield data, more
            elif more:
                more = False
                yield b"", more
            elif self._finishing:
                break

    def _pass_on(self, data: bytes, splicer: Splicer, answers: Iterator[Buffers]) -> None:
        """Write what was read as the splicer has it. Whatever goes wrong there, only tags are lost."""
        while not self._untagged:
            try:
                buffers = next(answers, None)
            except Exception as error:  # such as no memory for a line
                self._untagged = True
                what = f"the app's {self.stream.name} goes on without tags"
                say(f"this is a fault of kmetad, please report it; {what}: {error!r}")
                for held in splicer.held:
                    self._write([held])
                return
            if buffers is None:
                return
            self._write(buffers)
        self._write([data])

    def _write(self, buffers: Buffers) -> None:
        """Write all, however long the reader takes."""
        if self._in_pieces:
            pieces: Iterable[bytes | memoryview] = buffers
            try:
                pieces = in_pieces(b"".join(buffers), self.stream.number)
            except MemoryError:
                pass  # not together, then, but all of it
            for piece in pieces:
                self._write_all([piece])
        else:
            self._write_all([buffer for buffer in buffers if buffer])

    def _write_all(self, left: list[bytes | memoryview]) -> None:
        """What the kernel refuses is lost, and what comes later isn't."""
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
                if not self._reported:
                    self._reported = True
                    what = f"the app's {self.stream.name} can't be written: {error.strerror}"
                    say(f"{what}; what comes meanwhile is lost")
                return
            while left and written >= len(left[0]):
                written -= len(left.pop(0))
            if written:
                left[0] = memoryview(left[0])[written:]
