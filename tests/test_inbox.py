"""Since when a lane is behind, as its inbox has it."""

from __future__ import annotations

from kmetad._delivery.inbox import Inbox
from kmetad._delivery.news import News
from kmetad.events import Batch
from kmetad.metadata import Snapshot


class Clock:
    """Seconds, as they are set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def offered(inbox: Inbox, clock: Clock, at: float) -> News:
    """Something new comes at this time."""
    clock.now = at
    news = News(Batch((), Snapshot(), Snapshot(), 0))
    inbox.offer(news)
    return news


def test_what_nobody_has_looked_at() -> None:
    """It counts from when the first of it came: while a burst is waited for, or on_start doesn't succeed."""
    clock = Clock()
    inbox = Inbox(clock=clock)
    assert inbox.behind_since is None
    offered(inbox, clock, 10)
    news = offered(inbox, clock, 20)
    assert inbox.behind_since == 10
    inbox.look_at(news)
    assert inbox.behind_since == 10
    inbox.settled()
    assert inbox.behind_since is None


def test_what_is_owed_while_more_comes() -> None:
    """A delivery that is tried again with something newer is late since its own change, not since the newer one."""
    clock = Clock()
    inbox = Inbox(clock=clock)
    inbox.look_at(offered(inbox, clock, 10))
    newer = offered(inbox, clock, 30)
    assert inbox.behind_since == 10
    inbox.look_at(newer)
    assert inbox.behind_since == 10
    inbox.settled()
    assert inbox.behind_since is None


def test_what_comes_during_a_delivery() -> None:
    """It counts from when it came, once what was under way is settled."""
    clock = Clock()
    inbox = Inbox(clock=clock)
    inbox.look_at(offered(inbox, clock, 10))
    offered(inbox, clock, 30)
    inbox.settled()
    assert inbox.behind_since == 30
