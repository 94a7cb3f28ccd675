"""The few messages that newer kubectls send as protobuf, read into the objects they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.apiserver.answers import bad_request

MAGIC = b"k8s\0"
MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

_TEXTS = "texts"  # a map of texts to texts

_METADATA: dict[int, tuple[str, Any]] = {
    1: ("name", str),
    2: ("generateName", str),
    3: ("namespace", str),
    5: ("uid", str),
    6: ("resourceVersion", str),
    11: ("labels", _TEXTS),
    12: ("annotations", _TEXTS),
}
_RESOURCE_ATTRIBUTES = {
    number: (name, str)
    for number, name in enumerate(
        ("namespace", "verb", "group", "version", "resource", "subresource", "name"), start=1
    )
}
_PATH_ATTRIBUTES = {1: ("path", str), 2: ("verb", str)}
_ACCESS = {1: ("resourceAttributes", _RESOURCE_ATTRIBUTES), 2: ("nonResourceAttributes", _PATH_ATTRIBUTES)}
_MESSAGES: dict[str, dict[int, tuple[str, Any]]] = {
    "ConfigMap": {1: ("metadata", _METADATA), 2: ("data", _TEXTS)},
    "Namespace": {1: ("metadata", _METADATA)},
    "SelfSubjectAccessReview": {1: ("metadata", _METADATA), 2: ("spec", _ACCESS)},
    "SelfSubjectReview": {1: ("metadata", _METADATA)},
    "SelfSubjectRulesReview": {1: ("metadata", _METADATA), 2: ("spec", {1: ("namespace", str)})},
}
"""Names and kinds of fields by their numbers, as the ``generated.proto`` files have them."""


def decoded(body: bytes) -> dict[str, Any]:
    """The object in a body that begins with ``MAGIC``. Raises the refusal for one that isn't known here."""
    envelope = dict(_fields(body[len(MAGIC) :]))  # runtime.Unknown: its type, and the object's own bytes
    names = _message(envelope[1], {1: ("apiVersion", str), 2: ("kind", str)})
    message = _MESSAGES.get(names["kind"])
    if message is None:
        raise bad_request(f"the tests' API server reads no {names['kind']} as protobuf")
    return {**names, **_message(envelope[2], message)}


def _message(data: bytes, known: dict[int, tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        name, kind = known.get(number, ("", None))
        if kind is str and value:
            found[name] = value.decode()
        elif kind is _TEXTS:
            pair = _message(value, {1: ("key", str), 2: ("value", str)})
            found.setdefault(name, {})[pair.get("key", "")] = pair.get("value", "")
        elif isinstance(kind, dict):
            found[name] = _message(value, kind)
    return found


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and bytes of the fields that have a length; numbers are of no interest here."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            _, at = _varint(data, at)
        elif tag & 7 == 2:
            size, at = _varint(data, at)
            yield tag >> 3, data[at : at + size]
            at += size
        else:
            at += 8 if tag & 7 == 1 else 4


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
