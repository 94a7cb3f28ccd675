"""What the lanes remember, and the same in the memory file: a step in one is a step in the other.

On disk, where that is wanted, there is always all of it: ``save``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

from kmetad._delivery.disk import Disk
from kmetad._delivery.news import News
from kmetad._delivery.packing import Packed
from kmetad._delivery.record import State, encode, encode_changes, encode_steps, moved
from kmetad._delivery.slots import Cell, Slots
from kmetad._diff import diff
from kmetad.events import AnyChange

_KEY_BYTES = 32


class Book:
    """See the module. Where there is no file, or it fails, the state alone is kept; ``log`` says so."""

    def __init__(self, log: Any) -> None:
        self.state = State(os.urandom(_KEY_BYTES))
        self.slots: Slots | None = None
        self.disk: Disk | None = None
        self.lock = threading.Lock()
        """Held for all below but ``encode``, ``save`` and ``encode_all``."""
        self._log = log
        self._encoded: tuple[Sequence[AnyChange], bytes] = ((), encode_changes(()))

    def encode(self, changes: Sequence[AnyChange]) -> bytes:
        """Lanes that aren't filtered are shown the same batch: it is encoded once."""
        known, content = self._encoded
        if known is not changes:
            content = encode_changes(changes)
            self._encoded = changes, content
        return content

    def add(self, steps: list[Packed]) -> None:
        """Write these steps; the state is already as they make it."""
        if self.slots is not None and not self.slots.add(encode_steps(steps)):
            self.write()

    def save(self) -> None:
        """Returns when it is on disk, too."""
        if self.disk is not None:
            self.disk.save()

    def encode_all(self) -> bytes:
        """Everything; takes the lock itself."""
        with self.lock:
            return encode(self.state)

    def move(self, newest: News) -> list[Packed]:
        """Make this snapshot the last. Answers the step that says so; none if it was made."""
        last, current = self.state.last, newest.current
        if last is current:
            return []
        self.state.last = current
        changes = newest.changes if newest.follows(last) else diff(last, current)
        return [moved(self.encode(changes), current)]

    def tidy(self) -> None:
        """Make room now that nobody waits for it, rather than before the next hook."""
        if self.slots is not None and self.slots.crowded:
            self.write()

    def write(self) -> None:
        """Write everything."""
        if self.slots is not None:
            try:
                self.slots.write(encode(self.state))
            except (OSError, MemoryError) as error:
                self.give_up(error)

    def begin_life(self) -> Sequence[Cell]:
        """Write everything, as another daemon than the one before, whose cells are void then. Answers this one's."""
        self.state.life += 1
        cells: Sequence[Cell] = ()
        if self.slots is not None:
            try:
                cells = self.slots.make_cells(len(self.state.lanes))
            except (OSError, MemoryError) as error:
                self.give_up(error)
        self.write()
        return cells

    def give_up(self, error: Exception) -> None:
        """Go on without the file."""
        self.slots = None
        self._log.error(
            "memory.failed",
            error=f"{type(error).__name__}: {error}",
            effect="a daemon that follows this one may tell plugins again what they know",
        )
