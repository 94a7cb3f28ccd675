"""What the watcher told last, as lanes hold it."""

from __future__ import annotations

from weakref import ref

from kmetad.events import AnyChange, Batch
from kmetad.metadata import Snapshot


class News:
    """A batch of the watcher's, without a hold on the snapshot before it.

    A lane that is stuck for a day holds the newest; it must not hold its predecessor as well.
    """

    __slots__ = ("_previous", "changes", "current", "time_ns")

    def __init__(self, batch: Batch) -> None:
        self.changes: tuple[AnyChange, ...] = batch.changes
        self.current: Snapshot = batch.current
        self.time_ns = batch.time_ns
        self._previous = ref(batch.previous)

    def follows(self, snapshot: Snapshot) -> bool:
        """Whether ``changes`` are those since this snapshot."""
        return self._previous() is snapshot
