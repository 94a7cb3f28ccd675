"""Changes that ``kmetad check --simulate`` only thinks of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._cli.simulate import SimulationError, parse, simulated
from kmetad._diff import diff
from kmetad.metadata import Digest, Resource, Snapshot, SourceState, Token
from kmetad.quantity import Quantity

NOW = Snapshot(
    labels={"app": "web"},
    resources={"app.limits.cpu": Resource(500, Quantity("1m")), ".limits.memory": Resource(2)},
    files={"settings/app.conf": Digest(b"1")},
    tokens={"token": Token(1, ("api",), Digest(b"1"))},
    sources={"podinfo": SourceState()},
)


def changed(*texts: str) -> list[tuple[str, str, str, str]]:
    """Type, operation, key and new value of each change that the texts make."""
    return [(c.type, c.op, c.key, str(c.new)) for c in diff(NOW, simulated(NOW, texts))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("label:tier=gold", ("label", "added", "tier", "gold")),
        ("label:app=db", ("label", "changed", "app", "db")),
        ("label:app=", ("label", "changed", "app", "")),
        ("label:app", ("label", "removed", "app", "None")),
        ("annotation:a/b=c=d", ("annotation", "added", "a/b", "c=d")),
        ("field:status.podIP=10.0.0.1", ("field", "added", "status.podIP", "10.0.0.1")),
        ("resource:app.limits.cpu=1", ("resource", "changed", "app.limits.cpu", "1")),
        ("resource:app.limits.cpu=1234567n", ("resource", "changed", "app.limits.cpu", "2m")),
        ("resource:app.requests.cpu=250m", ("resource", "added", "app.requests.cpu", "250m")),
        ("resource:.limits.memory=3", ("resource", "changed", ".limits.memory", "3")),
    ],
)
def test_one_change(text: str, expected: tuple[str, str, str, str]) -> None:
    """Each kind of change with a value, and its removal."""
    assert changed(text) == [expected]


@pytest.mark.parametrize(
    ("text", "kind", "op"),
    [
        ("file:settings/app.conf", "file", "changed"),
        ("file:settings/new.conf", "file", "added"),
        ("trust:token", "trust", "added"),
        ("token:token", "token", "changed"),
        ("token:other", "token", "added"),
        ("source:podinfo=lost", "source", "changed"),
        ("source:podinfo", "source", "removed"),
    ],
)
def test_contents_that_are_never_shown(text: str, kind: str, op: str) -> None:
    """The key alone changes them."""
    assert [change[:2] for change in changed(text)] == [(kind, op)]


def test_several_are_one_state() -> None:
    """The last word on a key counts."""
    assert changed("label:a=1", "label:b=2", "label:a=3") == [
        ("label", "added", "a", "3"),
        ("label", "added", "b", "2"),
    ]


def test_what_is_so_already_changes_nothing() -> None:
    """The same value is no change."""
    assert changed("label:app=web", "resource:app.limits.cpu=0.5", "label:nope") == []


def test_the_snapshot_itself_stays() -> None:
    """What was simulated never happened."""
    simulated(NOW, ["label:app=db"])
    assert NOW.labels == {"app": "web"}


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("labl:tier=gold", "did you mean label:tier=gold?"),
        ("tier=gold", "TYPE is one of"),
        ("label", "expected TYPE:KEY=VALUE"),
        ("label:", "there is no key"),
        ("label:=gold", "there is no key"),
        ("resource:app.limits.cpu=much", "app.limits.cpu=much"),
        ("resource:.limits.memory=3Mi", "no divisor is declared"),
        ("source:podinfo=fine", "healthy, polling, lost, unreadable"),
    ],
)
def test_what_describes_no_change(text: str, hint: str) -> None:
    """It says what was expected."""
    with pytest.raises(SimulationError, match=hint.replace("?", r"\?").replace(".", r"\.")):
        simulated(NOW, [text])


@given(st.text(min_size=1).filter(lambda key: "=" not in key), st.text())
def test_any_key_and_value(key: str, value: str) -> None:
    """Only the first colon and the first equals sign mean something."""
    assert parse(f"annotation:{key}={value}") == ("annotation", key, value)
    assert parse(f"annotation:{key}") == ("annotation", key, None)
