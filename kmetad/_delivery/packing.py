"""Snapshots and changes as what msgpack can write, and back.

Text becomes bytes by ``surrogatepass``, so that whatever a file held comes back as it
was; numbers that a file may make as long as it likes become text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from kmetad._diff import apply
from kmetad.events import SUBJECTS, AnyChange, Change, Outcome, Plain
from kmetad.metadata import Digest, Resource, Snapshot, SourceState, Token
from kmetad.quantity import Quantity

Packed = list[Any]
"""Nothing but lists, bytes, integers, booleans, None, and the names of types."""

_KINDS: Mapping[str, type[Change[Any]]] = {kind.type: kind for kind, _ in SUBJECTS}


def text(value: str) -> bytes:
    """Any text at all, lone surrogates included."""
    return value.encode("utf-8", "surrogatepass")


def untext(value: bytes) -> str:
    """The text again."""
    return value.decode("utf-8", "surrogatepass")


def counted(value: Any) -> int:
    """A number that kmetad itself counts up. Raises TypeError for what is none, or too large to be written again."""
    if type(value) is not int or not 0 <= value < 1 << 62:
        raise TypeError("a count is a whole number")
    return value


def _number(value: int) -> bytes:
    return b"%d" % value


def _resource(value: Resource) -> Packed:
    return [_number(value.number), None if value.divisor is None else text(str(value.divisor))]


def _unresource(packed: Packed) -> Resource:
    number, divisor = packed
    return Resource(int(number), None if divisor is None else Quantity(untext(divisor)))


def _undigest(packed: bytes) -> Digest:
    if not isinstance(packed, bytes):
        raise TypeError("a digest is bytes")
    return Digest(packed)


def _token(value: Token) -> Packed:
    expires = None if value.expires is None else _number(value.expires)
    return [expires, [text(name) for name in value.audiences], value.digest.value]


def _untoken(packed: Packed) -> Token:
    expires, audiences, digest = packed
    return Token(None if expires is None else int(expires), tuple(map(untext, audiences)), _undigest(digest))


def _state(value: SourceState) -> Packed:
    return [text(value.status), value.faults, text(value.error)]


def _unstate(packed: Packed) -> SourceState:
    status, faults, error = packed
    return SourceState(untext(status), counted(faults), untext(error))  # type: ignore[arg-type]


_VALUES: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "label": (text, untext),
    "annotation": (text, untext),
    "field": (text, untext),
    "resource": (_resource, _unresource),
    "file": (lambda digest: digest.value, _undigest),
    "token": (_token, _untoken),
    "trust": (lambda digest: digest.value, _undigest),
    "source": (_state, _unstate),
}
"""By type of change, how a value is packed and unpacked."""


def pack_changes(changes: Iterable[AnyChange]) -> Packed:
    """Type, key, the new value and its source; the old one is what the reader has."""
    packed = []
    for change in changes:
        new: Any = change.new
        if type(new) is str:  # `text` is spelt out: a hook waits for this
            new = new.encode("utf-8", "surrogatepass")
        elif new is not None:
            new = _VALUES[change.type][0](new)
        key = change.key.encode("utf-8", "surrogatepass")
        packed.append((change.type, key, new, change.source.encode("utf-8", "surrogatepass")))
    return packed


def unpack_changes(packed: Packed) -> list[AnyChange]:
    """The changes again, ``old`` left out."""
    changes: list[Any] = []
    for type_, key, new, source in packed:
        kind = _KINDS[type_]
        value = None if new is None else _VALUES[type_][1](new)
        changes.append(kind(untext(key), None, value, untext(source)))
    return changes


_RESULTS = ("applied", "failed", "postponed", "skipped")


def pack_outcome(outcome: Outcome) -> Packed:
    """All but the instance, whose name is known, and the snapshot, which is made again."""
    detail = [
        [text(key), text(value) if isinstance(value, str) else value] for key, value in outcome.detail.items()
    ]
    olds = pack_changes(_with(change, new=change.old) for change in outcome.changes)
    changes = [pack_changes(outcome.changes), olds]
    when = [outcome.attempt, outcome.started_ns, outcome.seconds]
    return [outcome.result, changes, *when, text(outcome.error), detail]


def unpack_outcome(packed: Packed, instance: str, before: Snapshot) -> Outcome:
    """The outcome again, with what the changes make of the snapshot that was acknowledged."""
    result, (changes, olds), attempt, started_ns, seconds, error, detail = packed
    if result not in _RESULTS:
        raise TypeError("no result that there is")
    current = apply(before, unpack_changes(changes))
    pairs = zip(unpack_changes(changes), unpack_changes(olds), strict=True)
    told = tuple(_with(change, old=old.new) for change, old in pairs)
    plain = {untext(key): untext(value) if isinstance(value, bytes) else value for key, value in detail}
    if not all(isinstance(value, Plain) for value in plain.values()):
        raise TypeError("a detail is plain")
    counts = counted(attempt), counted(started_ns), float(seconds)
    return Outcome(instance, result, told, current, *counts, untext(error), MappingProxyType(plain))


def _with(change: AnyChange, **values: Any) -> AnyChange:
    """The same, but for a value of the same kind."""
    return replace(change, **values)


def sound(packed: Any) -> Packed | None:
    """A packed outcome of which is known that it can be unpacked. Raises what makes no sense."""
    if packed is not None:
        unpack_outcome(packed, "", Snapshot())
    return packed  # type: ignore[no-any-return]


Shown = Mapping[tuple[str, str], tuple[Any, ...]]
"""By type and key, the values that a plugin was shown and hasn't acknowledged; see ``Cursor``."""


def pack_shown(shown: Shown) -> Packed:
    """What ``Cursor.shown`` holds."""
    return [
        [type_, text(key), [None if value is None else _VALUES[type_][0](value) for value in values]]
        for (type_, key), values in shown.items()
    ]


def unpack_shown(packed: Packed) -> dict[tuple[str, str], tuple[Any, ...]]:
    """The same again."""
    shown: dict[tuple[str, str], tuple[Any, ...]] = {}
    for type_, key, values in packed:
        unpack = _VALUES[type_][1]
        shown[type_, untext(key)] = tuple(None if value is None else unpack(value) for value in values)
    return shown


def pack_swapped(swapped: Mapping[str, int]) -> Packed:
    """When which source was swapped; a file system may give any time."""
    return [[text(name), _number(ns)] for name, ns in swapped.items()]


def unpack_swapped(packed: Packed) -> Mapping[str, int]:
    """The same again."""
    return MappingProxyType({untext(name): int(ns) for name, ns in packed})


def pack_snapshots(snapshots: Sequence[Snapshot]) -> Packed:
    """A table of their parts, and the snapshots as places in it: what they share is written once."""
    table: Packed = []
    places: dict[tuple[str, int, int], int] = {}

    def place(type_: str, values: Mapping[str, Any], speakers: Any) -> int:
        known = type_, id(values), id(speakers)
        if known not in places:
            places[known] = len(table)
            pack = _VALUES[type_][0]
            spoken = (
                text(speakers)
                if isinstance(speakers, str)
                else [[text(key), text(source)] for key, source in speakers.items()]
            )
            table.append([[[text(key), pack(value)] for key, value in values.items()], spoken])
        return places[known]

    rows = [
        [
            [
                place(kind.type, getattr(snapshot, part), snapshot.origins.get(kind.type, ""))
                for kind, part in SUBJECTS
            ],
            snapshot.generation,
            pack_swapped(snapshot.swapped),
        ]
        for snapshot in snapshots
    ]
    return [table, rows]


def unpack_snapshots(packed: Packed) -> list[Snapshot]:
    """The snapshots, sharing their parts as they did."""
    table, rows = packed
    parts: dict[tuple[str, int], tuple[Mapping[str, Any], str | Mapping[str, str]]] = {}
    snapshots = []
    for places, generation, swapped in rows:
        values: dict[str, Mapping[str, Any]] = {}
        origins: dict[str, str | Mapping[str, str]] = {}
        for (kind, part), at in zip(SUBJECTS, places, strict=True):
            if (kind.type, at) not in parts:
                parts[kind.type, at] = _unpack_part(kind.type, table[at])
            values[part], speakers = parts[kind.type, at]
            if speakers:
                origins[kind.type] = speakers
        snapshots.append(
            Snapshot(
                **values,
                generation=counted(generation),
                swapped=unpack_swapped(swapped),
                origins=MappingProxyType(origins),
            )
        )
    return snapshots


def _unpack_part(type_: str, packed: Packed) -> tuple[Mapping[str, Any], str | Mapping[str, str]]:
    values, spoken = packed
    unpack = _VALUES[type_][1]
    speakers: str | Mapping[str, str]
    if isinstance(spoken, bytes):
        speakers = untext(spoken)
    else:
        speakers = MappingProxyType({untext(key): untext(source) for key, source in spoken})
    return MappingProxyType({untext(key): unpack(value) for key, value in values}), speakers
