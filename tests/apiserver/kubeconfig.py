"""A kubeconfig for a server, for kubectl and for what reads one as kubectl does."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.apiserver.server import ApiServer
    from tests.apiserver.tls import Issued


def kubeconfig(
    server: ApiServer,
    token: str | None = None,
    namespace: str = "default",
    *,
    certificate: Issued | None = None,
) -> str:
    """One with a token or a client certificate, as JSON, which YAML includes."""
    cluster = {"server": server.url}
    if server.tls:
        cluster["certificate-authority-data"] = base64.b64encode(server.authority.pem).decode()
    user = {"token": token} if token is not None else {}
    if certificate is not None:
        user["client-certificate-data"] = base64.b64encode(certificate.certificate).decode()
        user["client-key-data"] = base64.b64encode(certificate.key).decode()
    context = {"cluster": "tests", "user": "tests", "namespace": namespace}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "tests", "user": user}],
            "contexts": [{"name": "tests", "context": context}],
            "current-context": "tests",
        },
        indent=1,
    )
