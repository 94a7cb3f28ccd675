"""The difference of two snapshots, exact: ``apply(old, diff(old, new)) == new``.

Pure, and blind to what anybody wants to hear of: noise and ``match`` are
filtered where changes are delivered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, cast

from kmetad.events import SUBJECTS, AnyChange
from kmetad.metadata import Snapshot


def diff(
    old: Snapshot, new: Snapshot, suspects: Mapping[str, Collection[str]] = MappingProxyType({})
) -> tuple[AnyChange, ...]:
    """Every key in which the two differ, sources first, then by type and key.

    ``suspects``: by part, the only keys that may differ there, where somebody knows.
    """
    changes: list[Any] = []
    for change, part in SUBJECTS:
        before: Mapping[str, Any] = getattr(old, part)
        after: Mapping[str, Any] = getattr(new, part)
        if before is after:  # parts that didn't change are shared
            continue
        if part in suspects:
            differing = {key for key in suspects[part] if before.get(key) != after.get(key)}
        else:
            differing = {key for key, _ in before.items() ^ after.items()}
        for key in sorted(differing):
            speaker = new if key in after else old
            source = speaker.source_of(change.type, key)
            changes.append(change(key, before.get(key), after.get(key), source))
    return tuple(changes)


def apply(old: Snapshot, changes: Iterable[AnyChange]) -> Snapshot:
    """The snapshot that results when the changes are made to ``old``."""
    parts: dict[str, dict[str, Any]] = {}
    origins: dict[str, dict[str, str]] = {}
    attribute = {change.type: part for change, part in SUBJECTS}
    for change in changes:
        part = attribute[change.type]
        values = parts.setdefault(part, dict(getattr(old, part)))
        speakers = origins.setdefault(change.type, {key: old.source_of(change.type, key) for key in values})
        if change.new is None:
            values.pop(change.key, None)
            speakers.pop(change.key, None)
        else:
            values[change.key] = change.new
            speakers[change.key] = change.source
    if not parts:
        return old
    frozen: dict[str, Any] = {part: MappingProxyType(values) for part, values in parts.items()}
    merged = {**old.origins, **cast("dict[str, str | Mapping[str, str]]", origins)}
    return replace(old, **frozen, origins=MappingProxyType(merged))
