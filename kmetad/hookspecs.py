"""The hooks that a plugin may have: the whole contract between kmetad and plugins.

A plugin is a class ``Plugin`` whose methods are marked with ``kmetad.hookimpl``.
It is made once for each table ``[plugins.NAME]`` that names it, and each instance
has a thread of its own: its hooks are never entered twice at once, and neither
wait for other plugins nor make them wait.

A hook takes only the arguments that it names. What a hook raises is logged with
the instance's name, reaches nobody else, and leaves the batch unacknowledged: it
is delivered again, against what is newest by then (``lane.retry``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pluggy

from kmetad.events import (
    AnnotationChange,
    Batch,
    FieldChange,
    FileChange,
    LabelChange,
    ResourceChange,
    SourceChange,
    TokenChange,
    TrustChange,
)
from kmetad.metadata import Snapshot

hookspec = pluggy.HookspecMarker("kmetad")
hookimpl = pluggy.HookimplMarker("kmetad")


@dataclass(frozen=True, slots=True)
class Context:
    """What ``Plugin.__init__`` may take beside ``options``, by the name ``context``."""

    name: str
    """The instance's, as in ``[plugins.NAME]``."""
    log: Any
    """A structlog logger that says whose lines these are."""
    snapshot: Callable[[], Snapshot] = Snapshot
    """Answers what the Pod is now."""


@hookspec
def kmetad_on_start(snapshot: Snapshot) -> None:
    """First of all, with what the Pod is now. Called again until it returns; changes come only after that."""


@hookspec
def kmetad_on_change(batch: Batch) -> None:
    """Something changed: all changes of one delivery together, after the hooks for its single changes.

    When it and they have returned, the batch is acknowledged.
    """


@hookspec
def kmetad_on_label(change: LabelChange) -> None:
    """A label was added, changed or removed. Once for each of the batch, before ``kmetad_on_change``."""


@hookspec
def kmetad_on_annotation(change: AnnotationChange) -> None:
    """An annotation was added, changed or removed. Likewise."""


@hookspec
def kmetad_on_field(change: FieldChange) -> None:
    """A field (a name, an IP) became known, changed or went. Likewise."""


@hookspec
def kmetad_on_resource(change: ResourceChange) -> None:
    """A request or limit changed (an in-place resize). Likewise."""


@hookspec
def kmetad_on_file(change: FileChange) -> None:
    """Another file of a watched volume changed: a ConfigMap's or Secret's. Likewise; the content isn't passed on."""


@hookspec
def kmetad_on_token(change: TokenChange) -> None:
    """The mounted token was renewed. Likewise; the token isn't passed on."""


@hookspec
def kmetad_on_trust(change: TrustChange) -> None:
    """The mounted CA of the cluster changed. Likewise."""


@hookspec
def kmetad_on_source(change: SourceChange) -> None:
    """A source was lost, recovered, or had faults meanwhile. Likewise, and first of the batch."""


@hookspec
def kmetad_on_stop() -> None:
    """Last of all, when kmetad stops and no other hook of the instance is running. Raising is only logged."""
