"""Kubernetes' own names for what a Pod may know of itself: ``metadata.labels['app']``, ``limits.cpu``.

The paths are those of ``fieldRef`` and ``resourceFieldRef`` (Kubernetes docs, "Downward API").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kmetad.errors import FieldPathError

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
_KINDS = ("limits", "requests")
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
    *container, kind, name = ("", *path.split("."))[-3:]  # neither containers nor resources hold dots
    huge = name.startswith("hugepages-") and name[len("hugepages-") :].isalnum()
    if path.count(".") <= 2 and kind in _KINDS and (name in _RESOURCES or huge):
        return FieldPath("resource", f"{kind}.{name}", *container)
    raise FieldPathError(_unknown(path))


def _unknown(path: str) -> str:
    from difflib import get_close_matches  # for the way out alone

    head, bracket, rest = path.partition("[")
    meant = ""
    if path.startswith(tuple(f"{whole}." for whole in VOLUME_ONLY)):
        section, part, key = path.split(".", 2)
        meant = f"{section}.{part}['{key}']"
    elif bracket:
        key = rest.strip("[]'\"")
        close = get_close_matches(head, VOLUME_ONLY, n=1)
        meant = f"{close[0]}['{key}']" if close and key else ""
    else:
        known = [*_EXAMPLES, *(f"{kind}.{name}" for kind in _KINDS for name in _RESOURCES)]
        by_folded = {name.casefold(): name for name in known}
        close = get_close_matches(path.casefold(), by_folded, n=1)
        meant = by_folded[close[0]] if close else ""
    sentence = f"{path!r} is no field that Kubernetes offers to a Pod."
    if meant:
        return f"{sentence} Did you mean {meant}?"
    return (
        f"{sentence} There are {', '.join(_EXAMPLES)}, and limits.RESOURCE and requests.RESOURCE, also with "
        f"CONTAINER. before them, of {', '.join(_RESOURCES)} and hugepages-SIZE."
    )
