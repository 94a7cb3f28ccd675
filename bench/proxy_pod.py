"""The Pod that all of the proxies' measurements are about, and the headers that an API server sends with it."""

from __future__ import annotations

import json

from tests.apiserver.objects import pod as running_pod

PATH = "/api/v1/namespaces/lab/pods/web"
BYTES = 2400
HEADERS = (
    ("Audit-Id", "5f1a3c52-6e0b-4c1c-9a57-6f3c5a0d8f21"),
    ("Cache-Control", "no-cache, private"),
    ("Content-Type", "application/json"),
    ("X-Kubernetes-Pf-Flowschema-Uid", "0f5b2a35-9c0e-4b7e-8d4f-1f2d3c4b5a69"),
    ("X-Kubernetes-Pf-Prioritylevel-Uid", "c7d9e1f3-2b4a-4c6d-8e0f-a1b2c3d4e5f6"),
)


def pod(**annotations: str) -> str:
    """One that runs, as JSON, made as long as a small one is in a cluster."""
    made = running_pod("web", "lab", labels={"app": "web"}, annotations=annotations)
    missing = BYTES - len(json.dumps(made, separators=(",", ":"))) - len(',"padding":""')
    made["metadata"]["annotations"]["padding"] = "x" * missing
    return json.dumps(made, separators=(",", ":"))
