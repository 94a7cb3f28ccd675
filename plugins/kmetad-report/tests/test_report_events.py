"""Events, on a server with real TLS."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.apiserver import behaviour
from tests.cli import eventually
from tests.reporting import Cluster, Pods, settled


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
