"""What the lanes remember, as bytes: one format for the memory file and for the disk.

=========  ======================================================================
bytes      of a record, all little-endian
=========  ======================================================================
0 - 3      ``kmtd``
4 - 7      the version of the format
8 - 11     how many bytes the content has
12 - 15    CRC-32 of the content
16 -       the content, in msgpack
=========  ======================================================================

The content is either all that is remembered (``encode``), or the steps made since (``replay``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import msgspec

from kmetad._delivery.cursor import Cursor
from kmetad._delivery.packing import (
    Packed,
    counted,
    pack_changes,
    pack_shown,
    pack_snapshots,
    pack_swapped,
    sound,
    text,
    unpack_changes,
    unpack_shown,
    unpack_snapshots,
    unpack_swapped,
    untext,
)
from kmetad._diff import apply
from kmetad.events import AnyChange
from kmetad.metadata import Snapshot

VERSION = 3

_MAGIC = b"kmtd"
_HEADER = struct.Struct("<4sIII")
HEADER = _HEADER.size
"""Bytes before a record's content."""

_encode: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


_SENSELESS = (ValueError, TypeError, LookupError, AttributeError, RecursionError, msgspec.MsgspecError)
_LONGEST_KEY = 64  # of BLAKE2


class Unreadable(ValueError):
    """No record of this version, or a damaged one; says which."""


@dataclass(slots=True)
class LaneState:
    """What is remembered of one lane."""

    name: str
    match: tuple[str, ...] = ()
    """The patterns by which it was filtered."""
    ignore: tuple[str, ...] = ()
    cursor: Cursor | None = None
    """None until ``on_start`` has succeeded."""
    crashes: int = 0
    """How many times in a row the daemon died while one of its hooks ran."""
    in_tell: bytes = b""
    """What it was told between deliveries, the last time; empty: it died in another hook."""
    outcome: Packed | None = None
    """What it did last, packed; None where nobody is told of it."""
    showing: Sequence[AnyChange] = ()
    """What its plugin is shown now; not in ``cursor`` until that has failed."""


@dataclass(slots=True)
class State:
    """All that is remembered."""

    digest_key: bytes
    life: int = 0
    """Counts the daemons, so that one tells its own marks from those of another."""
    last: Snapshot = field(default_factory=Snapshot)
    """The newest that any lane acknowledged."""
    lanes: list[LaneState] = field(default_factory=list)


def frame(content: bytes, seed: int = 0) -> bytes:
    """The record with this content. ``seed``: of the checksum, below 2**32; the reader has to know it as well."""
    return _HEADER.pack(_MAGIC, VERSION, len(content), crc32(content, seed)) + content


def unframe(data: memoryview, at: int = 0, seed: int = 0) -> tuple[memoryview, int]:
    """The content of the record that begins there, and where it ends. Raises Unreadable."""
    if at < 0 or len(data) - at < HEADER:
        raise Unreadable("cut off: no whole header")
    magic, version, length, checksum = _HEADER.unpack_from(data, at)
    if magic != _MAGIC:
        raise Unreadable("no record of kmetad")
    if version != VERSION:
        raise Unreadable(f"of version {version}; this kmetad reads version {VERSION}")
    begin, end = at + HEADER, at + HEADER + length
    if end > len(data):
        raise Unreadable(f"cut off: {len(data) - begin} of {length} bytes are there")
    content = data[begin:end]
    if crc32(content, seed) != checksum:
        raise Unreadable("damaged: its checksum differs")
    return content, end


def encode(state: State) -> bytes:
    """A record's content: everything. A snapshot that several lanes acknowledged is written once."""
    snapshots = [state.last]
    places = {id(state.last): 0}
    lanes: Packed = []
    for lane in state.lanes:
        at: int | None = None
        may_hold: Packed = []
        if lane.cursor is not None:
            acknowledged = lane.cursor.acknowledged
            if id(acknowledged) not in places:
                places[id(acknowledged)] = len(snapshots)
                snapshots.append(acknowledged)
            cursor = Cursor(acknowledged, lane.cursor.shown)
            cursor.show(lane.showing)
            at, may_hold = places[id(acknowledged)], pack_shown(cursor.shown)
        patterns = [[text(pattern) for pattern in some] for some in (lane.match, lane.ignore)]
        lanes.append([text(lane.name), *patterns, at, may_hold, lane.crashes, lane.in_tell, lane.outcome])
    return _encode([state.digest_key, state.life, pack_snapshots(snapshots), lanes])


def decode(content: memoryview | bytes) -> State:
    """What was encoded. Raises Unreadable."""
    try:
        digest_key, life, packed, rows = _decode(content)
        if type(digest_key) is not bytes or len(digest_key) > _LONGEST_KEY:
            raise TypeError("a key is bytes, and few of them")
        snapshots = unpack_snapshots(packed)
        lanes = []
        for name, match, ignore, at, may_hold, crashes, in_tell, outcome in rows:
            cursor = None if at is None else Cursor(snapshots[at], unpack_shown(may_hold))
            lanes.append(
                LaneState(
                    untext(name),
                    tuple(map(untext, match)),
                    tuple(map(untext, ignore)),
                    cursor,
                    counted(crashes),
                    _named(in_tell),
                    sound(outcome),
                )
            )
        return State(digest_key, counted(life), snapshots[0], lanes)
    except _SENSELESS as error:
        raise _no_sense(error) from None


# -- steps -------------------------------------------------------------------------

_MOVED, _SHOWN, _ACKNOWLEDGED, _PROVEN, _CAME_OUT = range(5)


def moved(changes: bytes, newest: Snapshot) -> Packed:
    """``State.last`` is this one now; ``changes`` is what differs, encoded."""
    return [_MOVED, msgspec.Raw(changes), newest.generation, pack_swapped(newest.swapped)]


def shown(lane: int, changes: bytes) -> Packed:
    """The lane of this number was shown these changes, encoded."""
    return [_SHOWN, lane, msgspec.Raw(changes)]


def acknowledged(lane: int) -> Packed:
    """The lane has acknowledged ``State.last``."""
    return [_ACKNOWLEDGED, lane]


def proven(lane: int) -> Packed:
    """The lane did what it had crashed in, and no crash counts any more."""
    return [_PROVEN, lane]


def came_out(lane: int, outcome: Packed) -> Packed:
    """What the lane did last, of which others are told."""
    return [_CAME_OUT, lane, outcome]


def encode_steps(steps: list[Packed]) -> bytes:
    """A record's content: steps that belong together."""
    return _encode(steps)


def encode_changes(changes: Iterable[AnyChange]) -> bytes:
    """What steps are made with, and what a lane shows now."""
    return _encode(pack_changes(changes))


def show(lane: LaneState, content: bytes) -> None:
    """The lane was shown these encoded changes. Raises Unreadable."""
    try:
        if lane.cursor is not None:
            lane.cursor.show(unpack_changes(_decode(content)))
    except _SENSELESS as error:
        raise _no_sense(error) from None


def replay(state: State, content: memoryview | bytes) -> None:
    """Make the steps again. Raises Unreadable."""
    try:
        for kind, *values in _decode(content):
            if kind == _MOVED:
                changes, generation, swapped = values
                newest = apply(state.last, unpack_changes(changes))
                state.last = replace(newest, generation=counted(generation), swapped=unpack_swapped(swapped))
                continue
            lane = state.lanes[values[0]]
            if kind == _SHOWN and lane.cursor is not None:
                lane.cursor.show(unpack_changes(values[1]))
            elif kind == _ACKNOWLEDGED and lane.cursor is not None:
                lane.cursor.acknowledge(state.last)
            elif kind == _ACKNOWLEDGED:
                lane.cursor = Cursor(state.last)
            elif kind == _PROVEN:
                lane.crashes, lane.in_tell = 0, b""
            elif kind == _CAME_OUT:
                lane.outcome = sound(values[1])
    except _SENSELESS as error:
        raise _no_sense(error) from None


def _named(told: Any) -> bytes:
    if type(told) is not bytes:
        raise TypeError("a name is bytes")
    return told


def _no_sense(error: Exception) -> Unreadable:
    # A sound checksum says that kmetad wrote it; so this is a fault of the code, not of the bytes.
    return Unreadable(f"its content makes no sense: {type(error).__name__}")
