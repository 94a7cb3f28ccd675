"""A Pod on an API server, with a role that allows no more than kmetad-report's README shows, and its reports."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from types import MappingProxyType
from typing import Any

import yaml
from kmetad_report import Options, Plugin

from kmetad import Batch, Context, Outcome, Snapshot, diff
from kmetad.api import Client, find_server
from kmetad.status import NOT_RUNNING, LaneStatus, Status, Tried
from tests.apiserver import ApiServer, pod

README = (Path(__file__).parents[1] / "plugins" / "kmetad-report" / "README.md").read_text()
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
