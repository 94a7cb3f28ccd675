"""Changes that somebody only thinks of: ``label:tier=gold``, made to a snapshot."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, get_args

from kmetad.errors import KmetadError, QuantityError
from kmetad.events import SUBJECTS, TYPES
from kmetad.metadata import Digest, Resource, Snapshot, SourceState, SourceStatus, Token

_PARTS = {change.type: part for change, part in SUBJECTS}


class SimulationError(KmetadError):
    """The text describes no change."""


def simulated(snapshot: Snapshot, texts: Iterable[str]) -> Snapshot:
    """What the Pod would be after changes given as ``TYPE:KEY=VALUE``; without ``=VALUE`` the key is removed.

    Contents that kmetad never shows (``file``, ``token``, ``trust``) have no value:
    naming the key changes it. Raises SimulationError.
    """
    parts: dict[str, Mapping[str, Any]] = {}
    for text in texts:
        type_, key, value = parse(text)
        part = _PARTS[type_]
        values = dict(parts.get(part, getattr(snapshot, part)))
        new = _value(type_, key, value, values.get(key))
        if new is None:
            values.pop(key, None)
        else:
            values[key] = new
        parts[part] = MappingProxyType(values)
    return replace(snapshot, **parts, generation=snapshot.generation + 1)


def parse(text: str) -> tuple[str, str, str | None]:
    """Type, key, and value (None: removed) of ``TYPE:KEY=VALUE``. Raises SimulationError."""
    type_, colon, rest = text.partition(":")
    if type_ not in TYPES or not colon:
        from difflib import get_close_matches

        near = get_close_matches(type_, TYPES, n=1)
        hint = f"did you mean {near[0]}:{rest}?" if near and colon else f"TYPE is one of {', '.join(TYPES)}"
        raise SimulationError(f"--simulate {text!r}: expected TYPE:KEY=VALUE, as label:tier=gold; {hint}")
    key, equals, value = rest.partition("=")
    if not key:
        raise SimulationError(
            f"--simulate {text!r}: there is no key; expected TYPE:KEY=VALUE, as label:tier=gold"
        )
    return type_, key, value if equals else None


def _value(type_: str, key: str, value: str | None, old: Any) -> Any:
    """What a part of the snapshot would hold; None if it would be gone."""
    if type_ in ("file", "trust"):
        return Digest(os.urandom(16))
    if type_ == "token":
        return replace(old, digest=Digest(os.urandom(16))) if old else Token(None, (), Digest(b""))
    if value is None:
        return None
    if type_ == "source":
        return _state(key, value, old)
    return _resource(key, value, old) if type_ == "resource" else value


def _state(key: str, value: str, old: SourceState | None) -> SourceState:
    for status in get_args(SourceStatus):
        if status == value:
            return SourceState(status, (old.faults if old else 0) + 1)
    known = ", ".join(get_args(SourceStatus))
    raise SimulationError(f"--simulate 'source:{key}={value}': found {value!r}, expected one of {known}")


def _resource(key: str, value: str, old: Resource | None) -> Resource:
    """What the kubelet would write: ``ceil(quantity / divisor)``, for the divisor that is declared."""
    from kmetad.quantity import Quantity

    if old is not None and old.divisor is None:
        if value.isascii() and value.isdecimal():
            return Resource(int(value))
        raise SimulationError(
            f"--simulate 'resource:{key}={value}': found {value!r}, expected a bare number, "
            "since no divisor is declared for it"
        )
    try:
        wanted = Quantity(value)
    except QuantityError as error:
        raise SimulationError(f"--simulate 'resource:{key}={value}': {error}") from None
    divisor = old.divisor if old is not None and old.divisor is not None else Quantity("1m")
    return Resource(-(-wanted.milli // divisor.milli), divisor)
