"""All sources' readings as one snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from kmetad._sources.content import Content
from kmetad.events import SUBJECTS
from kmetad.metadata import Snapshot, SourceState

_PARTS = tuple((change.type, part) for change, part in SUBJECTS if part != "sources")

Reading = tuple[str, SourceState, Content]
"""A source's name, its health, and the last that could be read of it."""


def merge(readings: Sequence[Reading], previous: Snapshot) -> Snapshot:
    """What the readings say together, as the generation after ``previous``.

    Where several sources carry one key, the first healthy one in the given order
    speaks. The last values of a source that can't be read speak only for the keys
    that no healthy one carries. Parts equal to the previous snapshot's are shared.
    """
    voices = [(name, content) for name, state, content in readings if state.speaks]
    voices += [(name, content) for name, state, content in readings if not state.speaks]
    parts: dict[str, Mapping[str, Any]] = {}
    origins: dict[str, str | Mapping[str, str]] = {}
    for type_, part in _PARTS:
        told = [(name, said) for name, content in voices if (said := getattr(content, part))]
        if not told:
            continue
        if len(told) == 1:
            origins[type_], parts[part] = told[0]
            continue
        values: dict[str, Any] = {}
        speakers: dict[str, str] = {}
        for name, said in reversed(told):  # the first speaks last, and so has the last word
            values.update(said)
            speakers.update(dict.fromkeys(said, name))
        before = getattr(previous, part)
        parts[part] = before if before == values else MappingProxyType(values)
        origins[type_] = speakers
    states = {name: state for name, state, _ in readings}
    swapped = {name: content.swapped_ns for name, _, content in readings if content.swapped_ns is not None}
    return Snapshot(
        **parts,
        sources=previous.sources if previous.sources == states else MappingProxyType(states),
        generation=previous.generation + 1,
        swapped=MappingProxyType(swapped),
        origins=MappingProxyType(origins),
    )
