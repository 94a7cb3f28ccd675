"""What resources the API server has: its own words for them, and which of several versions is meant.

Two forms exist. The aggregated one (Kubernetes 1.26 and later, apidiscovery.k8s.io) says all in two
answers. The older one is walked: ``/api`` is an APIVersions, ``/apis`` an APIGroupList, and each
group's version an APIResourceList. A server that doesn't know the first answers with the second,
since both are asked for at once. Apart from ``discover`` nothing here asks anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kmetad.api.errors import ApiError, BadAnswer, StatusError, TimedOut

if TYPE_CHECKING:
    from kmetad.api.client import Client

ACCEPT = ",".join(
    [
        *(
            f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            for version in ("v2", "v2beta1")
        ),
        "application/json",
    ]
)
"""The forms of discovery, the best first; v2beta1 is that of Kubernetes 1.26 to 1.29."""


@dataclass(frozen=True, slots=True)
class ApiResource:
    """A resource, or a subresource of one (``pods/log``), in one version of its group."""

    name: str
    """As in a path: plural, ``pods``; of a subresource ``pods/log``."""
    short_names: tuple[str, ...]
    group_version: str
    """``v1``, ``apps/v1``."""
    namespaced: bool
    kind: str
    verbs: tuple[str, ...]
    categories: tuple[str, ...] = ()
    """``all`` and others that `kubectl get` takes for several resources at once."""
    singular: str = ""
    preferred: bool = True
    """False where the server would rather be asked for another version of it."""

    @property
    def group(self) -> str:
        """Empty for the core's."""
        return self.group_version.rpartition("/")[0]

    @property
    def version(self) -> str:
        """Without the group."""
        return self.group_version.rpartition("/")[2]

    @property
    def is_subresource(self) -> bool:
        """Whether it is a part of another resource, and has its own verbs."""
        return "/" in self.name


@dataclass(frozen=True, slots=True)
class Discovered:
    """All that the server told, and sentences on what it couldn't tell."""

    resources: tuple[ApiResource, ...] = ()
    faults: tuple[str, ...] = ()


def discover(client: Client) -> Discovered:
    """Ask the server what it has: the core first, then its groups in the server's order.

    A group that can't be had (its own server may be down) is a fault, and the others are there. Raises
    ApiError if nothing can be had.
    """
    found: list[ApiResource] = []
    faults: list[str] = []
    failed: list[ApiError] = []
    for path in ("/api", "/apis"):
        try:
            document = _ask(client, path, ACCEPT)
        except (StatusError, BadAnswer) as error:  # with any other there is no point in asking on
            failed.append(error)
            faults.append(str(error))
            continue
        if _text(document, "kind") == "APIGroupDiscoveryList":
            part = aggregated(document)
        else:
            part = _walked(client, document)
        found += part.resources
        faults += part.faults
    if len(failed) == 2:
        raise failed[0]
    return Discovered(_with_preferred(found), tuple(faults))


def aggregated(document: object) -> Discovered:
    """What an APIGroupDiscoveryList says."""
    found: list[ApiResource] = []
    faults: list[str] = []
    for group in _objects(document, "items"):
        name = _text(group.get("metadata"), "name")
        for version in _objects(group, "versions"):
            group_version = _joined(name, _text(version, "version"))
            if _text(version, "freshness") == "Stale":
                faults.append(_stale(group_version))
            for resource in _objects(version, "resources"):
                found += _of_aggregated(resource, group_version)
    return Discovered(tuple(found), tuple(faults))


def group_versions(document: object) -> list[str]:
    """What an APIVersions, APIGroup or APIGroupList names, the preferred version of a group first."""
    kind = _text(document, "kind")
    if kind == "APIVersions":
        assert isinstance(document, dict)
        return list(_texts(document, "versions"))
    groups = [document] if kind == "APIGroup" else _objects(document, "groups")
    found: list[str] = []
    for group in groups:
        assert isinstance(group, dict)
        preferred = _text(group.get("preferredVersion"), "groupVersion")
        names = [_text(version, "groupVersion") for version in _objects(group, "versions")]
        found += sorted(filter(None, names), key=lambda name: name != preferred)
    return found


def listed(document: object) -> list[ApiResource]:
    """What an APIResourceList says."""
    group_version = _text(document, "groupVersion")
    return [
        ApiResource(
            name=name,
            short_names=_texts(resource, "shortNames"),
            group_version=group_version,
            namespaced=resource.get("namespaced") is True,
            kind=_text(resource, "kind"),
            verbs=_texts(resource, "verbs"),
            categories=_texts(resource, "categories"),
            singular=_text(resource, "singularName"),
        )
        for resource in _objects(document, "resources")
        if (name := _text(resource, "name"))
    ]


def find(known: Iterable[ApiResource], named: str) -> ApiResource | None:
    """The resource that somebody means by ``po``, ``Pod``, ``deploy.apps``, ``deployments.v1.apps``, ``pods/log``.

    A name, its singular, and then a short name, with the group or the version and the group behind it,
    as kubectl takes them. Of several the first, the preferred version first.
    """
    named, _, subresource = named.partition("/")
    word, _, behind = named.lower().partition(".")
    candidates = sorted(
        (resource for resource in known if not resource.is_subresource and _is_in(resource, behind)),
        key=lambda resource: not resource.preferred,
    )
    parent = next(
        (
            resource
            for matches in (
                lambda resource: word == resource.name,
                lambda resource: word == (resource.singular or resource.kind.lower()),
                lambda resource: word in resource.short_names,
            )
            for resource in candidates
            if matches(resource)
        ),
        None,
    )
    if parent is None or not subresource:
        return parent
    name, of = f"{parent.name}/{subresource}", parent.group_version
    return next((r for r in known if r.name == name and r.group_version == of), None) or replace(
        parent, name=name, short_names=(), verbs=(), categories=(), singular=""
    )


def _is_in(resource: ApiResource, behind: str) -> bool:
    """Whether ``apps`` or ``v1.apps`` (nothing: any group) is where a resource is."""
    if not behind or behind == resource.group:
        return True
    version, _, group = behind.partition(".")
    return (version, group) == (resource.version, resource.group)


def _walked(client: Client, document: object) -> Discovered:
    """Ask for each version's resources."""
    found: list[ApiResource] = []
    faults: list[str] = []
    root = "/api" if _text(document, "kind") == "APIVersions" else "/apis"
    for group_version in group_versions(document):
        try:
            found += listed(_ask(client, f"{root}/{group_version}"))
        except (StatusError, BadAnswer, TimedOut) as error:
            faults.append(f"{group_version}: {error}")
    return Discovered(tuple(found), tuple(faults))


def _ask(client: Client, path: str, accept: str = "application/json") -> dict[str, Any]:
    from kmetad.api.objects import parse

    try:
        answer = client.raw("GET", path, headers={"Accept": accept})
    except ValueError:  # the server's own word for a group, of which no path can be made
        raise BadAnswer(f"GET {path!r}: no API server has such a path") from None
    return parse(answer.body, f"GET {path}")


def _with_preferred(found: Sequence[ApiResource]) -> tuple[ApiResource, ...]:
    """With ``preferred`` set: a group's first version that has a resource is the one (the server sorts them)."""
    first: dict[tuple[str, str], str] = {}
    for resource in found:
        first.setdefault((resource.group, resource.name), resource.group_version)
    return tuple(
        replace(resource, preferred=first[resource.group, resource.name] == resource.group_version)
        for resource in found
    )


def _of_aggregated(resource: Mapping[str, Any], group_version: str) -> Iterator[ApiResource]:
    """The resource, and its subresources, which are inside it in this form."""
    name = _text(resource, "resource")
    if not name:
        return
    namespaced = _text(resource, "scope") == "Namespaced"
    verbs = _texts(resource, "verbs")
    if verbs:  # else it is there for the sake of its subresources alone
        yield ApiResource(
            name=name,
            short_names=_texts(resource, "shortNames"),
            group_version=group_version,
            namespaced=namespaced,
            kind=_text(resource.get("responseKind"), "kind"),
            verbs=verbs,
            categories=_texts(resource, "categories"),
            singular=_text(resource, "singularResource"),
        )
    for part in _objects(resource, "subresources"):
        yield ApiResource(
            name=f"{name}/{_text(part, 'subresource')}",
            short_names=(),
            group_version=group_version,
            namespaced=namespaced,
            kind=_text(part.get("responseKind"), "kind"),
            verbs=_texts(part, "verbs"),
        )


def _stale(group_version: str) -> str:
    return (
        f"{group_version}: the server that has it doesn't answer the API server, so this may be old or lacking; "
        f"see `kubectl describe apiservice {_reversed(group_version)}`"
    )


def _reversed(group_version: str) -> str:
    """The name of the APIService: ``v1beta1.metrics.k8s.io``."""
    group, _, version = group_version.rpartition("/")
    return f"{version}.{group}"


def _joined(group: str, version: str) -> str:
    return f"{group}/{version}" if group else version


def _text(holder: object, key: str) -> str:
    value = holder.get(key) if isinstance(holder, dict) else None
    return value if isinstance(value, str) else ""


def _texts(holder: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = holder.get(key)
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list) else ()


def _objects(holder: object, key: str) -> list[dict[str, Any]]:
    value = holder.get(key) if isinstance(holder, dict) else None
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
