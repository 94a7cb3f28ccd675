"""When a lane delivers, and when it tries again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """``[plugins.NAME.lane]``; all in seconds but ``retry_attempts`` (0: no end)."""

    debounce: float = 0.0
    max_wait: float = 0.0
    splay: float = 0.0
    timeout: float = 30.0
    """After it a hook that hasn't returned is called stuck; one that then does has failed."""
    retry_initial: float = 1.0
    retry_max: float = 60.0
    retry_attempts: int = 0

    def back_off(self, attempt: int) -> float:
        """The longest wait behind this attempt; a random part of it is waited, so that pods don't strike in step."""
        return min(self.retry_max, self.retry_initial * 2.0 ** min(attempt - 1, 60))
