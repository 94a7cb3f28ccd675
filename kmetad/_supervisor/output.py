"""The app's standard output and error, where their lines get tags: a pipe for each, and a pump behind it."""

from __future__ import annotations

import os
import time

from kmetad._supervisor import signals
from kmetad._supervisor.firsttags import FirstTags
from kmetad._supervisor.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kmetad._supervisor.pump import Pump, Stream
    from kmetad._supervisor.splice import Tags

_STDOUT, _STDERR = 1, 2


class Output:
    """See the module. Its tags outlive an app, and the daemon that said them."""

    def __init__(self) -> None:
        self.tags: dict[str, Tags] = {}
        """What is in force, by stream."""
        self._complete = False
        """Everybody who has something to say has said it once."""
        self._streams: tuple[Stream, ...] = ()
        """Once something goes through here."""
        self._pumps: list[Pump] = []
        self._first_tags = FirstTags()
        self._patience = 0.0
        """Seconds for which they are waited for."""
        self._held_until: float | None = None
        self._bell: tuple[int, int] | None = None

    # -- an app's start and end --------------------------------------------------------

    def open(self, mode: str, first_tags_timeout: float) -> list[tuple[int, tuple[int, ...]]]:
        """Pipes for an app that is about to start; none where it inherits what this process has.

        ``mode`` is as ``Settings.output`` has it. Seconds. Answers the writing end of each, to be
        closed once the app has it, and the app's descriptors that it is for.
        """
        self._forget_ended()
        self._held_until = None
        self._patience = first_tags_timeout
        try:
            wanted = [] if mode == "inherit" else self._wanted(mode)
        except Exception as error:  # such as no memory: no reason to keep the app from starting
            say(f"the app's lines get no tags, for they can't pass through kmetad: {error!r}")
            return []
        return [(end, numbers) for stream, numbers in wanted if (end := self._pipe_to(stream)) is not None]

    def _wanted(self, mode: str) -> list[tuple[Stream, tuple[int, ...]]]:
        """The streams that go through here, with the app's descriptors that lead to each."""
        if not self._streams:
            self._make_streams()
        stdout, stderr = self._streams
        if mode == "unless-terminal" and os.isatty(stdout.number):
            return []  # whoever sits there reads what the app says, and stderr between its lines
        taken = [stream for stream in self._streams if _can_pass(stream.number, mode)]
        if taken == [stdout, stderr] and stdout.shared:
            # In one pipe, what is written to both keeps its order.
            return [(stdout, (stdout.number, stderr.number))]
        return [(stream, (stream.number,)) for stream in taken]

    def _make_streams(self) -> None:
        from kmetad._supervisor.pump import Stream  # most apps need none

        bell = os.pipe()
        signals.announce(bell[0])
        self._bell = bell
        same = os.path.samestat(os.fstat(_STDOUT), os.fstat(_STDERR))
        self._streams = (Stream(_STDOUT, "stdout", shared=same), Stream(_STDERR, "stderr", shared=True))
        self._put_on()

    def _pipe_to(self, stream: Stream) -> int | None:
        """A pipe whose pump has begun: its writing end. None where that can't be, and the app inherits the stream."""
        from kmetad._supervisor.pipes import enlarge
        from kmetad._supervisor.pump import Pump

        reading = writing = -1
        pump: Pump | None = None
        try:
            reading, writing = os.pipe()
            enlarge(reading)
            enlarge(stream.number)
            pump = Pump(reading, stream, self._wait_for_tags, self._ring)
            pump.start()
        except Exception as error:  # such as no descriptor left, or no thread
            for descriptor in {reading, writing} - {-1}:
                os.close(descriptor)
            if pump is not None:
                pump.close()
            say(f"the app's {stream.name} gets no tags, for it can't pass through kmetad: {error}")
            return None
        self._pumps.append(pump)
        return writing

    def app_ended(self, seconds: float) -> None:
        """What it has written may still wait for its first tags, so long at most."""
        self._held_until = time.monotonic() + min(self._patience, seconds)

    def held_until(self) -> float | None:
        """When what an app that has ended has written waits no longer for its first tags; None if nothing does."""
        return self._held_until if self.left() and not self._first_tags.there else None

    def hold_no_longer(self) -> None:
        """It goes without."""
        self._first_tags.set()

    def finish(self) -> None:
        """Whoever else has the pipes of apps that have gone: pass on what is in them, and nothing more."""
        self.hold_no_longer()
        for pump in self._pumps:
            pump.finish()

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

    def counts(self) -> dict[str, tuple[int, int, int, int]]:
        """Lines, bytes, tagged lines and lost bytes of each stream that has gone through here."""
        counted = {stream.name: stream.counts for stream in self._streams}
        return {
            name: (counts.lines, counts.bytes, counts.tagged, counts.lost)
            for name, counts in counted.items()
            if counts.bytes
        }

    def _forget_ended(self) -> None:
        for pump in self._pumps:
            if pump.done:
                pump.close()
        self._pumps = [pump for pump in self._pumps if not pump.done]

    # -- tags --------------------------------------------------------------------------

    def tag(self, tags: Mapping[str, tuple[Any, ...]], complete: bool) -> None:
        """What lines that begin from here on carry: by stream, the values of ``splice.Tags``.

        ``complete``: everybody who has something to say has said it. What a new daemon says before that
        would take tags away that are only on their way.
        """
        if self._complete and not complete:
            return
        made = {}
        for name, values in tags.items():
            from kmetad._supervisor.splice import Tags

            made[name] = Tags(name, *values)  # before anything is changed: the daemon may send what it likes
        self.tags = made
        self._complete = complete
        self._put_on()
        if complete:
            self._first_tags.set()

    def _put_on(self) -> None:
        for stream in self._streams:
            stream.tags = self.tags.get(stream.name)

    # -- on the pumps' threads ----------------------------------------------------------

    def _wait_for_tags(self) -> None:
        if not self._first_tags.there:
            self._first_tags.wait(self._patience)
            self._ring()

    def _ring(self) -> None:
        """Wake the main thread: something has moved here."""
        if self._bell is not None:
            os.write(self._bell[1], b"!")


def _can_pass(number: int, mode: str) -> bool:
    """Whether a stream of this process can be the app's with a pump before it."""
    from kmetad._supervisor.pipes import is_for_messages

    if not os.get_inheritable(number):
        return False  # the app finds it closed: there is something of kmetad's in its place
    return not is_for_messages(number) and (mode == "always" or not os.isatty(number))
