"""The API server's paths."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kmetad.api import path_of
from kmetad.api.paths import target


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (path_of("pods"), "/api/v1/pods"),
        (path_of("pods", namespace="lab"), "/api/v1/namespaces/lab/pods"),
        (path_of("pods", "web", namespace="lab"), "/api/v1/namespaces/lab/pods/web"),
        (path_of("pods", "web", namespace="lab", subresource="status"), "/api/v1/namespaces/lab/pods/web/status"),
        (path_of("nodes", "n", subresource="proxy/metrics"), "/api/v1/nodes/n/proxy/metrics"),
        (path_of("deployments", namespace="a", group_version="apps/v1"), "/apis/apps/v1/namespaces/a/deployments"),
        (
            path_of("clusterroles", "system:node", group_version="rbac.authorization.k8s.io/v1"),
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
        ),
    ],
)  # fmt: skip
def test_paths(path: str, expected: str) -> None:
    """As Kubernetes' reference has them."""
    assert path == expected


@given(st.text(min_size=1))
def test_a_name_is_one_part(name: str) -> None:
    """Whatever a name holds, it leads nowhere else."""
    assume(name not in (".", "..") and name.encode("utf-8", "replace").decode() == name)
    path = path_of("pods", name, namespace="lab")
    parts = urlsplit("https://h" + path).path.split("/")
    assert len(parts) == 7 and unquote(parts[-1]) == name
    assert target(path) == path


@pytest.mark.parametrize("name", [".", ".."])
def test_a_name_that_leads_elsewhere(name: str) -> None:
    """These can't be quoted, so they are refused."""
    with pytest.raises(ValueError, match="no part"):
        path_of("pods", name, namespace="lab")
    with pytest.raises(ValueError, match="no part"):
        path_of("pods", "", subresource="status")


@pytest.mark.parametrize(
    "path",
    ["", "api", "https://elsewhere/api", "//elsewhere/api", "/a b", "/a\r\nHost: x", "/ä", "/a#b", "/api/../x", "/."],
)  # fmt: skip
def test_what_is_no_path(path: str) -> None:
    """It is refused before anything is sent."""
    with pytest.raises(ValueError, match=r"path|characters"):
        target(path)


def test_queries() -> None:
    """Values are quoted, empty ones left out, truths written as the API server reads them."""
    query = {
        "watch": True,
        "force": False,
        "labelSelector": "a=b,c in (d)",
        "limit": 5,
        "continue": "",
        "x": None,
    }
    assert target("/api", query) == "/api?watch=true&force=false&labelSelector=a%3Db%2Cc+in+%28d%29&limit=5"
    assert target("/api?a=1", {"b": 2}) == "/api?a=1&b=2"
    assert target("/api", {}) == "/api"
