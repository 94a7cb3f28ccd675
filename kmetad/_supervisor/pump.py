"""A stream of the app's on its way: read, given its tags, written. A thread each, asleep while nothing comes."""

from __future__ import annotations

import _thread
import os
import select

from kmetad._supervisor.messages import say
from kmetad._supervisor.splice import Counts, Splicer, Tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

AT_ONCE = 1 << 17
"""Bytes that are read at once. With tags they grow, and what is written shall fit into a pipe's buffer."""
_LAST = 1 << 18
"""Bytes that are still read of a pipe whose app has gone: it holds no more of the app's."""
_ATOMIC = select.PIPE_BUF
"""Bytes that go into a pipe in one piece, whoever else writes to it (pipe(7))."""

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
        for data in self._read():
            self._write(self._spliced(splicer, data))
        self._write(self._spliced(splicer, b""))

    def _read(self) -> Iterator[bytes]:
        """What comes, until nobody has the pipe any more, or nobody who counts. Raises BrokenPipeError."""
        to = self.stream.number
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        poll.register(self._nudge, select.POLLIN)
        if _is_pipe(to):
            poll.register(to, 0)  # its reader's end is all there is to hear of
        begun = False
        line = b""  # the beginning of one, whose end is surely in the pipe
        left = _LAST
        while left > 0:
            events = dict(poll.poll(0 if line or self._finishing else None))
            if events.get(to, 0) & _GONE:
                raise BrokenPipeError
            if self._source in events:
                data = os.read(self._source, AT_ONCE)
                if not data:
                    break
                if not begun:
                    begun = True
                    self._first()
                if self._finishing:
                    left -= len(data)
                cut = data.rfind(b"\n") + 1
                if self.stream.shared and len(data) == AT_ONCE and cut:
                    yield line + data[:cut]
                    line = data[cut:]
                else:
                    yield line + data
                    line = b""
            elif line:  # its end isn't there: then it has to go without
                yield line
                line = b""
            elif self._finishing:
                break
        if line:
            yield line

    def _spliced(self, splicer: Splicer, data: bytes) -> Sequence[bytes]:
        """What is to be written for what was read (nothing: at the end). Whatever goes wrong, only tags are lost."""
        if self._untagged:
            return [data]
        held = [*splicer.held]
        try:
            tags = self.stream.tags
            return splicer.feed(data, tags) if data else splicer.end(tags)
        except Exception as error:  # such as no memory for a line
            self._untagged = True
            what = f"the app's {self.stream.name} goes on without tags"
            say(f"this is a fault of kmetad, please report it; {what}: {error!r}")
            return [*held, data]

    def _write(self, buffers: Sequence[bytes]) -> None:
        """Write all, however long the reader takes."""
        if self.stream.shared:
            for lines in _in_pieces(b"".join(buffers)):
                self._write_all([lines])
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


def _in_pieces(data: bytes) -> Iterator[memoryview]:
    """As many whole lines together as go into a pipe in one piece; a longer line by itself."""
    view = memoryview(data)
    begin = 0
    while begin < len(data):
        end = data.rfind(b"\n", begin, begin + _ATOMIC) + 1
        if not end:
            end = data.find(b"\n", begin) + 1 or len(data)
        yield view[begin:end]
        begin = end


def _is_pipe(descriptor: int) -> bool:
    """Whether it is a pipe without a name: no reader ever comes again to one that has none left (pipe(7))."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("pipe:")
    except OSError:
        return False  # no /proc: then it's the next write that tells
