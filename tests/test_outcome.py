"""What an instance did is an outcome that others hear of: the newest of each, until they have taken it."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._delivery.lane import Lane
from kmetad._delivery.lanes import Lanes
from kmetad._delivery.match import Filter
from kmetad._delivery.news import News
from kmetad._delivery.pace import Pace
from kmetad._delivery.packing import pack_outcome, sound, unpack_outcome
from kmetad._diff import diff
from kmetad.events import Batch, LabelChange, Outcome, Plain
from kmetad.hookspecs import Fail, Retry, Skip
from kmetad.metadata import Snapshot
from kmetad.testing.kubelet import Volume
from tests.daemons import Daemon
from tests.strategies import SNAPSHOTS
from tests.test_lane import AT_ONCE, DEADLINE, Log, Plugin, Pod
from tests.test_slots import memory_file
from tests.test_survival import Survivor


class Odd(dict[str, str]):
    """What can't be looked into."""

    def items(self) -> Any:
        """Raises."""
        raise RuntimeError("outside of the hook")


class Later(Retry):
    """Without what every Retry has."""

    def __init__(self) -> None:
        pass


class Hopeless(Fail):
    """Likewise."""

    def __init__(self) -> None:
        pass


class Unspeakable:
    """No text."""

    def __str__(self) -> str:
        raise SystemExit("its text isn't to be had")


def until_whenever(after: Any) -> Retry:
    """A Retry whose time was set behind its back."""
    made = Retry("busy")
    made.after = after
    return made


class Hearer(Plugin):
    """Records the outcomes that it hears of; ``then_applied`` may raise."""

    name = "hearer"

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[Outcome] = []
        self.then_applied: Callable[[Outcome], None] = lambda outcome: None

    def applied(self, outcome: Outcome) -> None:
        with self.changed:
            self.outcomes.append(outcome)
            self.changed.notify_all()
        self.then_applied(outcome)

    def hear(self, count: int) -> list[Outcome]:
        """What it has heard, once that is so much."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.outcomes) >= count, DEADLINE), self.outcomes
            return list(self.outcomes)


class Doer(Plugin):
    """Answers what ``answer`` says."""

    name = "doer"

    def __init__(self) -> None:
        super().__init__()
        self.answer: Any = None

    def deliver(self, batch: Batch) -> Any:
        super().deliver(batch)
        return self.answer


class Pair:
    """A lane that does something, and one that wants to know."""

    def __init__(self, pace: Pace = AT_ONCE) -> None:
        self.doer, self.hearer, self.pod, self.log = Doer(), Hearer(), Pod(), Log()
        self.doing = Lane(self.doer, Filter(("label:*",)), pace, self.log)
        self.hearing = Lane(
            self.hearer, Filter(("file:*",)), AT_ONCE, self.log, on_applied=self.hearer.applied
        )
        self.lanes = Lanes()
        self.lanes.start([self.doing, self.hearing])
        self.becomes()
        self.doer.wait(1)

    def becomes(self, **labels: str) -> None:
        """The Pod has these labels."""
        self.lanes.offer(self.pod.becomes(**labels))

    def end(self) -> None:
        """Stop both."""
        self.lanes.stop(DEADLINE)


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A pair that has begun."""
    made = Pair()
    yield made
    made.end()


def test_each_try_is_told(pair: Pair) -> None:
    """One that fails, and the one that succeeds, with what the plugin says of it; a start is nothing to tell of."""

    def fail_once(batch: Batch) -> None:
        if batch.attempt == 1:
            raise ValueError("not yet")
        pair.hearer.hear(1)
        pair.doer.answer = {"did": "all", "count": 2}

    pair.doer.then = fail_once
    pair.becomes(app="a")
    failed, applied = pair.hearer.hear(2)
    assert (failed.instance, failed.attempt) == ("doer", 1)
    assert (failed.result, failed.error, failed.detail) == ("failed", "ValueError: not yet", {})
    assert (applied.result, applied.error, applied.attempt) == ("applied", "", 2)
    assert applied.detail == {"did": "all", "count": 2}
    assert [(c.key, c.old, c.new) for c in applied.changes] == [("app", None, "a")]
    assert applied.current.labels == {"app": "a"}
    assert applied.started_ns > failed.started_ns > 0
    assert applied.seconds >= 0


@pytest.mark.parametrize(
    ("raised", "result", "error"),
    [
        (Retry("busy", after=0), "postponed", "busy"),
        (Skip("nothing to do"), "skipped", "nothing to do"),
        (Fail("no such thing", retry=False), "failed", "no such thing"),
    ],
)
def test_answers_are_results(pair: Pair, raised: Exception, result: str, error: str) -> None:
    """With their reasons."""

    def then(batch: Batch) -> None:
        if batch.attempt == 1:
            raise raised
        pair.hearer.hear(1)

    pair.doer.then = then
    pair.becomes(app="a")
    outcome = pair.hearer.hear(1)[0]
    assert (outcome.result, outcome.error) == (result, error)


@pytest.mark.parametrize(
    ("raised", "result", "error"),
    [
        (Later(), "postponed", "Later: "),
        (Hopeless(), "failed", "Hopeless: "),
        (until_whenever("soon"), "postponed", "busy"),
        (until_whenever(math.nan), "postponed", "busy"),
        (Skip(Unspeakable()), "skipped", "Skip, whose reason can't be had (SystemExit)"),  # type: ignore[arg-type]
        (Fail(Unspeakable()), "failed", "Fail, whose reason can't be had (SystemExit)"),  # type: ignore[arg-type]
    ],
)
def test_answers_that_make_no_sense_end_no_lane(
    pair: Pair, raised: Exception, result: str, error: str
) -> None:
    """A plugin's own subclass, or what it did to one of ours: as much of it counts as can be understood."""

    def then(batch: Batch) -> None:
        if batch.attempt == 1 and batch.current.labels["app"] == "a":
            raise raised
        pair.hearer.hear(1)

    pair.doer.then = then
    pair.becomes(app="a")
    outcome = pair.hearer.hear(1)[0]
    assert (outcome.result, outcome.error) == (result, error)
    pair.becomes(app="b")
    while pair.hearer.hear(1)[-1].current.labels["app"] != "b":
        pair.hearer.hear(len(pair.hearer.outcomes) + 1)


def test_a_plugin_that_fails_foreseen_is_parked_without_a_traceback(pair: Pair) -> None:
    """Where trying again wouldn't help; the next change wakes it, and what was shown is owed."""

    def refuse(batch: Batch) -> None:
        if batch.current.labels["app"] == "bad":
            raise Fail("bad is refused", retry=False)

    pair.doer.then = refuse
    pair.becomes(app="bad")
    pair.log.wait("lane.parked")
    assert pair.doing.status().state == "parked"
    assert pair.log.events.count("plugin.failed") == 1
    assert "plugin.raised" not in pair.log.events
    last = pair.doing.status().last
    assert last is not None and (last.result, last.error, last.changes) == ("failed", "bad is refused", 1)
    pair.becomes(app="good")
    assert pair.doer.wait(3)[2] == (("app", "bad", "good"),)


def test_at_the_start_as_well() -> None:
    """It waits for a newer snapshot, and is called with that."""
    plugin, pod, log = Plugin(), Pod(), Log()
    reasons = [Fail("not with this", retry=False)]

    def once() -> None:
        if reasons:
            raise reasons.pop()

    plugin.on_start = once
    lane = Lane(plugin, Filter(), AT_ONCE, log)
    lane.start()
    lane.offer(News(pod.becomes()))
    log.wait("lane.parked")
    lane.offer(News(pod.becomes(app="a")))
    plugin.wait(2)
    lane.stop()
    assert lane.join(DEADLINE)
    assert plugin.told == ["start", "start", "stop"]


def test_what_others_did_waits_for_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a lane that is parked before it has begun: it sleeps, and hears of it when it has."""
    hearer, doer, pod, log = Hearer(), Doer(), Pod(), Log()
    reasons = [Fail("not with this", retry=False)]

    def once() -> None:
        if reasons:
            raise reasons.pop()

    hearer.on_start = once
    doing = Lane(doer, Filter(), AT_ONCE, log)
    hearing = Lane(hearer, Filter(), AT_ONCE, log, on_applied=hearer.applied)
    waits = []
    wait = hearing._inbox.wait
    monkeypatch.setattr(hearing._inbox, "wait", lambda *a: waits.append(a) or wait(*a))
    doing.heard_by([hearing])
    for lane in (doing, hearing):
        lane.start()
        lane.offer(News(pod.becomes(app="0")))
    log.wait("lane.parked")
    doer.wait(1)  # or both would be its start
    doing.offer(News(pod.becomes(app="a")))
    doer.wait(2)
    doing.stop()
    assert doing.join(DEADLINE)
    assert hearer.outcomes == []
    assert len(waits) < 10
    hearing.offer(News(pod.becomes(app="b")))
    assert hearer.hear(1)[0].current.labels == {"app": "a"}
    hearing.stop()
    assert hearing.join(DEADLINE)


def test_what_is_told_in_vain_is_told_again(pair: Pair) -> None:
    """Until the hook returns; then no more."""
    tries = []

    def fail_twice(outcome: Outcome) -> None:
        tries.append(outcome.instance)
        if len(tries) <= 2:
            raise OSError("the API server is away")

    pair.hearer.then_applied = fail_twice
    pair.becomes(app="a")
    heard = pair.hearer.hear(3)
    assert heard[0] is heard[1] is heard[2]
    pair.becomes(app="b")
    assert pair.hearer.hear(4)[3].current.labels == {"app": "b"}


def test_the_newest_of_each_counts(pair: Pair) -> None:
    """A slow hearer hears of the last one, not of all between."""
    entered, go = pair.hearer.changed, False

    def wait(outcome: Outcome) -> None:
        with entered:
            entered.wait_for(lambda: go, DEADLINE)

    pair.hearer.then_applied = wait
    pair.becomes(app="1")
    pair.hearer.hear(1)
    for number in range(2, 6):
        pair.becomes(app=str(number))
        pair.doer.wait(number + 1)
    pair.becomes(app="6")
    pair.doer.wait(7)
    pair.doing.stop()
    assert pair.doing.join(DEADLINE)
    with entered:
        go = True
        entered.notify_all()
    assert pair.hearer.hear(2)[1].current.labels == {"app": "6"}
    pair.end()
    assert len(pair.hearer.outcomes) == 2


@pytest.mark.parametrize(
    "answer", [["a"], {"a": ["b"]}, {1: "a"}, "text", Odd(), {"a": 10**5000}, {"a": math.nan}]
)
def test_an_answer_that_is_of_no_use(pair: Pair, answer: Any) -> None:
    """What was done isn't done again for that; it is said, and left out."""
    pair.log.warning = lambda event, **values: pair.log._log("warning", event, values)  # type: ignore[attr-defined]
    pair.doer.answer = answer
    pair.becomes(app="a")
    outcome = pair.hearer.hear(1)[0]
    assert (outcome.result, outcome.detail) == ("applied", {})
    pair.log.wait("plugin.answer_ignored")


texts = st.text(st.characters(codec=None))
plains = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts


@given(SNAPSHOTS, SNAPSHOTS, st.dictionaries(texts, plains), texts)
def test_an_outcome_is_remembered(
    before: Snapshot, after: Snapshot, detail: dict[str, Plain], error: str
) -> None:
    """Whatever it holds."""
    outcome = Outcome("one", "failed", diff(before, after), after, 3, 17, 0.25, error, detail)
    again = unpack_outcome(pack_outcome(outcome), "one", before)
    assert sound(pack_outcome(outcome)) is not None
    assert (again.result, again.attempt, again.started_ns, again.seconds) == ("failed", 3, 17, 0.25)
    assert [(type(c), c.key, c.old, c.new, c.source) for c in again.changes] == [
        (type(c), c.key, c.old, c.new, c.source) for c in outcome.changes
    ]
    assert again.error == error
    assert diff(again.current, after) == ()
    assert again.detail == detail


def test_a_label_change_keeps_its_old_value() -> None:
    """Although the records of changes leave it out."""
    change = LabelChange("app", "a", "b", "podinfo")
    outcome = Outcome("one", "applied", (change,), Snapshot(), 1, 0, 0.0)
    assert unpack_outcome(pack_outcome(outcome), "one", Snapshot()).changes == (change,)


TOLD = """
from kmetad import hookimpl, Fail

class Plugin:
    def __init__(self, context):
        self.log, self.name = context.log, context.name

    @hookimpl
    def kmetad_on_start(self, snapshot):
        self.log.info("start")

    @hookimpl
    def kmetad_on_change(self, batch):
        if self.name == "doer":
            if batch.current.labels["app"] == "bad":
                raise Fail("bad is bad", retry=False)
            return {"app": batch.current.labels["app"]}

    @hookimpl
    def kmetad_on_applied(self, outcome):
        self.log.info("heard", of=outcome.instance, result=outcome.result, detail=dict(outcome.detail),
                      error=outcome.error, keys=[[c.key, c.old, c.new] for c in outcome.changes],
                      labels=dict(outcome.current.labels))
"""
TOML = """
[volumes.podinfo]
path = "DIR/podinfo"

[plugins.doer]
path = "DIR/told.py"
match = ["label:*"]

[plugins.hearer]
path = "DIR/told.py"
match = ["file:*"]
"""


def heard(line: dict[str, Any], app: str, old: str | None, result: str = "applied") -> None:
    """What the hearer has heard, in a line of the log."""
    detail = {"app": app} if result == "applied" else {}
    assert (line["of"], line["result"], line["detail"]) == ("doer", result, detail)
    assert (line["keys"], line["labels"]["app"]) == ([["app", old, app]], app)


@pytest.mark.parametrize("state", ["", '[state]\ndir = "DIR/state"\n'])
def test_the_last_one_comes_again_after_a_restart(tmp_path: Path, state: str) -> None:
    """Of a daemon that was killed, by its memory file; of a container, by the directory."""
    tmp_path.chmod(0o755)
    (tmp_path / "state").mkdir()
    (tmp_path / "told.py").write_text(TOLD)
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"}, annotations={})
    daemons: list[Daemon] = []

    def start(memory: int) -> Daemon:
        made = Survivor(tmp_path, state + TOML, memory) if not state else Daemon(tmp_path, state + TOML)
        daemons.append(made)
        for plugin in ("doer", "hearer"):
            made.seen("start", plugin=plugin)
        return made

    with memory_file() as memory:
        try:
            kmetad = start(memory)
            volume.label("app", "b")
            heard(kmetad.line("heard", plugin="hearer"), "b", "a")
            volume.label("app", "bad")
            heard(kmetad.line("heard", plugin="hearer"), "bad", "b", "failed")
            volume.label("app", "c")
            heard(kmetad.line("heard", plugin="hearer"), "c", "bad")
            assert kmetad.end(signal.SIGKILL) == -signal.SIGKILL
            heard(start(memory).seen("heard", plugin="hearer"), "c", "bad")
        finally:
            for daemon in daemons:
                daemon.close()


DIES = """
import os, signal
from kmetad import hookimpl

class Plugin:
    def __init__(self, context):
        self.log, self.name = context.log, context.name

    @hookimpl
    def kmetad_on_start(self, snapshot):
        self.log.info("start")
        return {"started": True}

    @hookimpl
    def kmetad_on_applied(self, outcome):
        if self.name == "hearer":
            self.log.info("heard", of=outcome.instance)
            if outcome.instance == "bad":
                os.kill(os.getpid(), signal.SIGKILL)
"""


def test_one_that_dies_of_an_outcome_each_time_is_set_aside(tmp_path: Path) -> None:
    """Although it takes another's outcome before, in each life."""
    tmp_path.chmod(0o755)
    (tmp_path / "dies.py").write_text(DIES)
    Volume(tmp_path / "podinfo").write(labels={"app": "a"}, annotations={})
    toml = '[volumes.podinfo]\npath = "DIR/podinfo"\n'
    toml += "".join(f'[plugins.{name}]\npath = "DIR/dies.py"\n' for name in ("good", "bad", "hearer"))
    daemons: list[Survivor] = []
    with memory_file() as memory:
        try:
            for _ in range(3):
                daemons.append(Survivor(tmp_path, toml, memory))
                assert daemons[-1].wait() == -signal.SIGKILL
            assert any(line.get("of") == "good" for line in daemons[-1].lines)
            daemons.append(Survivor(tmp_path, toml, memory))
            assert daemons[-1].line("plugin.set_aside")["plugin"] == "hearer"
            for plugin in ("good", "bad"):
                daemons[-1].seen("start", plugin=plugin)
            assert daemons[-1].end() == 0
        finally:
            for daemon in daemons:
                daemon.close()
