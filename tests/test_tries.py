"""kmetad._delivery.tries and kmetad._daemon.counting: what ends up in the status, and in metrics."""

from __future__ import annotations

from types import MappingProxyType
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from kmetad._daemon.counting import Counting
from kmetad._delivery.tries import Tries
from kmetad._diff import diff
from kmetad.events import AnyChange, Batch
from kmetad.metadata import Snapshot, SourceState
from kmetad.status import Counts, Result, plain

SECONDS = st.floats(0, 1e4)


@given(st.lists(st.tuples(st.sampled_from(get_args(Result)), SECONDS, st.integers(1, 5))))
def test_every_try_is_in_one_bucket(tries: list[tuple[Result, float, int]]) -> None:
    """The one whose bound is the first that isn't less; and under its result."""
    counted = Tries()
    for result, seconds, attempt in tries:
        counted.add(result, seconds, attempt)
    took = counted.took
    assert len(took.counts) == len(took.bounds) + 1
    below = 0
    for bound, count in zip((*took.bounds, float("inf")), took.counts, strict=True):
        below += count
        assert below == sum(seconds <= bound for _, seconds, _ in tries)
    assert abs(took.sum - sum(seconds for _, seconds, _ in tries)) < 1e-6 * max(1.0, took.sum)
    assert counted.results == {name: sum(r == name for r, _, _ in tries) for name in get_args(Result)}
    assert counted.again == sum(attempt > 1 for _, _, attempt in tries)


def test_what_was_read_stays() -> None:
    """Whoever has asked keeps what was then."""
    counted = Tries()
    before = counted.results, counted.took
    counted.add("applied", 0.1, 1)
    assert before[0]["applied"] == 0
    assert sum(before[1].counts) == 0


def snapshot(swapped: int, **labels: str) -> Snapshot:
    """With a volume that was swapped then."""
    return Snapshot(
        labels=MappingProxyType(labels),
        sources=MappingProxyType({"podinfo": SourceState()}),
        swapped=MappingProxyType({"podinfo": swapped}),
    )


def batch(old: Snapshot, new: Snapshot) -> Batch:
    """From one to the other."""
    return Batch(diff(old, new), old, new, 0)


def test_the_beginning_is_no_change() -> None:
    """Nothing is counted of what was there, but every counter is there, at 0."""
    counting = Counting()
    counting.saw(batch(Snapshot(), snapshot(1, app="a")))
    counts = counting.counts()
    assert (counts.batches, counts.swaps, counts.api_calls) == (0, {"podinfo": 0}, {})
    assert set(counts.changes) == {kind.type for kind in get_args(AnyChange)}
    assert not any(counts.changes.values())


def test_swaps_and_changes() -> None:
    """A difference without a swap, as of a volume that is lost, is a batch, but no swap."""
    counting = Counting()
    first = snapshot(1, app="a")
    second = snapshot(2, app="b", tier="gold")
    lost = Snapshot(
        labels=second.labels,
        sources=MappingProxyType({"podinfo": SourceState("lost", 1, "gone")}),
        swapped=second.swapped,
    )
    for old, new in ((Snapshot(), first), (first, second), (second, lost)):
        counting.saw(batch(old, new))
    counts = counting.counts()
    assert (counts.batches, counts.swaps) == (2, {"podinfo": 1})
    assert {kind: count for kind, count in counts.changes.items() if count} == {"label": 2, "source": 1}


def test_calls_by_what_they_came_to() -> None:
    """By method and status."""
    counting = Counting()
    for method, status in (("GET", 200), ("GET", 200), ("PATCH", 403), ("GET", None)):
        counting.asked(method, status)
    assert counting.counts().api_calls == {"GET 200": 2, "PATCH 403": 1, "GET error": 1}
    assert plain(Counts())["api_calls"] == {}
