"""Whatever happens, in whatever order: in the end it is what is in force."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kmetad_report.force import History, Standing, standing
from kmetad_report.publish import Apply, Shown
from kmetad_report.worker import Worker

from kmetad import Snapshot
from kmetad.status import NOT_RUNNING, LaneStatus, Status, Tried
from tests.apiserver import ApiServer, behaviour, pod
from tests.reporting import CONDITION, VERSION, Cluster, Log

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
