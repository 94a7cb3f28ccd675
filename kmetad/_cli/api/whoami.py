"""Say as whom the API server knows you, and what the token that is sent says of itself.

The server is asked (SelfSubjectReview, Kubernetes 1.27 and later); expiry and audiences
are the token's own words. The token itself is never shown.

examples:
  kmetad api whoami
  kmetad api whoami -o json
  kmetad api whoami --kubeconfig admin.conf --context kind-kind
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from kmetad._cli.api import asking, printing

if TYPE_CHECKING:
    from kmetad.api import Client

GROUP = "authentication.k8s.io"
VERSIONS = ("v1", "v1beta1")
"""From Kubernetes 1.28, and 1.27 (Kubernetes' reference, SelfSubjectReview)."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    printing.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0, 1 where nothing is known. Raises ApiError."""
    with asking.client(args) as client:
        user = _user(client)
        token = client.token()
        about = client.server.credentials.about()
    if user is None:
        known = "what the token says of itself" if token else "and no token is sent"
        print(
            f"kmetad: this server can't say it (no SelfSubjectReview, so it is older than Kubernetes 1.27): {known}",
            file=sys.stderr,
        )
    if args.output != "table":
        told = printing.token_facts(token)
        value = {"user": user or {}, "credentials": about} | ({"token": told} if told else {})
        printing.document(value, args.output)
        return 0 if user or token else 1
    rows = [
        ("user", _text(user, "username")),
        ("uid", _text(user, "uid")),
        ("groups", ", ".join(_texts(user, "groups"))),
        *((key, ", ".join(values)) for key, values in _extra(user)),
        ("credentials", about),
    ]
    if token is not None:
        rows += [
            (
                "expires",
                "unknown: it doesn't say" if token.expires is None else printing.until(token.expires),
            ),
            ("audiences", ", ".join(token.audiences)),
        ]
    printing.facts(rows)
    return 0 if user or token else 1


def _user(client: Client) -> dict[str, Any] | None:
    """Its UserInfo; None where it has no such review."""
    from kmetad.api import NotFound

    for version in VERSIONS:
        review = {"apiVersion": f"{GROUP}/{version}", "kind": "SelfSubjectReview"}
        try:
            answer = client.create(f"/apis/{GROUP}/{version}/selfsubjectreviews", review)
        except NotFound:
            continue
        status = answer.get("status")
        user = status.get("userInfo") if isinstance(status, dict) else None
        return user if isinstance(user, dict) else {}
    return None


def _text(user: dict[str, Any] | None, key: str) -> str:
    value = (user or {}).get(key)
    return value if isinstance(value, str) else ""


def _texts(user: dict[str, Any] | None, key: str) -> list[str]:
    value = (user or {}).get(key)
    return [str(item) for item in value] if isinstance(value, list) else []


def _extra(user: dict[str, Any] | None) -> list[tuple[str, list[str]]]:
    extra = (user or {}).get("extra")
    return [(str(key), _texts(extra, key)) for key in extra] if isinstance(extra, dict) else []
