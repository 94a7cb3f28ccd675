"""How far the instances have come that fill the app's environment: a restart waits for them, but not for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Fillers:
    """See the module. Safe for use from several threads.

    ``clock``: monotonic, in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at: dict[str, int] = {}
        self._moved = threading.Condition()

    def add(self, instance: str) -> None:
        """It has something for the environment."""
        self._at[instance] = -1

    def came_to(self, instance: str, generation: int) -> None:
        """It has said what it has to say of this snapshot, or failed to."""
        with self._moved:
            self._at[instance] = max(generation, self._at[instance])
            self._moved.notify_all()

    def wait(self, generation: int, seconds: float, *, without: Callable[[], set[str]]) -> list[str]:
        """Wait until each has come so far. Answers who hasn't, after so many seconds.

        ``without`` answers those who aren't worth waiting for, such as one that is stuck.
        """
        deadline = self._clock() + seconds
        with self._moved:
            while behind := [name for name, at in self._at.items() if at < generation]:
                left = deadline - self._clock()
                if left <= 0 or set(behind) <= without():
                    break
                self._moved.wait(left)
            return behind
