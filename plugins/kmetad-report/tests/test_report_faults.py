"""Pods that have gone, roles that lack a rule, servers that can't or won't."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from kmetad.api import Client, find_server
from tests.apiserver import behaviour, pod
from tests.cli import eventually
from tests.reporting import CONDITION, KEY, USER, VERSION, Cluster, Pods, calls, role, settled


def test_deleted(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """It is said once, and nothing more is tried."""
    one = report(applied=VERSION, events="all").start("v1")
    eventually(lambda: cluster.applied == "v1")
    cluster.server.remove("Pod", "lab", "web")
    one.change(version="v2")
    one.tries()
    eventually(lambda: bool(one.log.of("report.pod_gone")))
    before = len(cluster.server.requests)
    one.change(version="v3")
    one.tries()
    settled(one)
    assert len(cluster.server.requests) == before
    assert len(one.log.of("report.pod_gone")) == 1


def test_another_of_its_name(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """A later Pod isn't touched."""
    later = pod("web", "lab")
    later["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555"
    one = report(applied=VERSION).start("v1")
    eventually(lambda: cluster.applied == "v1")
    cluster.server.remove("Pod", "lab", "web")
    cluster.server.put(later)
    one.change(version="v2")
    one.tries()
    eventually(lambda: bool(one.log.of("report.pod_gone")))
    assert cluster.applied is None
    fresh = report(applied=VERSION, name="fresh").start("v1")
    eventually(lambda: bool(fresh.log.of("report.pod_gone")))
    assert cluster.applied is None


@pytest.mark.parametrize(
    ("verb", "resource", "options"),
    [
        ("patch", "pods/status", {"applied": VERSION}),
        ("patch", "pods/status", {"condition": CONDITION}),
        ("create", "events", {"events": "all"}),
        ("patch", "events", {"events": "all"}),
    ],
)
def test_a_verb_that_is_missing(
    cluster: Cluster, report: Callable[..., Pods], verb: str, resource: str, options: dict[str, Any]
) -> None:
    """The log has the rule, once; it goes on when that is granted."""
    cluster.grant(without=(resource, verb))
    one = report(**options).start("v1")
    one.tries()
    if (verb, resource) == ("patch", "events"):
        eventually(lambda: bool(cluster.events))
        one.tries()
    eventually(lambda: bool(one.log.of("report.failed")))
    cluster.server.wait_for(f"{verb} {resource}", 4)
    (line,) = one.log.of("report.failed")
    assert f'cannot {verb} resource "{resource}"' in line["error"]
    assert f'resources: ["{resource}"], verbs: ["{verb}"]' in line["error"]
    cluster.grant()
    eventually(lambda: bool(one.log.of("report.recovered")))


def test_no_more_than_its_role(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """With exactly that, everything works, and nothing else was asked for."""
    one = report(applied=VERSION, condition=CONDITION, events="all", container="web").start("v1")
    for number, version in enumerate(("v2", "v3"), 1):
        one.change(version=version)
        one.tries(result="failed", error="no")
        one.tries()
        eventually(lambda number=number: [e["count"] for e in cluster.events] == [number] * 2)  # type: ignore[misc]
    eventually(lambda: (cluster.applied, cluster.status) == ("v3", "True"))
    allowed = {f"{verb} {r}" for rule in role() for r in rule["resources"] for verb in rule["verbs"]}
    assert set(calls(cluster.server)) == allowed
    assert one.log.of("report.failed") == []
    for request in cluster.server.requests:
        assert request.user == USER


def test_a_fault_of_its_own(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """It is logged, and the thread lives on."""
    one = report(applied=VERSION)
    status, one.plugin._worker._standing = one.plugin._worker._standing, lambda: 1 / 0  # type: ignore[assignment,return-value]
    one.start("v1")
    eventually(lambda: bool(one.log.of("report.fault")))
    one.plugin._worker._standing = status
    one.plugin._worker.nudge()
    eventually(lambda: cluster.applied == "v1")


def test_a_404_that_is_not_the_pods(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """A load balancer's is no end of anything."""
    cluster.server.script("patch pods/status", behaviour.body(b"default backend - 404", 404, "text/plain"))
    report(applied=VERSION).start("v1")
    eventually(lambda: cluster.applied == "v1")


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_that_cannot(cluster: Cluster, report: Callable[..., Pods], code: int) -> None:
    """It is said once, tried again with what is newest, and said to be over."""
    reason = {429: "TooManyRequests", 500: "InternalError", 503: "ServiceUnavailable"}[code]
    script = cluster.server.script("patch pods/status", behaviour.status(code, reason, "not now"), times=5)
    one = report(applied=VERSION).start("v1")
    cluster.server.wait_for("patch pods/status", 2)
    one.change(version="v2")
    one.tries()
    eventually(lambda: cluster.applied == "v2")
    eventually(lambda: bool(one.log.of("report.recovered")))
    assert script.used == 5
    assert len(one.log.of("report.failed")) == 1
    assert one.log.of("report.recovered")[0]["failures"] == 5
    applied = [json.loads(r.body)["metadata"] for r in cluster.server.requests if b"annotations" in r.body]
    assert [metadata["annotations"][KEY] for metadata in applied] == ["v2"]


def test_a_token_that_is_not_accepted(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """Until there is one that is; none of them is told to anybody."""
    token = (cluster.mounted / "token").read_text()
    cluster.server.revoke(token)
    one = report(applied=VERSION).start("v1")
    eventually(lambda: bool(one.log.of("report.failed")))
    assert "401" in one.log.of("report.failed")[0]["error"]
    cluster.server.mount(cluster.mounted, USER)
    eventually(lambda: cluster.applied == "v1")
    assert token not in str(one.log.lines)


def test_a_server_that_hangs_delays_nobody(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """Neither hooks nor the end: each returns while the call hangs."""
    script = cluster.server.script("patch pods/status", behaviour.hang, times=1)
    one = report(applied=VERSION).start("v1")
    eventually(lambda: script.used == 1)
    for number in range(100):
        one.change(version=str(number))
        one.tries()
    assert cluster.applied is None
    one.stop()
    cluster.server.hang_up()
    one.plugin._worker._thread.join(30)


def test_no_server(report: Callable[..., Pods], tmp_path: Path) -> None:
    """It is said what is missing."""
    one = report(applied=VERSION)

    def nowhere() -> Client:
        return Client(find_server(environ={"KUBECONFIG": ""}, token_path=str(tmp_path / "none")))

    one.plugin._worker._client = nowhere
    one.start("v1")
    eventually(lambda: bool(one.log.of("report.failed")))
    assert one.log.of("report.failed")[0]["error"]


def test_nameless(report: Callable[..., Pods], cluster: Cluster) -> None:
    """Nothing is reported, which is said once, with what to project; until it is known."""
    one = report(applied=VERSION)
    fields, one.snapshot = one.snapshot.fields, replace(one.snapshot, fields=MappingProxyType({}))
    one.start("v1")
    one.change(version="v2")
    one.tries()
    settled(one)
    (line,) = one.log.of("report.nameless")
    assert "metadata.name" in line["remedy"]
    one.snapshot = replace(one.snapshot, fields=fields)
    one.change(version="v3")
    one.tries()
    eventually(lambda: cluster.applied == "v3")


def test_the_namespace_of_the_mount(report: Callable[..., Pods], cluster: Cluster) -> None:
    """Where the Pod doesn't say, the service account does."""
    one = report(applied=VERSION, events="all")
    name = {"metadata.name": "web"}
    one.snapshot = replace(one.snapshot, fields=MappingProxyType(name))
    one.start("v1")
    one.tries()
    eventually(lambda: cluster.applied == "v1" and len(cluster.events) == 1)
    settled(one)
    assert len(cluster.server.requests) == 3
