"""The heart: wait, read, compare, tell.

One thread does all four, the one that iterates; so there is nothing to lock, and
a consumer that takes its time simply gets the difference to what is newest then.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from kmetad._diff import diff
from kmetad._sources.content import Source
from kmetad._sources.merge import Reading, step
from kmetad._watch.followed import Followed
from kmetad._watch.hints import Hint, Hints
from kmetad._watch.system import system_hints
from kmetad.events import Batch
from kmetad.metadata import Snapshot

if TYPE_CHECKING:
    from kmetad._sources.file import File
    from kmetad._watch.aside import Aside, News

RESCAN_SECONDS = 300.0


class Watch:
    """An iterator of batches over some sources; see ``kmetad.watch``.

    ``rescan`` is in seconds: how often everything is read although nobody told of
    a change. ``before``: what a process before this one knew; the values and the count
    of faults of a source that is lost now come from there, and generations count on.
    ``clock`` (seconds, monotonic) and ``hints`` are for tests.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        rescan: float = RESCAN_SECONDS,
        before: Snapshot | None = None,
        clock: Callable[[], float] = time.monotonic,
        hints: Hints | None = None,
    ) -> None:
        before = before or Snapshot()
        self.snapshot = Snapshot(generation=before.generation)
        """What the last batch said; empty before the first."""
        self._rescan = rescan
        self._clock = clock
        self._hints = hints if hints is not None else system_hints()
        self._followed = [Followed(at, source, self._hints, before) for at, source in enumerate(sources)]
        self._by_path: dict[str | None, list[Followed]] = {}
        for followed in self._followed:
            self._by_path.setdefault(followed.path, []).append(followed)
        self._polled: set[Followed] = set()
        self._readings: list[Reading] = [followed.reading for followed in self._followed]
        self._told: list[Reading] = []  # the readings that the snapshot was made of
        self._aside: Aside | None = None
        self._asked: Callable[[], object] | None = None
        self._batches = self._run()

    def __iter__(self) -> Watch:
        return self

    def __next__(self) -> Batch:
        return next(self._batches)

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        with suppress(ValueError):  # another thread iterates: it gives everything back when it wakes
            self._batches.close()

    def stop(self) -> None:
        """End the iteration, also while it waits. From any thread or signal handler."""
        self._hints.stop()

    def ask(self, answer: Callable[[], object]) -> None:
        """Have ``answer`` called on the iterating thread, once that is through with what it does: so it hangs nowhere.

        From any thread. Of two that were asked for meanwhile only the last is called.
        """
        self._asked = answer
        self._hints.wake()

    def beside(self, file: File, known: bytes | None, told: Callable[[News], object]) -> None:
        """Watch a file, too, that says nothing of the Pod. Before the iteration begins.

        ``told`` is called, on the iterating thread, when its content is another than
        ``known`` (None: nothing is), and from then on whenever it differs from what was told last.
        While it can't be read it is told why, as a text, and looked for once a second.
        """
        from kmetad._watch.aside import Aside

        self._aside = Aside(file, known, told, self._hints)

    def _run(self) -> Generator[Batch]:
        """Wait, read, compare, tell. The first batch holds everything as added."""
        try:
            now = self._clock()
            next_rescan = now + self._rescan
            differs = self._read(Hint(everything=True), now, lost=False)
            batch = self._compare()
            first = True
            while True:
                if differs and (first or batch.changes):
                    first = False
                    self.snapshot, self._told = batch.current, self._readings.copy()
                    yield batch
                hint = self._hints.wait(self._patience(next_rescan))
                if self._hints.stopped():
                    return
                if self._asked is not None:
                    answer, self._asked = self._asked, None
                    answer()
                lost = hint.everything
                now = self._clock()
                if now >= next_rescan:
                    hint.everything = True
                    next_rescan = now + self._rescan
                differs = self._read(hint, now, lost=lost)
                if differs:
                    batch = self._compare()
        finally:
            self._hints.close()

    def _read(self, hint: Hint, now: float, *, lost: bool) -> bool:
        """Look at what the hint points to; True if anything may differ now.

        ``lost``: the kernel dropped notifications, which is a fault of each source.
        """
        looked = False
        for followed in self._worth_a_look(hint):
            if hint.everything or (hint.mounts and followed.is_elsewhere()):
                followed.look(now, anew=True, lost_hints=lost)
            elif followed.path in hint.ended:
                followed.unwatch()  # one made anew at the path may well have the same inode
                followed.look(now, replaced=True)
            elif followed.path in hint.touched:
                followed.look(now)
            elif followed.next_poll is None or now < followed.next_poll or not followed.poll(now):
                continue
            looked = True
            self._readings[followed.at] = followed.reading
            if followed.next_poll is None:
                self._polled.discard(followed)
            else:
                self._polled.add(followed)
        if self._aside is not None:
            self._aside.heed(hint, now, modest=bool(self._polled))
        return looked

    def _worth_a_look(self, hint: Hint) -> list[Followed]:
        """Of many sources the few that a hint is about, and those that are polled."""
        if hint.everything or hint.mounts:
            return self._followed
        named = [followed for path in hint.touched | hint.ended for followed in self._by_path.get(path, ())]
        return named + [followed for followed in self._polled if followed not in named]

    def _compare(self) -> Batch:
        current, suspects = step(self._readings, self.snapshot, self._told)
        return Batch(diff(self.snapshot, current, suspects), self.snapshot, current, time.time_ns())

    def _patience(self, next_rescan: float) -> float:
        """How long to sleep, in seconds: to the rescan, or to the next look at what is lost."""
        polls = [f.next_poll for f in self._polled]
        if self._aside is not None:
            polls.append(self._aside.next_poll)
        return max(0.0, min((at for at in polls if at is not None), default=next_rescan) - self._clock())
