"""What the server serves: resources, and the documents that list them, all from the recorded ones."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.apiserver.answers import NO_PAGE, Answer, answer, text
from tests.apiserver.recorded import Recorded, recorded

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_RECORDED_AT = "127.0.0.1:16443"
_RECORDED_LISTS = {"/api/v1": "api-v1", "/apis/apps": "apis-apps", "/apis/apps/v1": "apis-apps-v1"}
_DOCUMENTS = {
    "/": "root",
    "/api": "api",
    "/apis": "apis",
    "/version": "version",
    "/openid/v1/jwks": "jwks",
    "/.well-known/openid-configuration": "oidc-config",
}


@dataclass(frozen=True)
class Resource:
    """One that objects are of."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool
    verbs: frozenset[str]
    subresources: Mapping[str, frozenset[str]]

    @property
    def api_version(self) -> str:
        """As objects say it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage(self) -> tuple[str, str]:
        """Under what its objects are kept, whatever the version: Events of both groups are the same."""
        return ("", self.plural) if self.kind == "Event" else (self.group, self.plural)


def _groups() -> list[dict[str, Any]]:
    return [*recorded("api-aggregated").json["items"], *recorded("apis-aggregated").json["items"]]


@functools.cache
def resources() -> dict[tuple[str, str, str], Resource]:
    """All, by group, version and plural."""
    found = {}
    for group in _groups():
        name = group["metadata"].get("name", "")
        for version in group["versions"]:
            for entry in version["resources"]:
                subresources = {
                    sub["subresource"]: frozenset(sub["verbs"]) for sub in entry.get("subresources", ())
                }
                found[name, version["version"], entry["resource"]] = Resource(
                    name,
                    version["version"],
                    entry["resource"],
                    entry["responseKind"]["kind"],
                    entry["scope"] == "Namespaced",
                    frozenset(entry["verbs"]),
                    subresources,
                )
    return found


def versions(group: str) -> list[str]:
    """Those of a group, the preferred one first; none if there is no such group."""
    found = [entry for entry in _groups() if entry["metadata"].get("name", "") == group]
    return [version["version"] for entry in found for version in entry["versions"]]


def resource_of(api_version: str, kind: str) -> Resource:
    """The resource whose objects say this of themselves."""
    group, _, version = api_version.rpartition("/")
    for resource in resources().values():
        if (resource.group, resource.version, resource.kind) == (group, version, kind):
            return resource
    raise LookupError(f"no resource of kind {kind} in {api_version}")


def document(path: str, accept: str, address: str, verbose: bool = False) -> Answer:
    """What is at a path that isn't of a resource's objects."""
    path = path.rstrip("/") or "/"
    if path in ("/healthz", "/livez", "/readyz"):
        return text(recorded("readyz-verbose").body.decode() if verbose else "ok")
    if path in ("/api", "/apis") and _AGGREGATED in accept.replace(" ", "").split(","):
        found = recorded(f"{path[1:]}-aggregated")
        etag = found.header("Etag") or ""
        headers = [("Cache-Control", "public"), ("Etag", etag), ("Vary", "Accept")]
        return Answer(200, found.body, found.header("Content-Type") or "", headers)
    if name := _DOCUMENTS.get(path) or _RECORDED_LISTS.get(path):
        return _as_recorded(recorded(name), address)
    parts = path.strip("/").split("/")
    if parts[0] == "apis" and len(parts) in (2, 3):
        found_versions = versions(parts[1])
        if len(parts) == 2 and found_versions:
            return answer(_group(parts[1], found_versions))
        if len(parts) == 3 and parts[2] in found_versions:
            return answer(_list(parts[1], parts[2]))
    return NO_PAGE


def _as_recorded(found: Recorded, address: str) -> Answer:
    body = found.body.replace(_RECORDED_AT.encode(), address.encode())
    caching = found.header("Cache-Control") or ""
    return Answer(found.status, body, found.header("Content-Type") or "", [("Cache-Control", caching)])


def _group(name: str, found: list[str]) -> dict[str, Any]:
    each = [{"groupVersion": f"{name}/{version}", "version": version} for version in found]
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": name,
        "versions": each,
        "preferredVersion": each[0],
    }


def _list(group: str, version: str) -> dict[str, Any]:
    entries = []
    for found in _groups():
        if found["metadata"].get("name") != group:
            continue
        for each in found["versions"]:
            if each["version"] == version:
                for entry in each["resources"]:
                    entries += _entries(entry)
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{group}/{version}",
        "resources": entries,
    }


def _entries(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """A resource and its subresources in the older form."""
    namespaced = entry["scope"] == "Namespaced"
    first = {
        "name": entry["resource"],
        "singularName": entry["singularResource"],
        "namespaced": namespaced,
        "kind": entry["responseKind"]["kind"],
        "verbs": entry["verbs"],
    }
    first |= {key: entry[key] for key in ("shortNames", "categories") if key in entry}
    found = [first]
    for sub in entry.get("subresources", ()):
        kind = sub["responseKind"]
        where = {key: kind[key] for key in ("group", "version") if kind.get(key)}
        found.append(
            {
                "name": f"{entry['resource']}/{sub['subresource']}",
                "singularName": "",
                "namespaced": namespaced,
                **where,
                "kind": kind["kind"],
                "verbs": sub["verbs"],
            }
        )
    return found
