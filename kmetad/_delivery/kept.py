"""What one lane remembers, kept in the memory file as it is remembered, and on disk where that is wanted.

A hook waits for what is written before it; so in the memory file that takes no lock and no
checksum, and lies in a cell that is the lane's own. All else are steps.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from kmetad._delivery.book import Book
from kmetad._delivery.cursor import Cursor
from kmetad._delivery.news import News
from kmetad._delivery.packing import Packed, text
from kmetad._delivery.record import LaneState, State, acknowledged, came_out, proven, show, shown
from kmetad._delivery.remembered import Remembered
from kmetad._delivery.slots import CELL_ROOM, Cell
from kmetad.events import AnyChange

# A cell's word: two flags; in which life it was set; the length of what is shown, encoded, or of what is told.
_RUNS, _TOLD = 1, 2
_LIFE, _LENGTH = 8, 16


class Mark:
    """Stands for a cell where there is no memory file."""

    def __init__(self) -> None:
        self.word = 0

    def set(self, word: int, content: bytes = b"") -> None:
        """Remembered for as long as the process lives."""
        self.word = word


class Kept(Remembered):
    """See the module. ``turns`` is shared by all lanes: those that are suspected take turns."""

    def __init__(
        self, state: LaneState, number: int, cell: Cell | Mark, book: Book, turns: threading.Lock
    ) -> None:
        super().__init__(state)
        self._number = number
        self._cell = cell
        self._book = book
        self._lock = book.lock
        self._life = _life_bits(book.state)
        self._turns = turns
        self._has_turn = False
        self._told = b""

    def begin(self, newest: News, outcome: Packed | None = None) -> Cursor:
        cursor = self._state.cursor
        with self._lock:
            if outcome is not None:
                self._state.outcome = outcome
            if cursor is None:
                cursor = self._state.cursor = Cursor(newest.current)
                self._acknowledged(newest, outcome, proven=True)
            elif outcome is not None:
                self._book.add([came_out(self._number, outcome)])
            else:
                return cursor
        self._book.save()
        return cursor

    def fail(self, outcome: Packed | None = None) -> bool:
        with self._lock:
            steps = [shown(self._number, self._book.encode(self._state.showing))]
            if outcome is not None:
                steps.append(came_out(self._number, outcome))
            self._book.add(steps)
            goes_on = super().fail(outcome)
            if not goes_on:
                self._book.write()
        self._cell.set(0)
        if not goes_on:
            self._book.save()
        return goes_on

    def acknowledge(self, newest: News, outcome: Packed | None = None, *, silently: bool = False) -> None:
        with self._lock:
            super().acknowledge(newest, outcome, silently=silently)
            self._acknowledged(newest, outcome, proven=not silently or not self._state.in_tell)
        self._cell.set(0)
        if not silently:  # what wasn't for the plugin is found not to be, once more, by any successor
            self._book.save()

    def enter(self, told: str = "", showing: Sequence[AnyChange] = ()) -> None:
        if self._state.crashes:
            # Of several in whose hooks the daemon died one is to blame: alone, it shows.
            self._has_turn = self._turns.acquire(timeout=self.patience)
        word = self._life | _RUNS
        if told:  # the cell shows nothing then: what was shown before has been acknowledged, or is a step
            self._told = text(told)[:CELL_ROOM]
            self._cell.set(word | _TOLD | len(self._told) << _LENGTH, self._told)
            return
        if not showing:
            self._cell.set(word)
            return
        self._state.showing = showing
        content = self._book.encode(showing)
        if len(content) <= CELL_ROOM:
            self._cell.set(word | len(content) << _LENGTH, content)
        else:
            with self._lock:
                self._book.add([shown(self._number, content)])
            self._cell.set(word)
        self._book.save()

    def leave(self) -> None:
        word = self._cell.word
        self._cell.set(0 if word & _TOLD else word & ~_RUNS)
        if word & _TOLD and self._state.in_tell == self._told:
            with self._lock:
                self._book.add(self._prove())
        if self._has_turn:
            self._has_turn = False
            self._turns.release()

    def blame(self) -> None:
        self._cell.set(self._life | _RUNS)

    def _acknowledged(self, newest: News, outcome: Packed | None, *, proven: bool) -> None:
        steps = [*self._book.move(newest), acknowledged(self._number)]
        if outcome is not None:
            steps.append(came_out(self._number, outcome))
        if proven:
            steps += self._prove()
        self._book.add(steps)
        self._book.tidy()

    def _prove(self) -> list[Packed]:
        """It came through what it had crashed in."""
        if not self._state.crashes:
            return []
        self._state.crashes, self._state.in_tell = 0, b""
        return [proven(self._number)]


def _life_bits(state: State) -> int:
    return state.life % 255 + 1 << _LIFE


def take_in(lane: LaneState, word: int, content: memoryview, state: State) -> None:
    """What a lane's cell says of the predecessor's end. Raises Unreadable."""
    if word & 255 << _LIFE != _life_bits(state):
        return
    said, told = bytes(content[: word >> _LENGTH]), bool(word & _TOLD)
    if said and not told:
        show(lane, said)
    if word & _RUNS:
        lane.crashes, lane.in_tell = lane.crashes + 1, said if told else b""
