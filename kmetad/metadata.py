"""What a Pod is now: the values that sources read, that ``diff`` compares and that hooks get.

Nothing in this module does I/O or knows where a value comes from, beyond the
name of its source. Everything is immutable; snapshots share the parts that
didn't change between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from kmetad._goquote import encode
from kmetad.fieldpath import parse
from kmetad.quantity import Quantity

EMPTY: Mapping[str, Any] = MappingProxyType({})
"""The mapping that holds nothing; shared by every snapshot that lacks a part."""


def nothing() -> Mapping[str, Any]:
    """``EMPTY``, as a default of dataclasses, which take no mapping for one before Python 3.12."""
    return EMPTY


SourceStatus = Literal["healthy", "polling", "lost", "unreadable"]


@dataclass(frozen=True, slots=True)
class Digest:
    """A keyed digest of a content that must not be shown; equal where the contents are.

    The key stays in kmetad's processes, so the digest tells nothing to others.
    """

    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Resource:
    """A request or limit: the bare integer that the kubelet wrote, and its divisor if declared.

    The kubelet writes ``ceil(quantity / divisor)`` with no unit (KUBERNETES:
    ``resourceFieldRef``), so without the divisor the number has no meaning, and
    ``quantity`` is None.
    """

    number: int
    divisor: Quantity | None = None

    @property
    def quantity(self) -> Quantity | None:
        """``number × divisor``, exact; None where no divisor was declared."""
        return None if self.divisor is None else self.divisor * self.number

    def __str__(self) -> str:
        """The quantity as Kubernetes writes it (``250m``), or the bare number."""
        return str(self.number) if self.divisor is None else str(self.quantity)


@dataclass(frozen=True, slots=True)
class Token:
    """What may be known of a mounted token: when it goes stale, for whom it is, and a digest.

    ``expires`` is in seconds since the epoch: the earlier of the claims ``exp``
    and ``kubernetes.io.warnafter`` (the API server mints default tokens with an
    ``exp`` a year away, and renews them within the hour); None if it has neither.
    """

    expires: int | None
    audiences: tuple[str, ...]
    digest: Digest


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source is: its status, how many faults it had so far, and the one in force.

    ``healthy``: read and watched. ``polling``: read, but the kernel gives no
    notifications, so it is compared once a second. ``lost``: not there.
    ``unreadable``: there, but not to be read. ``faults`` only ever grows, so that
    a source that was lost and came back between two looks is a difference too.
    ``error`` says in words what is wrong and what to do; empty if nothing is.
    """

    status: SourceStatus = "healthy"
    faults: int = 0
    error: str = ""

    @property
    def speaks(self) -> bool:
        """True where its values are current."""
        return self.status in ("healthy", "polling")


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Snapshot:
    """What the Pod is now, by what all sources together say.

    Two snapshots are equal when they say the same of the Pod and of the sources'
    health; ``generation``, ``swapped`` and ``origins`` are how that came to be
    known, and don't count.
    """

    labels: Mapping[str, str] = field(default_factory=nothing)
    annotations: Mapping[str, str] = field(default_factory=nothing)
    fields: Mapping[str, str] = field(default_factory=nothing)
    """By field path: ``metadata.name``, ``status.podIP``, …"""
    resources: Mapping[str, Resource] = field(default_factory=nothing)
    """By ``CONTAINER.limits.cpu``; the container is empty where none was declared."""
    files: Mapping[str, Digest] = field(default_factory=nothing)
    """By ``SOURCE/path/in/the/volume``: files that aren't metadata."""
    tokens: Mapping[str, Token] = field(default_factory=nothing)
    """By the source's name."""
    trust: Mapping[str, Digest] = field(default_factory=nothing)
    """The cluster's CA, by the source's name."""
    sources: Mapping[str, SourceState] = field(default_factory=nothing)
    """By name, in declared order."""
    generation: int = field(default=0, compare=False)
    """How many times the content changed in this life of kmetad; means nothing outside."""
    swapped: Mapping[str, int] = field(default_factory=nothing, compare=False)
    """By source: when the kubelet swapped it last, in ns since the epoch."""
    origins: Mapping[str, str | Mapping[str, str]] = field(default_factory=nothing, compare=False, repr=False)
    """By type (``label`` …): the source of all keys, or the source of each key. Ask ``source_of``."""

    def source_of(self, type_: str, key: str) -> str:
        """The name of the source that speaks for a key (``"label"``, ``"app"``); empty if none does."""
        if type_ == "source":
            return key
        origin = self.origins.get(type_, "")
        return origin if isinstance(origin, str) else origin.get(key, "")

    def get(self, path: str) -> str | None:
        """The text at a field path (``metadata.labels['app']``, ``limits.cpu``); None if it isn't there now.

        All labels come as the kubelet writes them: sorted, ``KEY="VALUE"`` a line, quoted as
        Go does. ``limits.cpu`` without a container is that of the container that was declared
        without a name, or of the only one there is. Raises FieldPathError if Kubernetes has
        no such path.
        """
        at = parse(path)
        if at.type == "field":
            return self.fields.get(at.key)
        if at.type == "resource":
            return self._resource(at.container, at.key)
        values = self.labels if at.type in ("label", "labels") else self.annotations
        if at.type in ("labels", "annotations"):
            return encode(values).decode(errors="surrogateescape") if values else None
        # An item of a volume, or a variable, may carry one label alone, as a field.
        return values.get(at.key, self.fields.get(f"metadata.{at.type}s['{at.key}']"))

    def _resource(self, container: str, key: str) -> str | None:
        resource = self.resources.get(f"{container}.{key}")
        if resource is None and not container:
            named = [value for name, value in self.resources.items() if name.partition(".")[2] == key]
            resource = named[0] if len(named) == 1 else None
        return None if resource is None else str(resource)
