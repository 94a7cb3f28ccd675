"""Reviews: who one is, what one may do, whose a token is; and a new token."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.apiserver import validation
from tests.apiserver.access import ISSUER, Attributes, Identity, uid_of, user_named
from tests.apiserver.answers import Answer, answer, invalid, wrong
from tests.apiserver.connection import Request
from tests.apiserver.managed import tree
from tests.apiserver.objects import Object

if TYPE_CHECKING:
    from tests.apiserver.server import ApiServer

Review = Callable[["ApiServer", Identity, Request, str, str], Answer]

_SHORTEST = 600


def answering(resource: str) -> Review | None:
    """What answers a POST to this resource; None for one whose objects are kept."""
    return {
        "selfsubjectreviews": _who,
        "selfsubjectaccessreviews": _access,
        "subjectaccessreviews": _access,
        "selfsubjectrulesreviews": _rules,
        "tokenreviews": _token,
        "serviceaccounts/token": _new_token,
    }.get(resource)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _made(kind: str, api_version: str, request: Request, spec: Object, *fields: tuple[str, ...]) -> Object:
    """A review with its spec as it came."""
    manager = (request.header("User-Agent") or "").partition("/")[0]
    entry = {
        "manager": manager,
        "operation": "Update",
        "apiVersion": api_version,
        "time": _now(),
        "fieldsType": "FieldsV1",
        "fieldsV1": tree(fields),
    }
    return {"kind": kind, "apiVersion": api_version, "metadata": {"managedFields": [entry]}, "spec": spec}


def _who(server: ApiServer, user: Identity, request: Request, namespace: str, name: str) -> Answer:
    return answer(
        {
            "kind": "SelfSubjectReview",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"creationTimestamp": _now()},
            "status": {"userInfo": user.info},
        },
        201,
    )


def _access(server: ApiServer, user: Identity, request: Request, namespace: str, name: str) -> Answer:
    spec = validation.decoded(request.body).get("spec") or {}
    wanted = spec.get("resourceAttributes")
    kind = "SelfSubjectAccessReview"
    if request.resource == "subjectaccessreviews":
        kind = "SubjectAccessReview"
        user = user_named(spec.get("user", ""), spec.get("groups") or ())
    part = "resourceAttributes" if wanted is not None else "nonResourceAttributes"
    told = wanted if wanted is not None else spec.get("nonResourceAttributes") or {}
    if wanted is not None:
        resource = wanted.get("resource", "")
        if wanted.get("subresource"):
            resource += f"/{wanted['subresource']}"
        attributes = Attributes(
            wanted.get("verb", ""),
            "",
            wanted.get("group", ""),
            resource,
            wanted.get("namespace", ""),
            wanted.get("name", ""),
        )
    else:
        attributes = Attributes(told.get("verb", ""), told.get("path", ""))
    why = server.rules.why(user, attributes)
    paths = [("f:spec", f"f:{part}", "."), *(("f:spec", f"f:{part}", f"f:{key}") for key in told)]
    made = _made(kind, "authorization.k8s.io/v1", request, spec, *paths)
    made["status"] = {"allowed": True, "reason": why} if why is not None else {"allowed": False}
    return answer(made, 201)


def _rules(server: ApiServer, user: Identity, request: Request, namespace: str, name: str) -> Answer:
    spec = validation.decoded(request.body).get("spec") or {}
    rules = [rule for _, rule in server.rules.of(user, spec.get("namespace", ""))]
    return answer(
        {
            "kind": "SelfSubjectRulesReview",
            "apiVersion": "authorization.k8s.io/v1",
            "metadata": {},
            "spec": {},
            "status": {
                "resourceRules": [rule.shown for rule in rules if not rule.paths],
                "nonResourceRules": [rule.shown for rule in rules if rule.paths],
                "incomplete": False,
            },
        },
        201,
    )


def _token(server: ApiServer, user: Identity, request: Request, namespace: str, name: str) -> Answer:
    spec = validation.decoded(request.body).get("spec") or {}
    token, wanted = spec.get("token", ""), spec.get("audiences") or [ISSUER]
    paths = [("f:spec", f"f:{key}") for key in spec]
    made = _made("TokenReview", "authentication.k8s.io/v1", request, spec, *paths)
    who = server.tokens.user(token)
    status: dict[str, Any]
    if who is None:
        status = {"user": {}, "error": "invalid bearer token"}
    elif not set(wanted) & set(own := server.tokens.audiences(token)):
        listed, asked = (" ".join(f'"{each}"' for each in audiences) for audiences in (own, wanted))
        why = f"token audiences [{listed}] is invalid for the target audiences [{asked}]"
        status = {"user": {}, "error": f"[invalid bearer token, {why}]"}
    else:
        shared = [each for each in own if "audiences" not in spec or each in wanted]
        status = {"authenticated": True, "user": who.info, "audiences": shared}
    return answer({**made, "status": status}, 201)


def _new_token(server: ApiServer, user: Identity, request: Request, namespace: str, name: str) -> Answer:
    spec = validation.decoded(request.body).get("spec") or {}
    seconds = spec.get("expirationSeconds", 3600)
    if seconds < _SHORTEST:
        cause = wrong(
            "spec.expirationSeconds", str(seconds), "may not specify a duration less than 10 minutes"
        )
        raise invalid("TokenRequest", "authentication.k8s.io", "", [cause])
    audiences = spec.get("audiences") or [ISSUER]
    expires = time.time() + seconds
    account = f"system:serviceaccount:{namespace}:{name}"
    token = server.tokens.issue(account, expires=expires, audiences=audiences)
    made = _made("TokenRequest", "authentication.k8s.io/v1", request, {}, ("f:spec", "f:expirationSeconds"))
    made["metadata"]["managedFields"][0]["subresource"] = "token"
    own = {"name": name, "namespace": namespace, "uid": uid_of(account), "creationTimestamp": _now()}
    made["metadata"] = {**own, **made["metadata"]}
    made["spec"] = {
        "audiences": list(audiences),
        "expirationSeconds": seconds,
        "boundObjectRef": spec.get("boundObjectRef"),
    }
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
    return answer({**made, "status": {"token": token, "expirationTimestamp": ends}}, 201)
