"""What one source says, and what the watcher may ask of a source."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from kmetad.metadata import Digest, Resource, Token, nothing


@dataclass(frozen=True, slots=True)
class Content:
    """One consistent reading of one source; the parts are those of a Snapshot.

    Parts that are equal to those of the reading before are the same objects, so
    that ``diff`` can skip them.
    """

    labels: Mapping[str, str] = field(default_factory=nothing)
    annotations: Mapping[str, str] = field(default_factory=nothing)
    fields: Mapping[str, str] = field(default_factory=nothing)
    resources: Mapping[str, Resource] = field(default_factory=nothing)
    files: Mapping[str, Digest] = field(default_factory=nothing)
    tokens: Mapping[str, Token] = field(default_factory=nothing)
    trust: Mapping[str, Digest] = field(default_factory=nothing)
    swapped_ns: int | None = None
    """When the kubelet swapped, by the new directory's modification time; None where there are no swaps."""
    fingerprint: Hashable = None
    """What ``Source.fingerprint`` answered for this reading."""
    faults: tuple[str, ...] = ()
    """Files that are no valid quoting, one sentence each; their last good values stand in for them."""
    unreadable: tuple[str, ...] = ()
    """Files that the kernel won't let us read, one sentence each; likewise."""


NOTHING = Content()


class Source(Protocol):
    """Something that says what the Pod is: a volume, the environment, the service account."""

    @property
    def name(self) -> str:
        """Unique among the sources."""

    @property
    def path(self) -> str | None:
        """The directory to watch; None for a source that never changes."""

    @property
    def swapped(self) -> bool:
        """True if ``..data`` swaps the directory, as the last ``read`` saw; else files change one by one."""

    def read(self, previous: Content) -> Content:
        """Read one whole generation.

        ``previous`` is the last reading (NOTHING before the first): what can't be
        decoded now keeps its value from there, and what is equal shares its object.

        Raises SourceLost and SourceUnreadable.
        """

    def fingerprint(self) -> Hashable:
        """Something cheap that differs whenever the content may: for polling.

        The target of ``..data``, or inode, time and size of each file.
        Raises SourceLost and SourceUnreadable.
        """
