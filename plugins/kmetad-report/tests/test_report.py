"""What becomes visible, on a server with real TLS and a role that allows no more than README.md shows."""

from __future__ import annotations

import json
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from types import MappingProxyType
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kmetad_report import Options, Plugin
from kmetad_report.force import History, Standing, standing
from kmetad_report.publish import Apply, Shown
from kmetad_report.worker import Worker

from kmetad import Batch, Context, Outcome, Snapshot, diff
from kmetad.api import Client, Credentials, Server, find_server
from kmetad.api.credentials import Trust
from kmetad.metadata import Resource
from kmetad.status import NOT_RUNNING, LaneStatus, Status, Tried
from kmetad.testing import Host
from tests.apiserver import ApiServer, behaviour, pod
from tests.cli import eventually

README = (Path(__file__).parents[1] / "README.md").read_text()
USER = "system:serviceaccount:lab:web"
VERSION = {"version": "metadata.labels['version']"}
KEY = "kmetad.dev/applied-version"
CONDITION = "kmetad.dev/Applied"


def role() -> list[dict[str, Any]]:
    """The rules of README.md's role."""
    (text,) = re.findall(r"(?:^    .*\n)*^    kind: Role\n(?:^    .*\n)*", README, re.MULTILINE)
    shown, binding = yaml.safe_load_all(dedent(text))
    assert binding["roleRef"]["name"] == shown["metadata"]["name"]
    rules: list[dict[str, Any]] = shown["rules"]
    return rules


class Log:
    """What was logged."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def info(self, event: str, **values: Any) -> None:
        self.lines.append({"event": event, **values})

    warning = error = exception = info

    def of(self, event: str) -> list[dict[str, Any]]:
        """The lines with this event."""
        return [line for line in self.lines if line["event"] == event]


class Cluster:
    """An API server with the Pod web, and a service account that may do what README.md's role says."""

    def __init__(self, server: ApiServer, directory: Path) -> None:
        self.server = server
        self.uid = server.put(pod("web", "lab"))["metadata"]["uid"]
        self.grant()
        server.mount(directory, USER)
        host = {"KUBERNETES_SERVICE_HOST": server.host, "KUBERNETES_SERVICE_PORT": str(server.port)}
        self.environ = host
        self.mounted = directory
        self.client = Client(find_server(token_path=str(directory), environ=host), timeout=5.0)

    def grant(self, without: tuple[str, str] = ("", "")) -> None:
        """Allow it that, but for one resource's verb."""
        self.server.forbid(USER)
        for rule in role():
            (resource,) = rule["resources"]
            verbs = [verb for verb in rule["verbs"] if (resource, verb) != without]
            self.server.allow(USER, verbs, rule["resources"], rule["apiGroups"], namespace="lab")

    @property
    def pod(self) -> dict[str, Any]:
        """The Pod as it is there."""
        found = self.server.get("Pod", "lab", "web")
        assert found is not None
        return found

    @property
    def annotations(self) -> dict[str, str]:
        """Its annotations."""
        return self.pod["metadata"].get("annotations") or {}

    @property
    def applied(self) -> str | None:
        """The annotation."""
        return self.annotations.get(KEY)

    @property
    def condition(self) -> dict[str, Any] | None:
        """The condition."""
        return next((c for c in self.pod["status"]["conditions"] if c["type"] == CONDITION), None)

    @property
    def status(self) -> str | None:
        """The condition's."""
        return self.condition["status"] if self.condition else None

    @property
    def events(self) -> list[dict[str, Any]]:
        """All Events."""
        return self.server.objects("Event", "lab")


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """An API server."""
    with ApiServer() as made:
        yield made


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    """With the Pod and its role."""
    made = Cluster(server, tmp_path / "account")
    yield made
    made.client.close()


class Pods:
    """A Pod's kmetad: what it sees, its instances, and the report."""

    def __init__(
        self,
        client: Client,
        uid: str = "",
        *,
        name: str = "report",
        lanes: tuple[str, ...] = ("nginx",),
        **options: Any,
    ) -> None:
        self.log = Log()
        fields = {"metadata.name": "web", "metadata.namespace": "lab", "metadata.uid": uid}
        self.snapshot = Snapshot(fields=MappingProxyType({k: v for k, v in fields.items() if v}))
        self.lanes = {lane: LaneStatus(lane, "starting") for lane in lanes}
        self.started_ns = 1
        self.asked = 0
        context = Context(
            name, self.log, lambda: self.snapshot, status=self.status, api=lambda: self.ask(client)
        )
        self.plugin = Plugin(Options(**options), context, scale=0.001)

    def ask(self, client: Client) -> Client:
        """For the client."""
        self.asked += 1
        return client

    def status(self) -> Status:
        """Of kmetad."""
        return replace(
            NOT_RUNNING,
            pid=7,
            started_ns=self.started_ns,
            generation=self.snapshot.generation,
            lanes=tuple(self.lanes.values()),
        )

    def start(self, version: str | None = "v1") -> Pods:
        """Begin, with all instances at what there is."""
        self.see(version=version)
        self.plugin.kmetad_on_start(self.snapshot)
        for name in self.lanes:
            self.lanes[name] = LaneStatus(name, "idle", generation=self.snapshot.generation)
        return self

    def see(self, **labels: str | None) -> None:
        """The kubelet has written this."""
        now = {**self.snapshot.labels, **labels}
        kept = {key: value for key, value in now.items() if value is not None}
        self.snapshot = replace(
            self.snapshot, labels=MappingProxyType(kept), generation=self.snapshot.generation + 1
        )

    def change(self, **labels: str | None) -> None:
        """And all are told."""
        before = self.snapshot
        self.see(**labels)
        self.lanes = {
            name: replace(lane, state="delivering", hook="on_change") for name, lane in self.lanes.items()
        }
        changes = tuple(diff(before, self.snapshot))
        self.plugin.kmetad_on_change(Batch(changes, before, self.snapshot, 1))

    def tries(self, name: str = "nginx", result: Any = "applied", error: str = "", **outcome: Any) -> None:
        """An instance has tried it."""
        lane = self.lanes[name]
        last = Tried(5, result, 0.1, 1, error)
        taken = result in ("applied", "skipped")
        generation = self.snapshot.generation if taken else lane.generation
        state: Any = "idle" if taken else "retrying"
        self.lanes[name] = replace(lane, state=state, hook="", generation=generation, last=last)
        told: dict[str, Any] = {"started_ns": 5, "changes": (), "current": self.snapshot, **outcome}
        self.plugin.kmetad_on_applied(Outcome(name, result, attempt=1, seconds=0.1, error=error, **told))

    def stop(self) -> None:
        """The end."""
        self.plugin.kmetad_on_stop()


@pytest.fixture
def report(cluster: Cluster) -> Iterator[Callable[..., Pods]]:
    """Starts reports, and ends them."""
    made: list[Pods] = []

    def start(**options: Any) -> Pods:
        made.append(Pods(cluster.client, **{"uid": cluster.uid, **options}))
        return made[-1]

    yield start
    for one in made:
        one.stop()
    names = [f"report-{one.plugin._context.name}" for one in made]
    assert [thread.name for thread in threading.enumerate() if thread.name in names] == []


def calls(server: ApiServer) -> list[str]:
    """What was asked: verbs and resources."""
    return [f"{request.verb} {request.resource}" for request in server.requests]


def settled(one: Pods) -> None:
    """Wait until it has looked at all that it was told of, and sleeps."""
    worker = one.plugin._worker
    looked = threading.Event()
    look = worker.look

    def looking() -> float | None:
        wait = look()
        if wait is None:
            looked.set()
        return wait

    worker.look = looking  # type: ignore[method-assign]
    worker.nudge()
    assert looked.wait(30)
    worker.look = look  # type: ignore[method-assign]


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


def test_events(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """As ``kubectl describe`` finds them; what comes again after a restart of kmetad was said."""
    one = report(events="failures", container="web").start("v1")
    one.tries(result="applied")
    one.started_ns = 100
    one.tries(result="failed", error="of a life before", started_ns=99)
    one.tries(result="failed", error="no\nInjected: yes", started_ns=100)
    eventually(lambda: len(cluster.events) == 1)
    (event,) = cluster.events
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "name": "web",
        "namespace": "lab",
        "uid": cluster.uid,
        "fieldPath": "spec.containers{web}",
    }
    assert event["message"] == "nginx: no\\nInjected: yes (what there is at its start)"
    assert (event["type"], event["reason"], event["count"]) == ("Warning", "ApplyFailed", 1)
    cluster.server.remove("Event", "lab", event["metadata"]["name"])  # an hour later
    one.tries(result="failed", error="no\nInjected: yes", started_ns=100)
    eventually(lambda: len(cluster.events) == 1)
    assert cluster.events[0]["metadata"]["name"] != event["metadata"]["name"]
    one.tries(started_ns=100)
    eventually(lambda: len(cluster.events) == 2)


def test_events_of_those_that_are_named(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """With ``after``, nobody else's."""
    one = report(events="all", lanes=("a", "b"), after=["b"]).start("v1")
    one.tries("a")
    one.tries("b")
    eventually(lambda: bool(cluster.events))
    settled(one)
    assert [event["message"].split()[0] for event in cluster.events] == ["b"]


def test_events_that_were_left_out(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """They are counted in one that is made; another fault than its being there already is no success."""
    cluster.server.script("create events", behaviour.status(409, "Conflict", "not now"))
    one = report(events="failures")
    for number in range(30):
        one.tries(result="failed", error=f"fault {number}")
    one.start("v1")
    eventually(lambda: len(cluster.events) == 8)
    messages = [event["message"] for event in cluster.events]
    assert len([text for text in messages if text.endswith(" (and 22 more that were left out)")]) == 1
    assert one.log.of("report.recovered")[0]["failures"] == 1


def test_a_fault_of_its_own(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """It is logged, and the thread lives on."""
    one = report(applied=VERSION)
    status, one.plugin._worker._standing = one.plugin._worker._standing, lambda: 1 / 0  # type: ignore[assignment,return-value]
    one.start("v1")
    eventually(lambda: bool(one.log.of("report.fault")))
    one.plugin._worker._standing = status
    one.plugin._worker.nudge()
    eventually(lambda: cluster.applied == "v1")


@pytest.mark.parametrize(
    "refusal",
    [
        "event-wrong-ns",
        "event-new-bad-time",
        behaviour.status(403, "Forbidden", "admission webhook denied it"),
    ],
    ids=["422", "400", "an admission webhook"],
)
def test_an_event_that_is_refused(cluster: Cluster, report: Callable[..., Pods], refusal: Any) -> None:
    """A webhook that won't have one doesn't keep those behind it out."""
    cluster.server.script("create events", refusal)
    one = report(events="all")
    for error in ("first", "second"):
        one.tries(result="failed", error=error)
    one.start("v1")
    eventually(lambda: bool(cluster.events))
    (event,) = cluster.events
    assert event["message"].startswith("nginx: second") and event["message"].endswith(
        "1 more that were left out)"
    )
    assert len(one.log.of("report.event_refused")) == 1
    cluster.server.script("patch events", refusal)  # to be counted up
    one.tries(result="failed", error="second")
    one.tries(result="failed", error="third")
    eventually(lambda: len(cluster.events) == 2)
    assert len(one.log.of("report.event_refused")) == 2


def test_a_value_that_is_too_long(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """It keeps neither the others nor the condition out."""
    paths = {**VERSION, "big": "metadata.annotations['big']"}
    one = report(applied=paths, condition="kmetad.dev/Applied")
    one.snapshot = replace(one.snapshot, annotations=MappingProxyType({"big": "x" * 200_000}))
    one.start("v1")
    eventually(lambda: cluster.applied == "v1" and cluster.condition is not None)
    assert any("200000 characters" in sentence for sentence in one.plugin.advice(one.snapshot))


def test_a_404_that_is_not_the_pods(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """A load balancer's is no end of anything."""
    cluster.server.script("patch pods/status", behaviour.body(b"default backend - 404", 404, "text/plain"))
    report(applied=VERSION).start("v1")
    eventually(lambda: cluster.applied == "v1")


def test_an_event_whose_answer_was_lost(cluster: Cluster, report: Callable[..., Pods]) -> None:
    """It isn't made twice."""

    def made_but_cut(exchange: Any) -> None:
        cluster.server.put(json.loads(exchange.request.body))
        behaviour.close(exchange)

    cluster.server.script("create events", made_but_cut)
    one = report(events="all").start("v1")
    one.tries()
    eventually(lambda: bool(one.log.of("report.recovered")))
    assert len(cluster.events) == 1


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


steps = st.lists(
    st.one_of(
        st.tuples(st.just("see"), st.sampled_from([None, "v1", "v2", "v3"])),
        st.tuples(st.just("come"), st.integers(0, 1)),
        st.tuples(st.just("fail"), st.integers(0, 1)),
        st.tuples(st.just("break"), st.sampled_from([403, 429, 500, 0])),
        st.tuples(st.just("look"), st.integers(1, 3)),
    ),
    max_size=25,
)


class World:
    """The worker alone, without its thread, on a clock of its own."""

    def __init__(self, cluster: Cluster) -> None:
        self.now = 0.0
        self.snapshot = Snapshot()
        self.generations: list[int | None] = [None, None]
        self.failed = [False, False]
        self.log = Log()
        self.history = History(VERSION)
        fields = {"metadata.name": "web", "metadata.namespace": "lab", "metadata.uid": cluster.uid}
        self.fields = MappingProxyType(fields)

        def how() -> Standing:
            self.history.add(self.snapshot)
            return standing(self.status(), "report")

        clock = lambda: self.now  # noqa: E731
        shown = Shown(
            self.history,
            CONDITION,
            Apply("kmetad-report", self.log),
            lambda: self.snapshot,
            pace=1.0,
            clock=clock,
        )
        self.worker = Worker(
            "report",
            [shown],
            self.log,
            standing=how,
            snapshot=lambda: self.snapshot,
            client=lambda: cluster.client,
            clock=clock,
            uniform=random.Random(7).uniform,
        )

    def status(self) -> Status:
        """Of kmetad with two instances."""
        lanes = []
        for number, (generation, failed) in enumerate(zip(self.generations, self.failed, strict=True)):
            behind = generation != self.snapshot.generation
            last = Tried(1, "failed" if failed else "applied", 0.1, 1, "no" if failed else "")
            state: Any = ("retrying" if failed else "delivering") if behind else "idle"
            lanes.append(LaneStatus(f"l{number}", state, generation=generation, hook="on_change", last=last))
        return replace(NOT_RUNNING, pid=1, generation=self.snapshot.generation, lanes=tuple(lanes))

    def see(self, version: str | None) -> None:
        """The kubelet has written it."""
        labels = MappingProxyType({} if version is None else {"version": version})
        self.snapshot = Snapshot(labels=labels, fields=self.fields, generation=self.snapshot.generation + 1)
        self.history.add(self.snapshot)

    def look(self, times: int) -> None:
        """Let the worker look as often as it wants to, so many times at most."""
        for _ in range(times):
            wait = self.worker.look()
            if wait is None:
                return
            self.now += wait


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all examples."""
    with ApiServer() as server:
        made = Cluster(server, tmp_path_factory.mktemp("shared") / "account")
        yield made
        made.client.close()


def test_patches_are_a_second_apart(shared: Cluster) -> None:
    """What changes meanwhile goes in one."""
    shared.server.put(pod("web", "lab"))
    world = World(shared)
    world.see("v1")
    world.generations = [1, 1]
    assert world.worker.look() == 0.0
    for number in (2, 3):
        world.see(f"v{number}")
        world.generations = [number, number]
        assert world.worker.look() == 1.0
        assert shared.applied == "v1"
    world.now += 1.0
    assert world.worker.look() == 0.0
    assert shared.applied == "v3"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_in_the_end_it_is_what_is_in_force(shared: Cluster, steps: list[tuple[str, Any]]) -> None:
    """Whatever changes, comes, and fails, in whatever order; and nothing is sent when nothing changed."""
    shared.server.put(pod("web", "lab"))
    shared.grant()
    world = World(shared)
    world.see("v0")
    world.generations = [1, 1]
    script = None
    for what, value in steps:
        if what == "see":
            world.see(value)
        elif what == "come":
            world.generations[value], world.failed[value] = world.snapshot.generation, False
        elif what == "fail" and world.generations[value] != world.snapshot.generation:
            world.failed[value] = True
        elif what == "break":
            if script is not None:
                script.stop()
            broken = behaviour.status(value or 500, "No", "no")
            script = shared.server.script("patch pods/status", broken, times=float("inf") if value else 0)
        elif what == "look":
            world.look(value)
        # Never anything but what some instances have come to.
        assert shared.applied in (None, "v0", "v1", "v2", "v3")
    if script is not None:
        script.stop()
    slowest = min(generation or 0 for generation in world.generations)
    world.look(200)
    in_force = world.history.at(slowest)
    assert in_force is not None
    assert shared.applied == in_force.get("version")
    assert shared.status == ("False" if any(world.failed) else "True")
    before = len(shared.server.requests)
    world.look(10)
    world.see(world.snapshot.labels.get("version"))
    newest = world.snapshot.generation
    world.generations = [newest if at == newest - 1 else at for at in world.generations]
    world.look(10)
    assert len(shared.server.requests) == before
