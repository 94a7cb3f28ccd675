"""kmetad._delivery.lane: a plugin is brought to what is newest, whatever it does meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from kmetad._delivery.lane import Lane, Pace
from kmetad._delivery.lanes import Lanes
from kmetad._delivery.match import Filter
from kmetad._diff import diff
from kmetad.events import Batch
from kmetad.metadata import Snapshot

DEADLINE = 10.0
AT_ONCE = Pace(retry_initial=0.0, retry_max=0.0)


class Pod:
    """What the watcher knows: makes the batches that it would offer."""

    def __init__(self) -> None:
        self.now = Snapshot()

    def becomes(self, **labels: str) -> Batch:
        new = Snapshot(
            labels=MappingProxyType(labels),
            origins={"label": "podinfo"},
            generation=self.now.generation + 1,
        )
        batch = Batch(diff(self.now, new), self.now, new, 0)
        self.now = new
        return batch


class Plugin:
    """Records what it is told; ``then`` may raise or block."""

    name = "recorder"

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.batches: list[Batch] = []
        self.changed = threading.Condition()
        self.then: Callable[[Batch], None] = lambda batch: None
        self.on_start: Callable[[], None] = lambda: None

    def start(self, snapshot: Snapshot) -> None:
        self._tell("start")
        self.on_start()

    def deliver(self, batch: Batch) -> None:
        with self.changed:
            self.batches.append(batch)
        self._tell(tuple((c.key, c.old, c.new) for c in batch.changes))
        self.then(batch)

    def stop(self) -> None:
        self._tell("stop")

    def _tell(self, what: Any) -> None:
        with self.changed:
            self.told.append(what)
            self.changed.notify_all()

    def wait(self, count: int) -> list[Any]:
        """What it was told, once that is so much."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.told) >= count, DEADLINE), self.told
            return list(self.told)


class Rig:
    """A lane with its plugin and its Pod, started."""

    def __init__(self, pace: Pace = AT_ONCE, match: tuple[str, ...] = (), *, first: bool = True) -> None:
        self.plugin = Plugin()
        self.pod = Pod()
        self.lane = Lane(self.plugin, Filter(match), pace, structlog.get_logger())
        self.lane.start()
        if first:
            self.lane.offer(self.pod.becomes())
            self.plugin.wait(1)

    def becomes(self, **labels: str) -> None:
        self.lane.offer(self.pod.becomes(**labels))

    def end(self) -> list[Any]:
        self.lane.stop()
        assert self.lane.join(DEADLINE)
        return self.plugin.told


def test_start_then_changes_then_stop() -> None:
    """``on_start`` comes first, then each change once, and ``on_stop`` last."""
    rig = Rig()
    rig.becomes(app="a")
    rig.plugin.wait(2)
    rig.becomes(app="b")
    rig.plugin.wait(3)
    assert rig.end() == ["start", (("app", None, "a"),), (("app", "a", "b"),), "stop"]
    first, second = rig.plugin.batches
    assert second.previous is first.current
    assert (first.attempt, second.attempt) == (1, 1)


def test_on_start_is_retried_until_it_succeeds() -> None:
    """No change is delivered before ``on_start`` returned; what happened until then is in its snapshot."""
    rig = Rig(first=False)
    failures = iter([RuntimeError("no"), RuntimeError("not yet")])

    def fail() -> None:
        for failure in failures:
            raise failure

    rig.plugin.on_start = fail
    with capture_logs() as logs:
        rig.lane.offer(rig.pod.becomes(app="a"))
        rig.plugin.wait(3)
        rig.becomes(app="b")
        rig.plugin.wait(4)
    assert rig.end() == ["start", "start", "start", (("app", "a", "b"),), "stop"]
    assert [log["hook"] for log in logs if log["event"] == "plugin.raised"] == ["on_start", "on_start"]


def test_failed_delivery_is_tried_again_with_what_is_newest() -> None:
    """The next try is against the newest, ``old`` is what was shown, and ``attempt`` counts."""
    rig = Rig()
    entered, leave = threading.Event(), threading.Event()

    def fail_first(batch: Batch) -> None:
        if batch.attempt == 1:
            entered.set()
            assert leave.wait(DEADLINE)
            raise RuntimeError("half-way")

    rig.plugin.then = fail_first
    rig.becomes(app="b")
    assert entered.wait(DEADLINE)
    rig.becomes()  # back to where it was
    leave.set()
    rig.plugin.wait(3)
    assert rig.end() == ["start", (("app", None, "b"),), (("app", "b", None),), "stop"]
    assert [batch.attempt for batch in rig.plugin.batches] == [1, 2]


def test_a_storm_costs_a_slow_plugin_one_batch() -> None:
    """What comes while a hook runs is one more batch, with the last values."""
    rig = Rig()
    entered, leave = threading.Event(), threading.Event()

    def slow(batch: Batch) -> None:
        entered.set()
        assert leave.wait(DEADLINE)

    rig.plugin.then = slow
    rig.becomes(app="0")
    assert entered.wait(DEADLINE)
    for number in range(1, 100):
        rig.becomes(app=str(number))
    leave.set()
    rig.plugin.wait(3)
    assert rig.end() == ["start", (("app", None, "0"),), (("app", "0", "99"),), "stop"]


def test_match_is_for_this_lane_alone() -> None:
    """Changes that it doesn't want are acknowledged silently."""
    rig = Rig(match=("label:app",))
    rig.becomes(tier="gold")
    rig.becomes(tier="gold", app="a")
    rig.plugin.wait(2)
    assert rig.end() == ["start", (("app", None, "a"),), "stop"]


def test_parked_after_the_last_attempt_until_the_next_change() -> None:
    """After ``retry.attempts`` it rests; noise doesn't wake it, a change that it wants does."""
    rig = Rig(Pace(retry_initial=0.0, retry_max=0.0, retry_attempts=2), match=("label:app",))
    parked = threading.Event()

    def fail(batch: Batch) -> None:
        if batch.current.labels.get("app") == "bad":
            raise RuntimeError("bad")

    rig.plugin.then = fail
    with capture_logs() as logs:
        rig.becomes(app="bad")
        rig.plugin.wait(3)
        rig.becomes(app="bad", tier="gold")
        rig.becomes(app="good", tier="gold")
        rig.plugin.wait(4)
        parked.set()
    bad = (("app", None, "bad"),)
    assert rig.end() == ["start", bad, bad, (("app", "bad", "good"),), "stop"]
    assert [log["attempts"] for log in logs if log["event"] == "lane.parked"] == [2]


def test_debounce_makes_one_batch_of_a_burst() -> None:
    """Within ``debounce`` of each other, changes are one batch; what was undone meanwhile is none."""
    rig = Rig(Pace(debounce=0.3, max_wait=DEADLINE))
    rig.becomes(app="a")
    rig.becomes()
    rig.becomes(app="b")
    rig.plugin.wait(2)
    assert rig.end() == ["start", (("app", None, "b"),), "stop"]


def test_max_wait_ends_a_storm_that_never_rests() -> None:
    """With changes that keep coming within ``debounce``, ``max_wait`` has the last word."""
    rig = Rig(Pace(debounce=DEADLINE, max_wait=0.05))
    rig.becomes(app="a")
    assert rig.plugin.wait(2)[1] == (("app", None, "a"),)
    rig.end()


def test_stop_ends_a_back_off() -> None:
    """A lane that waits for its next try stops at once."""
    rig = Rig(Pace(retry_initial=3600.0, retry_max=3600.0))

    def fail(batch: Batch) -> None:
        raise RuntimeError("always")

    rig.plugin.then = fail
    rig.becomes(app="a")
    rig.plugin.wait(2)
    assert rig.end() == ["start", (("app", None, "a"),), "stop"]


def test_told_between_deliveries() -> None:
    """What ``tell`` is given waits for ``on_start``, then keeps its order; raised, it isn't tried again."""
    rig = Rig(first=False)
    fail_once = iter([RuntimeError("not yet")])

    def fail() -> None:
        rig.lane.tell("on_app_start", lambda: rig.plugin._tell("second"))
        for failure in fail_once:
            raise failure

    def broken() -> None:
        rig.plugin._tell("broken")
        raise SystemExit

    rig.plugin.on_start = fail
    rig.lane.tell("on_app_start", broken)
    with capture_logs() as logs:
        rig.lane.offer(rig.pod.becomes())
        rig.plugin.wait(5)
    assert rig.end() == ["start", "start", "broken", "second", "second", "stop"]
    assert [log["hook"] for log in logs] == ["on_start", "on_app_start"]


def test_told_while_a_delivery_waits_for_its_next_try() -> None:
    """Neither an idle lane nor a back-off delays the news."""
    rig = Rig(Pace(debounce=0.05, max_wait=DEADLINE, retry_initial=3600.0, retry_max=3600.0))

    def fail(batch: Batch) -> None:
        raise RuntimeError("always")

    rig.plugin.then = fail
    rig.lane.tell("on_app_exit", lambda: rig.plugin._tell("idle"))
    rig.plugin.wait(2)
    rig.becomes(app="a")
    rig.plugin.wait(3)
    rig.lane.tell("on_app_exit", lambda: rig.plugin._tell("waiting"))
    rig.plugin.wait(4)
    rig.lane.tell("on_app_exit", lambda: rig.plugin._tell("last"))
    assert rig.end() == ["start", "idle", (("app", None, "a"),), "waiting", "last", "stop"]


def test_never_told_where_on_start_failed() -> None:
    """A plugin that never started hears of nothing."""
    rig = Rig(Pace(retry_initial=3600.0, retry_max=3600.0), first=False)

    def fail() -> None:
        raise RuntimeError("never")

    rig.plugin.on_start = fail
    rig.lane.tell("on_app_start", lambda: rig.plugin._tell("told"))
    rig.lane.offer(rig.pod.becomes())
    rig.plugin.wait(1)
    assert rig.end() == ["start"]


def test_all_lanes_have_begun() -> None:
    """Said once, when the last ``on_start`` returned, that of ``last`` aside; without a lane at once."""
    begun: list[str] = []
    said, leave = threading.Event(), threading.Event()
    quick, slow, blocked = Plugin(), Plugin(), Plugin()
    fail_once = iter([RuntimeError("not yet")])

    def wait_and_fail() -> None:
        assert_(leave.wait(DEADLINE))
        for failure in fail_once:
            raise failure

    slow.on_start = wait_and_fail
    never = threading.Event()
    blocked.on_start = lambda: assert_(never.wait(DEADLINE))
    lanes = Lanes(structlog.get_logger)
    log = structlog.get_logger()
    lanes.start(
        [Lane(plugin, Filter(), AT_ONCE, log) for plugin in (quick, slow)],
        last=Lane(blocked, Filter(), AT_ONCE, log),
        begun=lambda: (begun.append("all"), said.set()),
    )
    pod = Pod()
    lanes.offer(pod.becomes())
    quick.wait(1), slow.wait(1), blocked.wait(1)
    lanes.offer(pod.becomes(app="a"))
    quick.wait(2)
    assert not begun
    leave.set()
    assert said.wait(DEADLINE)
    never.set()
    lanes.stop(DEADLINE)
    assert begun == ["all"]

    none = Lanes(structlog.get_logger)
    none.start([], begun=lambda: begun.append("none"))
    none.stop(DEADLINE)
    assert begun == ["all", "none"]


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), MemoryError()])
def test_whatever_a_plugin_raises_stays_in_its_lane(error: BaseException) -> None:
    """Not even SystemExit ends the lane."""
    rig = Rig()

    def fail_once(batch: Batch) -> None:
        if batch.attempt == 1:
            raise error

    rig.plugin.then = fail_once
    rig.becomes(app="a")
    rig.plugin.wait(3)
    assert [batch.attempt for batch in rig.plugin.batches] == [1, 2]
    rig.end()


def test_one_lane_does_not_wait_for_another() -> None:
    """A plugin that blocks delays nobody, is called stuck once, and isn't entered again."""
    told = threading.Event()
    names: list[str] = []

    class Log:
        def __init__(self, name: str) -> None:
            self.name = name

        def error(self, event: str, **_: Any) -> None:
            names.append(f"{self.name} {event}")
            told.set()

    lanes = Lanes(Log)
    blocked, free = Plugin(), Plugin()
    blocked.name = "blocked"
    leave = threading.Event()
    blocked.then = lambda batch: assert_(leave.wait(DEADLINE))
    pod = Pod()
    log = structlog.get_logger()
    lanes.start(
        [
            Lane(blocked, Filter(), Pace(timeout=0.01), log, entered=lanes.entered),
            Lane(free, Filter(), Pace(), log, entered=lanes.entered),
        ]
    )
    lanes.offer(pod.becomes())
    blocked.wait(1), free.wait(1)
    for number in range(5):
        lanes.offer(pod.becomes(app=str(number)))
        free.wait(2 + number)
    assert told.wait(DEADLINE)
    assert len(blocked.batches) == 1
    leave.set()
    blocked.wait(3)
    lanes.stop(DEADLINE)
    assert names == ["blocked lane.stuck"]
    assert blocked.told[-1] == free.told[-1] == "stop"


def test_a_hook_that_never_returns_is_given_up() -> None:
    """Stopping waits for the deadline and not longer, and says who was in a hook."""
    events: list[tuple[str, str]] = []

    class Log:
        def __init__(self, name: str) -> None:
            self.name = name

        def error(self, event: str, **_: Any) -> None:
            events.append((self.name, event))

    lanes = Lanes(Log)
    plugin = Plugin()
    leave = threading.Event()
    plugin.then = lambda batch: assert_(leave.wait(DEADLINE))
    pod = Pod()
    lanes.start([Lane(plugin, Filter(), Pace(), structlog.get_logger(), entered=lanes.entered)])
    lanes.offer(pod.becomes())
    plugin.wait(1)
    lanes.offer(pod.becomes(app="a"))
    plugin.wait(2)
    lanes.stop(0.01)
    assert events == [("recorder", "lane.given_up")]
    leave.set()


def assert_(value: object) -> None:
    """``assert`` as an expression."""
    assert value
