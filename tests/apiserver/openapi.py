"""What the server says of its API as OpenAPI: no more than kubectl needs to create or apply something.

An old one gets a document without types, and so has nothing to check an object by. A new one only
wants to know whether PATCH takes ``fieldValidation``, and then leaves the check to the server.
"""

from __future__ import annotations

from typing import Any

from tests.apiserver.answers import NO_PAGE, Answer, answer
from tests.apiserver.discovery import Resource, resources
from tests.apiserver.recorded import recorded

_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_TITLE = "Kubernetes"


def document(path: str, accept: str) -> Answer:
    """What is at a path below ``/openapi``."""
    info = {"title": _TITLE, "version": recorded("version").json["gitVersion"]}
    if path == "/openapi/v2":
        if _PROTOBUF in accept:
            return Answer(200, _protobuf("2.0", info), _PROTOBUF.replace("@", "."))
        return answer({"swagger": "2.0", "info": info, "paths": {}})
    found: dict[str, dict[str, Any]] = {}
    for resource in resources().values():
        root = f"{'apis' if resource.group else 'api'}/{resource.api_version}"
        found.setdefault(root, {}).update(_patchable(root, resource))
    if path == "/openapi/v3":
        return answer({"paths": {root: {"serverRelativeURL": f"/openapi/v3/{root}"} for root in found}})
    root = path.removeprefix("/openapi/v3/")
    return answer({"openapi": "3.0.0", "info": info, "paths": found[root]}) if root in found else NO_PAGE


def _patchable(root: str, resource: Resource) -> dict[str, Any]:
    """The path under which a resource's objects are patched, if they are."""
    if "patch" not in resource.verbs:
        return {}
    where = "namespaces/{namespace}/" if resource.namespaced else ""
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    takes = [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]
    patch = {"parameters": takes, "responses": {}, "x-kubernetes-group-version-kind": kind}
    return {f"/{root}/{where}{resource.plural}/{{name}}": {"patch": patch}}


def _protobuf(swagger: str, info: dict[str, str]) -> bytes:
    """A document (gnostic's openapi.v2.Document) with these alone, and with no paths."""

    def field(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2, len(value)]) + value

    about = field(1, info["title"].encode()) + field(2, info["version"].encode())
    return field(1, swagger.encode()) + field(2, about) + field(8, b"")
