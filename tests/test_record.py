"""kmetad._delivery.record and packing: what lanes remember comes back, and nothing damaged does."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._delivery.cursor import Cursor
from kmetad._delivery.record import (
    HEADER,
    LaneState,
    State,
    Unreadable,
    acknowledged,
    decode,
    encode,
    encode_changes,
    encode_steps,
    frame,
    moved,
    proven,
    replay,
    shown,
    unframe,
)
from kmetad._diff import diff
from kmetad.events import SUBJECTS
from kmetad.metadata import Resource, Snapshot, SourceState, Token
from kmetad.quantity import Quantity
from tests.strategies import DIGESTS, KEYS, SNAPSHOTS, TEXTS

ANY_TEXT = st.text(st.characters())  # lone surrogates of every sort included
TYPES = [kind.type for kind, _ in SUBJECTS]
SPEAKERS = st.dictionaries(
    st.sampled_from(TYPES[1:]), KEYS | st.dictionaries(KEYS, KEYS, min_size=1).map(MappingProxyType)
)


def _whole(snapshot: Snapshot, origins: Any, swapped: Any, generation: int) -> Snapshot:
    parts = {part: getattr(snapshot, part) for _, part in SUBJECTS}
    return Snapshot(**parts, origins=origins, swapped=swapped, generation=generation)


WHOLE = st.builds(
    _whole,
    SNAPSHOTS,
    SPEAKERS.map(lambda origins: {type_: who for type_, who in origins.items() if who}),
    st.dictionaries(KEYS, st.integers(-(2**80), 2**80)),
    st.integers(0, 2**40),
)


@st.composite
def states(draw: st.DrawFn) -> State:
    """What lanes may remember; snapshots are shared as lanes share them."""
    snapshots = draw(st.lists(WHOLE, min_size=1, max_size=3))
    state = State(draw(st.binary(max_size=40)), draw(st.integers(0, 2**40)), snapshots[0])
    for _ in range(draw(st.integers(0, 4))):
        lane = LaneState(
            draw(ANY_TEXT),
            tuple(draw(st.lists(ANY_TEXT, max_size=2))),
            tuple(draw(st.lists(ANY_TEXT, max_size=2))),
            crashes=draw(st.integers(0, 5)),
            in_tell=draw(st.binary(max_size=20)),
        )
        if draw(st.booleans()):
            lane.cursor = Cursor(draw(st.sampled_from(snapshots)))
            for newest in draw(st.lists(st.sampled_from(snapshots), max_size=2)):
                lane.cursor.show(lane.cursor.pending(newest))
        state.lanes.append(lane)
    return state


def everything(snapshot: Snapshot) -> Any:
    """A snapshot with what its equality leaves out."""
    return snapshot, snapshot.generation, dict(snapshot.swapped), dict(snapshot.origins)


def contents(state: State) -> Any:
    """A state as values that compare."""
    lanes = [
        (
            lane.name,
            lane.match,
            lane.ignore,
            lane.crashes,
            lane.in_tell,
            lane.cursor and (everything(lane.cursor.acknowledged), dict(lane.cursor.shown)),
        )
        for lane in state.lanes
    ]
    return state.digest_key, state.life, everything(state.last), lanes


@given(states())
def test_round_trip(state: State) -> None:
    """Everything comes back, text that is no UTF-8 and numbers of any size included."""
    content, end = unframe(memoryview(frame(encode(state))))
    assert end == HEADER + len(content)
    assert contents(decode(content)) == contents(state)


@given(SNAPSHOTS, st.integers(2, 5))
def test_what_lanes_share_is_written_once(snapshot: Snapshot, lanes: int) -> None:
    """A further lane costs a few bytes, whatever it acknowledged; the snapshots are shared again when read."""
    state = State(b"", last=snapshot, lanes=[LaneState("a", cursor=Cursor(snapshot))])
    one = len(encode(state))
    state.lanes *= lanes
    assert len(encode(state)) <= one + 16 * lanes
    again = decode(encode(state))
    assert all(lane.cursor and lane.cursor.acknowledged is again.last for lane in again.lanes)


def test_snapshots_share_their_parts() -> None:
    """Of two snapshots that differ in their labels, the annotations are written once, and are one object again."""
    annotations = MappingProxyType({"a": "x" * 10_000})
    old, new = (Snapshot(labels={"app": app}, annotations=annotations) for app in "ab")
    content = encode(State(b"", last=new, lanes=[LaneState("a", cursor=Cursor(old))]))
    assert len(content) < 11_000
    again = decode(content)
    assert again.lanes[0].cursor is not None
    assert again.lanes[0].cursor.acknowledged.annotations is again.last.annotations


@given(states(), st.data())
def test_any_damaged_byte_is_noticed(state: State, data: st.DataObject) -> None:
    """Whichever byte differs, in the header or behind it, the record is refused."""
    record = bytearray(frame(encode(state)))
    at = data.draw(st.integers(0, len(record) - 1))
    record[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Unreadable):
        unframe(memoryview(record))


@given(states(), st.data())
def test_a_record_that_is_cut_is_noticed(state: State, data: st.DataObject) -> None:
    """Wherever it ends too early."""
    record = frame(encode(state))
    with pytest.raises(Unreadable, match="cut off"):
        unframe(memoryview(record[: data.draw(st.integers(0, len(record) - 1))]))


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (b"\x7fELF" + bytes(100), "no record of kmetad"),
        (b"kmtd\x01\0\0\0" + bytes(100), "of version 1; this kmetad reads version 3"),
        (frame(b"x", seed=7), "checksum"),
    ],
)
def test_foreign_records_are_refused(record: bytes, why: str) -> None:
    """Each with its reason: another program's, another version's, another file's."""
    with pytest.raises(Unreadable, match=why):
        unframe(memoryview(record))


msgpack = msgspec.msgpack.encode
EMPTY_SNAPSHOT = [[[[], b""]], [[[0] * 8, 0, []]]]


def test_the_least_that_makes_sense() -> None:
    """What the tests below damage is readable."""
    assert decode(msgpack([b"", 0, EMPTY_SNAPSHOT, []])) == State(b"")


@given(st.binary(max_size=60) | states().map(encode).map(lambda content: content[1:]))
def test_sound_records_of_nonsense(content: bytes) -> None:
    """What has the right checksum and no meaning is refused as well, with no other exception."""
    for read in (decode, lambda some: replay(State(b"", lanes=[LaneState("a")]), some)):
        try:
            read(content)
        except Unreadable:
            pass


NESTED = b"\x91" * 100_000
HUGE = (float("inf"), 1e300, 2**63, -1, b"1", True, None)


@pytest.mark.parametrize(
    "content",
    [
        NESTED,
        *(msgpack([key, 0, EMPTY_SNAPSHOT, []]) for key in (2**40, 2**64 - 1, "text", b"k" * 65, [], None)),
        *(msgpack([b"", life, EMPTY_SNAPSHOT, []]) for life in HUGE),
        *(msgpack([b"", 0, [EMPTY_SNAPSHOT[0], [[[0] * 8, generation, []]]], []]) for generation in HUGE),
        *(msgpack([b"", 0, EMPTY_SNAPSHOT, [[b"a", [], [], None, [], crashes, False]]]) for crashes in HUGE),
        msgpack([b"", 0, [[[[[b"a", [b"healthy", 0, b""]]], b""]], [[[0] * 8, 0, []]]], []]),
    ],
)
def test_sound_records_of_what_nobody_can_go_on_from(content: bytes) -> None:
    """Nested without end, a key that is none, a count that ends, a source's state as a label: refused at once."""
    with pytest.raises(Unreadable, match="makes no sense"):
        decode(content)


@pytest.mark.parametrize("content", [NESTED, *(msgpack([[0, [], generation, []]]) for generation in HUGE)])
def test_steps_that_nobody_can_make(content: bytes) -> None:
    """The same for steps."""
    with pytest.raises(Unreadable, match="makes no sense"):
        replay(State(b""), content)


@given(WHOLE, st.lists(st.tuples(WHOLE, st.sampled_from(["show", "acknowledge", "prove"])), max_size=5))
def test_steps_lead_to_the_same_state(first: Snapshot, steps: list[tuple[Snapshot, str]]) -> None:
    """A record with everything and its steps say what a lane's own cursor says (law 3, over the bytes)."""
    cursor = Cursor(first)
    lane = LaneState("a", cursor=cursor, crashes=2, in_tell=b"on_app_start")
    state = State(b"", last=first, lanes=[lane])
    again = decode(encode(state))
    for newest, what in steps:
        if what == "show":
            changes = cursor.pending(newest)
            cursor.show(changes)
            made = [shown(0, encode_changes(changes))]
        elif what == "acknowledge":
            made = [moved(encode_changes(diff(state.last, newest)), newest), acknowledged(0)]
            state.last = newest
            cursor.acknowledge(newest)
        else:
            made = [proven(0)]
            lane.crashes, lane.in_tell = 0, b""
        replay(again, encode_steps(made))
    (other,) = again.lanes
    assert other.cursor is not None
    assert (other.cursor.acknowledged, other.cursor.shown) == (cursor.acknowledged, cursor.shown)
    assert (again.last, again.last.generation) == (state.last, state.last.generation)
    assert (other.crashes, other.in_tell) == (lane.crashes, lane.in_tell)


def test_the_first_acknowledgement_begins() -> None:
    """A lane without a cursor has one after it."""
    state = State(b"", last=Snapshot(labels={"a": "1"}), lanes=[LaneState("a")])
    replay(state, encode_steps([acknowledged(0)]))
    assert state.lanes[0].cursor is not None
    assert state.lanes[0].cursor.acknowledged is state.last


@given(ANY_TEXT, st.integers(), st.none() | st.integers(), DIGESTS, TEXTS)
def test_values_of_any_size(key: str, number: int, expires: int | None, digest: Any, error: str) -> None:
    """No integer and no text is too strange."""
    snapshot = Snapshot(
        resources={key: Resource(number, Quantity("1m"))},
        tokens={key: Token(expires, (key,), digest)},
        sources={key: SourceState("lost", 2**31, error)},
        labels={key: key},
    )
    assert decode(encode(State(b"", last=snapshot))).last == snapshot
