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
    if len(voices) < len(readings):
        voices += [(name, content) for name, state, content in readings if not state.speaks]
    parts: dict[str, Mapping[str, Any]] = {}
    origins: dict[str, str | dict[str, str]] = {}
    for name, content in voices:
        for type_, part in _PARTS:
            said = getattr(content, part)
            if not said:
                continue
            if part not in parts:
                parts[part], origins[type_] = said, name  # the usual case: one source for a part
                continue
            # Who spoke before has the say.
            first = origins[type_]
            speakers = dict.fromkeys(parts[part], first) if isinstance(first, str) else first
            origins[type_] = {**dict.fromkeys(said, name), **speakers}
            parts[part] = MappingProxyType({**said, **parts[part]})
    for part, values in parts.items():
        before = getattr(previous, part)
        if values is not before and values == before:
            parts[part] = before
    states = {name: state for name, state, _ in readings}
    swapped = {name: content.swapped_ns for name, _, content in readings if content.swapped_ns is not None}
    return Snapshot(
        **parts,
        sources=previous.sources if previous.sources == states else MappingProxyType(states),
        generation=previous.generation + 1,
        swapped=MappingProxyType(swapped),
        origins=MappingProxyType(origins),
    )
