"""The lanes' memory, which outlives the daemon: its successor goes on exactly there.

It lies in a memory file (memfd) that the supervisor holds. What is about to be shown is
in it before the first hook is entered, and so is that a hook runs; an acknowledgement
follows when the hooks have returned. Each costs what changed, not what there is.

With a directory it lies on disk as well, for restarts of the container: whoever finds a
memory file with something in it has no need of that.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from kmetad._delivery.book import Book
from kmetad._delivery.cursor import Cursor
from kmetad._delivery.disk import Disk
from kmetad._delivery.kept import Kept, Mark, take_in
from kmetad._delivery.match import Filter
from kmetad._delivery.record import LaneState, State, Unreadable, decode, replay
from kmetad._delivery.remembered import Remembered
from kmetad._delivery.slots import Cell, Slots
from kmetad._diff import apply, diff
from kmetad.metadata import Snapshot

CRASHES = 3
"""After so many in a row, with nothing acknowledged between, a plugin is set aside (law 5)."""


class Memory:
    """See the module.

    ``fd``: the file, a predecessor's or empty; without one it makes its own. Where the
    kernel gives none, the lanes remember for as long as the process lives; ``log`` says so.
    ``directory``: ``[state] dir``.
    """

    def __init__(self, fd: int | None, log: Any, directory: str | None = None) -> None:
        self.fd: int | None = None
        """The file; None if there is none. What this process starts doesn't inherit it."""
        self._log = log
        self._book = Book(log)
        self._from_disk = False
        if directory is not None:
            self._book.disk = Disk(directory, self._book.encode_all, log)
        try:
            fd = os.memfd_create("kmetad") if fd is None else fd
            os.set_inheritable(fd, False)
            slots = Slots(fd)
        except (OSError, ValueError, AttributeError) as error:
            self._book.give_up(error)
        else:
            self.fd = fd
            self._book.slots = slots
            if self._recall(slots):
                return
        state = None if self.disk is None else self.disk.read()
        if state is not None:
            self._book.state, self._from_disk = state, True

    @property
    def disk(self) -> Disk | None:
        """Where it is kept on disk; None without a directory."""
        return self._book.disk

    @property
    def digest_key(self) -> bytes:
        """What digests are keyed with, so that the predecessor's compare with this daemon's."""
        return self._book.state.digest_key

    @property
    def last(self) -> Snapshot:
        """The newest snapshot that any lane acknowledged; empty if none ever did."""
        return self._book.state.last

    @property
    def pod(self) -> str | None:
        """The UID of the Pod that left its memory on disk; None where there is none, or it isn't known."""
        return self.last.fields.get("metadata.uid") if self._from_disk else None

    def drop(self) -> None:
        """What was on disk is another Pod's: every plugin starts afresh."""
        self._log.info("state.dropped", reason="it is of another Pod", uid=self.pod)
        self._book.state = State(self.digest_key)
        self._from_disk = False

    def lanes(self, filters: Mapping[str, Filter], *, keep: bool = False) -> dict[str, Remembered]:
        """What each lane remembers, by name; to be called once.

        Lanes that aren't named are forgotten, unless ``keep``: they may come back. One in
        whose hook the predecessor died has a crash more. To one that was filtered otherwise
        the keys that it didn't see then are new; those that it doesn't see now are gone.
        """
        book = self._book
        before = {lane.name: lane for lane in book.state.lanes}
        lanes = [before.pop(name) if name in before else LaneState(name) for name in filters]
        for lane in lanes:
            _refit(lane, filters[lane.name])
        book.state.lanes = [*lanes, *before.values()] if keep else lanes
        cells: Sequence[Cell | Mark] = book.begin_life() or [Mark() for _ in lanes]
        turns = threading.Lock()
        kept: dict[str, Remembered] = {}
        for cell in cells:
            cell.set(0)
        for number, (lane, cell) in enumerate(zip(lanes, cells, strict=False)):
            kept[lane.name] = Kept(lane, number, cell, book, turns)
        return kept

    def hand_over(self) -> None:
        """This daemon ends, or is replaced, as it should: nobody crashed, and who did is given another chance.

        Nothing is remembered from here on, and ``fd`` is inherited by what this process executes.
        """
        with self._book.lock:
            for lane in self._book.state.lanes:
                lane.crashes, lane.in_tell = 0, b""
            self._book.begin_life()
            self._book.slots = None
            if self.fd is not None:
                os.set_inheritable(self.fd, True)
        if self.disk is not None:
            self.disk.save()
            self.disk.close()

    def _recall(self, slots: Slots) -> bool:
        """What the predecessor remembered, and in which hooks it died. False if there was none."""
        state: State | None = None
        try:
            for content in slots.read():
                if state is None:
                    state = decode(content)
                else:
                    replay(state, content)
            if state is None:
                return False
            for lane, cell in zip(state.lanes, slots.read_cells(len(state.lanes)), strict=False):
                take_in(lane, *cell, state)
        except Unreadable as error:
            self._log.error("memory.unreadable", error=str(error), effect="every plugin starts afresh")
            slots.clear()
            return False
        self._book.state = state
        return True


def _refit(lane: LaneState, filter_: Filter) -> None:
    """Have it remember what one with this filter would."""
    before = Filter(lane.match, lane.ignore)
    lane.match, lane.ignore = filter_.match.patterns, filter_.ignore.patterns
    cursor = lane.cursor
    if cursor is None or (before.match.patterns, before.ignore.patterns) == (lane.match, lane.ignore):
        return
    unseen = tuple(c for c in diff(cursor.acknowledged, Snapshot()) if not before.covers(c.type, c.key))
    shown = {at: values for at, values in cursor.shown.items() if filter_.covers(*at)}
    lane.cursor = Cursor(apply(cursor.acknowledged, filter_(unseen)), shown)
