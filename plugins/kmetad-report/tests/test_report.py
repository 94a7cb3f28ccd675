"""What becomes visible, on a server with real TLS: annotations and the condition."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from kmetad_report import Options, Plugin

from kmetad import Context, Snapshot
from kmetad.api import Client, Credentials, Server
from kmetad.api.credentials import Trust
from kmetad.metadata import Resource
from kmetad.status import NOT_RUNNING, LaneStatus, Tried
from kmetad.testing import Host
from tests.cli import eventually
from tests.reporting import CONDITION, KEY, VERSION, Cluster, Pods, calls, settled


def test_the_value_in_force(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """It is there when the instance has come to it, and not before; it goes with the label."""
    one = report(applied=VERSION).start("v1")
    eventually(lambda: cluster.applied == "v1")
    one.change(version="v2")
    settled(one)
    assert cluster.applied == "v1"
    one.tries()
    eventually(lambda: cluster.applied == "v2")
    one.change(version=None)
    one.tries()
    eventually(lambda: cluster.applied is None)
    assert set(calls(cluster.server)) == {"patch pods/status"}
    assert cluster.condition is None


def test_every_instance_counts(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """The slowest; and a Pod that changes all the time is reported all the same."""
    one = report(applied=VERSION, lanes=("a", "b")).start("v1")
    eventually(lambda: cluster.applied == "v1")
    for number in range(2, 6):
        one.change(version=f"v{number}")
        one.tries("a")
        ahead = one.snapshot
        one.see(version=f"v{number}.1")
        one.snapshot, newest = ahead, one.snapshot
        one.tries("b")
        one.snapshot = newest
        eventually(lambda number=number: cluster.applied == f"v{number}")  # type: ignore[misc]


def test_after(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """Only those that are named."""
    one = report(applied=VERSION, lanes=("a", "b"), after=["b"]).start("v1")
    one.change(version="v2")
    one.tries("b")
    eventually(lambda: cluster.applied == "v2")


def test_its_own_match_hides_nothing(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """What only another instance was told of is in force when that has come to it."""
    one = report(applied=VERSION).start("v1")
    one.see(version="v2")
    one.tries()
    eventually(lambda: cluster.applied == "v2")


def test_silently_come_to(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """One whose filter leaves nothing has no outcome: it is looked at again."""
    one = report(applied=VERSION).start("v1")
    eventually(lambda: cluster.applied == "v1")
    one.change(version="v2")
    one.lanes["nginx"] = replace(one.lanes["nginx"], state="idle", hook="")
    one.plugin._worker.nudge()
    one.lanes["nginx"] = replace(one.lanes["nginx"], generation=one.snapshot.generation)
    eventually(lambda: cluster.applied == "v2")


def test_nothing_is_sent_when_nothing_changed(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """Neither for noise, nor for its own annotation when it comes back."""
    one = report(applied=VERSION, condition=CONDITION, events="failures").start("v1")
    eventually(lambda: (cluster.applied, cluster.status) == ("v1", "True"))
    before = calls(cluster.server)
    for number in range(20):
        one.change(other=str(number))
        one.tries()
    annotations = MappingProxyType(cluster.annotations)
    one.snapshot = replace(one.snapshot, annotations=annotations, generation=one.snapshot.generation + 1)
    one.change()
    one.tries()
    settled(one)
    assert calls(cluster.server) == before


def test_nothing_to_report(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """Nobody is asked, so nothing is imported for it."""
    one = report(events="failures").start("v1")
    other = report(applied=VERSION, name="other")
    other.snapshot = replace(other.snapshot, annotations=MappingProxyType({"kubernetes.io/config.seen": "t"}))
    other.start(None)
    for each in (one, other):
        each.change(more="1")
        each.tries()
        settled(each)
        assert each.asked == 0


def test_condition(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """True when applied, False when failed, as it was in between; its time is that of the transition."""
    one, times = report(condition=CONDITION), iter(range(10**6))
    one.plugin._worker._duties[0].subject._now_ns = lambda: next(times) * 10**9  # type: ignore[attr-defined]
    one.start("v1")
    eventually(lambda: cluster.status == "True")
    first = cluster.condition
    assert first is not None
    assert (first["reason"], first["message"]) == ("Applied", "applied by nginx")
    one.change(version="v2")
    settled(one)
    assert cluster.condition == first
    one.tries(result="failed", error="Fail: nginx -t said\nno")
    eventually(lambda: cluster.status == "False")
    failed = cluster.condition
    assert failed is not None
    assert (failed["reason"], failed["message"]) == ("Failed", "nginx: Fail: nginx -t said\\nno")
    assert failed["lastTransitionTime"] != first["lastTransitionTime"]
    one.tries(result="failed", error="Fail: otherwise")
    eventually(lambda: "otherwise" in (cluster.condition or {})["message"])
    assert (cluster.condition or {})["lastTransitionTime"] == failed["lastTransitionTime"]
    one.tries()
    eventually(lambda: cluster.status == "True")
    kept = [c["type"] for c in cluster.pod["status"]["conditions"]]
    assert {"Ready", "PodScheduled", CONDITION} <= set(kept)


def test_a_life_before(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """What is under way stays as it was, and so does the time of the last transition."""
    one = report(applied=VERSION, condition=CONDITION).start("v1")
    eventually(lambda: (cluster.applied, cluster.status) == ("v1", "True"))
    one.stop()
    before = cluster.pod
    again = report(applied=VERSION, condition=CONDITION)
    again.see(version="v2")
    again.plugin.kmetad_on_start(again.snapshot)
    settled_state = LaneStatus("nginx", "delivering", generation=None, hook="on_change")
    again.lanes["nginx"] = replace(settled_state, state="parked")
    settled(again)
    assert cluster.pod == before
    again.lanes["nginx"] = replace(settled_state, last=Tried(5, "failed", 0.1, 1, "no"))
    again.plugin._worker.nudge()
    eventually(lambda: cluster.status == "False")
    assert cluster.applied == "v1"
    again.tries()
    eventually(lambda: (cluster.applied, cluster.status) == ("v2", "True"))
    since = cluster.condition
    again.stop()
    patched = len(calls(cluster.server))
    third = report(applied=VERSION, condition=CONDITION).start("v2")
    cluster.server.wait_for("patch pods/status", patched + 1)
    settled(third)
    assert len(calls(cluster.server)) == patched + 1
    assert cluster.condition == since


def test_what_an_earlier_table_reported_goes(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """The field manager knows what it holds."""
    report(applied={"old": VERSION["version"]}).start("v1")
    eventually(lambda: "kmetad.dev/applied-old" in cluster.annotations)
    report(applied=VERSION).start("v1")
    eventually(lambda: cluster.applied == "v1")
    assert "kmetad.dev/applied-old" not in cluster.annotations


def test_containers_do_not_disturb_each_other(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """A field manager each; what two report differently is left to the first, and said."""
    web = report(applied=VERSION, container="web").start("v1")
    side = report(applied={"side": VERSION["version"]}, container="side", condition=CONDITION).start("s1")
    eventually(lambda: cluster.applied == "v1" and cluster.status == "True")
    other = report(applied=VERSION, container="other").start("v9")
    eventually(lambda: bool(other.log.of("report.failed")))
    (line,) = other.log.of("report.failed")
    assert line["error"].startswith(f"kmetad-report-web reports .metadata.annotations.{KEY} already")
    other.stop()
    for version in ("v2", "v3"):
        web.change(version=version)
        web.tries()
        eventually(lambda version=version: cluster.applied == version)  # type: ignore[misc]
        assert cluster.annotations["kmetad.dev/applied-side"] == "s1"
        assert cluster.status == "True"
    side.change(version=None)
    side.tries()
    eventually(lambda: "kmetad.dev/applied-side" not in cluster.annotations)
    assert cluster.applied == "v3"
    managers = {e["manager"] for e in cluster.pod["metadata"]["managedFields"] if e["operation"] == "Apply"}
    assert managers == {"kmetad-report-web", "kmetad-report-side"}


def test_what_somebody_wrote_is_replaced(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """With the next change: the annotation's name is this report's."""
    one = report(applied=VERSION).start("v1")
    eventually(lambda: cluster.applied == "v1")
    _annotate(cluster, KEY, "a lie")
    eventually(lambda: cluster.applied == "a lie")
    one.change(version="v2")
    one.tries()
    eventually(lambda: cluster.applied == "v2")
    assert one.log.of("report.taken_over")[0]["of"] == ["kubectl-annotate"]


def _annotate(cluster: Cluster, key: str, text: str) -> None:
    """As ``kubectl annotate`` does."""
    cluster.server.allow_all("admin")

    class Admin(Credentials):
        def trust(self) -> Trust:
            return Trust(cluster.server.authority.pem)

        def headers(self) -> Mapping[str, str]:
            return {"Authorization": f"Bearer {cluster.server.token('admin')}"}

    with Client(Server(cluster.server.url, Admin())) as client:
        body = {"metadata": {"annotations": {key: text}}}
        client.patch("/api/v1/namespaces/lab/pods/web", body, field_manager="kubectl-annotate")


def test_a_value_that_is_too_long(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """It keeps neither the others nor the condition out."""
    paths = {**VERSION, "big": "metadata.annotations['big']"}
    one = report(applied=paths, condition="kmetad.dev/Applied")
    one.snapshot = replace(one.snapshot, annotations=MappingProxyType({"big": "x" * 200_000}))
    one.start("v1")
    eventually(lambda: cluster.applied == "v1" and cluster.condition is not None)
    assert any("200000 characters" in sentence for sentence in one.plugin.advice(one.snapshot))


def test_simulated() -> None:
    """``kmetad check --simulate`` tells what would become visible."""
    host = Host(Plugin, applied=VERSION, after=["nginx"])
    try:
        host.start(labels={"version": "v1"})
        host.set(labels={"version": 'v"2'})
        host.set(labels={"app": "web"})
        host.set(labels={"app": "api"})
        told = [list(host.plugin.simulate(batch)) for batch in host.batches]
        assert told == [
            [f'annotation {KEY} = "v\\"2", after nginx'],
            [f"annotation {KEY} is removed, after nginx"],
            ["annotations stay as they are"],
        ]
    finally:
        host.stop()


def test_advice() -> None:
    """What there is nothing for, who isn't there, and what isn't known of the Pod."""
    host = Host(Plugin, applied={"cpu": "limits.cpu", **VERSION}, after=["nginx"], events="all")
    nothing = list(host.plugin.advice(Snapshot()))
    assert "project metadata.name" in nothing[0]
    assert nothing[1:] == [
        "applied: there is no limits.cpu now, so there is no kmetad.dev/applied-cpu",
        f"applied: there is no {VERSION['version']} now, so there is no {KEY}",
    ]
    host.status = replace(NOT_RUNNING, pid=1, lanes=(LaneStatus("test", "idle"), LaneStatus("other", "idle")))
    known = replace(
        Snapshot(),
        fields=MappingProxyType({"metadata.name": "web"}),
        labels=MappingProxyType({"version": "v1"}),
        resources=MappingProxyType({"web.limits.cpu": Resource(1)}),
    )
    uid, after = host.plugin.advice(known)
    assert "kubectl describe shows no Event without it" in uid
    assert after == "after: there is no instance nginx; there are other"
    status = replace(NOT_RUNNING, lanes=(LaneStatus("report", "idle"),))
    alone = Context("report", None, status=lambda: status, covers=lambda *_: False)
    told = list(Plugin(Options(applied={"cpu": "limits.cpu", **VERSION}), alone).advice(known))
    assert [sentence.partition(", for")[0] for sentence in told[1:3]] == [
        "applied: cpu won't follow limits.cpu",
        f"applied: version won't follow {VERSION['version']}",
    ]
    assert told[3].startswith("there is no other instance")
