"""Kubernetes' own names for what a Pod may know of itself: ``metadata.labels['app']``, ``limits.cpu``.

The paths are those of ``fieldRef`` and ``resourceFieldRef`` (Kubernetes docs, "Downward API").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kmetad.errors import FieldPathError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kmetad.metadata import Snapshot

ANYWHERE = ("metadata.name", "metadata.namespace", "metadata.uid")
"""Fields for variables and for files of a volume."""
ENV_ONLY = (
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
"""Fields that Kubernetes offers to variables alone; the plurals are joined by commas."""
VOLUME_ONLY = ("metadata.labels", "metadata.annotations")
"""All labels, all annotations: for files alone."""

_EXAMPLES = (*ANYWHERE, *ENV_ONLY, *VOLUME_ONLY, "metadata.labels['KEY']", "metadata.annotations['KEY']")
_RESOURCES = ("cpu", "memory", "ephemeral-storage")
_KEYED: dict[str, Literal["label", "annotation"]] = {
    "metadata.labels[": "label",
    "metadata.annotations[": "annotation",
}


@dataclass(frozen=True, slots=True)
class FieldPath:
    """A parsed path.

    ``type`` is that of the changes that are about it; ``labels`` and ``annotations``
    stand for all of them. ``key`` is the label's or annotation's key, the field's path,
    or ``limits.cpu``; ``container`` is for resources, and empty where none was named.
    """

    type: Literal["label", "annotation", "labels", "annotations", "field", "resource"]
    key: str
    container: str = ""


def parse(path: str) -> FieldPath:
    """Read a field path; ``CONTAINER.limits.cpu`` names the container too.

    Raises FieldPathError, with what was likely meant.
    """
    for start, type_ in _KEYED.items():
        rest = path[len(start) :]
        if path.startswith(start) and len(rest) > 3 and rest[0] in "'\"" and rest[-2:] == rest[0] + "]":
            return FieldPath(type_, rest[1:-2])
    if path in ANYWHERE or path in ENV_ONLY:
        return FieldPath("field", path)
    if path in VOLUME_ONLY:
        return FieldPath("labels" if path == "metadata.labels" else "annotations", path)
    container, dot, resource = ("", ".", path) if path.startswith(("limits.", "requests.")) else path.partition(".")
    kind, _, name = resource.partition(".")
    huge = name.startswith("hugepages-") and len(name) > len("hugepages-")
    if dot and kind in ("limits", "requests") and (name in _RESOURCES or huge):
        return FieldPath("resource", resource, container)
    raise FieldPathError(_unknown(path))


def lookup(snapshot: Snapshot, path: str) -> str | None:
    """The text at a path, or None if it isn't there now.

    ``limits.cpu`` without a container is that of the container that was declared
    without a name, or of the only one there is. Raises FieldPathError.
    """
    at = parse(path)
    if at.type == "field":
        return snapshot.fields.get(at.key)
    if at.type in ("labels", "annotations"):
        values: Mapping[str, str] = getattr(snapshot, at.type)
        return "\n".join(f"{key}={values[key]}" for key in sorted(values)) if values else None
    if at.type == "resource":
        return _resource(snapshot, at)
    part, kind = (snapshot.labels, "labels") if at.type == "label" else (snapshot.annotations, "annotations")
    # An item of a volume, or a variable, may carry one label alone.
    return part.get(at.key, snapshot.fields.get(f"metadata.{kind}['{at.key}']"))


def _resource(snapshot: Snapshot, at: FieldPath) -> str | None:
    exact = snapshot.resources.get(f"{at.container}.{at.key}")
    if exact is None and not at.container:
        named = [value for key, value in snapshot.resources.items() if key.partition(".")[2] == at.key]
        exact = named[0] if len(named) == 1 else None
    return None if exact is None else str(exact)


def _unknown(path: str) -> str:
    from difflib import get_close_matches

    known = [*_EXAMPLES, *(f"{kind}.{name}" for kind in ("limits", "requests") for name in _RESOURCES)]
    close = get_close_matches(path, known, n=1)
    meant = f" Did you mean {close[0]}?" if close else f" There are {', '.join(known)}."
    return f"{path!r} is no field that Kubernetes offers to a Pod.{meant}"
