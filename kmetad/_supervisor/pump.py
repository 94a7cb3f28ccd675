"""A stream of the app's on its way: read, given its tags, written. A thread each, asleep while nothing comes."""

from __future__ import annotations

import _thread
import os
import select

from kmetad._supervisor.messages import say
from kmetad._supervisor.splice import Splicer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from kmetad._supervisor.splice import Counts, Tags

AT_ONCE = 1 << 17
"""Bytes that are read at once. With tags they grow, and what is written shall fit into a pipe's buffer."""

_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL


class Pump:
    """From the pipe of one app to where its output goes.

    ``tags`` answers the stream's tags now, and ``first`` waits for the first ones. ``turn`` is a lock:
    the pump of the app that ran before has it until it's done. ``moved`` is called at the end.
    """

    def __init__(
        self,
        source: int,
        to: int,
        name: str,
        counts: Counts,
        *,
        tags: Callable[[], Tags | None],
        first: Callable[[], None],
        turn: _thread.LockType,
        moved: Callable[[], None],
    ) -> None:
        self.name = name
        self.done = False
        """Everything was written, or can't be any more."""
        self._source = source
        self._to = to
        self._counts = counts
        self._tags = tags
        self._first = first
        self._turn = turn
        self._moved = moved
        self._told = False

    def start(self) -> None:
        """Begin."""
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        try:
            with self._turn:
                self._pump()
        except BrokenPipeError:
            pass  # nobody reads: so the app gets to know, as soon as its pipe has no reader either
        except Exception as error:  # such as no memory for a line
            say(
                f"this is a fault of kmetad, please report it; no more of the app's {self.name} is read: {error!r}"
            )
        finally:
            os.close(self._source)
            self.done = True
            self._moved()

    def _pump(self) -> None:
        splicer = Splicer(self._counts)
        poll = select.poll()
        poll.register(self._source, select.POLLIN)
        if _is_pipe(self._to):
            poll.register(self._to, 0)  # its reader's end is all there is to hear of
        first = True
        while True:
            events = dict(poll.poll())
            if events.get(self._to, 0) & _GONE:
                raise BrokenPipeError
            if self._source not in events:
                continue
            data = os.read(self._source, AT_ONCE)
            if not data:
                break
            if first:
                self._first()
                first = False
            self._write(splicer.feed(data, self._tags()))
        self._write(splicer.end(self._tags()))

    def _write(self, buffers: list[bytes]) -> None:
        """Write all, however long the reader takes. What the kernel refuses is lost, and what comes later isn't."""
        left: list[bytes | memoryview] = [buffer for buffer in buffers if buffer]
        while left:
            try:
                written = os.writev(self._to, left)
            except BlockingIOError:  # somebody who has the file too has set it so
                poll = select.poll()
                poll.register(self._to, select.POLLOUT)
                poll.poll()
                continue
            except BrokenPipeError:
                raise
            except OSError as error:
                self._counts.lost += sum(map(len, left))
                if not self._told:
                    self._told = True
                    say(
                        f"the app's {self.name} can't be written: {error.strerror}; what comes meanwhile is lost"
                    )
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
