"""Something has to happen in time, or somebody is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_NEVER = float("inf")


class Deadline:
    """At first there is none.

    To set it anew costs next to nothing: the loop's timer looks, when it is due, whether it counts still.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, missed: Callable[[], object]) -> None:
        self._loop = loop
        self._missed = missed
        self._at = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    @property
    def on(self) -> bool:
        """Whether there is one."""
        return self._at != _NEVER

    def within(self, seconds: float) -> None:
        """It has to happen in so many seconds from now on."""
        self._at = self._loop.time() + seconds
        if self._timer is not None and self._timer.when() > self._at:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(self._at, self._due)

    def off(self) -> None:
        """It has happened."""
        self._at = _NEVER

    def cancel(self) -> None:
        """Likewise, and the loop's timer goes as well."""
        self.off()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self) -> None:
        self._timer = None
        if self._at == _NEVER:
            return
        if self._loop.time() < self._at:
            self._timer = self._loop.call_at(self._at, self._due)
            return
        self.off()
        self._missed()
