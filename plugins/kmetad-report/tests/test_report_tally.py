"""Events: the same together, and not too many."""

from __future__ import annotations

from typing import Any, Literal

from kmetad_report.tally import Tally

from kmetad.events import Outcome
from kmetad.metadata import Snapshot


def outcome(result: Any = "failed", error: str = "no", instance: str = "nginx") -> Outcome:
    """What an instance did."""
    return Outcome(instance, result, (), Snapshot(), 1, 5, 0.1, error if result == "failed" else "")


def send(tally: Tally, now: float, name: str = "e") -> tuple[str, int, int]:
    """Send the next: its text, how often it was said by now, and what had been left out before it."""
    entry, sent = tally.next()
    entry.name = entry.name or name
    left_out = 0 if sent else tally.left_out
    count = entry.count
    tally.done(entry, count, left_out, now)
    return entry.message.text, count + (sent.count if sent else 0), left_out


def kinds(events: Literal["none", "failures", "all"], *outcomes: Outcome) -> list[bool]:
    """Which of them are something to send."""
    tally = Tally(events)
    return [tally.add(each, 1) for each in outcomes]


def test_which_ones() -> None:
    """Failures, and the success that ends one; or all but what is put off; or none."""
    told = [outcome(result) for result in ("applied", "failed", "failed", "postponed", "skipped", "applied")]
    assert kinds("none", *told) == [False] * 6
    assert kinds("failures", *told) == [False, True, True, False, True, False]
    assert kinds("all", *told) == [True, True, True, False, True, True]
    other = outcome("applied", instance="other")
    assert kinds("failures", outcome(), other) == [True, False]


def test_the_same_is_counted() -> None:
    """Before it is sent, while it is being sent, and afterwards."""
    tally = Tally("all")
    for at in range(3):
        tally.add(outcome(), at)
    entry, sent = tally.next()
    assert (entry.count, entry.first_ns, entry.last_ns, sent) == (3, 0, 2, None)
    entry.name = "first"
    tally.add(outcome(), 9)  # meanwhile
    tally.done(entry, 3, 0, 0.0)
    assert tally.wait(0.0) == 0.0
    entry, sent = tally.next()
    assert entry.name == ""  # it would be another Event, if that weren't there any more
    assert sent is not None
    assert (entry.count, entry.last_ns, sent.name, sent.count) == (1, 9, "first", 3)
    assert send(tally, 0.0) == ("nginx: no (what there is at its start)", 4, 0)
    assert tally.wait(0.0) is None
    tally.add(outcome(), 10)
    tally.forget(tally.next()[0])
    assert tally.next()[1] is None


def test_not_too_many() -> None:
    """A burst, then one at a time."""
    tally = Tally("all", burst=3, interval=10.0)
    for number in range(5):
        tally.add(outcome(error=str(number)), 1)
    for _ in range(3):
        assert tally.wait(100.0) == 0.0
        send(tally, 100.0)
    assert tally.wait(100.0) == 10.0
    assert tally.wait(104.0) == 6.0
    assert tally.wait(110.0) == 0.0
    send(tally, 110.0)
    assert tally.wait(1000.0) == 0.0
    send(tally, 1000.0)
    assert tally.wait(1000.0) is None


def test_what_is_left_out_is_counted() -> None:
    """In the next that is made; the first that waits isn't taken away, for it may be under way."""
    tally = Tally("all")
    for number in range(30):
        tally.add(outcome(error=str(number)), 1)
    assert tally.left_out == 22
    text, count, left_out = send(tally, 0.0)
    assert (text, count, left_out) == ("nginx: 0 (what there is at its start)", 1, 22)
    assert tally.left_out == 0
    rest = 0
    while tally.wait(0.0) == 0.0:
        rest += send(tally, 0.0)[1]
    assert rest == 7


def test_what_was_sent_is_forgotten_at_last() -> None:
    """Memory is bounded."""
    tally = Tally("all", burst=1000)
    for number in range(100):
        tally.add(outcome(error=str(number)), 1)
        send(tally, 0.0)
    tally.add(outcome(error="0"), 1)
    assert tally.next()[1] is None
    tally.add(outcome(error="99"), 1)
    send(tally, 0.0)
    assert tally.next()[1] is not None


def test_what_cannot_be_sent() -> None:
    """It is counted as left out, as often as it was said, and takes its turn as if it had been sent."""
    tally = Tally("all", burst=2, interval=10.0)
    for _ in range(3):
        tally.add(outcome(error="a"), 1)
    tally.add(outcome(error="b"), 1)
    tally.add(outcome(error="c"), 1)
    assert tally.wait(0.0) == 0.0
    entry, _ = tally.next()
    tally.leave_out(entry, 0.0)
    assert tally.left_out == 3
    assert send(tally, 0.0)[2] == 3
    assert tally.wait(0.0) == 10.0
