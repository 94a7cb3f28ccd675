"""What a request gets that isn't passed on."""

from __future__ import annotations

import json

import pytest
from kmetad_ambassador.refusal import Refusal


def test_status() -> None:
    """As the API server writes its own, so that clients read it."""
    refusal = Refusal(403, "rule", "get pods isn't allowed")
    assert refusal.body().endswith(b"}\n")
    assert json.loads(refusal.body()) == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "kmetad proxy: get pods isn't allowed",
        "reason": "Forbidden",
        "code": 403,
    }
    assert (refusal.status, refusal.kind, str(refusal)) == (403, "rule", "get pods isn't allowed")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (400, "BadRequest"),
        (401, "Unauthorized"),
        (404, "NotFound"),
        (405, "MethodNotAllowed"),
        (413, "RequestEntityTooLarge"),
        (414, None),
        (429, "TooManyRequests"),
        (500, "InternalError"),
        (502, None),
        (503, "ServiceUnavailable"),
        (504, "Timeout"),
    ],
)
def test_reasons(status: int, reason: str | None) -> None:
    """Kubernetes' names for those statuses that have one."""
    body = json.loads(Refusal(status, "server", "no").body())
    assert body.get("reason") == reason
    assert body["code"] == status


def test_any_text() -> None:
    """What a path held can't break the JSON."""
    text = 'a "quoted" \\ path\n with\x00 all'
    body = Refusal(400, "target", text).body()
    assert body.isascii()
    assert json.loads(body)["message"] == f"kmetad proxy: {text}"
