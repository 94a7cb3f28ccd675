"""Whether the first tags are there: what the app writes before waits for them, for a while."""

from __future__ import annotations

import _thread


class FirstTags:
    """See the module. Safe for use from several threads. ``threading``, whose Event this is, would be a megabyte."""

    def __init__(self) -> None:
        self.there = False
        """Or they were waited for long enough."""
        self._setting = _thread.allocate_lock()
        self._missing = _thread.allocate_lock()
        self._missing.acquire()

    def wait(self, seconds: float) -> None:
        """Wait so long at most, after which nobody waits any more."""
        if not self.there:
            if self._missing.acquire(timeout=min(seconds, _thread.TIMEOUT_MAX)):
                self._missing.release()  # others wait too
            self.set()

    def set(self) -> None:
        """Nobody waits any more."""
        with self._setting:
            if not self.there:
                self.there = True
                self._missing.release()
