"""The lanes' memory, which outlives the daemon: its successor goes on exactly there.

It lies in a memory file (memfd) that the supervisor holds. What is about to be shown is
in it before the first hook is entered, and so is that a hook runs; an acknowledgement
follows when the hooks have returned. Each costs what changed, not what there is.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from kmetad._delivery import record
from kmetad._delivery.cursor import Cursor
from kmetad._delivery.match import Filter
from kmetad._delivery.packing import Packed, pack_changes
from kmetad._delivery.record import LaneState, State, Unreadable
from kmetad._delivery.remembered import Remembered
from kmetad._delivery.slots import MOST_MARKS, Slots
from kmetad._diff import apply, diff
from kmetad.events import AnyChange, Batch
from kmetad.metadata import Snapshot

CRASHES = 3
"""After so many in a row, with nothing acknowledged between, a plugin is set aside (law 5)."""

_KEY_BYTES = 32


class Memory:
    """See the module.

    ``fd``: the file, a predecessor's or empty; without one it makes its own. Where the
    kernel gives none, the lanes remember for as long as the process lives; ``log`` says so.
    """

    def __init__(self, fd: int | None, log: Any) -> None:
        self.fd: int | None = None
        """The file; None if there is none. What this process starts doesn't inherit it."""
        self._log = log
        self._lock = threading.Lock()
        self._slots: Slots | None = None
        self._state = State(os.urandom(_KEY_BYTES))
        self._packed: tuple[Sequence[AnyChange], Packed] = ((), [])
        try:
            self.fd = os.memfd_create("kmetad") if fd is None else fd
            os.set_inheritable(self.fd, False)
            self._slots = Slots(self.fd)
        except (OSError, ValueError, AttributeError) as error:
            self._give_up(error)
        else:
            self._recall(self._slots)

    @property
    def digest_key(self) -> bytes:
        """What digests are keyed with, so that the predecessor's compare with this daemon's."""
        return self._state.digest_key

    @property
    def last(self) -> Snapshot:
        """The newest snapshot that any lane acknowledged; empty if none ever did."""
        return self._state.last

    def lanes(self, filters: Mapping[str, Filter]) -> dict[str, Remembered]:
        """What each lane remembers, by name; to be called once. Lanes that aren't named are forgotten.

        One in whose hook the predecessor died has a crash more. To one that was filtered
        otherwise the keys that it didn't see then are new; those it doesn't see now are gone.
        """
        before = {lane.name: lane for lane in self._state.lanes}
        lanes = self._state.lanes = [before.get(name) or LaneState(name) for name in filters]
        for lane in lanes:
            _refit(lane, filters[lane.name])
        if self._slots is None:
            return {lane.name: Remembered(lane) for lane in lanes}
        with self._lock:
            self._begin_life()
        turns = threading.Lock()
        return {lane.name: _Kept(lane, number, self, turns) for number, lane in enumerate(lanes)}

    def hand_over(self) -> None:
        """This daemon ends, or is replaced, as it should: nobody crashed, and who did is given another chance.

        Nothing is remembered from here on, and ``fd`` is inherited by what this process executes.
        """
        with self._lock:
            for lane in self._state.lanes:
                lane.crashes, lane.in_tell = 0, False
            self._begin_life()
            self._slots = None
            if self.fd is not None:
                os.set_inheritable(self.fd, True)

    def _recall(self, slots: Slots) -> None:
        """What the predecessor remembered, and in which hooks it died."""
        state: State | None = None
        try:
            for content in slots.read():
                if state is None:
                    state = record.decode(content)
                else:
                    record.replay(state, content)
        except Unreadable as error:
            self._log.error("memory.unreadable", error=str(error), effect="every plugin starts afresh")
            slots.clear()
            return
        if state is None:
            return
        for lane, mark in zip(state.lanes, slots.marks, strict=False):
            if mark >> 1 == _code(state):
                lane.crashes, lane.in_tell = lane.crashes + 1, bool(mark & 1)
        self._state = state

    def _begin_life(self) -> None:
        """Write everything, as another daemon than the one before: marks of that one count no more."""
        self._state.life += 1
        self._write()
        if self._slots is not None:
            self._slots.marks[:] = bytes(MOST_MARKS)

    def _write(self) -> None:
        if self._slots is not None:
            try:
                self._slots.write(record.encode(self._state))
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._slots = None
        self._log.error(
            "memory.failed",
            error=f"{type(error).__name__}: {error}",
            effect="a daemon that follows this one may tell plugins again what they know",
        )

    # -- for the lanes; with the lock held ------------------------------------------

    def _add(self, *steps: Packed) -> None:
        """Remember these steps; the state is as they make it."""
        if self._slots is not None and not self._slots.add(record.encode_steps(steps)):
            self._write()

    def _move(self, newest: Batch) -> list[Packed]:
        """The step to this snapshot; none if it was made."""
        last, current = self._state.last, newest.current
        if last is current:
            return []
        changes = newest.changes if newest.previous is last else diff(last, current)
        self._state.last = current
        return [record.moved(self._pack(changes), current)]

    def _pack(self, changes: Sequence[AnyChange]) -> Packed:
        """Lanes that aren't filtered are shown the same batch: it is packed once."""
        if self._packed[0] is not changes:
            self._packed = changes, pack_changes(changes)
        return self._packed[1]

    def _tidy(self) -> None:
        """Make room now that nobody waits for it, rather than before the next hook."""
        if self._slots is not None and self._slots.crowded:
            self._write()


class _Kept(Remembered):
    """What a lane remembers, kept in the memory file."""

    def __init__(self, state: LaneState, number: int, memory: Memory, turns: threading.Lock) -> None:
        super().__init__(state)
        assert memory._slots is not None
        self._number = number
        self._memory = memory
        self._lock = memory._lock
        self._marks = memory._slots.marks
        self._mark = _code(memory._state) << 1
        self._marked = number < MOST_MARKS
        self._turns = turns
        self._has_turn = False

    def begin(self, newest: Batch) -> Cursor:
        cursor = self._state.cursor
        if cursor is None:
            with self._lock:
                cursor = self._state.cursor = Cursor(newest.current)
                self._acknowledged(newest, proven=True)
        return cursor

    def show(self, changes: Sequence[AnyChange]) -> None:
        with self._lock:
            super().show(changes)
            self._memory._add(record.shown(self._number, self._memory._pack(changes)))

    def acknowledge(self, newest: Batch, *, silently: bool = False) -> None:
        with self._lock:
            super().acknowledge(newest, silently=silently)
            self._acknowledged(newest, proven=not silently or not self._state.in_tell)

    def enter(self, *, told: bool = False, patience: float = 0.0) -> None:
        if self._state.crashes:
            # Of several in whose hooks the daemon died one is to blame: alone, it shows.
            self._has_turn = self._turns.acquire(timeout=patience)
        if self._marked:
            self._marks[self._number] = self._mark | told

    def leave(self) -> None:
        if self._marked:
            told = self._marks[self._number] & 1
            self._marks[self._number] = 0
            if told and self._state.in_tell:
                with self._lock:
                    self._memory._add(*self._prove())
        if self._has_turn:
            self._has_turn = False
            self._turns.release()

    def _acknowledged(self, newest: Batch, *, proven: bool) -> None:
        steps = [*self._memory._move(newest), record.acknowledged(self._number)]
        if proven:
            steps += self._prove()
        self._memory._add(*steps)
        self._memory._tidy()

    def _prove(self) -> list[Packed]:
        """It came through what it had crashed in."""
        if not self._state.crashes:
            return []
        self._state.crashes, self._state.in_tell = 0, False
        return [record.proven(self._number)]


def _code(state: State) -> int:
    """What this life's marks begin with: seven bits, never zero."""
    return state.life % 127 + 1


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
