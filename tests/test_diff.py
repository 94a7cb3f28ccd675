"""kmetad._diff: exact, ordered, and attributed."""

from __future__ import annotations

from hypothesis import given

from kmetad._diff import apply, diff
from kmetad.events import TYPES, LabelChange
from kmetad.metadata import Snapshot
from tests.strategies import SNAPSHOTS


@given(SNAPSHOTS, SNAPSHOTS)
def test_law(old: Snapshot, new: Snapshot) -> None:
    """Law 3: the changes, applied to the old, give the new."""
    assert apply(old, diff(old, new)) == new


@given(SNAPSHOTS)
def test_nothing_differs_from_itself(snapshot: Snapshot) -> None:
    """Law 3: the difference of equals is empty, whether or not they share their parts."""
    copy = Snapshot(**{part: dict(getattr(snapshot, part)) for part in _PARTS})
    assert diff(snapshot, snapshot) == ()
    assert diff(snapshot, copy) == ()


@given(SNAPSHOTS, SNAPSHOTS)
def test_order_and_ops(old: Snapshot, new: Snapshot) -> None:
    """Sources come first, then types and keys in order; each change says what it was and is."""
    changes = diff(old, new)
    assert TYPES[0] == "source"
    assert list(TYPES[1:]) == sorted(TYPES[1:])
    places = [(TYPES.index(change.type), change.key) for change in changes]
    assert places == sorted(set(places))
    for change in changes:
        assert change.old != change.new
        assert change.op == (
            "added" if change.old is None else "removed" if change.new is None else "changed"
        )


def test_speakers() -> None:
    """A change names the source that speaks now, or that spoke for a key that went."""
    old = Snapshot(labels={"a": "1", "b": "1"}, origins={"label": "first"})
    new = Snapshot(labels={"a": "2"}, origins={"label": {"a": "second"}})
    assert diff(old, new) == (
        LabelChange("a", "1", "2", "second"),
        LabelChange("b", "1", None, "first"),
    )
    after = apply(old, diff(old, new))
    assert after.source_of("label", "a") == "second"
    assert after.source_of("label", "b") == ""


_PARTS = ("labels", "annotations", "fields", "resources", "files", "tokens", "trust", "sources")
