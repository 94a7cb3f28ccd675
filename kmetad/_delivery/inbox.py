"""What has come for a lane, and the lane asleep until something does.

Nothing queues: of what the watcher tells the newest is kept, however long nobody looks.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

from kmetad._delivery.heard import Heard
from kmetad._delivery.news import News
from kmetad._delivery.pace import Pace
from kmetad.events import Outcome

_UNHEARD = 1000
"""So many calls of ``tell`` wait for a hook to return, at most; older ones are forgotten."""

Told = tuple[str, Callable[[], None]]
"""The name of a hook, and what to call for it."""


class Inbox:
    """See the module. ``offer``, ``tell``, ``hear`` and ``stop`` are for other threads, all else is for the lane's own.

    ``clock``: monotonic, in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.newest: News | None = None
        self.stopping = False
        self.told: deque[Told] = deque(maxlen=_UNHEARD)
        self.heard = Heard(clock=clock)
        self._clock = clock
        self._looked_at: News | None = None
        self._unseen_since = 0.0
        self._offered_at = 0.0
        self._owed_since: float | None = None
        self._nudges: SimpleQueue[None] = SimpleQueue()

    def offer(self, news: News) -> None:
        """This is the newest now."""
        self._offered_at = self._clock()
        if self.newest is self._looked_at:
            self._unseen_since = self._offered_at
        self.newest = news
        self._nudge()

    def tell(self, hook: str, call: Callable[[], None]) -> None:
        """This is to be called, behind what was told before."""
        self.told.append((hook, call))
        self._nudge()

    def hear(self, outcome: Outcome) -> None:
        """Another instance did this."""
        self.heard.hear(outcome)
        self._nudge()

    def stop(self) -> None:
        """The end is near."""
        self.stopping = True
        self._nudge()

    def unseen(self) -> News | None:
        """The newest, if nobody has looked at it."""
        return None if self.newest is self._looked_at else self.newest

    def look_at(self, news: News) -> None:
        """What changes from here on is unseen. Until ``settled``, this is still owed to the plugin."""
        if self._owed_since is None:
            self._owed_since = self._unseen_since
        self._looked_at = news

    def settled(self) -> None:
        """Of what was looked at nothing is owed any more."""
        self._owed_since = None

    @property
    def behind_since(self) -> float | None:
        """Since when, by ``clock``, there is something that the plugin doesn't know; None: it knows the newest."""
        owed = self._owed_since
        if owed is not None:
            return owed
        return self._unseen_since if self.newest is not self._looked_at else None

    def settles_at(self, pace: Pace) -> float:
        """When a burst will be over, by ``clock``, if nothing more comes: never later than its ``max_wait``."""
        return min(self._offered_at + pace.debounce, self._unseen_since + pace.max_wait)

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep until something comes, or is due again, so many seconds at most. False if nothing did."""
        patience = self.heard.patience()
        first = patience is not None and (timeout is None or patience <= timeout)
        try:
            self._nudges.get(timeout=patience if first else timeout)
        except Empty:
            return first
        return True

    def _nudge(self) -> None:
        # One that nobody has taken yet will do: whoever takes it sees all that is there by then.
        if self._nudges.empty():
            self._nudges.put(None)
