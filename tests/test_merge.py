"""kmetad._sources.merge: who speaks where several carry one key."""

from __future__ import annotations

from types import MappingProxyType

from hypothesis import given
from hypothesis import strategies as st

from kmetad._diff import diff
from kmetad._sources.content import Content
from kmetad._sources.merge import Reading, last_of, merge, step
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


@given(READINGS)
def test_what_a_source_is_known_to_have_said(states: list[tuple[SourceState, dict[str, str]]]) -> None:
    """Of a snapshot, each source's own keys: those for which it spoke. Said again, they make the same one."""
    said = readings(states)
    merged = merge(said, Snapshot())
    again = [(name, state, last_of(name, merged)) for name, state, _ in said]
    for name, _, content in again:
        assert content.labels == {
            k: v for k, v in merged.labels.items() if merged.source_of("label", k) == name
        }
    assert merge(again, Snapshot()) == merged
    assert last_of("s9", merged) == Content()


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


@st.composite
def _lives(draw: st.DrawFn) -> list[list[Reading]]:
    """Readings of the same sources, one after the other, sharing what didn't change between them."""
    maps = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("123"), max_size=4).map(MappingProxyType)
    contents = draw(st.lists(st.builds(Content, labels=maps, fields=maps), min_size=1, max_size=4))
    life: list[list[Reading]] = [[(f"s{n}", HEALTHY, content) for n, content in enumerate(contents)]]
    for _ in range(draw(st.integers(1, 5))):
        now = list(life[-1])
        for at in draw(st.sets(st.integers(0, len(now) - 1), max_size=2)):
            name, state, old = now[at]
            labels, fields = (draw(st.one_of(st.just(part), maps)) for part in (old.labels, old.fields))
            swapped = draw(st.one_of(st.none(), st.integers(1, 9)))
            state = draw(st.sampled_from([state, state, HEALTHY, LOST]))
            now[at] = (name, state, Content(labels=labels, fields=fields, swapped_ns=swapped))
        life.append(now)
    return life


@given(_lives())
def test_a_step_says_what_merging_afresh_says(life: list[list[Reading]]) -> None:
    """Step by step comes to the same snapshot, by the same speakers, and to the same difference."""
    snapshot, before = Snapshot(), list[Reading]()
    for now in life:
        previous = snapshot
        afresh = merge(now, previous)
        snapshot, suspects = step(now, previous, before)
        before = now
        assert snapshot == afresh
        assert (snapshot.origins, snapshot.swapped) == (afresh.origins, afresh.swapped)
        assert snapshot.generation == afresh.generation
        assert diff(previous, snapshot, suspects) == diff(previous, snapshot)
