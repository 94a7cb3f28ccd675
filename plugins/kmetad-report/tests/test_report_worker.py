"""When the worker calls, and what it says: subjects that fail as told, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

import pytest
from kmetad_report.force import Standing
from kmetad_report.publish import Pace
from kmetad_report.wanted import Pod
from kmetad_report.worker import Worker

from kmetad import Snapshot
from kmetad.api import (
    ApiError,
    Client,
    Conflict,
    Forbidden,
    Invalid,
    NoServer,
    NotFound,
    TooManyRequests,
    Unreachable,
)

PLACE = MappingProxyType({"metadata.name": "web", "metadata.namespace": "lab"})


class Log:
    """What was logged."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def info(self, event: str, **values: Any) -> None:
        self.lines.append({"event": event, **values})

    warning = exception = info


class Subject:
    """One that always has something to do, until it has succeeded."""

    name = "subject"

    def __init__(self, *, on_pod: bool = True) -> None:
        self.on_pod = on_pod
        self.errors: list[Exception] = []
        self.calls = 0
        self.behind = True
        self.pods: list[Pod] = []

    def due(self, now: Standing, pod: Pod) -> float | None:
        return 0.0 if self.behind else None

    def bring(self, client: Client, pod: Pod) -> Mapping[str, Any]:
        self.calls += 1
        self.pods.append(pod)
        if self.errors:
            raise self.errors.pop(0)
        self.behind = False
        return {}


class Rig:
    """A worker without its thread."""

    def __init__(self, subject: Subject, standing: Standing | None = None) -> None:
        self.now = 100.0
        self.log = Log()
        self.subject = subject
        self.snapshot = Snapshot(fields=PLACE)
        self.home = ""
        self.worker = Worker(
            "report",
            [subject],
            self.log,
            standing=lambda: standing or Standing(),
            snapshot=lambda: self.snapshot,
            client=lambda: cast(Client, type("Known", (), {"namespace": self.home})),
            clock=lambda: self.now,
            uniform=lambda low, high: high,
        )

    def waits(self) -> list[float]:
        """Let it look until it sleeps for good: how long it waited each time."""
        waits = []
        while (wait := self.worker.look()) is not None:
            if wait:
                waits.append(wait)
            self.now += wait
        return waits

    def said(self) -> list[str]:
        """The events of what was logged."""
        return [line["event"].removeprefix("report.") for line in self.log.lines]


def too_many(seconds: float) -> TooManyRequests:
    """What the API server says."""
    return TooManyRequests("too many", code=429, retry_after=seconds)


def refused(kind: Any, code: int, said: str = "", **details: Any) -> Any:
    """A refusal."""
    return kind(f"no: {said}", code=code, said=said, details=details)


def gone(name: str) -> Any:
    """There is no such Pod."""
    return NotFound(
        "no", code=404, reason="NotFound", said="not found", details={"name": name, "kind": "pods"}
    )


def test_it_waits_longer_each_time() -> None:
    """Up to a minute, and afresh after a success."""
    rig = Rig(Subject())
    rig.subject.errors = [Unreachable("nobody listens")] * 9
    assert rig.waits() == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert rig.said() == ["failed", "recovered"]
    rig.subject.behind, rig.subject.errors = True, [Unreachable("nobody listens")]
    assert rig.waits() == [1.0]
    assert rig.said() == ["failed", "recovered"] * 2
    assert rig.log.lines[-1]["failures"] == 1


def test_a_nudge_shortens_no_wait() -> None:
    """Whatever changes meanwhile."""
    rig = Rig(Subject())
    rig.subject.errors = [Unreachable("nobody listens")]
    assert rig.worker.look() == 0.0
    rig.now += 0.25
    assert rig.worker.look() == 0.75
    assert rig.subject.calls == 1


def test_it_does_as_the_server_says() -> None:
    """Retry-After, where that is longer, but not for days."""
    rig = Rig(Subject())
    rig.subject.errors = [too_many(50.0), too_many(0.5), too_many(86400.0)]
    assert rig.waits() == [50.0, 2.0, 60.0]


def test_it_is_slow_where_somebody_has_to_do_something() -> None:
    """A role, a table, a server."""
    rig = Rig(Subject())
    taken = {"reason": "FieldManagerConflict", "message": 'conflict with "kmetad-report-web"', "field": ".a"}
    rig.subject.errors = [NoServer("no"), refused(Forbidden, 403), refused(Conflict, 409, causes=[taken])]
    assert rig.waits() == [10.0, 20.0, 40.0]
    rig = Rig(Subject(on_pod=False))
    rig.subject.errors = [refused(NotFound, 404), refused(Invalid, 422)]
    assert rig.waits() == [10.0, 20.0]


def test_each_kind_is_said_once() -> None:
    """However often they take turns."""
    rig = Rig(Subject())
    rig.subject.errors = [Unreachable("nobody"), too_many(1.0)] * 5
    rig.waits()
    assert rig.said() == ["failed", "failed", "recovered"]
    assert [line["error"] for line in rig.log.lines[:2]] == ["nobody", "too many"]


@pytest.mark.parametrize(
    "error",
    [
        gone("web"),
        refused(Conflict, 409, "Operation cannot be fulfilled: the UID in the precondition"),
        refused(Invalid, 422, causes=[{"field": "metadata.uid", "reason": "FieldValueInvalid"}]),
    ],
)
def test_a_pod_that_has_gone(error: ApiError) -> None:
    """Nothing more is tried, until it is another."""
    rig = Rig(Subject())
    rig.subject.errors = [error]
    assert rig.waits() == []
    assert rig.waits() == []
    assert (rig.said(), rig.subject.calls) == (["pod_gone"], 1)
    rig.snapshot = Snapshot(fields=MappingProxyType({**PLACE, "metadata.uid": "u"}))
    assert rig.waits() == []
    assert rig.subject.calls == 2


def test_a_pod_that_would_have_to_be_made() -> None:
    """That nobody may is no missing rule, but a Pod that has gone."""
    rig = Rig(Subject())
    error = refused(Forbidden, 403)
    error.verb, error.resource = "create", "pods"
    rig.subject.errors = [error]
    assert rig.waits() == []
    assert rig.said() == ["pod_gone"]


def test_conflicts_and_refusals_of_another_kind() -> None:
    """They are tried again: also a 404 of whoever is in between, or of another Pod."""
    rig = Rig(Subject())
    other = refused(Forbidden, 403)
    other.verb, other.resource = "create", "events"
    rig.subject.errors = [
        refused(Conflict, 409, "modified meanwhile"),
        refused(Invalid, 422, causes="?"),
        refused(NotFound, 404, "default backend - 404"),
        gone("another"),
        refused(NotFound, 404, name="web"),
        other,
    ]
    assert len(rig.waits()) == 6
    assert rig.said() == ["failed", "failed", "failed", "failed", "recovered"]


def test_a_fault_of_code() -> None:
    """It comes with its traceback, and is tried again; what is foreseen without."""
    rig = Rig(Subject())
    rig.subject.errors = [KeyError("x"), Unreachable("nobody")]
    rig.waits()
    assert isinstance(rig.log.lines[0]["exc_info"], KeyError)
    assert rig.log.lines[1]["exc_info"] is None


def test_no_namespace() -> None:
    """Neither the Pod nor the client knows it; the client's does."""
    rig = Rig(Subject())
    rig.snapshot = Snapshot(fields=MappingProxyType({"metadata.name": "web"}))
    rig.worker.look()
    assert "metadata.namespace" in rig.log.lines[0]["error"]
    assert rig.subject.calls == 0
    rig.home = "lab"
    rig.now += 60
    rig.waits()
    assert rig.subject.pods == [Pod("web", "lab")]


def test_it_looks_again_where_nobody_tells() -> None:
    """Less and less often; not for Events, which come with what they tell of."""
    rig = Rig(Subject(), Standing(look_again=True))
    rig.worker.look()
    assert [rig.worker.look() for _ in range(6)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4]
    assert max(rig.worker.look() or 0 for _ in range(9)) == 30.0
    rig = Rig(Subject(on_pod=False), Standing(look_again=True))
    assert rig.waits() == []


def test_pace() -> None:
    """So many seconds from one call to the next."""
    now = [5.0]
    pace = Pace(1.0, lambda: now[0])
    assert pace.left() == 0.0
    pace.start()
    now[0] = 5.25
    assert pace.left() == 0.75
    now[0] = 7.0
    assert pace.left() == 0.0
