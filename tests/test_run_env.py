"""kmetad._daemon.environment: what the app's next start has, filled in from what the Pod is now."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._daemon.environment import LONGEST, Environment, encode, unfit
from kmetad.metadata import Resource, Snapshot
from kmetad.quantity import Quantity
from kmetad.template import parse_template


class Listener:
    """Keeps what is in force, as the supervisor does."""

    def __init__(self) -> None:
        self.now: dict[str, str] = {}
        self.said: list[Mapping[str, str | None]] = []

    def __call__(self, differ: Mapping[str, str | None]) -> None:
        self.said.append(differ)
        for name, value in differ.items():
            if value is None:
                del self.now[name]
            else:
                self.now[name] = value


def labels(**values: str) -> Snapshot:
    """A Pod with these labels."""
    return Snapshot(labels=MappingProxyType(values))


def filled(listener: Listener, *instances: str, **texts: str) -> Environment:
    """An environment with these templates."""
    return Environment({name: parse_template(text) for name, text in texts.items()}, instances, listener)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("{metadata.labels['app']}", "web"),
        ("{metadata.labels['app']}-{metadata.labels['app']}!", "web-web!"),
        ("{{{metadata.name}}}", "{pod}"),
        ("{limits.cpu} {app.limits.memory} {limits.ephemeral-storage}", "1500m 128Mi 7"),
        ("{metadata.labels}", 'app="web"'),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_render(text: str, rendered: str) -> None:
    """Fields as Kubernetes writes them: quantities with their unit, bare numbers where it isn't known."""
    snapshot = Snapshot(
        labels=MappingProxyType({"app": "web"}),
        fields=MappingProxyType({"metadata.name": "pod"}),
        resources=MappingProxyType(
            {
                ".limits.cpu": Resource(1500, Quantity("1m")),
                "app.limits.memory": Resource(128, Quantity("1Mi")),
                ".limits.ephemeral-storage": Resource(7),
            }
        ),
    )
    assert parse_template(text).render(snapshot) == rendered


def test_what_is_not_known_is_left_out() -> None:
    """The whole variable, named once with all that it lacks, until it lacks something else."""
    listener = Listener()
    environment = filled(listener, A="{metadata.labels['a']}{metadata.labels['b']}", B="b")
    environment.follow(labels())
    why = "left out, for there is no metadata.labels['a'] and no metadata.labels['b'] now"
    assert environment.news() == {"A": why}
    environment.follow(labels(c="1"))
    assert environment.news() == {}
    environment.follow(labels(b="1"))
    assert environment.news() == {"A": "left out, for there is no metadata.labels['a'] now"}
    assert listener.said == [{"B": "b"}]
    environment.follow(labels(a="", b="1"))
    assert environment.news() == {}
    assert listener.now == {"A": "1", "B": "b"}
    environment.follow(labels(a=""))
    assert list(environment.news()) == ["A"]
    assert listener.said[1:] == [{"A": "1"}, {"A": None}]


def test_the_first_word_is_said_even_if_there_is_none() -> None:
    """Somebody may be waiting for it. After that silence means that nothing changed."""
    listener = Listener()
    environment = filled(listener, "one")
    environment.follow(labels())
    environment.follow(labels(a="1"))
    environment.take("one", {})
    assert listener.said == [{}]


def test_the_later_instance_wins() -> None:
    """In the TOML's order, not in that of their deliveries; what one gives up, the one before has again."""
    listener = Listener()
    environment = filled(listener, "one", "two", V="run.env")
    environment.follow(labels())
    environment.take("two", {"V": "two", "W": "two"})
    environment.take("one", {"V": "one"})
    assert listener.now == {"V": "two", "W": "two"}
    environment.take("two", {})
    assert listener.now == {"V": "one"}
    environment.take("one", {})
    assert listener.now == {"V": "run.env"}


def test_refused_values() -> None:
    """The one before stays, of whoever gave it; names are looked at as well, and no value is repeated."""
    listener = Listener()
    environment = filled(listener, "one", A="{metadata.labels['a']}")
    environment.follow(labels(a="good"))
    environment.follow(labels(a="MARKER\0"))
    assert environment.news() == {"A": "refused: the value holds a NUL; it stays as it was"}
    assert environment.news() == {}
    refused = environment.take("one", {"A": "MARKER\ud800", "": "x", "B=": "x", "C\0": "x", "D": "d"})
    assert sorted(refused) == ["", "A", "B=", "C\0"]
    assert refused["A"] == "refused: the value holds a surrogate that stands for no byte"
    assert "MARKER" not in str(refused)
    assert listener.now == {"A": "good", "D": "d"}


@pytest.mark.parametrize("value", ["", "a", "ü", "\udcff", "x\0y", "x" * LONGEST, "ü" * (LONGEST // 2)])
def test_the_kernel_agrees(value: str) -> None:
    """What is taken can be given to a process, to the last byte of the longest; what is refused can't be."""
    name = "N"
    cut = value[: len(value) - 2 if len(value) > 1000 else None]  # "N=" counts too
    for text in (value, cut, cut[:-1]):
        try:
            pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], {name: encode(text)})
        except (OSError, ValueError):
            assert unfit(name, text)
        else:
            os.waitpid(pid, 0)
            assert not unfit(name, text)


names = st.sampled_from("ABC")
texts = st.dictionaries(names, st.text("ab\0", max_size=2))


@given(st.lists(st.tuples(st.sampled_from(["", "one", "two"]), texts)))
def test_what_is_said_adds_up(steps: list[tuple[str, dict[str, str]]]) -> None:
    """Whoever applies all that was said has what a fresh look gives: of the last in order, each's last good value."""
    listener = Listener()
    environment = filled(listener, "one", "two", **{n: f"{{metadata.labels['{n}']}}" for n in "ABC"})
    model: dict[str, dict[str, str]] = {"": {}, "one": {}, "two": {}}
    for giver, values in steps:
        if giver:
            environment.take(giver, values)
        else:
            environment.follow(labels(**values))
        before = model[giver]
        model[giver] = {
            name: before[name] if "\0" in value else value
            for name, value in values.items()
            if "\0" not in value or name in before
        }
        expected: dict[str, Any] = {}
        for given_ in model.values():
            expected |= given_
        assert listener.now == expected
    assert all(listener.said[1:])


def test_many_threads() -> None:
    """What is said by several at once is said whole, one after the other."""
    inside = threading.Lock()
    listener = Listener()

    def say(differ: Mapping[str, str | None]) -> None:
        assert inside.acquire(blocking=False)
        listener(differ)
        inside.release()

    givers = [f"g{at}" for at in range(8)]
    environment = Environment({}, givers, say)

    def give(giver: str) -> None:
        for step in range(200):
            environment.take(giver, {giver: str(step), "SHARED": giver})

    threads = [threading.Thread(target=give, args=(giver,)) for giver in givers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert listener.now == {**dict.fromkeys(givers, "199"), "SHARED": "g7"}
