"""Refusals: every recorded one, and what no API server would ever say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad.api import (
    ApiError,
    BadAnswer,
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerError,
    StatusError,
    TooManyRequests,
    Unauthorized,
)
from kmetad.api.errors import BY_CODE
from kmetad.api.status import from_status, refused, would_allow

DATA = Path(__file__).parent / "data" / "api"
TOKEN = "the token in /etc/token"


def recorded(name: str) -> tuple[dict[str, Any], bytes]:
    """What was noted of an answer, and its body."""
    return json.loads((DATA / f"{name}.meta.json").read_text()), (DATA / f"{name}.body").read_bytes()


def refusal(name: str) -> StatusError:
    """The exception of a recorded refusal."""
    noted, body = recorded(name)
    asked = noted.get("request") or {"method": "GET", "path": noted["path"], "headers": {"Authorization": ""}}
    error = refused(
        f"{asked['method']} {asked['path'].partition('?')[0]}",
        noted["status"],
        {key.lower(): value for key, value in noted["headers"]},
        body,
        as_whom=TOKEN,
        sent="Authorization" in asked["headers"],
    )
    assert isinstance(error, StatusError)
    return error


REFUSALS = sorted(
    path.name.removesuffix(".meta.json")
    for path in DATA.glob("*.meta.json")
    if json.loads(path.read_text()).get("status", 0) >= 400
)


@pytest.mark.parametrize("name", REFUSALS)
def test_every_recorded_refusal(name: str) -> None:
    """Each is of its code's kind, and one line that a person can read."""
    noted, body = recorded(name)
    error = refusal(name)
    assert type(error) is BY_CODE.get(noted["status"], ServerError if noted["status"] >= 500 else StatusError)
    message = str(error)
    assert message.isprintable() and 30 < len(message) < 1500
    assert f": {noted['status']} " in message
    if body.startswith(b"{"):
        assert error.reason == json.loads(body).get("reason", "")
        assert error.said[:40] in json.loads(body)["message"].replace("\n", " ")


def test_there_are_enough() -> None:
    """The list above isn't empty because a folder has moved."""
    assert len(REFUSALS) > 35


def test_forbidden_says_which_rule() -> None:
    """Who, what, where, and what a role would have to say."""
    error = refusal("403-app-tokenrequest")
    assert isinstance(error, Forbidden)
    assert (error.user, error.verb, error.resource, error.group, error.namespace, error.name) == (
        "system:serviceaccount:lab:app",
        "create",
        "serviceaccounts/token",
        "",
        "lab",
        "app",
    )
    assert error.rule == {"apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"]}
    assert str(error).endswith(
        "; a Role in lab, bound to system:serviceaccount:lab:app, would allow it with the rule "
        '{apiGroups: [""], resources: ["serviceaccounts/token"], verbs: ["create"]}'
    )


@pytest.mark.parametrize(
    ("said", "rule", "where"),
    [
        (
            'nodes is forbidden: User "u" cannot list resource "nodes" in API group "" at the cluster scope',
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]},
            "a ClusterRole",
        ),
        (
            'forbidden: User "u" cannot get path "/metrics"',
            {"nonResourceURLs": ["/metrics"], "verbs": ["get"]},
            "a ClusterRole",
        ),
        (
            (
                'deployments.apps "x" is forbidden: User "u" cannot patch resource "deployments/scale" '
                'in API group "apps" in the namespace "n": RBAC: role.rbac.authorization.k8s.io "gone" not found'
            ),
            {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]},
            "a Role in n",
        ),
    ],
)
def test_other_sentences_of_forbidden(said: str, rule: dict[str, list[str]], where: str) -> None:
    """For the whole cluster, for a path, and where a role that is bound isn't there."""
    error = from_status("GET /x", {"message": said}, 403)
    assert isinstance(error, Forbidden)
    assert error.rule == rule
    assert f"; {where}, bound to u, would allow it with the rule " in str(error)
    assert str(error).endswith(would_allow(rule, error.namespace, "u"))


def test_forbidden_in_other_words() -> None:
    """An admission webhook refuses in its own: no rule would help, and none is made up."""
    error = from_status("POST /x", {"message": "admission webhook denied it"}, 403)
    assert isinstance(error, Forbidden)
    assert error.rule is None and error.verb == ""
    assert "denied it; a role has to allow it" in str(error)


def test_anonymous() -> None:
    """A 403 for nobody is told apart: by whether something was sent."""
    assert "no credentials were sent" in str(refusal("anon-403"))
    assert f"took {TOKEN} for no credentials at all" in str(refusal("401-empty-bearer"))


def test_unauthorized() -> None:
    """A 401 says what wasn't accepted, or that nothing was sent."""
    assert TOKEN in str(refusal("401-garbage-token"))
    error = refused("GET /", 401, {}, b"", sent=False)
    assert isinstance(error, Unauthorized)
    assert "no credentials were sent" in str(error)


def test_kinds() -> None:
    """Each code that programs tell apart has a class of its own."""
    kinds = {
        "400-bad-json": BadRequest,
        "pod-404": NotFound,
        "409-already-exists": Conflict,
        "410-continue-expired": Gone,
        "422-bad-label": Invalid,
        "504-rv-too-large": ServerError,
    }
    for name, kind in kinds.items():
        assert type(refusal(name)) is kind
    assert refusal("409-already-exists").reason == "AlreadyExists"
    assert type(refused("GET /", 429, {}, b"")) is TooManyRequests
    assert type(refused("GET /", 418, {}, b"")) is StatusError


def test_when_to_try_again() -> None:
    """Of the header, else of the body; nonsense is nothing."""
    assert refusal("504-rv-too-large").retry_after == 1.0
    assert refused("GET /", 429, {"retry-after": "7"}, b"").retry_after == 7.0
    for nonsense in ("", "-1", "soon", "9" * 30, "Wed, 21 Oct 2026 07:28:00 GMT", "٣"):
        assert refused("GET /", 429, {"retry-after": nonsense}, b"").retry_after is None
    for wrong in (True, -3, 10**9, "x", None, 1.5):
        status = {"details": {"retryAfterSeconds": wrong}}
        assert from_status("GET /", status, 429).retry_after is None


def test_a_proxys_page() -> None:
    """HTML isn't an API server's, whatever its code."""
    for body, headers in ((b"<html>502</html>", {}), (b"oops", {"content-type": "text/html; charset=utf-8"})):
        error = refused("GET /", 502, headers, body)
        assert isinstance(error, BadAnswer)
        assert "is no API server" in str(error)


def test_long_messages_keep_both_ends() -> None:
    """What is wrong with a big object stands behind it."""
    error = refusal("strict-unknown-field")
    assert "patch: Invalid value" in str(error)
    assert 'unknown field "' in str(error)


@given(
    st.integers(400, 599),
    st.dictionaries(st.sampled_from(["content-type", "retry-after"]), st.text()),
    st.binary(max_size=300) | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(
            st.sampled_from(["kind", "message", "reason", "details", "code", "causes", "name"]), inner
        ),
    ).map(lambda value: json.dumps(value).encode()) | st.text().map(
        lambda text: json.dumps({"kind": "Status", "message": text, "reason": text, "details": [text]}).encode()
    ),
)  # fmt: skip
def test_whatever_comes(code: int, headers: dict[str, str], body: bytes) -> None:
    """Any body gives an ApiError with one printable line of bounded length, and nothing else."""
    error = refused("GET /x", code, headers, body, as_whom=TOKEN)
    assert isinstance(error, ApiError)
    assert str(error).isprintable() and len(str(error)) < 3000
