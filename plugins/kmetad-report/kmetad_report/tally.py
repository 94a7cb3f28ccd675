"""Events that wait to be sent: the same ones together, and no more than the API server should bear.

Nothing here does I/O; times are given.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from kmetad.events import Outcome
from kmetad_report.wanted import Message, message

_WAITING = 8
"""Different ones that wait; the oldest but one is left out for a further one, and counted."""
_KNOWN = 32
"""Sent ones that are remembered, so that the same again only counts."""


@dataclass
class Entry:
    """A message, and how often it was said since it was sent last."""

    message: Message
    first_ns: int
    last_ns: int
    count: int = 0
    name: str = ""
    """The Event's, once it has one: chosen at the first try, so that a second one can't make two."""


@dataclass
class Sent:
    """An Event that is there."""

    name: str
    count: int


class Tally:
    """Not safe for use from several threads. ``now`` is monotonic, in seconds.

    At first ``burst`` may be sent at once, then one every ``interval`` seconds: a patch that counts
    is one, too.
    """

    def __init__(
        self, events: Literal["none", "failures", "all"], *, burst: int = 10, interval: float = 10.0
    ) -> None:
        self._events = events
        self._burst = burst
        self._interval = interval
        self._tokens = float(burst)
        self._filled = float("-inf")
        self._waiting: OrderedDict[Message, Entry] = OrderedDict()
        self._known: OrderedDict[Message, Sent] = OrderedDict()
        self._failing: set[str] = set()
        self.left_out = 0
        """Said, but not sent, and not yet counted in one that was."""

    def add(self, outcome: Outcome, now_ns: int) -> bool:
        """An instance did this. Answers whether that is something to send."""
        said = message(outcome)
        if said is None or self._events == "none":
            return False
        failed = outcome.result == "failed"
        was_failing = outcome.instance in self._failing
        (self._failing.add if failed else self._failing.discard)(outcome.instance)
        if self._events == "failures" and not failed and not was_failing:
            return False
        entry = self._waiting.setdefault(said, Entry(said, now_ns, now_ns))
        entry.count += 1
        entry.last_ns = now_ns
        if len(self._waiting) > _WAITING:
            # Not the first, which may be under way.
            self.left_out += self._waiting.pop(list(self._waiting)[1]).count
        return True

    def wait(self, now: float) -> float | None:
        """Seconds until the next may be sent; None if there is none."""
        if not self._waiting:
            return None
        self._fill(now)
        return 0.0 if self._tokens >= 1 else (1 - self._tokens) * self._interval

    def next(self) -> tuple[Entry, Sent | None]:
        """What is to be sent, and what is there of it already."""
        entry = next(iter(self._waiting.values()))
        return entry, self._known.get(entry.message)

    def done(self, entry: Entry, count: int, said: int, now: float) -> None:
        """Its ``count`` tries were sent, and ``said`` of those that had been left out."""
        self._fill(now)
        self._tokens = max(0.0, self._tokens - 1)
        known = self._known.pop(entry.message, None)
        name = known.name if known is not None else entry.name
        self._known[entry.message] = Sent(name, count + (known.count if known is not None else 0))
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)
        self.left_out -= said
        entry.count -= count
        if entry.count <= 0:
            self._waiting.pop(entry.message, None)
        else:
            entry.name = ""

    def leave_out(self, entry: Entry, now: float) -> None:
        """It can't be sent, as often as it was said; that took as much as if it had been."""
        self._fill(now)
        self._tokens = max(0.0, self._tokens - 1)
        self._waiting.pop(entry.message, None)
        self.left_out += entry.count

    def forget(self, entry: Entry) -> None:
        """The Event that was there isn't any more: the API server keeps them for an hour."""
        self._known.pop(entry.message, None)

    def _fill(self, now: float) -> None:
        gained = (now - self._filled) / self._interval
        self._tokens = min(float(self._burst), self._tokens + gained)
        self._filled = now
