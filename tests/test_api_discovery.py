"""What resources the API server has, in both forms of discovery."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kmetad.api import ApiError, Client, Credentials, Server, StatusError, Unreachable, discovery
from kmetad.api.credentials import Trust
from kmetad.api.discovery import ApiResource
from tests.apiserver import ApiServer, behaviour
from tests.apiserver.recorded import recorded

USER = "system:serviceaccount:lab:app"


class Known(Credentials):
    """Somebody with a token, for the tests."""

    def __init__(self, server: ApiServer) -> None:
        self._token = server.token(USER)
        self._ca = server.authority.pem

    def trust(self) -> Trust:
        return Trust(self._ca)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """One with the recorded resources."""
    with ApiServer() as server:
        yield server


@pytest.fixture
def client(server: ApiServer) -> Iterator[Client]:
    """A client of it."""
    with Client(Server(server.url, Known(server))) as client:
        yield client


def walk(server: ApiServer) -> None:
    """Let it be older than the aggregated form."""
    server.script("/api", "api", math.inf)
    server.script("/apis", "apis", math.inf)


def key(resource: ApiResource) -> tuple[str, str]:
    """What tells resources apart."""
    return resource.group_version, resource.name


def test_aggregated_takes_two_requests(server: ApiServer, client: Client) -> None:
    """One for the core, one for all groups, as recorded from a Kubernetes 1.36."""
    found = discovery.discover(client)
    assert [request.path for request in server.requests] == ["/api", "/apis"]
    assert found.faults == ()
    by_key = {key(resource): resource for resource in found.resources}
    assert by_key["apps/v1", "deployments"] == ApiResource(
        name="deployments",
        short_names=("deploy",),
        group_version="apps/v1",
        namespaced=True,
        kind="Deployment",
        verbs=("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"),
        categories=("all",),
        singular="deployment",
    )
    assert by_key["apps/v1", "deployments/scale"].kind == "Scale"
    assert not by_key["v1", "nodes"].namespaced


def test_both_forms_say_the_same(server: ApiServer, client: Client) -> None:
    """An older server is walked: each group's version is asked for."""
    aggregated = discovery.discover(client).resources
    walk(server)
    server.requests.clear()
    walked = discovery.discover(client).resources
    asked = [request.path for request in server.requests]
    assert asked[:2] == ["/api", "/api/v1"]
    assert "/apis/apps/v1" in asked
    assert set(walked) == set(aggregated)


def test_a_group_that_fails_leaves_the_others(server: ApiServer, client: Client) -> None:
    """It is told of, by its name."""
    walk(server)
    server.script("/apis/apps/v1", behaviour.unavailable)
    found = discovery.discover(client)
    groups = {resource.group for resource in found.resources}
    assert "batch" in groups
    assert "apps" not in groups
    (fault,) = found.faults
    assert fault.startswith("apps/v1: GET /apis/apps/v1: 503")


def test_a_stale_group_is_told_of() -> None:
    """Its own server is down, and the aggregated form still has what it last said."""
    document = recorded("apis-aggregated").json
    (apps,) = (group for group in document["items"] if group["metadata"]["name"] == "apps")
    apps["versions"][0]["freshness"] = "Stale"
    (fault,) = discovery.aggregated(document).faults
    assert "apps/v1" in fault
    assert fault.endswith("`kubectl describe apiservice v1.apps`")


def test_of_several_versions_one_is_preferred(client: Client) -> None:
    """The group's first that has it, as the server sorts them."""
    scalers = [r for r in discovery.discover(client).resources if r.name == "horizontalpodautoscalers"]
    assert [(r.group_version, r.preferred) for r in scalers] == [
        ("autoscaling/v2", True),
        ("autoscaling/v1", False),
    ]


def test_the_core_alone_is_better_than_nothing(server: ApiServer, client: Client) -> None:
    """Only where both parts fail it is an error."""
    server.script("/apis", behaviour.html(), 2)
    found = discovery.discover(client)
    assert {resource.group for resource in found.resources} == {""}
    assert len(found.faults) == 1
    server.script("/api", behaviour.unavailable)
    with pytest.raises(StatusError):
        discovery.discover(client)


def test_a_server_that_is_gone_is_asked_once() -> None:
    """Not once more for each group."""
    with ApiServer() as server:
        known = Known(server)
    with Client(Server(server.url, known), timeout=2) as client, pytest.raises(Unreachable):
        discovery.discover(client)


@pytest.mark.parametrize(
    "name", ["api-aggregated", "apis-aggregated", "apis-apps-v1", "api-v1", "apis", "api"]
)
def test_broken_documents_break_nothing(name: str) -> None:
    """Whatever stands in place of a part: what can be understood is taken."""
    whole = recorded(name).json

    def broken(value: object, rest: int) -> Iterator[object]:
        yield from (None, 1, "x", [], [1], {}, {"x": 1})
        if rest and isinstance(value, dict):
            for part in value:
                for other in broken(value[part], rest - 1):
                    yield {**value, part: other}
        elif rest and isinstance(value, list) and value:
            for other in broken(value[0], rest - 1):
                yield [other]

    for document in broken(whole, 6):
        discovery.aggregated(document)
        discovery.listed(document)
        discovery.group_versions(document)


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("pods", ("v1", "pods")),
        ("po", ("v1", "pods")),
        ("Pod", ("v1", "pods")),
        ("deploy", ("apps/v1", "deployments")),
        ("deployments.apps", ("apps/v1", "deployments")),
        ("deployments.v1.apps", ("apps/v1", "deployments")),
        ("hpa.v1.autoscaling", ("autoscaling/v1", "horizontalpodautoscalers")),
        ("hpa", ("autoscaling/v2", "horizontalpodautoscalers")),
        ("events", ("v1", "events")),
        ("events.events.k8s.io", ("events.k8s.io/v1", "events")),
        ("po/log", ("v1", "pods/log")),
        ("pods/nonsense", ("v1", "pods/nonsense")),
        ("pods.apps", None),
        ("webs", None),
        ("", None),
    ],
)
def test_names_as_people_write_them(named: str, meant: tuple[str, str] | None, client: Client) -> None:
    """Names, short names, kinds; with a group, or a version and a group; with a part."""
    found = discovery.find(discovery.discover(client).resources, named)
    assert (found and key(found)) == meant


def test_kubectl_lists_the_same(server: ApiServer, tmp_path: Path) -> None:
    """``kubectl api-resources`` beside it: name, short names, version, whether namespaced, kind."""
    if (kubectl := shutil.which("kubectl")) is None:
        pytest.skip("needs kubectl (Debian's kubernetes-client)")
    config = tmp_path / "config"
    (tmp_path / "ca.crt").write_bytes(server.authority.pem)
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "clusters": [
            {
                "name": "it",
                "cluster": {"server": server.url, "certificate-authority": str(tmp_path / "ca.crt")},
            }
        ],
        "users": [{"name": "it", "user": {"token": server.token(USER)}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
    }
    config.write_text(yaml.safe_dump(document))
    done = subprocess.run(
        [kubectl, "api-resources", "--no-headers"],
        env={**os.environ, "KUBECONFIG": str(config), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    theirs = {tuple(line.split()) for line in done.stdout.splitlines()}
    with Client(Server(server.url, Known(server))) as client:
        ours = {
            tuple(
                filter(
                    None,
                    (r.name, ",".join(r.short_names), r.group_version, json.dumps(r.namespaced), r.kind),
                )
            )
            for r in discovery.discover(client).resources
            if r.preferred and not r.is_subresource
        }
    assert ours == theirs


def test_nothing_that_is_an_api_server() -> None:
    """The error says so."""
    with ApiServer(tls=False) as server:
        server.script("*", behaviour.html(200), math.inf)
        with Client(Server(server.url)) as client, pytest.raises(ApiError, match="GET /api"):
            discovery.discover(client)


def test_a_group_of_which_no_path_can_be_made(client: Client, server: ApiServer) -> None:
    """It is told of, and the others are there."""
    groups = {"kind": "APIGroupList", "groups": [{"name": "a b", "versions": [{"groupVersion": "a b/v1"}]}]}
    server.script("/apis", behaviour.body(json.dumps(groups).encode()))
    found = discovery.discover(client)
    assert found.resources
    assert any("no API server has such a path" in fault for fault in found.faults)


def test_a_group_that_does_not_answer_in_time(client: Client, server: ApiServer) -> None:
    """Likewise."""
    for path in ("/api", "/apis"):
        server.script(path, behaviour.as_recorded({"/api": "api", "/apis": "apis"}[path]))
    server.script("/apis/apps/v1", behaviour.hang)
    client.timeout = 1.0
    found = discovery.discover(client)
    assert any(resource.name == "pods" for resource in found.resources)
    assert any(fault.startswith("apps/v1: ") and "in time" in fault for fault in found.faults)


def test_a_resource_without_verbs_is_there_for_its_parts() -> None:
    """In the aggregated form."""
    part = {"subresource": "y", "verbs": ["get"]}
    version = {"version": "v1", "resources": [{"resource": "x", "subresources": [part]}]}
    found = discovery.aggregated({"items": [{"metadata": {"name": "g"}, "versions": [version]}]})
    assert [resource.name for resource in found.resources] == ["x/y"]
