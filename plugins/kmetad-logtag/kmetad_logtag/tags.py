"""What both ways have in common: which tags there are, where they stand, and what they are now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from kmetad import Snapshot
from kmetad.fieldpath import parse
from kmetad.podview import OTEL

Preset = Literal["otel"]


def paths(tags: Mapping[str, str], preset: Preset | None) -> dict[str, str]:
    """By name in the line, the field path; ``tags`` on top of the preset's. Raises ValueError."""
    if preset not in (None, "otel"):
        raise ValueError(f"preset: there is no {preset!r}; there is 'otel'")
    chosen = (OTEL if preset else {}) | dict(tags)
    if not chosen:
        raise ValueError('no tags; name some: tags = { name = "metadata.name" }, or take preset = "otel"')
    for name, path in chosen.items():
        if parse(path).type in ("labels", "annotations"):
            raise ValueError(f"tags: {name} is many values; name one: {path}['KEY']")
    return chosen


def place(key: str | None, preset: Preset | None) -> str:
    """The object in which they stand; empty: beside the line's own members, as with a preset unless one is named."""
    return key if key is not None else "" if preset else "pod"


def known(chosen: Mapping[str, str], snapshot: Snapshot) -> dict[str, str]:
    """What is known of them now; the others are absent."""
    found = ((name, snapshot.get(path)) for name, path in chosen.items())
    return {name: text for name, text in found if text is not None}
