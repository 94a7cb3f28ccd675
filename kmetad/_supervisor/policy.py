"""``restart``: whether an app that has ended is started again, and when."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 60.0
"""Seconds before the next start, doubling; afresh once the app ran for longer than the longest."""

QUICK = 10.0
"""Seconds: an app that ends sooner after its start has failed to start."""

QUICK_LIMIT = 5
"""So many of these in a row, and it won't come up by being started once more."""


class Policy:
    """Counts an app's ends."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started = 0.0
        self._quick = 0
        self._pause = FIRST_PAUSE

    def started(self) -> None:
        """The app was started."""
        self._started = self._clock()

    def restarted(self) -> None:
        """It ended because it was asked to, so that says nothing about it."""
        self._quick = 0

    def ended(self, code: int, restart: str) -> tuple[float | None, int, str]:
        """It ended by itself.

        Answers the seconds until its next start (None: there is none), the exit code in that
        case, and what to say about it.
        """
        if restart == "never" or (restart == "on-failure" and code == 0):
            return None, code, ""
        lasted = self._clock() - self._started
        self._quick = self._quick + 1 if lasted < QUICK else 0
        if self._quick >= QUICK_LIMIT:
            return (
                None,
                code or 1,
                f", {self._quick} times in a row within {QUICK:g} s of its start; kmetad gives up",
            )
        if lasted > LONGEST_PAUSE:
            self._pause = FIRST_PAUSE
        pause = self._pause
        self._pause = min(LONGEST_PAUSE, 2 * pause)
        return pause, code, f"; it is started again in {pause:g} s"
