"""What a request asks for, in the terms in which the API server decides about it.

As RequestInfo has it (k8s.io/apiserver, pkg/endpoints/request/requestinfo.go), with these differences, all
to the side of refusing:

- What it answers with an error, a parameter given twice that it reads, and methods that no verb belongs to
  are refused here.
- ``/api/v1/watch/…`` is for GET and HEAD. (Any method is the verb ``watch`` to RequestInfo, and no server
  has such a path for others.)
- A field selector that isn't written plainly (with backslashes, or with two names) gives no name, so that it
  is taken for a request without one, which no rule with names allows.
"""

from __future__ import annotations

from urllib.parse import unquote_plus

import msgspec

from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.target import Target

_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}

_BEFORE = {"api": 2, "apis": 3}
"""Parts before a resource: /api/VERSION, /apis/GROUP/VERSION. With no more than these, a path has none."""

_READ = ("watch", "fieldSelector")
"""Parameters that change what is asked for."""


class Asked(msgspec.Struct, frozen=True):
    """A request in Kubernetes' terms. One for no resource has but a verb, HTTP's in lower case, and a path."""

    verb: str
    path: str
    api_group: str = ""
    """Empty: the core group."""
    resource: str = ""
    """Empty: the request isn't for a resource, but for a path as /version."""
    subresource: str = ""
    namespace: str = ""
    """Empty: the resource has none, or it is asked for in all of them."""
    name: str = ""


def asked(method: str, target: Target) -> Asked:
    """What ``target`` is asked for. Raises Refusal: 405 for the method, 400 for the target."""
    verb = _VERBS.get(method)
    if verb is None:
        raise Refusal(405, "method", f"the API has no method {method[:20]!a}; it has {', '.join(_VERBS)}")
    path, query = target
    parts = path.strip("/").split("/")
    before = _BEFORE.get(parts[0], len(parts))
    if len(parts) <= before:
        return Asked(method.lower(), path)
    group = parts[1] if before == 3 else ""
    del parts[:before]

    if parts[0] in ("watch", "proxy"):  # older servers' form: the verb stands in the path
        verb = parts.pop(0)
        if not parts:
            raise Refusal(
                400, "target", f"the path ends where it should say what to {verb}; write .../{verb}/RESOURCE"
            )
        if verb == "watch" and method not in ("GET", "HEAD"):
            raise Refusal(405, "method", f"a path with /watch/ is for GET alone, and this is a {method}")

    namespace = ""
    if parts[0] == "namespaces" and len(parts) > 1:
        namespace = parts[1]
        # A namespace is a resource, too, with two subresources; all else behind its name is in it.
        if len(parts) > 2 and parts[2] not in ("status", "finalize"):
            del parts[:2]
    count = len(parts)
    name = parts[1] if count > 1 else ""
    subresource = parts[2] if count > 2 and verb != "proxy" else ""

    if query and not subresource and verb != "proxy":  # behind those, it is none of the API server's own
        given = _parameters(query)
        if not name and verb == "get":
            verb, name = _verb_and_name(given)
    elif not name and verb == "get":
        verb = "list"
    if not name and verb == "delete":
        verb = "deletecollection"
    return Asked(verb, path, group, parts[0], subresource, namespace, name)


def _parameters(query: str) -> dict[str, str]:
    """Those that are read, as Go's url.ParseQuery gives them. Raises Refusal if one is there twice."""
    given: dict[str, str] = {}
    for pair in query.split("&"):
        key, _, value = pair.partition("=")
        if "%" in key:
            key = unquote_plus(key)
        if key in _READ:
            if key in given:
                raise Refusal(
                    400, "target", f"the query has {key} twice, and only one would count; write it once"
                )
            given[key] = unquote_plus(value)
    return given


def _verb_and_name(given: dict[str, str]) -> tuple[str, str]:
    """Of a GET of many objects."""
    verb = "list"
    watch = given.get("watch")
    if watch is not None:
        if not watch.isascii():  # ſ, which is an S to some
            raise Refusal(400, "target", "watch is neither true nor false; write watch=true")
        # Absent, false and 0 are no (k8s.io/apimachinery, runtime/conversion.go: Convert_Slice_string_To_bool).
        verb = "list" if watch.lower() in ("false", "0") else "watch"
    return verb, _selected(given.get("fieldSelector", ""))


def _selected(selector: str) -> str:
    """The name of the one object that a field selector leaves; empty if it may leave others.

    As k8s.io/apimachinery, pkg/fields/selector.go reads it.
    """
    if "\\" in selector:
        return ""
    names = []
    for term in filter(None, selector.split(",")):
        field, equals, value = term.partition("=")
        differs = field.endswith("!")
        if not differs:
            value = value.removeprefix("=")
        if not equals or "=" in value:
            return ""  # the server refuses it, whole
        if field == "metadata.name":
            names.append(value)
    name = names[0] if len(names) == 1 else ""
    plain = name.isascii() and name.isprintable() and "/" not in name and "%" not in name
    return name if plain and name not in (".", "..") else ""
