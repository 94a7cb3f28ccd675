"""What the daemon remembers: records, steps, and a memory file."""

from __future__ import annotations

import os
from _blake2 import blake2b
from contextlib import suppress
from functools import cache
from types import MappingProxyType

from msgspec.msgpack import encode as msgpack

from kmetad._delivery import record
from kmetad._delivery.cursor import Cursor
from kmetad._delivery.match import Filter
from kmetad._delivery.slots import Slots
from kmetad._diff import diff
from kmetad.events import LabelChange, SourceChange
from kmetad.metadata import Digest, Resource, Snapshot, SourceState, Token
from kmetad.quantity import Quantity
from tests.soak.targets.target import KEY, Target


def run(data: bytes) -> None:
    """``Unreadable``, or something that the next daemon can go on from."""
    how, data = data[:1], data[1:]
    with suppress(record.Unreadable):
        record.unframe(memoryview(data))
    with suppress(record.Unreadable):
        if how < b"\x80":
            state = record.decode(data)
        else:
            state = remembered()
            record.replay(state, data)
        _go_on(state)
    os.truncate(_memory(), 0)
    os.pwrite(_memory(), data, 0)
    slots = Slots(_memory())
    with suppress(record.Unreadable):
        for content in slots.read():
            assert isinstance(content, bytes)
    for _, beside in slots.read_cells(2):
        with suppress(record.Unreadable):
            record.show(record.LaneState("x", cursor=Cursor(Snapshot())), bytes(beside).rstrip(b"\0"))


def _go_on(state: record.State) -> None:
    """Key the digests, filter anew, compare, count on, write it all again."""
    blake2b(b"", key=state.digest_key)
    for lane in state.lanes:
        assert Filter(lane.match, lane.ignore).ignore.patterns == lane.ignore
        lane.crashes += 1
        if lane.cursor is not None:
            lane.cursor.show(diff(lane.cursor.acknowledged, Snapshot()))
            lane.cursor.pending(state.last)
    state.life += 1
    content = record.encode(state)
    again = record.decode(content)
    assert record.encode(again) == content
    assert (again.last, again.life, again.digest_key) == (state.last, state.life, state.digest_key)


@cache
def _memory() -> int:
    return os.memfd_create("kmetad-fuzz")


def remembered() -> record.State:
    """A state with something of every kind."""
    snapshot = Snapshot(
        labels=MappingProxyType({"app": "web", "\udcff": ""}),
        fields=MappingProxyType({"metadata.name": "web-0"}),
        resources=MappingProxyType(
            {"a.limits.cpu": Resource(250, Quantity("1m")), ".limits.cpu": Resource(1)}
        ),
        files=MappingProxyType({"podinfo/x": Digest(b"d" * 16)}),
        tokens=MappingProxyType({"token": Token(2_000_000_000, ("api",), Digest(b"t" * 16))}),
        sources=MappingProxyType({"podinfo": SourceState("lost", 3, "gone"), "two": SourceState()}),
        generation=7,
        swapped=MappingProxyType({"podinfo": 10**18}),
        origins=MappingProxyType(
            {"label": MappingProxyType({"app": "podinfo", "\udcff": "two"}), "field": "podinfo"}
        ),
    )
    shown = LabelChange("app", None, "db", "podinfo")
    return record.State(
        KEY,
        3,
        snapshot,
        [
            record.LaneState("one", ("label:*",), ("label:x",), Cursor(snapshot), 2, True, [shown]),
            record.LaneState("two", cursor=Cursor(Snapshot(), {("label", "app"): ("a", None)})),
            record.LaneState("three"),
        ],
    )


def _seeds() -> list[bytes]:
    state = remembered()
    content = record.encode(state)
    changes = record.encode_changes(
        [LabelChange("app", None, "db", "podinfo"), SourceChange("two", None, SourceState(faults=1), "two")]
    )
    steps = [
        record.shown(0, changes),
        record.acknowledged(2),
        record.moved(changes, state.last),
        record.proven(0),
    ]
    with open(os.memfd_create("seed"), "rb") as file:
        slots = Slots(file.fileno())
        slots.write(content)
        slots.add(record.encode_steps(steps))
        memory = file.read(8000)
    seeds = [content, record.frame(content), memory, b"\x91" * 5000, b"\x81\xc0" * 2000]
    for odd in (1e300, float("inf"), 2**64 - 1, -1, True, None, b"", [[]], {b"a": 1}):
        lane = [b"n", [], [], 0, [], odd, odd]
        seeds.append(msgpack([KEY, odd, [[], []], []]))
        seeds.append(msgpack([odd, 0, [[[[], b""]], [[[0] * 8, 0, []]]], []]))
        seeds.append(msgpack([KEY, 0, [[[[], b""]], [[[0] * 8, odd, []]]], [lane]]))
    odd_steps = [msgpack([[0, [], odd, []]]) for odd in (1e300, -1, 2**64 - 1)]
    return [
        *(b"\0" + seed for seed in seeds),
        *(b"\xff" + step for step in (record.encode_steps(steps), *odd_steps)),
    ]


STATE = Target(
    "state",
    run,
    _seeds(),
    words=[
        *(
            b"\x90",
            b"\x91",
            b"\xc0",
            b"\xc4\x00",
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\x91" * 60,
        ),
        *(
            b"\xc6\xff\xff\xff\xff",
            b"\xcf" + b"\xff" * 8,
            b"\xcb\x7f\xf0\0\0\0\0\0\0",
            b"\x81\xc0",
            b"kmtd\1\0\0\0",
        ),
        *(b"\xa5label", b"\xa6source", b"\xc4\x20" + b"9" * 32),
    ],
    longest=8192,
    share=0.5,
)
