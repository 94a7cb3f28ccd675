"""From an answer that refuses to the exception that says so, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kmetad.api.errors import BY_CODE, BadAnswer, Forbidden, ServerError, StatusError

LONGEST = 64 << 10
"""Bytes of a refusal's body that are read."""
_SAID = 1000
"""Characters of it that a message shows, about."""

Rule = Mapping[str, list[str]]

# As k8s.io/apiserver writes it (pkg/endpoints/handlers/responsewriters/errors.go).
_FORBIDDEN = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) '
    r'(?:path "(?P<path>[^"]*)"'
    r'|resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)"| at the cluster scope)?)'
)


def refused(
    request: str, code: int, headers: Mapping[str, str], body: bytes, *, as_whom: str = "", sent: bool = True
) -> StatusError | BadAnswer:
    """The exception for an answer of 400 and above.

    ``request`` is its method and path, for the message. ``as_whom`` says what was sent as credentials,
    ``sent`` whether anything was.
    """
    status = _status(body)
    if status is None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        text = _text(body)
        if kind == "text/html" or text[:1] == "<":
            return BadAnswer(
                f"{request}: {code}, and a page in HTML: whatever answered is no API server "
                "(a proxy in between, or another port?)"
            )
        status = {"message": text}
    return from_status(request, status, code, headers, as_whom=as_whom, sent=sent)


def from_status(
    request: str,
    status: Mapping[str, Any],
    code: int,
    headers: Mapping[str, str] | None = None,
    *,
    as_whom: str = "",
    sent: bool = True,
) -> StatusError:
    """The exception for a Status, which may hold anything."""
    said = _text(status.get("message"))
    reason = _text(status.get("reason"))[:100]
    given = status.get("details")
    details = given if isinstance(given, dict) else {}
    kind = BY_CODE.get(code, ServerError if code >= 500 else StatusError)
    message = f"{request}: {code} {reason or kind.__name__}"
    if said and said != reason:
        message += f": {said}"
    error = kind(
        message,
        code=code,
        reason=reason,
        said=said,
        details=details,
        retry_after=_retry_after(headers or {}, details),
    )
    if isinstance(error, Forbidden):
        _understand(error)
    remedy = _remedy(error, as_whom, sent)
    if remedy:
        error.args = (f"{message.rstrip('.')}; {remedy}",)
    return error


def _remedy(error: StatusError, as_whom: str, sent: bool) -> str:
    """What to do; empty where the server's own words say it."""
    if error.code == 401:
        if not sent:
            return "no credentials were sent: none are known here, or they would have gone over plain http"
        return f"it doesn't accept {as_whom or 'what was sent'}: expired, revoked, or for another server or audience"
    if isinstance(error, Forbidden):
        if error.user == "system:anonymous":
            if sent:
                return f"the server took {as_whom or 'what was sent'} for no credentials at all: is it a whole token?"
            return "no credentials were sent, and anonymous requests may do next to nothing"
        if error.rule is None:
            return "a role has to allow it; signing in again changes nothing"
        return would_allow(error.rule, error.namespace, error.user)
    if error.code == 404 and not error.details.get("name"):
        return "the server has no such path: `kmetad api paths` and `kmetad api resources` list what it has"
    if error.code == 410:
        return "list again, and watch from there"
    if error.code == 409 and error.reason == "Conflict" and _managers(error):
        return "leave the field to it, or take it over with force"
    if error.code == 429 and error.retry_after is not None:
        return f"try again in {error.retry_after:g} s"
    return ""


def would_allow(rule: Rule, namespace: str, user: str) -> str:
    """What would help: a rule of a Role, or without a namespace of a ClusterRole, for whom."""
    from json import dumps

    shown = ", ".join(f"{key}: [{', '.join(map(dumps, values))}]" for key, values in rule.items())
    where = f"a Role in {namespace}" if namespace else "a ClusterRole"
    bound = f", bound to {user}," if user else ""
    return f"{where}{bound} would allow it with the rule {{{shown}}}"


def rule_for(verb: str, group: str, resource: str) -> Rule:
    """The rule (rbac/v1 PolicyRule) that allows a verb on a resource, or on a path, which begins with a slash."""
    if resource.startswith("/"):
        return {"nonResourceURLs": [resource], "verbs": [verb]}
    return {"apiGroups": [group], "resources": [resource], "verbs": [verb]}


def _understand(error: Forbidden) -> None:
    """What a role would have to say, from the server's sentence."""
    found = _FORBIDDEN.search(error.said)
    name = error.details.get("name")
    error.name = name if isinstance(name, str) else ""
    if found is None:
        return
    error.user, error.verb = found["user"], found["verb"]
    error.group, error.resource = found["group"] or "", found["path"] or found["resource"]
    error.namespace = found["namespace"] or ""
    error.rule = rule_for(error.verb, error.group, error.resource)


def _managers(error: StatusError) -> bool:
    causes = error.details.get("causes")
    return isinstance(causes, list) and any(
        isinstance(cause, dict) and cause.get("reason") == "FieldManagerConflict" for cause in causes
    )


def _retry_after(headers: Mapping[str, str], details: Mapping[str, Any]) -> float | None:
    """Seconds (RFC 9110 10.2.3; its other form, a date, isn't what an API server writes)."""
    for said in (headers.get("retry-after", ""), details.get("retryAfterSeconds")):
        if isinstance(said, str) and said.isascii() and said.isdecimal() and len(said) < 8:
            return float(said)
        if isinstance(said, int) and not isinstance(said, bool) and 0 < said < 10**7:
            return float(said)
    return None


def _status(body: bytes) -> dict[str, Any] | None:
    from json import loads

    try:
        read = loads(body)
    except (ValueError, RecursionError):
        return None
    return read if isinstance(read, dict) and read.get("kind") == "Status" else None


def _text(said: object) -> str:
    """In one line, and not too long: it comes from elsewhere."""
    if isinstance(said, bytes):
        said = said.decode("utf-8", "replace")
    if not isinstance(said, str):
        return ""
    said = said.strip()
    if len(said) > _SAID:  # a whole object in the middle; what is wrong with it stands at either end
        said = f"{said[: _SAID // 2]} … {said[-_SAID // 2 :]}"
    return "".join(c if c.isprintable() else " " for c in said)
