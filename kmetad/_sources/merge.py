"""All sources' readings as one snapshot."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import MappingProxyType
from typing import Any

from kmetad._sources.content import Content
from kmetad.events import SUBJECTS
from kmetad.metadata import EMPTY, Snapshot, SourceState

_PARTS = tuple((change.type, part) for change, part in SUBJECTS if part != "sources")

Reading = tuple[str, SourceState, Content]
"""A source's name, its health, and the last that could be read of it."""

Suspects = Mapping[str, Collection[str]]
"""By part of a snapshot, the only keys that may differ from the one before; a part that is missing may in any."""

_Speakers = str | Mapping[str, str]


def merge(readings: Sequence[Reading], previous: Snapshot) -> Snapshot:
    """What the readings say together, as the generation after ``previous``.

    Where several sources carry one key, the first healthy one in the given order
    speaks. The last values of a source that can't be read speak only for the keys
    that no healthy one carries. Parts equal to the previous snapshot's are shared.
    """
    parts: dict[str, Mapping[str, Any]] = {}
    origins: dict[str, _Speakers] = {}
    voices = _voices(readings)
    for type_, part in _PARTS:
        values, speakers = _together(voices, part, getattr(previous, part))
        if values:
            parts[part], origins[type_] = values, speakers
    states = {name: state for name, state, _ in readings}
    swapped = {name: content.swapped_ns for name, _, content in readings if content.swapped_ns is not None}
    return Snapshot(
        **parts,
        sources=previous.sources if previous.sources == states else MappingProxyType(states),
        generation=previous.generation + 1,
        swapped=MappingProxyType(swapped),
        origins=MappingProxyType(origins),
    )


def step(
    readings: Sequence[Reading], previous: Snapshot, before: Sequence[Reading]
) -> tuple[Snapshot, Suspects]:
    """The same as ``merge``, at a cost that depends on what changed: of a hundred volumes one is looked at.

    ``before``: the readings that ``previous`` was made of, those that didn't change being
    the same objects; it may be empty. Answers also where the snapshot may differ.
    """
    steps = [(old, new) for old, new in zip(before, readings, strict=False) if old is not new]
    if len(steps) != 1 or len(before) != len(readings) or steps[0][0][1] != steps[0][1][1]:
        return merge(readings, previous), {}
    (name, _, old), (_, _, new) = steps[0]
    parts: dict[str, Mapping[str, Any]] = {}
    origins: dict[str, _Speakers] = {}
    suspects: dict[str, AbstractSet[str]] = {}
    for type_, part in _PARTS:
        was, now = getattr(old, part), getattr(new, part)
        values, speakers = getattr(previous, part), previous.origins.get(type_, "")
        if was is not now:
            told = suspects[part] = {key for key, _ in was.items() ^ now.items()}
            if not told:
                pass
            elif speakers == name and now:
                values = now  # nobody else has anything to say of this part
            elif isinstance(speakers, str) or not _speaks_alone(name, told, now, speakers):
                values, speakers = _together(_voices(readings), part, values)
            else:
                values = MappingProxyType(MappingProxyType(values) | {key: now[key] for key in told})
                if not told <= speakers.keys():
                    speakers = MappingProxyType(speakers) | dict.fromkeys(told, name)
        if values:
            parts[part], origins[type_] = values, speakers
    swapped = MappingProxyType(previous.swapped).copy()
    swapped.pop(name, None)
    if new.swapped_ns is not None:
        swapped[name] = new.swapped_ns
    current = Snapshot(
        **parts,
        sources=previous.sources,
        generation=previous.generation + 1,
        swapped=MappingProxyType(swapped),
        origins=MappingProxyType(origins),
    )
    return current, suspects


def last_of(name: str, snapshot: Snapshot) -> Content:
    """What a source is known to have said, by a snapshot of a process before this one."""
    parts: dict[str, Any] = {}
    for type_, part in _PARTS:
        values, speakers = getattr(snapshot, part), snapshot.origins.get(type_, "")
        if speakers == name:
            parts[part] = values
        elif not isinstance(speakers, str) and name in speakers.values():
            own = {key: value for key, value in values.items() if speakers.get(key) == name}
            parts[part] = MappingProxyType(own)
    return Content(**parts, swapped_ns=snapshot.swapped.get(name))


def _speaks_alone(
    name: str, told: AbstractSet[str], now: Mapping[str, Any], speakers: Mapping[str, str]
) -> bool:
    """Whether a source has the say on all these keys, before and after; else others have to be asked."""
    return all(key in now and speakers.get(key, name) == name for key in told)


def _voices(readings: Sequence[Reading]) -> list[tuple[str, Content]]:
    """Who speaks, the most to be trusted first."""
    voices = [(name, content) for name, state, content in readings if state.speaks]
    if len(voices) < len(readings):
        voices += [(name, content) for name, state, content in readings if not state.speaks]
    return voices


def _together(
    voices: Sequence[tuple[str, Content]], part: str, known: Mapping[str, Any]
) -> tuple[Mapping[str, Any], _Speakers]:
    """What all say of one part, and who speaks for it: one source, or one for each key."""
    told = [(name, said) for name, content in voices if (said := getattr(content, part))]
    if not told:
        return EMPTY, ""
    if len(told) == 1:
        name, said = told[0]
        return (known if known == said else said), name
    values: dict[str, Any] = {}
    speakers: dict[str, str] = {}
    for name, said in reversed(told):  # the first speaks last, and so has the last word
        values.update(said)
        speakers.update(dict.fromkeys(said, name))
    return (known if known == values else MappingProxyType(values)), speakers
