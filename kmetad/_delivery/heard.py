"""What other instances did, as one that wants to know it hasn't taken yet: of each the newest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from kmetad.events import Outcome


@dataclass(slots=True)
class Waiting:
    """An outcome, and when the plugin is to hear of it."""

    outcome: Outcome
    due: float = 0.0
    attempts: int = 0
    """So many times it was told in vain."""


class Heard:
    """See the module. ``hear`` is for other threads, all else is for the lane's own. ``clock``: in seconds."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.open = False
        """Whether the plugin may be told already: before ``on_start`` has succeeded it may not."""
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[str, Waiting] = {}

    def hear(self, outcome: Outcome) -> None:
        """This is the newest of its instance."""
        with self._lock:
            self._waiting[outcome.instance] = Waiting(outcome)

    def due(self) -> list[Waiting]:
        """Those that the plugin is to be told of now."""
        if not (self.open and self._waiting):
            return []
        now = self._clock()
        with self._lock:
            return [waiting for waiting in self._waiting.values() if waiting.due <= now]

    def done(self, waiting: Waiting) -> None:
        """The plugin knows it, or never will."""
        name = waiting.outcome.instance
        with self._lock:
            if self._waiting.get(name) is waiting:  # else there is a newer one
                del self._waiting[name]

    def later(self, waiting: Waiting, seconds: float) -> None:
        """It is to be told again, in so many seconds."""
        waiting.due = self._clock() + seconds

    def patience(self) -> float | None:
        """Seconds until one of them is due; None: there is none to wait for."""
        if not (self.open and self._waiting):
            return None
        with self._lock:
            first = min((waiting.due for waiting in self._waiting.values()), default=None)
        return None if first is None else max(0.0, first - self._clock())
