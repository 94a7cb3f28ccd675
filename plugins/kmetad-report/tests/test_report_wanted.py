"""What is to be seen, as the API has it."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kmetad_report.force import Standing
from kmetad_report.wanted import (
    LONGEST,
    Condition,
    Pod,
    condition,
    event,
    leaves_nothing,
    manager,
    message,
    pod_of,
    printable,
    reports,
)

from kmetad.events import AnyChange, FileChange, LabelChange, Outcome
from kmetad.metadata import Digest, Snapshot


def outcome(
    result: Any = "applied", error: str = "", *changes: AnyChange, instance: str = "nginx"
) -> Outcome:
    """What an instance did."""
    return Outcome(instance, result, changes, Snapshot(), 1, 5, 0.1, error)


def test_pod() -> None:
    """As far as it is known; nothing without its name."""
    known = {"metadata.name": "web", "metadata.uid": "u", "spec.nodeName": "node-1"}
    assert pod_of(Snapshot(fields=MappingProxyType(known))) == Pod("web", "", "u", "node-1")
    assert pod_of(Snapshot(fields=MappingProxyType({"metadata.uid": "u"}))) is None
    assert Pod("web").metadata() == {"name": "web"}


def test_managers_differ() -> None:
    """By container and by instance, and no two can be taken for each other."""
    names = [manager(*who) for who in (("report", None), ("report", "web"), ("web", None), ("other", "web"))]
    assert names == ["kmetad-report", "kmetad-report-web", "kmetad-report.web", "kmetad-report-web.other"]
    assert len(manager("x" * 300, "web")) == 128


def test_what_is_left_of_before() -> None:
    """Of a Pod's annotations, those that this manager has applied."""
    owned = {
        "manager": "me",
        "operation": "Apply",
        "fieldsV1": {"f:metadata": {"f:annotations": {"f:a": {}}}},
    }
    others = {**owned, "manager": "you", "fieldsV1": {"f:metadata": {"f:annotations": {"f:b": {}}}}}
    pod = {
        "metadata": {"annotations": {"a": "1", "b": "2"}, "managedFields": [owned, others, {"manager": "me"}]}
    }
    assert reports(pod, "me") == {"a": "1"}
    assert reports({}, "me") == {}
    assert not leaves_nothing(Snapshot())
    assert leaves_nothing(Snapshot(annotations=MappingProxyType({"a": "1"})))
    assert not leaves_nothing(Snapshot(annotations=MappingProxyType({"kmetad.dev/applied-a": "1"})))


def test_condition() -> None:
    """True, False, or as it was."""
    assert condition(Standing()) is None
    assert condition(Standing(1, "applied", ("a", "b"))) == Condition("True", "Applied", "applied by a, b")
    assert condition(Standing(1, "failed", ("a",), "a: no\nForged: yes")) == Condition(
        "False", "Failed", "a: no\\nForged: yes"
    )
    nobody = condition(Standing(1, "applied"))
    assert nobody is not None
    assert "no other instance" in nobody.message


def test_messages() -> None:
    """Who did what, with what; nothing of one that is put off."""
    version = LabelChange("version", "v1", "v2", "podinfo")
    file = FileChange("settings/x", None, Digest(b"secret"), "settings")
    applied, failed = (
        message(outcome("applied", "", version, file)),
        message(outcome("failed", "no", version)),
    )
    assert applied is not None
    assert (applied.type, applied.reason, applied.text) == (
        "Normal",
        "Applied",
        "nginx applied label:version=v2, file:settings/x",
    )
    assert failed is not None
    assert (failed.type, failed.reason, failed.text) == (
        "Warning",
        "ApplyFailed",
        "nginx: no (label:version=v2)",
    )
    assert message(outcome("postponed")) is None
    skipped = message(outcome("skipped", "not mine", version))
    assert skipped is not None
    assert (skipped.reason, skipped.text) == ("Skipped", "nginx skipped label:version=v2: not mine")
    many = message(outcome("skipped", "", *[LabelChange(f"l{n}", None, "", "") for n in range(12)]))
    assert many is not None
    assert many.text.startswith("nginx skipped label:l0, ")
    assert many.text.endswith("label:l9 and 2 more")
    start = message(outcome())
    assert start is not None
    assert start.text == "nginx applied what there is at its start"


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_printable(text: str) -> None:
    """One line of what can be seen, and never longer than it may be."""
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.encode()) <= LONGEST
    assert len(printable(text * 1000).encode()) <= LONGEST


@pytest.mark.parametrize("forged", ["a\nb", "a\rb", "a\x1b[2Jb", "a\u202eb", "a\u2028b", "a\x00b"])
def test_nothing_can_be_forged(forged: str) -> None:
    """Not another line, nor another order of letters."""
    assert printable(forged).startswith("a\\")


def test_event() -> None:
    """core/v1, about the Pod and its container."""
    said = message(outcome("failed", "no"))
    assert said is not None
    made = event(Pod("web", "lab", "u-1", "node-1"), "web.1", said, "web", (10**9, 2 * 10**9, 3))
    assert made["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "Pod",
        "namespace": "lab",
        "name": "web",
        "uid": "u-1",
        "fieldPath": "spec.containers{web}",
    }
    assert (made["firstTimestamp"], made["lastTimestamp"], made["count"]) == (
        "1970-01-01T00:00:01Z",
        "1970-01-01T00:00:02Z",
        3,
    )
    assert made["source"] == {"component": "kmetad-report", "host": "node-1"}
    bare = event(Pod("web", "lab"), "web.1", said, None, (0, 0, 1))
    assert "fieldPath" not in bare["involvedObject"]
    assert "uid" not in bare["involvedObject"]
