"""What is wrong with a request's body, in the API server's words."""

from __future__ import annotations

import difflib
import json
import re
from typing import Any

import yaml

from tests.apiserver import events, protobuf
from tests.apiserver.answers import Cause, Refusal, bad_request, invalid, wrong
from tests.apiserver.discovery import Resource, resources
from tests.apiserver.naming import BAD_LABEL, BAD_LABEL_KEY, BAD_PART, BAD_SUBDOMAIN, NAME, SUBDOMAIN
from tests.apiserver.objects import KNOWN_METADATA, Object

_FIXED_SPEC = (
    "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
    "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_MAX_ANNOTATIONS = 256 * 1024
_OF_GO = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
_OF_POD = ("kind", "apiVersion", "metadata", "spec", "status")
_TIMES = 4
"""So many times the recorded server said the same of a Pod's metadata."""


def decoded(body: bytes, *, is_yaml: bool = False) -> Object:
    """The object in a body. Raises the refusal if there is none."""
    if body.startswith(protobuf.MAGIC):
        return protobuf.decoded(body)
    try:
        given = yaml.safe_load(body) if is_yaml else json.loads(body)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {_of_go(body, error)}") from None
    if not isinstance(given, dict):
        kind = _OF_GO.get(type(given), "null")
        raise bad_request(
            f"couldn't get version/kind; json parse error: json: cannot unmarshal {kind} into Go value of type "
            'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string '
            '"json:\\"kind,omitempty\\"" }'
        )
    return given


def decoded_patch(body: bytes, kind: type) -> Any:
    """The patch in a body. Raises the refusal if there is none."""
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise bad_request(f"error decoding patch: {_of_go(body, error)}") from None
    if not isinstance(given, kind):
        found, wanted = (
            _OF_GO.get(type(given), "null"),
            "[]handlers.jsonPatchOp" if kind is list else "map[string]interface {}",
        )
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {found} into Go value of type {wanted}"
        )
    return given


def _of_go(body: bytes, error: Exception) -> str:
    """What Go's decoder says of malformed JSON, for the commonest faults."""
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    if error.pos >= len(error.doc):
        return "unexpected end of JSON input"
    character = error.doc[error.pos]
    where = "object key string" if "property name" in error.msg else "value"
    return f"invalid character '{character}' looking for beginning of {where}"


def check_kind(given: Object, resource: Resource) -> None:
    """Whether a body is of the resource it is sent to. Raises the refusal if it isn't."""
    kind, version = given.get("kind") or resource.kind, given.get("apiVersion") or resource.api_version
    if kind == resource.kind and version == resource.api_version:
        return
    group, _, short = version.rpartition("/")
    if not any((r.group, r.version, r.kind) == (group, short, kind) for r in resources().values()):
        raise bad_request(
            f'{kind} in version "{short}" cannot be handled as a {resource.kind}: no kind "{kind}" is registered '
            f'for version "{version}" in scheme "pkg/api/legacyscheme/scheme.go:30"'
        )
    if version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version "
            f"({resource.api_version})"
        )
    message = f'{kind} in version "{short}" cannot be handled as a {resource.kind}: '
    raise bad_request(f"{message}converting (v1.{kind}) to (core.{resource.kind}): unknown conversion")


def check_applied(given: Any, resource: Resource, namespace: str, name: str) -> None:
    """Whether something can be applied. Raises the refusal if it can't."""
    if not isinstance(given, dict):
        raise bad_request(f"error decoding YAML: cannot unmarshal {_OF_GO.get(type(given), 'null')}")
    metadata = given.get("metadata") or {}
    if not given.get("apiVersion") or not given.get("kind"):
        raise bad_request("invalid object type: /, Kind=")
    check_kind(given, resource)
    if metadata.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    if metadata.get("name", name) != name:
        raise bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
        )
    _check_schema(given, namespace, name)


def check_types(given: Object, *, patched: bool = False) -> None:
    """Whether labels and annotations are texts. Raises the refusal if they aren't."""
    metadata = given.get("metadata")
    for field in ("labels", "annotations"):
        texts = metadata.get(field) if isinstance(metadata, dict) else None
        for value in (texts or {}).values() if isinstance(texts, dict | None) else (texts,):
            if isinstance(value, str):
                continue
            kind = _OF_GO.get(type(value), "null")
            why = f"json: cannot unmarshal {kind} into Go struct field ObjectMeta.metadata.{field} of type string"
            raise _unreadable(given, why) if patched else _unhandled(given, why)


def _check_schema(given: Object, namespace: str, name: str) -> None:
    """What server-side apply demands of fields: that they exist, and are of the right type."""
    metadata = given.get("metadata") or {}
    group, _, version = str(given["apiVersion"]).rpartition("/")
    about = f"{metadata.get('namespace', namespace)}/{name}; {group}/{version}, Kind={given['kind']}"
    faults = [
        f".metadata.{key}: field not declared in schema" for key in metadata if key not in KNOWN_METADATA
    ]
    if given["kind"] == "Pod":
        faults += [f".{key}: field not declared in schema" for key in given if key not in _OF_POD]
    for field in ("labels", "annotations"):
        for key, value in (metadata.get(field) or {}).items():
            if not isinstance(value, str):
                shown = f"&value.valueUnstructured{{Value:{json.dumps(value)}}}"
                faults.append(f".metadata.{field}.{key}: expected string, got {shown}")
    if faults:
        raise Refusal(500, None, f"failed to create typed patch object ({about}): {faults[0]}")


def prune(given: Object, validation: str, *, patched: bool = False) -> list[str]:
    """Take unknown fields out: the warnings. Raises the refusal if they are to be refused."""
    metadata = given.get("metadata") or {}
    unknown = [f"metadata.{key}" for key in metadata if key not in KNOWN_METADATA]
    is_pod = given.get("kind") == "Pod"
    if is_pod:
        unknown += [key for key in given if key not in _OF_POD]
    words = [f'unknown field "{field}"' for field in unknown]
    if words and validation == "Strict":
        why = f"strict decoding error: {', '.join(words)}"
        raise _unreadable(given, why) if patched else _unhandled(given, why)
    given["metadata"] = {key: value for key, value in metadata.items() if key in KNOWN_METADATA}
    if is_pod:
        for key in [key for key in given if key in unknown]:
            del given[key]
    return [word.replace('"', '\\"') for word in words] if validation != "Ignore" else []


def _unhandled(given: Object, why: str) -> Refusal:
    kind, version = given.get("kind"), str(given.get("apiVersion")).rpartition("/")[2]
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


def _unreadable(given: Object, why: str) -> Refusal:
    """The refusal of a patch whose result can't be read; the result is shown as the real one's library writes it."""
    outer = {key: given[key] for key in sorted(given)}
    outer["metadata"] = {key: outer["metadata"][key] for key in sorted(outer["metadata"])}
    for texts in ("labels", "annotations"):
        if isinstance(outer["metadata"].get(texts), dict):
            outer["metadata"][texts] = dict(sorted(outer["metadata"][texts].items()))
    text = json.dumps(outer, separators=(",", ":"), ensure_ascii=False)
    return invalid("", "", "", [wrong("patch", json.dumps(text, ensure_ascii=False), why)])


def check_new(given: Object, resource: Resource) -> None:
    """Whether an object may be. Raises the refusal if it may not."""
    causes = _metadata(given, resource)
    if resource.kind == "Event":
        causes += events.faults(given, resource)
    _raise(causes, given, resource)


def check_changed(before: Object, after: Object, resource: Resource) -> None:
    """Whether an object may become another. Raises the refusal if it may not."""
    causes = _metadata(after, resource) * (_TIMES if resource.kind == "Pod" else 1)
    if resource.kind == "Pod" and _fixed(before.get("spec")) != _fixed(after.get("spec")):
        causes.append(Cause("FieldValueForbidden", f"{_FIXED_SPEC}\n{_difference(before, after)}", "spec"))
    _raise(causes, after, resource)


def kept_apart(before: Object, after: Object, subresource: str, resource: Resource) -> Object:
    """What a change is to the resource itself, or to its status.

    Through pods/status labels and annotations may be changed, too: the real one lets that pass.
    """
    own = "status" in resource.subresources
    if subresource == "status":
        fixed: tuple[str, ...] = ("spec",)
        owners = before["metadata"].get("ownerReferences")
        after = {**after, "metadata": {**after["metadata"], "ownerReferences": owners}}
        after["status"] = _observed(before.get("status") or {}, after.get("status") or {})
    else:
        fixed = ("status",) if own else ()
    after = {key: value for key, value in after.items() if key not in fixed}
    return {**after, **{key: before[key] for key in fixed if key in before}}


def _observed(before: Object, after: Object) -> Object:
    """An observedGeneration that a client leaves out stays."""
    old = {each.get("type"): each for each in before.get("conditions") or ()}
    conditions = []
    for each in after.get("conditions") or ():
        generation = each.get("observedGeneration") or old.get(each.get("type"), {}).get("observedGeneration")
        conditions.append({**each, "observedGeneration": generation} if generation else each)
    return {**after, "conditions": conditions} if conditions else after


def _raise(causes: list[Cause], given: Object, resource: Resource) -> None:
    if causes:
        raise invalid(
            resource.kind,
            resource.group if resource.kind != "Event" else "",
            given["metadata"]["name"],
            causes,
        )


def _metadata(given: Object, resource: Resource) -> list[Cause]:
    metadata = given["metadata"]
    causes = []
    for key, value in (metadata.get("labels") or {}).items():
        if not _valid_key(key):
            causes.append(wrong("metadata.labels", json.dumps(key), BAD_LABEL_KEY))
        if len(value) > 63:
            causes.append(wrong("metadata.labels", json.dumps(value), "must be no more than 63 bytes"))
        elif not re.fullmatch(f"({NAME})?", value):
            causes.append(wrong("metadata.labels", json.dumps(value, ensure_ascii=False), BAD_LABEL))
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        if not _valid_key(key.lower()):
            causes.append(wrong("metadata.annotations", json.dumps(key), BAD_PART))
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _MAX_ANNOTATIONS:
        message = f"Too long: may not be more than {_MAX_ANNOTATIONS} bytes"
        causes.append(Cause("FieldValueTooLong", message, "metadata.annotations"))
    name = metadata.get("name", "")
    if not re.fullmatch(SUBDOMAIN, name) and not (resource.kind == "Event" and metadata.get("generateName")):
        causes.append(wrong("metadata.name", json.dumps(name), BAD_SUBDOMAIN))
    return causes


def _valid_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    good = bool(re.fullmatch(NAME, name)) and len(name) <= 63
    return good and (not slash or bool(re.fullmatch(SUBDOMAIN, prefix)))


def _fixed(spec: Any) -> Any:
    """What of a Pod's spec can't be changed."""
    fixed = {
        key: value
        for key, value in (spec or {}).items()
        if key not in ("activeDeadlineSeconds", "tolerations")
    }
    for field in ("containers", "initContainers"):
        if field in fixed:
            fixed[field] = [{k: v for k, v in each.items() if k != "image"} for each in fixed[field] or ()]
    return fixed


def _difference(before: Object, after: Object) -> str:
    """Something like the real one's, which is of Go's structs."""
    one, other = (json.dumps(each.get("spec"), indent=1).splitlines() for each in (before, after))
    return "".join(f"{line}\n" for line in list(difflib.unified_diff(one, other, n=3, lineterm=""))[2:])
