"""kmetad._delivery.lane: a plugin is brought to what is newest, whatever it does meanwhile."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from types import MappingProxyType
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from kmetad._delivery.lane import Lane
from kmetad._delivery.lanes import Lanes
from kmetad._delivery.match import Filter
from kmetad._delivery.news import News
from kmetad._delivery.pace import Pace
from kmetad._diff import diff
from kmetad.events import Batch
from kmetad.hookspecs import Retry, Skip
from kmetad.metadata import Snapshot
from tests.cli import eventually

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


class Log:
    """Records the events that were logged, and logs them."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self._changed = threading.Condition()

    def info(self, event: str, **values: Any) -> None:
        self._log("info", event, values)

    def error(self, event: str, **values: Any) -> None:
        self._log("error", event, values)

    def _log(self, level: str, event: str, values: Any) -> None:
        getattr(structlog.get_logger(), level)(event, **values)
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait(self, event: str) -> None:
        """Until it has come."""
        with self._changed:
            assert self._changed.wait_for(lambda: event in self.events, DEADLINE), self.events


class Rig:
    """A lane with its plugin and its Pod, started."""

    def __init__(
        self,
        pace: Pace = AT_ONCE,
        match: tuple[str, ...] = (),
        *,
        first: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plugin = Plugin()
        self.pod = Pod()
        self.log = Log()
        self.lane = Lane(self.plugin, Filter(match), pace, self.log, clock=clock)
        self.lane.start()
        if first:
            self.lane.offer(News(self.pod.becomes()))
            self.plugin.wait(1)

    def becomes(self, **labels: str) -> None:
        self.lane.offer(News(self.pod.becomes(**labels)))

    def end(self) -> list[Any]:
        self.lane.stop()
        assert self.lane.join(DEADLINE)
        return self.plugin.told


def test_what_a_hook_held_is_free_when_its_fault_is_logged() -> None:
    """Where that was all the memory there was, there would be none to log with."""
    rig = Rig()
    held: list[weakref.ref[Plugin]] = []
    free: list[bool] = []

    def hoard(batch: Batch) -> None:
        if not held:
            much = Plugin()
            held.append(weakref.ref(much))
            raise MemoryError

    log = rig.log.error
    rig.log.error = lambda event, **values: (free.append(held[0]() is None), log(event, **values))  # type: ignore[method-assign]
    rig.plugin.then = hoard
    rig.becomes(app="a")
    rig.plugin.wait(3)
    rig.end()
    assert free == [True]


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
        rig.lane.offer(News(rig.pod.becomes(app="a")))
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
        rig.lane.offer(News(rig.pod.becomes()))
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
    rig.lane.offer(News(rig.pod.becomes()))
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
    lanes = Lanes()
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

    none = Lanes()
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
    log = Log()
    lanes = Lanes()
    blocked, free = Plugin(), Plugin()
    leave = threading.Event()
    blocked.then = lambda batch: assert_(leave.wait(DEADLINE))
    pod = Pod()
    pace = Pace(timeout=0.01, retry_initial=3600.0, retry_max=3600.0)
    lanes.start(
        [
            Lane(blocked, Filter(), pace, log, entered=lanes.entered),
            Lane(free, Filter(), Pace(), structlog.get_logger(), entered=lanes.entered),
        ]
    )
    lanes.offer(pod.becomes())
    blocked.wait(1), free.wait(1)
    for number in range(5):
        lanes.offer(pod.becomes(app=str(number)))
        free.wait(2 + number)
    log.wait("lane.stuck")
    stuck, well = lanes.status()
    assert (stuck.state, stuck.hook, stuck.stuck, stuck.generation) == ("stuck", "on_change", 1, 1)
    assert (well.state, well.generation, well.acknowledged) == ("idle", 6, 5)
    assert len(blocked.batches) == 1
    leave.set()
    log.wait("plugin.late")
    lanes.stop(DEADLINE)
    assert log.events == ["lane.stuck", "plugin.late"]
    assert len(blocked.batches) == 1
    assert blocked.told[-1] == free.told[-1] == "stop"


def test_who_has_less_patience_is_called_stuck_in_time() -> None:
    """Also one whose hook is entered while the hook of a more patient one runs."""
    log = Log()
    looked = threading.Event()

    def clock() -> float:
        looked.set()
        return time.monotonic()

    noticed = threading.Event()
    lanes = Lanes(noticed.set, clock=clock)
    patient, impatient = Plugin(), Plugin()
    leave = threading.Event()
    patient.on_start = impatient.on_start = lambda: assert_(leave.wait(DEADLINE))
    pod = Pod()
    first = Lane(patient, Filter(), Pace(timeout=3600.0), log, entered=lanes.entered)
    second = Lane(impatient, Filter(), Pace(timeout=0.01), log, entered=lanes.entered)
    lanes.start([first, second])
    first.offer(News(pod.becomes()))
    patient.wait(1)
    assert looked.wait(DEADLINE)  # and will look again in an hour, for all it knows
    second.offer(News(pod.becomes()))
    log.wait("lane.stuck")
    assert noticed.wait(DEADLINE)
    assert [lane.stuck for lane in lanes.status()] == [0, 1]
    leave.set()
    lanes.stop(DEADLINE)


@pytest.mark.parametrize(("pace", "drain"), [(Pace(), 0.01), (Pace(timeout=0.01), 3600.0)])
def test_a_hook_that_never_returns_is_given_up(pace: Pace, drain: float) -> None:
    """Stopping waits for what is left of the drain, or of the lane's own timeout, and says who was in a hook."""
    log = Log()
    lanes = Lanes()
    plugin = Plugin()
    leave = threading.Event()
    plugin.then = lambda batch: assert_(leave.wait(DEADLINE))
    pod = Pod()
    lanes.start([Lane(plugin, Filter(), pace, log, entered=lanes.entered)])
    lanes.offer(pod.becomes())
    plugin.wait(1)
    lanes.offer(pod.becomes(app="a"))
    plugin.wait(2)
    lanes.stop(drain)
    log.wait("lane.given_up")
    assert "stop" not in plugin.told
    leave.set()


def test_what_returns_late_is_told_again() -> None:
    """It isn't known what it did, and when; so it is brought to what is newest by then."""
    now = [0.0]
    rig = Rig(AT_ONCE, clock=lambda: now[0])

    def late(batch: Batch) -> None:
        if batch.attempt == 1:
            rig.becomes(app="c")
            now[0] += AT_ONCE.timeout + 1

    rig.plugin.then = late
    rig.becomes(app="b")
    rig.plugin.wait(3)
    assert rig.end() == ["start", (("app", None, "b"),), (("app", "b", "c"),), "stop"]
    assert rig.log.events == ["plugin.late"]
    status = rig.lane.status()
    assert (status.state, status.faults, status.acknowledged) == ("stopped", 1, 1)
    assert status.last_fault is not None
    assert status.last_fault.error == "returned after 31.0 s, later than lane.timeout"


def test_on_start_that_returns_late_is_called_again() -> None:
    """Until it succeeds."""
    now = [0.0]
    rig = Rig(AT_ONCE, clock=lambda: now[0], first=False)
    durations = iter([AT_ONCE.timeout + 1])
    rig.plugin.on_start = lambda: now.__setitem__(0, now[0] + next(durations, 0))
    rig.lane.offer(News(rig.pod.becomes()))
    rig.plugin.wait(2)
    assert rig.end() == ["start", "start", "stop"]


def test_a_plugin_asks_for_later() -> None:
    """With what is newest then: no fault, however often it asks, and so nothing that parks the lane."""
    rig = Rig(Pace(retry_attempts=1, retry_initial=3600.0, retry_max=3600.0))

    def ask(batch: Batch) -> None:
        if batch.attempt < 4:
            raise Retry("busy", after=0)

    rig.plugin.then = ask
    rig.becomes(app="a")
    rig.plugin.wait(5)
    rig.end()
    assert [batch.attempt for batch in rig.plugin.batches] == [1, 2, 3, 4]
    assert rig.log.events == ["plugin.asks_for_later"] * 3
    assert rig.lane.status().faults == 0


def test_later_is_as_long_as_it_asked_for() -> None:
    """Not as long as the back-off would be; ``stop`` still ends it."""
    rig = Rig(AT_ONCE)

    def ask(batch: Batch) -> None:
        raise Retry(after=3600.0)

    rig.plugin.then = ask
    rig.becomes(app="a")
    rig.log.wait("plugin.asks_for_later")
    assert until(lambda: rig.lane.status().state == "retrying")
    status = rig.lane.status()
    assert 3500 < status.retry_seconds <= 3600
    assert status.attempt == 1
    assert rig.end() == ["start", (("app", None, "a"),), "stop"]


@pytest.mark.parametrize("after", [-1.0, float("nan"), float("inf"), 1e300])
def test_later_has_to_be_a_time(after: float) -> None:
    """A wait that can't be had is a fault of the plugin, and says so."""
    with pytest.raises(ValueError, match="expected seconds"):
        Retry(after=after)


def test_a_plugin_skips() -> None:
    """It is told nothing of that again."""
    rig = Rig()

    def skip(batch: Batch) -> None:
        if batch.current.labels["app"] == "a":
            raise Skip("not for me")

    rig.plugin.then = skip
    rig.becomes(app="a")
    rig.plugin.wait(2)
    rig.becomes(app="b")
    rig.plugin.wait(3)
    assert rig.end() == ["start", (("app", None, "a"),), (("app", "a", "b"),), "stop"]
    assert rig.log.events == ["plugin.skipped"]


def test_an_exception_without_a_text() -> None:
    """What can't even be logged as it is stays in its lane, too."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    rig = Rig()

    def fail(batch: Batch) -> None:
        if batch.attempt == 1:
            raise Mute

    rig.plugin.then = fail
    rig.becomes(app="a")
    rig.plugin.wait(3)
    rig.end()
    fault = rig.lane.status().last_fault
    assert fault is not None
    assert fault.error == "Mute, whose text can't be had (RuntimeError)"


def test_max_wait_counts_from_the_first_unseen_change() -> None:
    """A change that came while a hook ran has waited already: the burst isn't waited for once more."""
    now = [0.0]
    rig = Rig(Pace(debounce=1.0, max_wait=2.0), clock=lambda: now[0])
    leave = threading.Event()

    def busy(batch: Batch) -> None:
        if len(rig.plugin.batches) == 1:
            assert leave.wait(DEADLINE)

    rig.plugin.then = busy
    now[0] = 10.0
    rig.becomes(app="a")
    now[0] = 11.0  # it has settled
    rig.lane.tell("nudge", lambda: None)
    rig.plugin.wait(2)
    rig.becomes(app="b")
    now[0] = 12.9
    rig.becomes(app="c")  # too young by itself; but the first unseen one, at 11.0, has waited for long enough
    now[0] = 13.0
    leave.set()
    rig.plugin.wait(3)
    assert rig.end() == ["start", (("app", None, "a"),), (("app", "a", "c"),), "stop"]


def test_nudges_do_not_pile_up() -> None:
    """However long a hook takes, and whatever happens meanwhile."""
    rig = Rig()
    leave = threading.Event()
    rig.plugin.then = lambda batch: assert_(leave.wait(DEADLINE))
    rig.becomes(app="a")
    rig.plugin.wait(2)
    for number in range(5000):
        rig.becomes(app=str(number))
        rig.lane.tell("on_app_start", lambda: None)
    assert rig.lane._inbox._nudges.qsize() == 1
    assert len(rig.lane._inbox.told) == 1000
    leave.set()
    rig.end()


def test_snapshots_are_let_go() -> None:
    """At most two a lane are alive and one more, whatever the plugins do."""
    lanes = Lanes()
    plugins = [Plugin() for _ in range(3)]
    leave = threading.Event()
    pod = Pod()
    lanes.start(
        [Lane(plugin, Filter(), AT_ONCE, Log(), entered=lanes.entered) for plugin in plugins],
    )
    made: list[weakref.ref[Snapshot]] = []

    def becomes(**labels: str) -> None:
        lanes.offer(pod.becomes(**labels))
        made.append(weakref.ref(pod.now))

    def all_idle_but(stuck: int) -> bool:
        states = [(lane.state, lane.generation) for lane in lanes.status()]
        idle = all(state == ("idle", pod.now.generation) for state in states[stuck:])
        return idle and all(state == "delivering" for state, _ in states[:stuck])

    becomes()
    for at, plugin in enumerate(plugins):
        assert until(partial(all_idle_but, at))
        plugin.then = lambda batch: assert_(leave.wait(DEADLINE))
        becomes(app=f"stuck {at}")
        assert until(partial(lambda at: lanes.status()[at].state == "delivering", at))
        for number in range(100):
            becomes(app=str(number), at=str(at))
    # Now each has acknowledged one generation, and is stuck in another.
    for plugin in plugins:
        plugin.batches.clear()
    gc.collect()
    assert sum(snapshot() is not None for snapshot in made) <= 2 * len(plugins) + 1
    leave.set()
    lanes.stop(DEADLINE)


def test_what_is_shown_in_vain_is_bounded() -> None:
    """A plugin that never succeeds, and keys that come and go: at last it begins anew, with ``on_start``."""
    rig = Rig()
    failing = True

    def fail(batch: Batch) -> None:
        if failing:
            number = len(rig.plugin.batches)
            rig.becomes(**{f"key{number}": "x" * 1_000_000})
            raise RuntimeError("never")

    rig.plugin.then = fail
    rig.becomes(app="a")
    assert until(lambda: rig.plugin.told.count("start") == 2)
    failing = False
    rig.becomes(app="b")
    assert until(
        lambda: rig.lane.status().state == "idle" and rig.plugin.batches[-1].current.labels == {"app": "b"}
    )
    rig.end()
    (begun_anew,) = [at for at, told in enumerate(rig.plugin.told) if told == "start"][1:]
    assert 4 <= begun_anew <= 7
    assert rig.log.events.count("lane.begins_anew") == 1


def assert_(value: object) -> None:
    """``assert`` as an expression."""
    assert value


def until(condition: Callable[[], bool]) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


def test_how_long_it_has_been_behind() -> None:
    """From the first change that its plugin doesn't know, through every try, until one succeeds."""
    now = [100.0]
    rig = Rig(clock=lambda: now[0])
    eventually(lambda: rig.lane.status().state == "idle", "the lane to begin")
    assert rig.lane.status().behind_seconds == 0
    tried, go_on = threading.Event(), threading.Event()

    def fail(batch: Batch) -> None:
        if batch.attempt == 1:
            raise OSError
        tried.set()
        assert go_on.wait(DEADLINE)

    rig.plugin.then = fail
    rig.becomes(app="a")
    assert tried.wait(DEADLINE)
    now[0] += 5
    rig.becomes(app="b")
    assert rig.lane.status().behind_seconds == 5
    rig.plugin.then = lambda batch: None
    go_on.set()
    eventually(lambda: rig.lane.status().behind_seconds == 0, "it to know the newest")
    status = rig.lane.status()
    assert (status.results["failed"], status.results["applied"], status.retries) == (1, 3, 1)
    assert sum(status.took.counts) == 4
    rig.end()


def test_parked_it_stays_behind() -> None:
    """Nothing is acknowledged by giving up."""
    now = [100.0]
    rig = Rig(Pace(retry_initial=0.0, retry_max=0.0, retry_attempts=1), clock=lambda: now[0])
    rig.plugin.then = lambda batch: 1 / 0  # type: ignore[assignment, return-value]
    rig.becomes(app="a")
    rig.log.wait("lane.parked")
    now[0] += 60
    assert rig.lane.status().behind_seconds == 60
    rig.end()
