"""Who somebody is (tokens, client certificates), and what they may do (rules like those of RBAC)."""

from __future__ import annotations

import base64
import json
import os
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tests.apiserver.answers import Refusal, details, forbidden, qualified, unauthorized

ISSUER = "https://kubernetes.default.svc.cluster.local"
ANONYMOUS = "system:anonymous"

_EVERYBODY = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_DISCOVERY = ("/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz")
_OIDC = (
    "/.well-known/openid-configuration",
    "/.well-known/openid-configuration/",
    "/openid/v1/jwks",
    "/openid/v1/jwks/",
)
_SELF = ("selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews")


def uid_of(what: str) -> str:
    """A uid, always the same for the same thing."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, what))


@dataclass(frozen=True)
class Identity:
    """A user."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def info(self) -> dict[str, Any]:
        """As reviews show it."""
        told: dict[str, Any] = {"username": self.name}
        if self.uid:
            told["uid"] = self.uid
        if self.groups:
            told["groups"] = list(self.groups)
        if self.extra:
            told["extra"] = dict(self.extra)
        return told


NOBODY = Identity(ANONYMOUS, ("system:unauthenticated",))


def service_account(user: str) -> tuple[str, str] | None:
    """The namespace and the name in ``system:serviceaccount:NAMESPACE:NAME``; None for another user."""
    parts = user.split(":")
    return (parts[2], parts[3]) if parts[:2] == ["system", "serviceaccount"] and len(parts) == 4 else None


def user_named(name: str, groups: Iterable[str] = ()) -> Identity:
    """A user with the groups that come by themselves."""
    if name == ANONYMOUS:
        return NOBODY
    if account := service_account(name):
        own = ("system:serviceaccounts", f"system:serviceaccounts:{account[0]}")
        return Identity(name, (*own, *groups, "system:authenticated"), uid_of(name))
    return Identity(name, (*groups, "system:authenticated"))


class Tokens:
    """The tokens that are good."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Identity, float, list[str]]] = {}

    def issue(
        self,
        user: str,
        *,
        expires: float | None = None,
        audiences: Iterable[str] = (ISSUER,),
        groups: Iterable[str] = (),
        pod: str = "demo",
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        """A JSON Web Token for a user, with the claims that Kubernetes gives; a service account's groups too.

        ``expires`` is in seconds since the epoch, in an hour by default. ``claims`` overrides some.
        """
        now = int(time.time())
        expires = now + 3607 if expires is None else expires
        who = user_named(user, groups)
        jti = str(uuid.uuid4())
        told: dict[str, Any] = {
            "aud": list(audiences),
            "exp": int(expires),
            "iat": now,
            "iss": ISSUER,
            "jti": jti,
        }
        if account := service_account(user):
            namespace, name = account
            told["kubernetes.io"] = {
                "namespace": namespace,
                "pod": {"name": pod, "uid": uid_of(f"{namespace}/{pod}")},
                "serviceaccount": {"name": name, "uid": who.uid},
            }
            extra = {"authentication.kubernetes.io/credential-id": [f"JTI={jti}"]}
            who = Identity(who.name, who.groups, who.uid, extra)
        told |= {"nbf": now, "sub": user, **(claims or {})}
        header = {"alg": "RS256", "kid": "2qYi6vOkSQPVQigQMxI_-hPDsWBfPQJibzV30UNswJA"}
        parts = [json.dumps(part, separators=(",", ":")).encode() for part in (header, told)]
        token = ".".join(_base64url(part) for part in (*parts, os.urandom(256)))
        self._known[token] = who, expires, list(audiences)
        return token

    def revoke(self, token: str) -> None:
        """Accept a token no more."""
        self._known.pop(token, None)

    def audiences(self, token: str) -> list[str]:
        """Whom a good token is for."""
        return self._known[token][2]

    def user(self, token: str) -> Identity | None:
        """Whose token it is; None for one that isn't good."""
        known = self._known.get(token)
        if known is None or known[1] <= time.time() or ISSUER not in known[2]:
            return None
        return known[0]


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


@dataclass(frozen=True)
class Attributes:
    """What somebody wants to do: to a resource, or with a path that is none's."""

    verb: str
    path: str = ""
    group: str = ""
    resource: str = ""  # with its subresource: pods/status
    namespace: str = ""
    name: str = ""

    def denied(self, user: str) -> Refusal:
        """The API server's words for No."""
        if not self.resource:
            return forbidden("", f'User "{user}" cannot {self.verb} path "{self.path}"', {})
        plural = self.resource.partition("/")[0]
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        why = (
            f'User "{user}" cannot {self.verb} resource "{self.resource}" in API group "{self.group}" {where}'
        )
        subject = qualified(plural, self.group)
        if self.name:
            subject += f' "{self.name}"'
        return forbidden(subject, why, details(self.name, self.group, plural))


@dataclass(frozen=True)
class Rule:
    """What a Role grants."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def grants(self, wanted: Attributes) -> bool:
        """Whether this is among it."""
        if not _among(wanted.verb, self.verbs):
            return False
        if not wanted.resource:
            return any(fnmatchcase(wanted.path, path) for path in self.paths)
        subresource = wanted.resource.partition("/")[2]
        resources = (wanted.resource, f"*/{subresource}") if subresource else (wanted.resource,)
        return (
            _among(wanted.group, self.groups)
            and any(_among(resource, self.resources) for resource in resources)
            and (not self.names or wanted.name in self.names)
        )

    @property
    def shown(self) -> dict[str, Any]:
        """As a SelfSubjectRulesReview shows it."""
        if self.paths:
            return {"verbs": list(self.verbs), "nonResourceURLs": list(self.paths)}
        told = {
            "verbs": list(self.verbs),
            "apiGroups": list(self.groups),
            "resources": list(self.resources),
        }
        return told | {"resourceNames": list(self.names)} if self.names else told


def _among(value: str, allowed: tuple[str, ...]) -> bool:
    return "*" in allowed or value in allowed


_AUTHENTICATED = (
    Rule(("create",), ("authorization.k8s.io",), _SELF[:2]),
    Rule(("create",), ("authentication.k8s.io",), _SELF[2:]),
    Rule(("get",), paths=(*_DISCOVERY, "/version", "/version/")),
    Rule(("get",), paths=_OIDC),
    Rule(("get",), paths=_EVERYBODY),
    Rule(("get",), paths=("/.well-known", "/.well-known/*")),
)
"""What every authenticated user may; the last but one is what everybody may."""


class Rules:
    """Who may do what. Nothing is allowed by default but what every cluster allows."""

    def __init__(self) -> None:
        self._granted: list[tuple[str, str, Rule]] = []

    def allow(self, user: str, namespace: str, rule: Rule) -> None:
        """Grant a user, or a group of that name, something in one namespace, or with "" everywhere."""
        self._granted.append((user, namespace, rule))

    def forget(self, user: str) -> None:
        """Take everything away from one."""
        self._granted = [granted for granted in self._granted if granted[0] != user]

    def check(self, user: Identity, wanted: Attributes) -> None:
        """Raise the refusal if it isn't allowed."""
        if self.why(user, wanted) is None:
            raise wanted.denied(user.name)

    def why(self, user: Identity, wanted: Attributes) -> str | None:
        """Whether somebody may do this: the reason, or None."""
        for namespace, rule in self.of(user):
            if namespace in ("", wanted.namespace) and rule.grants(wanted):
                return _reason(user.name, namespace)
        return None

    def of(self, user: Identity, namespace: str | None = None) -> list[tuple[str, Rule]]:
        """What one was granted (in a namespace), with the namespaces."""
        own = _AUTHENTICATED if "system:authenticated" in user.groups else _AUTHENTICATED[-2:-1]
        found = [("", rule) for rule in own]
        for whose, where, rule in self._granted:
            if whose in (user.name, *user.groups) and (namespace is None or where in ("", namespace)):
                found.append((where, rule))
        return found


def _reason(user: str, namespace: str) -> str:
    account = service_account(user)
    name = account[1] if account else user
    subject = f'ServiceAccount "{account[1]}/{account[0]}"' if account else f'User "{user}"'
    if namespace:
        return f'RBAC: allowed by RoleBinding "{name}/{namespace}" of Role "{name}" to {subject}'
    return f'RBAC: allowed by ClusterRoleBinding "{name}" of ClusterRole "{name}" to {subject}'


def bearer(authorization: str | None, tokens: Tokens) -> Identity | None:
    """Whom an Authorization header names; None where there is none, or none that says anything.

    Raises the refusal for a token that isn't good.
    """
    scheme, _, token = (authorization or "").strip().partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        return None  # so did the recorded server: an empty token, or Basic, is nobody's
    user = tokens.user(token.strip())
    if user is None:
        raise unauthorized()
    return user
