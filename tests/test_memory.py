"""kmetad._delivery.memory: a daemon's successor goes on exactly there, whatever moment it was killed at."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any
from unittest.mock import patch

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from kmetad._delivery.lane import Lane
from kmetad._delivery.match import Filter
from kmetad._delivery.memory import Memory
from kmetad._delivery.news import News
from kmetad._delivery.pace import Pace
from kmetad._delivery.remembered import Remembered
from kmetad._delivery.slots import Cell
from kmetad._diff import diff
from kmetad.events import Batch
from kmetad.metadata import Snapshot, SourceState
from tests.test_lane import AT_ONCE, DEADLINE, Plugin
from tests.test_slots import Kill, Killed, memory_file, mortal

LOG = structlog.get_logger()

__all__ = ["mortal"]  # the fixture is used here, too


class Pod:
    """What a watcher tells: batches that follow each other."""

    def __init__(self) -> None:
        self.now = Snapshot()

    def becomes(self, labels: Mapping[str, str]) -> News:
        new = Snapshot(
            labels=MappingProxyType(dict(labels)),
            origins=MappingProxyType({"label": "podinfo"}),
            sources=MappingProxyType({"podinfo": SourceState()}),
            generation=self.now.generation + 1,
        )
        batch = Batch(diff(self.now, new), self.now, new, 0)
        self.now = new
        return News(batch)


@pytest.fixture
def fd() -> Iterator[int]:
    """A memory file."""
    with memory_file() as file:
        yield file


def copy(fd: int) -> int:
    """The file as a process that dies now leaves it, in another one: what the dead one holds is its own."""
    other = os.memfd_create("copy")
    os.pwrite(other, os.pread(fd, os.fstat(fd).st_size, 0), 0)
    return other


def lane_of(fd: int, filter_: Filter | None = None) -> Remembered:
    """The one lane of a daemon that starts now."""
    return Memory(fd, LOG).lanes({"one": filter_ or Filter()})["one"]


def told(remembered: Remembered, newest: News) -> list[tuple[str, Any, Any]]:
    """What the lane would be told now, sources aside."""
    changes = remembered.begin(newest).pending(newest.current)
    return [(change.key, change.old, change.new) for change in changes if change.type != "source"]


def test_an_acknowledgement_is_remembered(fd: int) -> None:
    """The successor tells what came since, and nothing again."""
    pod = Pod()
    first = lane_of(fd)
    first.begin(pod.becomes({"app": "a"}))
    second = lane_of(fd)
    assert told(second, pod.becomes({"app": "a"})) == []
    batch = pod.becomes({"app": "b"})
    assert told(second, batch) == [("app", "a", "b")]
    second.enter(showing=batch.changes)
    second.leave()
    second.acknowledge(batch)
    assert told(lane_of(fd), Pod().becomes({"app": "b"})) == []


def test_what_was_shown_and_not_acknowledged_is_told_again(fd: int) -> None:
    """Law 4, over a death: A -> B, killed half-way, back to A: the plugin is told B -> A."""
    pod = Pod()
    first = lane_of(fd)
    first.begin(pod.becomes({"app": "a"}))
    first.enter(showing=pod.becomes({"app": "b"}).changes)
    assert told(lane_of(fd), Pod().becomes({"app": "a"})) == [("app", "b", "a")]


def test_a_lane_that_never_began_starts_afresh(fd: int) -> None:
    """As one that nobody remembers; with the same key for digests, though."""
    memory = Memory(fd, LOG)
    memory.lanes({"one": Filter()})
    again = Memory(fd, LOG)
    assert again.digest_key == memory.digest_key
    assert len(again.digest_key) == 32
    one = again.lanes({"one": Filter()})["one"]
    assert told(one, Pod().becomes({"app": "a"})) == []


def test_lanes_that_are_not_named_are_forgotten(fd: int) -> None:
    """A plugin that was taken out and comes back is new; the order of the others may change."""
    pod = Pod()
    first = pod.becomes({"app": "a"})
    for remembered in Memory(fd, LOG).lanes({name: Filter() for name in "abc"}).values():
        remembered.begin(first)
    second = pod.becomes({"app": "b"})
    lanes = Memory(fd, LOG).lanes({"c": Filter(), "a": Filter()})
    lanes["c"].begin(second)
    lanes["c"].enter(showing=second.changes)
    lanes["c"].leave()
    lanes["c"].acknowledge(second)
    again = Memory(fd, LOG).lanes({name: Filter() for name in "abc"})
    assert told(again["a"], Pod().becomes({"app": "b"})) == [("app", "a", "b")]
    assert told(again["b"], Pod().becomes({"app": "b"})) == []
    assert told(again["c"], Pod().becomes({"app": "c"})) == [("app", "b", "c")]


def test_lanes_may_be_kept_until_they_are_named_again(fd: int) -> None:
    """While the configuration is broken, no plugin's memory is thrown away; what they died in counts, too."""
    for remembered in Memory(fd, LOG).lanes({name: Filter() for name in "ab"}).values():
        remembered.begin(Pod().becomes({"app": "a"}))
        remembered.enter()
    Memory(fd, LOG).lanes({}, keep=True)
    (b,) = Memory(fd, LOG).lanes({"b": Filter()}, keep=True).values()
    assert b.crashes == 1
    lanes = Memory(fd, LOG).lanes({name: Filter() for name in "ab"})
    assert [told(lane, Pod().becomes({"app": "b"})) for lane in lanes.values()] == [[("app", "a", "b")]] * 2
    assert [lane.crashes for lane in lanes.values()] == [1, 1]


def test_a_wider_match_brings_its_keys_as_added(fd: int) -> None:
    """A narrower one is silent, also about what it was shown; an unchanged one keeps ``previous`` whole."""
    pod = Pod()
    labels = {"app": "a", "tier": "gold", "zone": "1"}
    narrow = Filter(["label:app", "label:zone"])
    one = lane_of(fd, narrow)
    one.begin(pod.becomes(labels))
    one.enter(showing=narrow(pod.becomes({**labels, "zone": "2"}).changes))
    same = lane_of(copy(fd), narrow)
    again = Pod().becomes(labels)
    assert told(same, again) == [("zone", "2", "1")]
    assert same.begin(again).acknowledged.labels == labels
    wide = Filter(["label:app", "label:tier"])
    (change,) = wide(lane_of(fd, wide).begin(again).pending(again.current))
    assert (change.key, change.op, change.old, change.new) == ("tier", "added", None, "gold")


def test_noise_that_counts_now_is_added_too(fd: int) -> None:
    """``watch.ignore`` hides keys as ``match`` does."""
    pod = Pod()
    lane_of(fd, Filter(ignore=["label:seen"])).begin(pod.becomes({"seen": "1", "app": "a"}))
    assert told(lane_of(fd, Filter()), Pod().becomes({"seen": "1", "app": "a"})) == [("seen", None, "1")]


def test_a_crash_counts_until_something_is_acknowledged(fd: int) -> None:
    """For the lanes whose hook ran; a delivery that is acknowledged, or nothing to deliver, ends the count."""
    pod = Pod()
    newest = pod.becomes({"app": "a"})
    for crashes in range(3):
        lanes = Memory(fd, LOG).lanes({"one": Filter(), "other": Filter()})
        assert (lanes["one"].crashes, lanes["other"].crashes) == (crashes, 0)
        lanes["other"].enter()
        lanes["other"].leave()
        lanes["one"].enter()
    before = copy(fd)
    one = lane_of(before)
    assert one.crashes == 3
    one.begin(newest)  # on_start, for the first time, is as good as a delivery
    assert lane_of(before).crashes == 0

    one = lane_of(before)
    one.enter()
    one = lane_of(before)
    one.enter()  # on_start again
    one.leave()
    one.begin(newest)
    assert lane_of(copy(before)).crashes == 1  # that it started again is no proof: it may die in the delivery
    one.acknowledge(newest, silently=True)
    assert lane_of(before).crashes == 0

    one = lane_of(before)
    batch = pod.becomes({"app": "b"})
    one.begin(batch)
    one.enter(showing=batch.changes)
    one = lane_of(before)
    one.begin(batch)
    one.enter(showing=one.begin(batch).pending(batch.current))
    one.leave()
    assert lane_of(copy(before)).crashes == 1
    one.fail()
    assert lane_of(copy(before)).crashes == 1
    one.acknowledge(batch)
    assert lane_of(before).crashes == 0


def test_a_crash_in_what_it_is_told_counts_until_that_returns(fd: int) -> None:
    """A plugin that dies in ``on_app_start`` each time must not be forgiven for its ``on_start``."""
    pod = Pod()
    newest = pod.becomes({"app": "a"})
    lane_of(fd).begin(newest)
    for crashes in range(3):
        one = lane_of(fd)
        assert one.crashes == crashes
        one.begin(newest)
        one.acknowledge(newest, silently=True)
        one.enter("on_applied of bad")
    one = lane_of(fd)
    assert one.crashes == 3
    one.enter("on_applied of good")
    one.leave()
    assert lane_of(copy(fd)).crashes == 3  # that it bears another is no proof
    one.enter("on_applied of bad")
    one.leave()
    assert lane_of(fd).crashes == 0


def test_the_name_of_what_is_told_may_be_long(fd: int) -> None:
    """It is compared as far as there is room for it, and is nothing that was shown."""
    newest = Pod().becomes({"app": "a"})
    lane_of(fd).begin(newest)
    lane_of(fd).enter("on_applied of " + "é" * 1000)
    one = lane_of(fd)
    assert one.crashes == 1
    assert told(one, newest) == []
    one.enter("on_applied of " + "é" * 1000)
    one.leave()
    assert lane_of(fd).crashes == 0


def test_who_came_through_alone_is_not_to_blame(fd: int) -> None:
    """Of several in whose hooks the daemon died, one is entered at a time; the others wait their turn."""
    filters = {"bad": Filter(), "good": Filter()}
    lanes = Memory(fd, LOG).lanes(filters)
    lanes["bad"].enter(), lanes["good"].enter()
    lanes = Memory(fd, LOG).lanes(filters)
    assert {name: lane.crashes for name, lane in lanes.items()} == {"bad": 1, "good": 1}
    lanes["bad"].patience = lanes["good"].patience = DEADLINE
    lanes["bad"].enter()
    entered = threading.Event()

    def good() -> None:
        lanes["good"].enter()
        entered.set()

    thread = threading.Thread(target=good)
    thread.start()
    dead = Memory(copy(fd), LOG).lanes(filters)
    assert {name: lane.crashes for name, lane in dead.items()} == {"bad": 2, "good": 1}
    assert not entered.is_set()
    lanes["bad"].leave()
    thread.join(DEADLINE)
    assert entered.is_set()
    lanes["good"].leave()
    lanes["bad"].enter()
    lanes["good"].patience = 0.0
    lanes["good"].enter()  # nor does one that hangs keep the others for ever
    dead = Memory(copy(fd), LOG).lanes(filters)
    assert {name: lane.crashes for name, lane in dead.items()} == {"bad": 2, "good": 2}


def test_a_handover_leaves_no_mark_and_no_count(fd: int) -> None:
    """Not even of a hook that didn't return; where the lanes are, stays. The file is inherited then, and only then."""
    pod = Pod()
    newest = pod.becomes({"app": "a"})
    lane_of(fd).enter()
    memory = Memory(fd, LOG)
    one = memory.lanes({"one": Filter()})["one"]
    assert one.crashes == 1
    one.begin(newest)
    batch = pod.becomes({"app": "b"})
    one.enter(showing=batch.changes)
    assert not os.get_inheritable(fd)
    memory.hand_over()
    assert os.get_inheritable(fd)
    one.acknowledge(batch)  # it came back too late: its thread is about to end
    one.leave()
    one.enter()
    one = lane_of(fd)
    assert one.crashes == 0
    assert told(one, Pod().becomes({"app": "b"})) == [("app", "a", "b")]


def test_what_a_cell_said_in_a_life_before_does_not_count(fd: int) -> None:
    """A successor that is killed before it has emptied the cells counts no crash twice, and takes nothing for shown."""
    pod = Pod()
    one = lane_of(fd)
    one.begin(pod.becomes({"app": "a"}))
    one.enter(showing=pod.becomes({"app": "b"}).changes)
    with patch.object(Cell, "set"):
        one = lane_of(fd)  # and the cell stays as it was
    assert one.crashes == 1
    batch = Pod().becomes({"app": "a"})
    assert told(one, batch) == [("app", "b", "a")]
    one.acknowledge(batch)
    one = lane_of(fd)
    assert one.crashes == 0
    assert told(one, batch) == []


@pytest.mark.parametrize("size", [10, 600, 100_000])
def test_what_is_shown_may_be_large(fd: int, size: int) -> None:
    """More than a cell holds, or than there is room for steps."""
    pod = Pod()
    one = lane_of(fd)
    one.begin(pod.becomes({"app": "a"}))
    one.enter(showing=pod.becomes({"app": "b" * size}).changes)
    again = lane_of(copy(fd))
    assert again.crashes == 1
    assert told(again, Pod().becomes({"app": "a"})) == [("app", "b" * size, "a")]
    one.leave()
    one.fail()
    again = lane_of(copy(fd))
    assert again.crashes == 0
    assert told(again, Pod().becomes({"app": "a"})) == [("app", "b" * size, "a")]


def test_more_lanes_and_fewer(fd: int) -> None:
    """Each has a cell, and what they remember stays whole when their number changes."""
    first = Pod().becomes({"app": "a"})
    for count in (1, 200, 3, 500, 500):
        lanes = Memory(fd, LOG).lanes({str(number): Filter() for number in range(count)})
        assert {lane.crashes for lane in lanes.values()} == {0}
        for remembered in lanes.values():
            remembered.begin(first)
        lanes[str(count - 1)].enter()
        crashed = Memory(copy(fd), LOG).lanes({str(number): Filter() for number in range(count)})
        assert [name for name, lane in crashed.items() if lane.crashes] == [str(count - 1)]
        assert {str(told(lane, Pod().becomes({"app": "b"}))) for lane in crashed.values()} == {
            "[('app', 'a', 'b')]"
        }
        lanes[str(count - 1)].leave()


def test_it_makes_its_own_file() -> None:
    """Without a descriptor; what it starts doesn't get it."""
    memory = Memory(None, LOG)
    assert memory.fd is not None
    assert stat.S_ISREG(os.fstat(memory.fd).st_mode)
    assert not os.get_inheritable(memory.fd)
    os.close(memory.fd)


@pytest.mark.parametrize("fault", [OSError(38, "Function not implemented"), AttributeError("memfd_create")])
def test_where_there_is_no_memory_file(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and the lanes remember for as long as the process lives."""

    def fail(name: str) -> int:
        raise fault

    monkeypatch.setattr(os, "memfd_create", fail)
    with capture_logs() as logs:
        memory = Memory(None, LOG)
    assert [line["event"] for line in logs] == ["memory.failed"]
    assert memory.fd is None
    one = memory.lanes({"one": Filter()})["one"]
    pod = Pod()
    one.begin(pod.becomes({"app": "a"}))
    batch = pod.becomes({"app": "b"})
    one.enter(showing=batch.changes)
    one.leave()
    one.fail()
    assert told(one, batch) == [("app", "a", "b")]
    assert told(one, Pod().becomes({"app": "a"})) == [("app", "b", "a")]
    one.acknowledge(batch)
    assert told(one, batch) == []
    memory.hand_over()


def test_an_unreadable_memory_is_said_and_replaced(fd: int) -> None:
    """Every plugin starts afresh then, and the next daemon goes on from there."""
    os.write(fd, b"#!/bin/sh\n" * 1000)
    with capture_logs() as logs:
        one = lane_of(fd)
    assert [(line["event"], line["log_level"]) for line in logs] == [("memory.unreadable", "error")]
    pod = Pod()
    assert told(one, pod.becomes({"app": "a"})) == []
    assert told(lane_of(fd), pod.becomes({"app": "b"})) == [("app", "a", "b")]


def test_a_full_memory_stops_no_delivery(fd: int) -> None:
    """What can't be written is said once; the lane itself goes on."""
    pod = Pod()
    one = lane_of(fd)
    one.begin(pod.becomes({"app": "a"}))
    batch = pod.becomes({"app": "x" * 100_000})
    with (
        patch("os.posix_fallocate", side_effect=OSError(28, "No space left on device")),
        capture_logs() as logs,
    ):
        one.enter(showing=batch.changes)
        one.leave()
        one.acknowledge(batch)
    assert [line["event"] for line in logs] == ["memory.failed"]
    assert told(one, pod.becomes({"app": "b"})) == [("app", "x" * 100_000, "b")]


def test_a_lane_goes_on_after_on_start(fd: int) -> None:
    """The lane itself: ``on_start`` first, then the difference since; what it acknowledged isn't told again."""
    pod = Pod()

    def daemon(plugin: Plugin, newest: News) -> Lane:
        lane = Lane(plugin, Filter(), AT_ONCE, LOG, remembered=lane_of(fd))
        lane.start()
        lane.offer(newest)
        return lane

    first = Plugin()
    lane = daemon(first, pod.becomes({"app": "a"}))
    first.wait(1)
    lane.offer(pod.becomes({"app": "b"}))
    first.wait(2)
    lane.stop()
    assert lane.join(DEADLINE)
    second = Plugin()
    lane = daemon(second, Pod().becomes({"app": "c"}))
    second.wait(2)
    lane.stop()
    assert lane.join(DEADLINE)
    assert second.told == ["start", (("app", "b", "c"),), "stop"]
    assert second.batches[0].previous.labels == {"app": "b"}


def test_a_lane_marks_its_hooks(fd: int) -> None:
    """Each of them, for as long as it runs, and with what it is shown in the file before it is entered."""
    pod = Pod()
    seen: list[tuple[str, int, list[Any]]] = []

    class Looking(Plugin):
        def _tell(self, what: Any) -> None:
            successor = lane_of(copy(fd))
            seen.append((str(what)[:5], successor.crashes, told(successor, Pod().becomes({"app": "c"}))))
            super()._tell(what)

    plugin = Looking()
    lane = Lane(plugin, Filter(["label:*"]), Pace(), LOG, remembered=lane_of(fd))
    lane.start()
    lane.offer(pod.becomes({"app": "a"}))
    plugin.wait(1)
    lane.tell("on_app_start", lambda: plugin._tell("told"))
    plugin.wait(2)
    lane.offer(pod.becomes({"app": "b"}))
    plugin.wait(3)
    lane.stop()
    assert lane.join(DEADLINE)
    shown = [("app", "b", "c")]
    assert seen == [
        ("start", 1, []),
        ("told", 1, [("app", "a", "c")]),
        ("((" + "'ap", 1, shown),
        ("stop", 1, shown),
    ]
    assert lane_of(fd).crashes == 0


KEYS = "abc"
LABELS = st.dictionaries(st.sampled_from(KEYS), st.sampled_from("123"))
FILTERS = {"all": Filter(), "some": Filter(["label:a", "label:b"])}
ACTS = st.one_of(
    LABELS,  # the volume is swapped
    st.tuples(  # a lane has its turn: what its plugin does, and which keys it comes to before it fails
        st.sampled_from(sorted(FILTERS)),
        st.sampled_from(["succeeds", "raises", "dies"]),
        st.sets(st.sampled_from(KEYS)),
    ),
    st.builds(Kill, st.integers(0, 400), st.booleans()),  # the daemon dies, that many stored bytes from here
)


class Model:
    """A plugin whose doings outlast the daemon, and what kmetad must remember of it."""

    def __init__(self, name: str) -> None:
        self.filter = FILTERS[name]
        self.holds: dict[str, str] = {}
        self.knows: list[dict[str, str] | None] = [None]
        """What it acknowledged last; two answers where the daemon died in saying so."""
        self.shown: set[str] = set()
        self.in_hook = False

    def mine(self, labels: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in labels.items() if self.filter.covers("label", key)}


class Daemon:
    """One life, in the order of a lane's steps, on the test's own thread."""

    def __init__(self, fd: int, models: dict[str, Model], volume: dict[str, str]) -> None:
        self.models = models
        self.begun: set[str] = set()
        self.pod = Pod()
        self.newest = self.pod.becomes(volume)
        self.memory = Memory(fd, LOG)
        for lane in self.memory._book.state.lanes:
            self._check(models[lane.name], lane)
        self.lanes = self.memory.lanes(FILTERS)

    def _check(self, model: Model, lane: Any) -> None:
        """What a successor finds."""
        known = None if lane.cursor is None else model.mine(lane.cursor.acknowledged.labels)
        assert known in model.knows
        if model.knows[-1] == known and len(model.knows) > 1:
            model.shown.clear()
        model.knows = [known]
        assert bool(lane.crashes) >= model.in_hook
        model.in_hook = False

    def swap(self, volume: dict[str, str]) -> None:
        self.newest = self.pod.becomes(volume)

    def turn(self, name: str, outcome: str, applied: set[str]) -> None:
        model, lane, newest = self.models[name], self.lanes[name], self.newest
        now = model.mine(newest.current.labels)
        if name not in self.begun:
            self._enter(model, lane)
            if model.knows == [None]:
                part = {key: value for key, value in now.items() if outcome == "succeeds" or key in applied}
                model.holds = part
            if not self._leave(model, lane, outcome):
                return
            if model.knows == [None]:
                model.knows.append(now)
            lane.begin(newest)
            self.begun.add(name)
            model.knows = model.knows[-1:]
        changes = model.filter(lane.begin(newest).pending(newest.current))
        if not changes:
            assert model.holds == now
        else:
            (known,) = model.knows
            assert known is not None
            differing = {key for key in KEYS if known.get(key) != now.get(key)}
            keys = {change.key for change in changes if change.type == "label"}
            assert differing <= keys <= differing | model.shown
            model.shown |= keys
            self._enter(model, lane, changes)
            for change in changes:
                if change.type == "label" and (outcome == "succeeds" or change.key in applied):
                    model.holds = {**model.holds, change.key: str(change.new)}
                    if change.new is None:
                        del model.holds[change.key]
            if not self._leave(model, lane, outcome):
                lane.fail()
                return
            assert model.holds == now
        model.knows.append(now)
        lane.acknowledge(newest, silently=not changes)
        model.knows, model.shown = [now], set()

    def _enter(self, model: Model, lane: Remembered, showing: Any = ()) -> None:
        lane.enter(showing=showing)
        model.in_hook = True

    def _leave(self, model: Model, lane: Remembered, outcome: str) -> bool:
        if outcome == "dies":
            raise Killed
        lane.leave()
        model.in_hook = False
        return outcome == "succeeds"


@settings(max_examples=300)
@given(LABELS, st.lists(ACTS, max_size=25))
def test_whatever_dies_it_converges(volume: dict[str, str], acts: list[Any]) -> None:
    """Law 4 over any number of deaths at any moment: each plugin comes to hold what the volume says.

    No batch holds a key that isn't owed, and nothing that was acknowledged comes again.
    """
    models = {name: Model(name) for name in FILTERS}
    fd = os.memfd_create("test")
    daemon: Daemon | None = None
    kill = Kill(10**9)
    try:
        with patch("kmetad._delivery.slots._ROOM", 300):  # so that everything is written anew now and then
            for act in [*acts, None]:
                try:
                    with kill.at_work():
                        daemon = daemon or Daemon(fd, models, volume)
                        if isinstance(act, dict):
                            volume = act
                            daemon.swap(act)
                        elif isinstance(act, Kill):
                            kill = act
                        elif act is not None:
                            daemon.turn(*act)
                except Killed:
                    daemon, kill = None, Kill(10**9)
                    dead, fd = fd, copy(fd)
                    os.close(dead)
            daemon = daemon or Daemon(fd, models, volume)
            for name, model in models.items():
                daemon.turn(name, "succeeds", set())
                assert model.holds == model.mine(volume)
    finally:
        os.close(fd)
