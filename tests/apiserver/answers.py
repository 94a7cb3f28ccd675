"""Answers, and the refusals among them with the API server's own words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

Headers = Sequence[tuple[str, str]]

_AS_GO_WRITES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028"})


def dumps(value: Any) -> bytes:
    """JSON as Go's encoder writes it, with the line's end."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_AS_GO_WRITES).encode("utf-8", "surrogatepass") + b"\n"


@dataclass(frozen=True)
class Answer:
    """A whole answer, before the headers that all answers have."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: Headers = ()


def answer(value: Any, status: int = 200, headers: Headers = ()) -> Answer:
    """One in JSON."""
    return Answer(status, dumps(value), headers=headers)


def text(words: str, status: int = 200) -> Answer:
    """A plain one."""
    return Answer(status, words.encode(), TEXT, [("X-Content-Type-Options", "nosniff")])


NO_PAGE = text("404 page not found\n", 404)


class Refusal(Exception):
    """A request that isn't granted: a Status, raised from wherever it is noticed."""

    def __init__(
        self,
        code: int,
        reason: str | None,
        message: str,
        details: Mapping[str, Any] | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        headers: Headers = (),
    ) -> None:
        super().__init__(message)
        self.headers = headers
        self.status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": dict(metadata or {}),
            "status": "Failure",
            "message": message,
        }
        if reason is not None:
            self.status["reason"] = reason
        if details is not None:
            self.status["details"] = dict(details)
        self.status["code"] = code

    def answer(self) -> Answer:
        """As it is sent."""
        code = self.status["code"]
        if code == 406:  # which alone is for people to read
            return Answer(code, json.dumps(self.status, indent=2).encode(), headers=self.headers)
        return answer(self.status, code, self.headers)


def details(name: str, group: str, kind: str) -> dict[str, Any]:
    """What a Status says about the object, without what is empty."""
    said = {"name": name, "group": group, "kind": kind}
    return {key: value for key, value in said.items() if value}


def qualified(resource: str, group: str) -> str:
    """A resource as messages call it: ``pods``, ``deployments.apps``."""
    return f"{resource}.{group}" if group else resource


def unauthorized() -> Refusal:
    """No known user."""
    return Refusal(401, "Unauthorized", "Unauthorized")


def forbidden(subject: str, why: str, said: Mapping[str, Any]) -> Refusal:
    """A known user without the right."""
    message = f"{subject} is forbidden: {why}" if subject else f"forbidden: {why}"
    return Refusal(403, "Forbidden", message, said, headers=[("X-Content-Type-Options", "nosniff")])


def not_found(resource: str, group: str, name: str) -> Refusal:
    """No such object."""
    message = f'{qualified(resource, group)} "{name}" not found'
    return Refusal(404, "NotFound", message, details(name, group, resource))


def no_such_resource() -> Refusal:
    """The group is there, the resource isn't."""
    return Refusal(404, "NotFound", "the server could not find the requested resource", {})


def bad_request(message: str) -> Refusal:
    """What can't be understood."""
    return Refusal(400, "BadRequest", message)


def method_not_allowed() -> Refusal:
    """A resource that has no such verb."""
    message = "the server does not allow this method on the requested resource"
    return Refusal(405, "MethodNotAllowed", message, {})


def unsupported_media_type() -> Refusal:
    """A body of a kind that isn't taken."""
    return Refusal(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def already_exists(resource: str, group: str, name: str) -> Refusal:
    """One of this name is there."""
    message = f'{qualified(resource, group)} "{name}" already exists'
    return Refusal(409, "AlreadyExists", message, details(name, group, resource))


def conflict(resource: str, group: str, name: str, why: str) -> Refusal:
    """Somebody else was quicker, or it is another object by now."""
    message = f'Operation cannot be fulfilled on {qualified(resource, group)} "{name}": {why}'
    return Refusal(409, "Conflict", message, details(name, group, resource))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


@dataclass(frozen=True)
class Cause:
    """One thing that is wrong with an object."""

    reason: str
    message: str
    field: str


def wrong(field: str, shown: str, why: str) -> Cause:
    """A value that isn't valid; ``shown`` is in JSON."""
    return Cause("FieldValueInvalid", f"Invalid value: {shown}: {why}", field)


def missing(field: str, why: str = "") -> Cause:
    """A value that has to be there."""
    return Cause("FieldValueRequired", f"Required value: {why}" if why else "Required value", field)


def invalid(kind: str, group: str, name: str, causes: Iterable[Cause]) -> Refusal:
    """An object with something wrong."""
    found = list(causes)
    said = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in found))
    told = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    about: dict[str, Any] = {"name": name, "group": group, "kind": kind}
    about = {key: value for key, value in about.items() if value}
    about["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in found]
    return Refusal(422, "Invalid", f'{qualified(kind, group)} "{name}" is invalid: {told}', about)


def expired(message: str, metadata: Mapping[str, Any] | None = None) -> Refusal:
    """A resourceVersion that is forgotten."""
    return Refusal(410, "Expired", message, metadata=metadata)
