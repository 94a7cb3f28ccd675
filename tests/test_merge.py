"""kmetad._sources.merge: who speaks where several carry one key."""

from __future__ import annotations

from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from kmetad._sources.content import Content
from kmetad._sources.merge import Reading, merge
from kmetad.metadata import Snapshot, SourceState

HEALTHY, POLLING, LOST = SourceState(), SourceState("polling", 1, "x"), SourceState("lost", 1, "x")
READINGS = st.lists(
    st.tuples(
        st.sampled_from([HEALTHY, POLLING, LOST, SourceState("unreadable", 1, "x")]),
        st.dictionaries(st.sampled_from("abc"), st.sampled_from("12")),
    ),
    max_size=4,
)


def readings(states: list[tuple[SourceState, dict[str, str]]]) -> list[Reading]:
    """Sources named s0, s1, … that say these labels."""
    return [
        (f"s{number}", state, Content(labels=MappingProxyType(labels)))
        for number, (state, labels) in enumerate(states)
    ]


@given(READINGS)
def test_who_speaks(states: list[tuple[SourceState, dict[str, str]]]) -> None:
    """For each key the first healthy source that carries it; only where none does, the first of the others."""
    merged = merge(readings(states), Snapshot())
    order = [n for n, (state, _) in enumerate(states) if state.speaks]
    order += [n for n, (state, _) in enumerate(states) if not state.speaks]
    for key in "abc":
        speaker = next((n for n in order if key in states[n][1]), None)
        if speaker is None:
            assert key not in merged.labels
        else:
            assert merged.labels[key] == states[speaker][1][key]
            assert merged.source_of("label", key) == f"s{speaker}"
    assert list(merged.sources) == [f"s{n}" for n in range(len(states))]


def test_equal_parts_are_shared() -> None:
    """What several sources say together is the same object as long as it is equal; so are the sources' states."""
    said = [(HEALTHY, {"a": "1"}), (HEALTHY, {"b": "2"})]
    first = merge(readings(said), Snapshot())
    second = merge(readings(said), first)
    assert second.labels is first.labels
    assert second.sources is first.sources
    assert (first.generation, second.generation) == (1, 2)


def test_one_source_is_not_copied() -> None:
    """The usual case costs nothing: the snapshot has the source's own mapping."""
    labels = MappingProxyType({"a": "1"})
    merged = merge([("s", HEALTHY, Content(labels=labels)), ("env", HEALTHY, Content())], Snapshot())
    assert merged.labels is labels
    assert merged.source_of("label", "a") == "s"
