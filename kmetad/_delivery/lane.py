"""A lane: one plugin instance with its thread, its memory and its retries.

Nothing queues. The watcher leaves the newest batch and nudges; the lane compares
what is newest, whenever it comes to it, with what its plugin knows.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from types import MappingProxyType
from typing import Any, Protocol

from kmetad._delivery.calls import Answer, Calls
from kmetad._delivery.cursor import Cursor
from kmetad._delivery.inbox import Inbox
from kmetad._delivery.match import Filter
from kmetad._delivery.news import News
from kmetad._delivery.pace import Pace
from kmetad._delivery.packing import Packed, pack_outcome
from kmetad._delivery.record import LaneState
from kmetad._delivery.remembered import Remembered
from kmetad._delivery.tries import Tries
from kmetad._diff import diff
from kmetad.events import AnyChange, Batch, Outcome, Plain
from kmetad.metadata import EMPTY, Snapshot
from kmetad.status import LaneState as Doing
from kmetad.status import LaneStatus, Tried

_LARGEST = 1 << 63


class Instance(Protocol):
    """A plugin instance as a lane sees it. Each method may raise anything, and return anything."""

    @property
    def name(self) -> str: ...
    def start(self, snapshot: Snapshot) -> Any: ...
    def deliver(self, batch: Batch) -> Any: ...
    def stop(self) -> None: ...


class Lane:
    """See the module. ``offer`` is called by the watcher; all else happens on the lane's own thread.

    ``on_applied`` is the plugin's hook for what others did, if it has one.
    ``came_to`` is called with the generation of each snapshot that the plugin acknowledged, or failed to.
    """

    def __init__(
        self,
        instance: Instance,
        filter_: Filter,
        pace: Pace,
        log: Any,
        *,
        remembered: Remembered | None = None,
        on_applied: Callable[[Outcome], object] | None = None,
        entered: Callable[[], None] = lambda: None,
        came_to: Callable[[int], None] = lambda generation: None,
        uniform: Callable[[float, float], float] = random.uniform,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = instance.name
        self.pace = pace
        self._instance = instance
        self._filter = filter_
        self._log = log
        self._memory = remembered or Remembered(LaneState(instance.name))
        self._memory.patience = pace.timeout
        self._calls = Calls(log, self._memory, pace.timeout, entered=entered, clock=clock)
        self._on_applied = on_applied
        self._hearers: Sequence[Lane] = ()
        self._came_to = came_to
        self._uniform = uniform
        self._clock = clock
        self._inbox = Inbox(clock=clock)
        self._started = False
        self._begun: Callable[[], None] = lambda: None
        self._doing: Doing = "starting"
        self._attempt = 0
        self._retry_at = 0.0
        self._acknowledged = 0
        self._generation: int | None = None
        self._stuck = 0
        self._last: Tried | None = None
        self._tries = Tries()
        self._thread = threading.Thread(target=self._run, name=f"kmetad-{self.name}", daemon=True)

    # -- from other threads ---------------------------------------------------------

    def start(self, begun: Callable[[], None] = lambda: None) -> None:
        """Start the thread; it waits for the first ``offer``. ``begun`` is called on it after ``on_start``."""
        self._begun = begun
        self._thread.start()

    @property
    def hears(self) -> bool:
        """Whether its plugin wants to know what others did."""
        return self._on_applied is not None

    def heard_by(self, others: Sequence[Lane]) -> None:
        """What this one does is for those lanes; before ``start``. They hear what is remembered of it at once."""
        self._hearers = others
        last = self._memory.outcome if others else None
        if last is not None:
            for other in others:
                other.hear(last)

    def hear(self, outcome: Outcome) -> None:
        """Another instance did this: its plugin's to know, between deliveries."""
        self._inbox.hear(outcome)

    def offer(self, news: News) -> None:
        """This is the newest now."""
        self._inbox.offer(news)

    def tell(self, hook: str, call: Callable[[], None]) -> None:
        """Have ``call`` called on the lane's thread, as the hook of that name: after ``on_start``, between deliveries.

        In the order in which it was asked for; also what was asked for before ``stop``. What
        it raises is logged, and it isn't tried again.
        """
        self._inbox.tell(hook, call)

    def stop(self) -> None:
        """Deliver nothing more, and call the plugin's ``on_stop`` when its present hook has returned."""
        self._inbox.stop()

    def join(self, timeout: float) -> bool:
        """Wait for the end, so many seconds at most. False if the plugin is still in a hook."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    @property
    def running(self) -> tuple[str, float] | None:
        """The hook that runs now and when it was entered, by ``clock``."""
        return self._calls.running

    def is_stuck(self, entry: tuple[str, float]) -> None:
        """Somebody has noticed that the hook that was entered then is late."""
        self._stuck += 1
        hook, since = entry
        self._log.error(
            "lane.stuck",
            hook=hook,
            seconds=round(self._clock() - since, 3),
            timeout=self.pace.timeout,
            remedy="the hook has not returned; it is not entered again before it does",
        )

    def give_up(self) -> None:
        """kmetad stops without waiting any longer for the hook that runs."""
        hook, since = self._calls.running or ("", self._clock())
        self._log.error(
            "lane.given_up",
            hook=hook,
            seconds=round(self._clock() - since, 3),
            reason="the hook did not return in time",
        )

    def status(self) -> LaneStatus:
        """How it is."""
        running, doing, now = self._calls.running, self._doing, self._clock()
        hook, since = running or ("", now)
        behind_since = self._inbox.behind_since
        if self._thread.ident is not None and not self._thread.is_alive():
            doing = "stopped"
        elif running is not None:
            doing = "stuck" if now - since > self.pace.timeout else "delivering"
        return LaneStatus(
            self.name,
            doing,
            generation=self._generation,
            attempt=self._attempt,
            hook=hook,
            hook_seconds=now - since,
            retry_seconds=max(0.0, self._retry_at - now) if doing == "retrying" else 0.0,
            behind_seconds=0.0 if behind_since is None else max(0.0, now - behind_since),
            acknowledged=self._acknowledged,
            faults=self._calls.faults,
            stuck=self._stuck,
            crashes=self._memory.crashes,
            last_fault=self._calls.last_fault,
            last=self._last,
            results=self._tries.results,
            retries=self._tries.again,
            took=self._tries.took,
        )

    # -- on the lane's thread -------------------------------------------------------

    def _run(self) -> None:
        try:
            while (cursor := self._begin()) is not None:
                self._deliver_until_stop(cursor)
            if self._started:
                self._pass_on()
                self._calls.call("on_stop", self._instance.stop)
        except BaseException:  # not a hook's: there is no memory left, or the fault is kmetad's
            self._memory.blame()
            raise  # the daemon ends by it

    def _begin(self) -> Cursor | None:
        """``on_start``, until it succeeds. None if kmetad stops before it did."""
        self._attempt = 0
        while not self._inbox.stopping:
            newest = self._inbox.newest
            if newest is None:
                self._inbox.wait()
                continue
            self._doing = "starting"
            self._attempt += 1
            answer, outcome = self._try("on_start", self._instance.start, newest.current, (), newest.current)
            if answer.taken and self._attempt == 1 and answer.detail is None:
                outcome = None  # the beginning of each life of kmetad: nobody has to hear of that
            if answer.taken:
                cursor = self._memory.begin(newest, _packed(outcome))
                self._settled(cursor.acknowledged)
                if not self._started:
                    self._started = self._inbox.heard.open = True
                    self._begun()
                self._spread(outcome)
                return cursor
            self._spread(outcome)
            self._came_to(newest.current.generation)
            if answer.hopeless:
                self._park()
                while self._inbox.newest is newest and not self._inbox.stopping:
                    if self._inbox.wait():
                        self._pass_on()
            else:
                self._back_off(answer, self._attempt)
        return None

    def _deliver_until_stop(self, cursor: Cursor) -> None:
        """For ever, or until so much was shown in vain that the plugin begins anew."""
        parked_at: Snapshot | None = None
        inbox = self._inbox
        while not inbox.stopping and not self._memory.forgotten:
            if inbox.told or self._on_applied is not None:
                self._pass_on()
            newest = inbox.unseen()
            if newest is None:
                inbox.wait()
            elif parked_at is not None and not self._filter(diff(parked_at, newest.current)):
                inbox.look_at(newest)  # noise wakes no parked lane
            else:
                parked_at = self._catch_up(cursor, newest)

    def _catch_up(self, cursor: Cursor, newest: News) -> Snapshot | None:
        """Deliver until it is acknowledged. Answers where it gave up, if it did."""
        inbox = self._inbox
        faults = self._attempt = 0
        calm = not (self.pace.debounce or self.pace.splay)
        while not inbox.stopping and not self._memory.forgotten:
            changes = self._changes(cursor, newest)
            if changes and not calm:
                self._settle()
                newest, calm = inbox.unseen() or newest, True
                continue
            inbox.look_at(newest)
            if not changes:
                self._memory.acknowledge(newest, silently=True)
                self._settled(newest.current)
                break
            self._attempt += 1
            batch = Batch(changes, cursor.acknowledged, newest.current, newest.time_ns, self._attempt)
            answer, outcome = self._try("on_change", self._instance.deliver, batch, changes, newest.current)
            if answer.taken:
                self._memory.acknowledge(newest, _packed(outcome))
                self._acknowledged += 1
                self._settled(newest.current)
                self._spread(outcome)
                break
            goes_on = self._memory.fail(_packed(outcome))
            self._spread(outcome)
            if not goes_on:
                self._log.error("lane.begins_anew", reason="too much was shown in vain to remember all of it")
            self._came_to(newest.current.generation)
            faults += answer.fault
            if answer.hopeless or (answer.fault and faults == self.pace.retry_attempts):
                self._park()
                return newest.current
            self._back_off(answer, self._attempt)
            newest = inbox.unseen() or newest
        return None

    def _changes(self, cursor: Cursor, newest: News) -> tuple[AnyChange, ...]:
        if cursor.settled and newest.follows(cursor.acknowledged):
            return self._filter(newest.changes)  # nothing in between: the watcher has compared already
        return self._filter(cursor.pending(newest.current))

    def _settled(self, snapshot: Snapshot) -> None:
        """The plugin knows this; nothing is under way."""
        self._doing = "idle"
        self._attempt = 0
        self._inbox.settled()
        self._generation = snapshot.generation
        self._came_to(snapshot.generation)

    def _try(
        self,
        hook: str,
        call: Callable[..., Any],
        told: Any,
        changes: tuple[AnyChange, ...],
        current: Snapshot,
    ) -> tuple[Answer, Outcome | None]:
        """Call the plugin with what it is to be told. Answers also what others are to hear of it, if any are."""
        answer = self._calls.call(hook, call, told, attempt=self._attempt, showing=changes)
        seconds = self._calls.took
        started_ns = time.time_ns() - int(
            seconds * 1e9
        )  # behind the hook, which waits for nothing that can wait
        detail = self._detail(answer.detail)
        self._tries.add(answer.result, seconds, self._attempt)
        self._last = Tried(started_ns, answer.result, seconds, len(changes), answer.error, detail)
        if not self._hearers:
            return answer, None
        when = self._attempt, started_ns, seconds
        return answer, Outcome(self.name, answer.result, changes, current, *when, answer.error, detail)

    def _detail(self, returned: Any) -> Mapping[str, Plain]:
        """What a plugin says of what it did, if it is of use; what has been done isn't done again for that."""
        if returned is None:
            return EMPTY
        # These types themselves: a subclass may do anything, outside of the hook.
        if type(returned) is dict and all(type(k) is str and _is_plain(v) for k, v in returned.items()):
            return MappingProxyType(returned.copy())
        expected = "a dict of texts, numbers (of 64 bits) and booleans, or nothing"
        self._log.warning("plugin.answer_ignored", answered=type(returned).__name__, expected=expected)
        return EMPTY

    def _spread(self, outcome: Outcome | None) -> None:
        """Let others know."""
        if outcome is not None:
            for other in self._hearers:
                other.hear(outcome)

    def _park(self) -> None:
        self._log.error("lane.parked", attempts=self._attempt, until="the next change")
        self._doing = "parked"

    def _pass_on(self) -> None:
        """Call what ``tell`` was given, and tell of what others did, once ``on_start`` has succeeded."""
        while self._started and self._inbox.told:
            hook, call = self._inbox.told.popleft()
            self._calls.call(hook, call, told=hook)
        for waiting in self._inbox.heard.due():
            assert self._on_applied is not None
            told = f"on_applied {waiting.outcome.instance}"
            answer = self._calls.call("on_applied", self._on_applied, waiting.outcome, told=told)
            waiting.attempts += 1
            if answer.taken or answer.hopeless or waiting.attempts == self.pace.retry_attempts:
                self._inbox.heard.done(waiting)
            else:
                seconds = self._seconds_until_next(answer, waiting.attempts)
                self._inbox.heard.later(waiting, seconds)

    def _settle(self) -> None:
        """Wait for a burst to end: ``debounce`` seconds of quiet, ``max_wait`` at most; then ``splay``."""
        self._doing = "settling"
        pace = self.pace
        if pace.debounce:
            while (left := self._inbox.settles_at(pace) - self._clock()) > 0 and not self._inbox.stopping:
                if self._inbox.wait(left):
                    self._pass_on()
        if pace.splay:
            self._sleep(self._uniform(0.0, pace.splay))

    def _back_off(self, answer: Answer, attempt: int) -> None:
        """Until the next try."""
        seconds = self._seconds_until_next(answer, attempt)
        self._doing, self._retry_at = "retrying", self._clock() + seconds
        self._sleep(seconds)

    def _seconds_until_next(self, answer: Answer, attempt: int) -> float:
        return self._uniform(0.0, self.pace.back_off(attempt)) if answer.after is None else answer.after

    def _sleep(self, seconds: float) -> None:
        """Not longer than it takes ``stop`` to come; of other nudges ``tell``'s are heeded, the newest waits."""
        deadline = self._clock() + seconds
        self._pass_on()
        while not self._inbox.stopping and (left := deadline - self._clock()) > 0:
            if self._inbox.wait(left):
                self._pass_on()


def _is_plain(value: Any) -> bool:
    """Whether JSON and the memory file can hold it."""
    kind = type(value)
    if kind is int:
        return bool(-_LARGEST <= value < _LARGEST)
    return isfinite(value) if kind is float else kind in (str, bool, type(None))


def _packed(outcome: Outcome | None) -> Packed | None:
    return None if outcome is None else pack_outcome(outcome)
