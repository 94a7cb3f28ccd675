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


def lookup(snapshot: Snapshot, path: str) -> str | None:
    """The text at a path, or None if it isn't there now.

    All labels come as the kubelet writes them: sorted, ``KEY="VALUE"`` a line, quoted as
    Go does. ``limits.cpu`` without a container is that of the container that was declared
    without a name, or of the only one there is. Raises FieldPathError.
    """
    at = parse(path)
    if at.type == "field":
        return snapshot.fields.get(at.key)
    if at.type in ("labels", "annotations"):
        values: Mapping[str, str] = getattr(snapshot, at.type)
        return "\n".join(f'{key}="{_quoted(values[key])}"' for key in sorted(values)) if values else None
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


_ESCAPES = {
    "\\": "\\\\",
    '"': '\\"',
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def _quoted(value: str) -> str:
    """As Go's ``strconv.Quote`` has it, without the quotation marks around."""
    return "".join(_ESCAPES.get(char) or (char if char.isprintable() else _code(ord(char))) for char in value)


def _code(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8, as surrogateescape has it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
