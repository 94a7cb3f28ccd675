"""What has happened in this life of the daemon, counted as it happens."""

from __future__ import annotations

import threading
from collections import Counter

from kmetad.events import Batch, Change
from kmetad.status import Counts

_TYPES = tuple(sorted(kind.type for kind in Change.__subclasses__()))


class Counting:
    """``saw`` is the watching thread's, ``asked`` any plugin's; ``counts`` is for whoever wants to know."""

    def __init__(self) -> None:
        self._batches = 0
        self._swaps: Counter[str] = Counter()
        self._changes: Counter[str] = Counter(dict.fromkeys(_TYPES, 0))
        self._calls: Counter[str] = Counter()
        self._lock = threading.Lock()

    def saw(self, batch: Batch) -> None:
        """There was a difference. The first batch, with all that there is, is the beginning, and none."""
        with self._lock:
            self._swaps.update(dict.fromkeys(batch.current.swapped, 0))
            if not batch.previous.sources:
                return
            self._batches += 1
            self._changes.update(change.type for change in batch.changes)
            before = batch.previous.swapped
            self._swaps.update(name for name, at in batch.current.swapped.items() if before.get(name) != at)

    def asked(self, method: str, status: int | None) -> None:
        """A request went to the API server, and this is the status of its answer; None: there was none."""
        with self._lock:
            self._calls[f"{method} {'error' if status is None else status}"] += 1

    def counts(self) -> Counts:
        """All of it."""
        with self._lock:
            return Counts(self._batches, dict(self._swaps), dict(self._changes), dict(self._calls))
