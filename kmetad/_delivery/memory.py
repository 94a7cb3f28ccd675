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

from kmetad._delivery.cursor import Cursor
from kmetad._delivery.match import Filter
from kmetad._delivery.packing import Packed
from kmetad._delivery.record import (
    LaneState,
    State,
    Unreadable,
    acknowledged,
    decode,
    encode,
    encode_changes,
    encode_steps,
    moved,
    proven,
    replay,
    show,
    shown,
)
from kmetad._delivery.remembered import Remembered
from kmetad._delivery.slots import CELL_ROOM, Cell, Slots
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
        self._encoded: tuple[Sequence[AnyChange], bytes] = ((), encode_changes(()))
        try:
            fd = os.memfd_create("kmetad") if fd is None else fd
            os.set_inheritable(fd, False)
            self._slots = Slots(fd)
            self.fd = fd
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

    def lanes(self, filters: Mapping[str, Filter], *, keep: bool = False) -> dict[str, Remembered]:
        """What each lane remembers, by name; to be called once.

        Lanes that aren't named are forgotten, unless ``keep``: they may come back. One in
        whose hook the predecessor died has a crash more. To one that was filtered otherwise
        the keys that it didn't see then are new; those that it doesn't see now are gone.
        """
        before = {lane.name: lane for lane in self._state.lanes}
        lanes = [before.pop(name) if name in before else LaneState(name) for name in filters]
        for lane in lanes:
            _refit(lane, filters[lane.name])
        self._state.lanes = [*lanes, *before.values()] if keep else lanes
        cells = self._begin_life()
        if self._slots is None:
            return {lane.name: Remembered(lane) for lane in lanes}
        turns = threading.Lock()
        kept: dict[str, Remembered] = {}
        for cell in cells:
            cell.set(0)
        for number, (lane, cell) in enumerate(zip(lanes, cells, strict=False)):
            kept[lane.name] = _Kept(lane, number, cell, self, turns)
        return kept

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
                    state = decode(content)
                else:
                    replay(state, content)
            if state is None:
                return
            for lane, cell in zip(state.lanes, slots.read_cells(len(state.lanes)), strict=False):
                _take_in(lane, *cell, _life_bits(state))
        except Unreadable as error:
            self._log.error("memory.unreadable", error=str(error), effect="every plugin starts afresh")
            slots.clear()
        else:
            self._state = state

    def _begin_life(self) -> Sequence[Cell]:
        """Write everything, as another daemon than the one before, whose cells are void then. Answers this one's."""
        self._state.life += 1
        cells: Sequence[Cell] = ()
        if self._slots is not None:
            try:
                cells = self._slots.make_cells(len(self._state.lanes))
                self._slots.write(encode(self._state))
            except (OSError, MemoryError) as error:
                self._give_up(error)
        return cells

    def _write(self) -> None:
        if self._slots is not None:
            try:
                self._slots.write(encode(self._state))
            except (OSError, MemoryError) as error:
                self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._slots = None
        self._log.error(
            "memory.failed",
            error=f"{type(error).__name__}: {error}",
            effect="a daemon that follows this one may tell plugins again what they know",
        )

    # -- for the lanes -----------------------------------------------------------------

    def _encode(self, changes: Sequence[AnyChange]) -> bytes:
        """Lanes that aren't filtered are shown the same batch: it is encoded once."""
        known, content = self._encoded
        if known is not changes:
            content = encode_changes(changes)
            self._encoded = changes, content
        return content

    # With the lock held, and the state as these steps make it:

    def _add(self, steps: list[Packed]) -> None:
        if self._slots is not None and not self._slots.add(encode_steps(steps)):
            self._write()

    def _move(self, newest: Batch) -> list[Packed]:
        """The step to this snapshot; none if it was made."""
        last, current = self._state.last, newest.current
        if last is current:
            return []
        self._state.last = current
        changes = newest.changes if newest.previous is last else diff(last, current)
        return [moved(self._encode(changes), current)]

    def _tidy(self) -> None:
        """Make room now that nobody waits for it, rather than before the next hook."""
        if self._slots is not None and self._slots.crowded:
            self._write()


class _Kept(Remembered):
    """What a lane remembers, kept in the memory file.

    A hook waits for what is written before it, so that takes no lock and no checksum.
    """

    def __init__(
        self, state: LaneState, number: int, cell: Cell, memory: Memory, turns: threading.Lock
    ) -> None:
        super().__init__(state)
        self._number = number
        self._cell = cell
        self._memory = memory
        self._lock = memory._lock
        self._life = _life_bits(memory._state)
        self._turns = turns
        self._has_turn = False

    def begin(self, newest: Batch) -> Cursor:
        cursor = self._state.cursor
        if cursor is None:
            with self._lock:
                cursor = self._state.cursor = Cursor(newest.current)
                self._acknowledged(newest, proven=True)
        return cursor

    def fail(self) -> None:
        with self._lock:
            self._memory._add([shown(self._number, self._memory._encode(self._state.showing))])
            super().fail()
        self._cell.set(0)

    def acknowledge(self, newest: Batch, *, silently: bool = False) -> None:
        with self._lock:
            super().acknowledge(newest, silently=silently)
            self._acknowledged(newest, proven=not silently or not self._state.in_tell)
        self._cell.set(0)

    def enter(self, told: bool = False, showing: Sequence[AnyChange] = ()) -> None:
        if self._state.crashes:
            # Of several in whose hooks the daemon died one is to blame: alone, it shows.
            self._has_turn = self._turns.acquire(timeout=self.patience)
        word = self._life | _RUNS | (_TOLD if told else 0)
        if not showing:
            self._cell.set(word)
            return
        self._state.showing = showing
        content = self._memory._encode(showing)
        if len(content) <= CELL_ROOM:
            self._cell.set(word | len(content) << _LENGTH, content)
            return
        with self._lock:
            self._memory._add([shown(self._number, content)])
        self._cell.set(word)

    def leave(self) -> None:
        word = self._cell.word
        self._cell.set(word & ~(_RUNS | _TOLD))
        if word & _TOLD and self._state.in_tell:
            with self._lock:
                self._memory._add(self._prove())
        if self._has_turn:
            self._has_turn = False
            self._turns.release()

    def _acknowledged(self, newest: Batch, *, proven: bool) -> None:
        steps = [*self._memory._move(newest), acknowledged(self._number)]
        if proven:
            steps += self._prove()
        self._memory._add(steps)
        self._memory._tidy()

    def _prove(self) -> list[Packed]:
        """It came through what it had crashed in."""
        if not self._state.crashes:
            return []
        self._state.crashes, self._state.in_tell = 0, False
        return [proven(self._number)]


# A cell's word: two flags; in which life it was set; the length of what is shown, encoded.
_RUNS, _TOLD = 1, 2
_LIFE, _LENGTH = 8, 16


def _life_bits(state: State) -> int:
    return state.life % 255 + 1 << _LIFE


def _take_in(lane: LaneState, word: int, content: memoryview, life: int) -> None:
    """What a lane's cell says of the predecessor's end. Raises Unreadable."""
    if word & 255 << _LIFE != life:
        return
    if length := word >> _LENGTH:
        show(lane, bytes(content[:length]))
    if word & _RUNS:
        lane.crashes, lane.in_tell = lane.crashes + 1, bool(word & _TOLD)


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
