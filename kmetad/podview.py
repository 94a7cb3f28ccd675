"""A snapshot in the forms that ``kmetad get`` prints: a table, a Pod, variables, OpenTelemetry."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kmetad.metadata import Resource, Snapshot

Value = str | int | dict[str, str]
"""What one field path holds: a text, a number without a unit, or all labels or annotations."""

ENVIRONMENT = {
    "POD_NAME": "metadata.name",
    "POD_NAMESPACE": "metadata.namespace",
    "POD_UID": "metadata.uid",
    "POD_IP": "status.podIP",
    "POD_IPS": "status.podIPs",
    "NODE_NAME": "spec.nodeName",
    "HOST_IP": "status.hostIP",
    "HOST_IPS": "status.hostIPs",
    "SERVICE_ACCOUNT": "spec.serviceAccountName",
    "CPU_REQUEST": "requests.cpu",
    "CPU_LIMIT": "limits.cpu",
    "MEMORY_REQUEST": "requests.memory",
    "MEMORY_LIMIT": "limits.memory",
}
"""The names that people already use for a Pod's variables, and what each holds."""

OTEL = {
    "k8s.namespace.name": "metadata.namespace",
    "k8s.pod.name": "metadata.name",
    "k8s.pod.uid": "metadata.uid",
    "k8s.node.name": "spec.nodeName",
}
"""OpenTelemetry's names (semantic conventions, resource attributes of Kubernetes)."""

_ORDER = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "metadata.labels",
    "metadata.annotations",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.podIP",
    "status.podIPs",
    "status.hostIP",
    "status.hostIPs",
)
"""The order of the table: a Pod's own."""

_LISTS = ("podIPs", "hostIPs")  # PodStatus: lists of objects with one key, "ip"


def rows(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Every field path that holds something now, and its text. Each path can be given to ``kmetad get``."""
    found: list[tuple[str, str]] = []
    for path in _ORDER:
        part = path.rpartition(".")[2]
        if part in ("labels", "annotations"):
            texts = sorted(_map(snapshot, part).items())
            found += [(f"metadata.{part}['{key}']", text) for key, text in texts]
        elif path in snapshot.fields:
            found.append((path, snapshot.fields[path]))
    for container, kind, name, resource in _resources(snapshot):
        found.append((".".join(filter(None, (container, kind, name))), str(resource)))
    return found


def value(snapshot: Snapshot, path: str) -> Value | None:
    """One field as JSON has it; None if it isn't there now.

    Raises FieldPathError if Kubernetes has no such path.
    """
    from kmetad.fieldpath import parse

    at = parse(path)
    if at.type in ("labels", "annotations"):
        return _map(snapshot, at.type) or None
    text = snapshot.get(path)
    if at.type != "resource" or text is None:
        return text
    resources = snapshot.resources
    only = (resource for key, resource in resources.items() if key.partition(".")[2] == at.key)
    return _json(resources.get(f"{at.container}.{at.key}") or next(only))


def pod(snapshot: Snapshot) -> dict[str, Any]:
    """The snapshot in the shape of a Pod; what isn't known is absent.

    Beside it stands ``resources``, by container, with quantities as Kubernetes
    writes them, or bare numbers where no divisor was declared.
    """
    metadata: dict[str, Any] = {}
    view: dict[str, dict[str, Any]] = {"metadata": metadata, "spec": {}, "status": {}, "resources": {}}
    for path, text in snapshot.fields.items():
        section, _, name = path.partition(".")
        if "[" in name or section not in view:
            continue  # a single label or annotation: below, among the others
        view[section][name] = [{"ip": ip} for ip in text.split(",")] if name in _LISTS else text
    for part in ("labels", "annotations"):
        if values := _map(snapshot, part):
            metadata[part] = values
    for container, kind, name, resource in _resources(snapshot):
        view["resources"].setdefault(container, {}).setdefault(kind, {})[name] = _json(resource)
    return {section: values for section, values in view.items() if values}


def environment(snapshot: Snapshot) -> list[str]:
    """``NAME=VALUE`` for what is known, in the conventional names, quoted for a shell."""
    from shlex import quote

    known = ((name, snapshot.get(path)) for name, path in ENVIRONMENT.items())
    return [f"{name}={quote(text)}" for name, text in known if text is not None and "\0" not in text]


def otel(snapshot: Snapshot) -> str:
    """A value for OTEL_RESOURCE_ATTRIBUTES.

    In the form of W3C Baggage (OpenTelemetry's Resource SDK, "Specifying resource
    information via an environment variable"): ``KEY=VALUE,…`` with values in
    percent-encoding wherever Baggage or OpenTelemetry give a character a meaning.
    """
    from urllib.parse import quote

    known = ((name, snapshot.get(path)) for name, path in OTEL.items())
    return ",".join(
        f"{name}={quote(text.encode('utf-8', 'surrogateescape'), safe='/:@')}"
        for name, text in known
        if text is not None
    )


def _json(resource: Resource) -> str | int:
    """The quantity as Kubernetes writes it, or the bare number where no divisor was declared."""
    return resource.number if resource.divisor is None else str(resource)


def _map(snapshot: Snapshot, part: str) -> dict[str, str]:
    prefix = f"metadata.{part}['"
    single = {
        path[len(prefix) : -2]: text for path, text in snapshot.fields.items() if path.startswith(prefix)
    }
    whole: dict[str, str] = dict(getattr(snapshot, part))
    return single | whole


def _resources(snapshot: Snapshot) -> Iterator[tuple[str, str, str, Resource]]:
    for key, resource in sorted(snapshot.resources.items()):
        container, kind, name = ("." + key).rsplit(".", 2)
        yield container.strip("."), kind, name, resource
