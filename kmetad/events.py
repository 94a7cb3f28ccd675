"""What changed: one frozen type for each subject, and the batch that a hook gets.

The JSON form of a change is part of kmetad's interface: one object a line, the
same from ``kmetad events -o json``, on the standard input of actions, and in the
status stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

from kmetad.metadata import Digest, Resource, Snapshot, SourceState, Token, nothing

if TYPE_CHECKING:
    from datetime import datetime

Op = Literal["added", "changed", "removed"]
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Change(Generic[V]):
    """One key that differs: ``old`` is None when it was added, ``new`` when it was removed."""

    key: str
    old: V | None
    new: V | None
    source: str
    """The source that speaks for the key now, or spoke for it when it was removed."""

    type: ClassVar[str]

    @property
    def op(self) -> Op:
        """``added``, ``changed`` or ``removed``."""
        if self.old is None:
            return "added"
        return "removed" if self.new is None else "changed"

    @staticmethod
    def as_json(value: V) -> Any:
        """``old`` or ``new`` as JSON shows it; text unless a subclass says otherwise."""
        return value


@dataclass(frozen=True, slots=True)
class LabelChange(Change[str]):
    """A label of the Pod; the key is the label's key."""

    type: ClassVar[str] = "label"


@dataclass(frozen=True, slots=True)
class AnnotationChange(Change[str]):
    """An annotation of the Pod; the key is the annotation's key."""

    type: ClassVar[str] = "annotation"


@dataclass(frozen=True, slots=True)
class FieldChange(Change[str]):
    """A field of the Pod; the key is its path, as ``metadata.name``."""

    type: ClassVar[str] = "field"


@dataclass(frozen=True, slots=True)
class ResourceChange(Change[Resource]):
    """A request or limit; the key is ``CONTAINER.limits.cpu``."""

    type: ClassVar[str] = "resource"

    @staticmethod
    def as_json(value: Resource) -> Any:
        """The quantity as text, or the bare number where no divisor is declared."""
        return value.number if value.divisor is None else str(value)


@dataclass(frozen=True, slots=True)
class FileChange(Change[Digest]):
    """Any other file of a volume; the key is ``SOURCE/path``. Its content is never shown."""

    type: ClassVar[str] = "file"

    @staticmethod
    def as_json(value: Digest) -> Any:
        """Always null: a digest stays inside."""
        return None


@dataclass(frozen=True, slots=True)
class TokenChange(Change[Token]):
    """The mounted token was renewed; the key is the source's name."""

    type: ClassVar[str] = "token"

    @staticmethod
    def as_json(value: Token) -> Any:
        """When it expires and for whom it is."""
        expires = None if value.expires is None else rfc3339(value.expires * 10**9, digits=0)
        return {"expires": expires, "audiences": list(value.audiences)}


@dataclass(frozen=True, slots=True)
class TrustChange(Change[Digest]):
    """The cluster's CA file; the key is the source's name."""

    type: ClassVar[str] = "trust"

    @staticmethod
    def as_json(value: Digest) -> Any:
        """Always null: a digest stays inside."""
        return None


@dataclass(frozen=True, slots=True)
class SourceChange(Change[SourceState]):
    """A source's health; the key is its name. ``healthy`` to ``healthy`` says: it had faults meanwhile."""

    type: ClassVar[str] = "source"

    @staticmethod
    def as_json(value: SourceState) -> Any:
        """The status alone."""
        return value.status


AnyChange = (
    LabelChange
    | AnnotationChange
    | FieldChange
    | ResourceChange
    | FileChange
    | TokenChange
    | TrustChange
    | SourceChange
)

SUBJECTS: tuple[tuple[type[Change[Any]], str], ...] = (
    (SourceChange, "sources"),
    (AnnotationChange, "annotations"),
    (FieldChange, "fields"),
    (FileChange, "files"),
    (LabelChange, "labels"),
    (ResourceChange, "resources"),
    (TokenChange, "tokens"),
    (TrustChange, "trust"),
)
"""Each type of change and the part of a snapshot that it is about, in the order of a batch."""

TYPES: tuple[str, ...] = tuple(change.type for change, _ in SUBJECTS)


@dataclass(frozen=True, slots=True)
class Batch:
    """The changes that belong together: one delivery to one plugin, or one step of ``kmetad.watch``."""

    changes: tuple[AnyChange, ...]
    """Sources first, then by type and key."""
    previous: Snapshot
    """What was acknowledged before (of ``kmetad.watch``: the last batch's ``current``)."""
    current: Snapshot
    time_ns: int
    """When kmetad saw it, in ns since the epoch."""
    attempt: int = 1
    """1 for the first try of a delivery; counts up as it is retried."""

    @property
    def time(self) -> datetime:
        """When kmetad saw it (UTC)."""
        return _utc(self.time_ns)

    @property
    def swapped_ns(self) -> int | None:
        """When the kubelet swapped the newest of the changed sources, in ns since the epoch; None without a swap."""
        swaps = self.current.swapped
        return max((swaps[c.source] for c in self.changes if c.source in swaps), default=None)

    @property
    def swapped(self) -> datetime | None:
        """When the kubelet swapped the newest of the changed sources (UTC); None without a swap."""
        return None if self.swapped_ns is None else _utc(self.swapped_ns)

    def json_lines(self) -> str:
        """The changes as JSON, each on a line of its own that ends with a newline.

        Bytes that were no UTF-8 come out as escaped lone surrogates (``\\udcff``).
        """
        from json import dumps  # msgspec can't encode surrogates

        time = rfc3339(self.time_ns)
        lines = []
        for change in self.changes:
            swapped = self.current.swapped.get(change.source)
            lines.append(
                dumps(
                    {
                        "time": time,
                        "swapped": None if swapped is None else rfc3339(swapped),
                        "type": change.type,
                        "op": change.op,
                        "key": change.key,
                        "old": None if change.old is None else change.as_json(change.old),  # type: ignore[arg-type]
                        "new": None if change.new is None else change.as_json(change.new),  # type: ignore[arg-type]
                        "source": change.source,
                        "generation": self.current.generation,
                    },
                    separators=(",", ":"),
                )
            )
        return "".join(line + "\n" for line in lines)


Plain = str | int | float | bool | None
"""What ``Outcome.detail`` may hold."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an instance did with a delivery: one try. With ``kmetad_on_start`` too, if there is something to say."""

    instance: str
    result: Literal["applied", "failed", "postponed", "skipped"]
    """Its hooks returned in time; one raised or was late; one raised ``Retry``; one raised ``Skip``."""
    changes: tuple[AnyChange, ...]
    """What it was told; empty for ``kmetad_on_start``."""
    current: Snapshot
    """What the Pod was then. Told again after a restart, as far as this instance was told of it."""
    attempt: int
    started_ns: int
    """When its first hook was called, in ns since the epoch."""
    seconds: float
    """How long they took."""
    error: str = ""
    """What was raised, or the reason of ``Retry`` or ``Skip``; empty where it was applied."""
    detail: Mapping[str, Plain] = field(default_factory=nothing)
    """What the plugin's hook returned."""


_FIRST_NS, _LAST_NS = -62_135_596_800 * 10**9, 253_402_300_800 * 10**9 - 1
"""Of the years 1 and 9999: a file's time, or a token's claim, may be any number, and RFC 3339 has four digits."""


def rfc3339(ns: int, *, digits: int = 6) -> str:
    """Nanoseconds since the epoch as ``2026-01-02T03:04:05.123456Z``, cut to so many digits."""
    from time import gmtime, strftime

    seconds, rest = divmod(min(max(ns, _FIRST_NS), _LAST_NS), 10**9)
    fraction = f".{rest:09d}"[: digits + 1] if digits else ""
    time = gmtime(seconds)
    return f"{time.tm_year:04}{strftime('-%m-%dT%H:%M:%S', time)}{fraction}Z"


def _utc(ns: int) -> datetime:
    from datetime import UTC, datetime, timedelta

    # From integers: a float of this size loses the last microsecond.
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=min(max(ns, _FIRST_NS), _LAST_NS) // 1000)
