"""kmetad._delivery.cursor: law 4, on values alone."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kmetad._delivery.cursor import Cursor
from kmetad._diff import diff
from kmetad.metadata import Snapshot
from tests.strategies import SNAPSHOTS

LABELS = st.dictionaries(st.sampled_from("abc"), st.sampled_from("123"))
STEPS = st.lists(st.tuples(LABELS, st.booleans(), st.sets(st.sampled_from("abc"))), max_size=12)


def pod(labels: dict[str, str]) -> Snapshot:
    """A Pod with these labels."""
    return Snapshot(labels=MappingProxyType(dict(labels)), origins={"label": "podinfo"})


@given(SNAPSHOTS, SNAPSHOTS)
def test_settled_cursor_is_the_plain_difference(old: Snapshot, new: Snapshot) -> None:
    """With everything acknowledged, what is pending is what differs."""
    cursor = Cursor(old)
    assert cursor.settled
    assert cursor.pending(new) == diff(old, new)


def test_back_to_where_it_was() -> None:
    """After A -> B failed and the Pod went back to A, the plugin is told B -> A."""
    a, b = pod({"app": "a"}), pod({"app": "b"})
    cursor = Cursor(a)
    cursor.show(cursor.pending(b))
    (change,) = cursor.pending(a)
    assert (change.old, change.new) == ("b", "a")
    cursor.show((change,))
    (again,) = cursor.pending(a)  # that failed too: it may still hold b
    assert (again.old, again.new) == ("b", "a")
    cursor.acknowledge(a)
    assert cursor.settled
    assert cursor.pending(a) == ()


@given(LABELS, STEPS, LABELS)
def test_a_plugin_that_does_half_of_it_converges(
    start: dict[str, str], steps: list[tuple[dict[str, str], bool, set[str]]], end: dict[str, str]
) -> None:
    """Whatever part of failed batches it had applied, after a success it holds what the Pod is."""
    cursor = Cursor(pod(start))
    held: dict[str, Any] = dict(start)
    for labels, succeeds, applied in [*steps, (end, True, set())]:
        newest = pod(labels)
        changes = cursor.pending(newest)
        cursor.show(changes)
        for change in changes:
            assert change.old != change.new
            if succeeds or change.key in applied:
                if change.new is None:
                    held.pop(change.key, None)
                else:
                    held[change.key] = change.new
        if succeeds:
            cursor.acknowledge(newest)
            assert held == labels
            assert cursor.pending(newest) == ()
    assert held == end


@given(LABELS, STEPS)
def test_asks_for_no_more_than_may_be_wrong(
    start: dict[str, str], steps: list[tuple[dict[str, str], bool, set[str]]]
) -> None:
    """A key is told again only if it was shown, or differs from what was acknowledged."""
    cursor = Cursor(pod(start))
    acknowledged, shown = start, set[str]()
    for labels, succeeds, _ in steps:
        newest = pod(labels)
        changes = cursor.pending(newest)
        differing = {k for k in {*acknowledged, *labels} if acknowledged.get(k) != labels.get(k)}
        assert differing <= {change.key for change in changes} <= differing | shown
        cursor.show(changes)
        shown |= {change.key for change in changes}
        if succeeds:
            cursor.acknowledge(newest)
            acknowledged, shown = labels, set()
