"""A lane: one plugin instance with its thread, its memory and its retries.

Nothing queues. The watcher leaves the newest batch and nudges; the lane compares
what is newest, whenever it comes to it, with what its plugin knows.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from kmetad._delivery.cursor import Cursor
from kmetad._delivery.match import Filter
from kmetad._delivery.record import LaneState
from kmetad._delivery.remembered import Remembered
from kmetad._diff import diff
from kmetad.events import AnyChange, Batch
from kmetad.metadata import Snapshot


class Instance(Protocol):
    """A plugin instance as a lane sees it. Each method may raise anything."""

    @property
    def name(self) -> str: ...
    def start(self, snapshot: Snapshot) -> None: ...
    def deliver(self, batch: Batch) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Pace:
    """``[plugins.NAME.lane]``; all in seconds but ``attempts`` (0: no end)."""

    debounce: float = 0.0
    max_wait: float = 0.0
    splay: float = 0.0
    timeout: float = 30.0
    retry_initial: float = 1.0
    retry_max: float = 60.0
    retry_attempts: int = 0


class Lane:
    """See the module. ``offer`` is called by the watcher; all else happens on the lane's own thread."""

    def __init__(
        self,
        instance: Instance,
        filter_: Filter,
        pace: Pace,
        log: Any,
        *,
        remembered: Remembered | None = None,
        entered: Callable[[], None] = lambda: None,
        uniform: Callable[[float, float], float] = random.uniform,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = instance.name
        self.pace = pace
        self.busy_since: float | None = None
        """When the hook that runs now was entered, by ``clock``; None if none runs."""
        self._instance = instance
        self._filter = filter_
        self._log = log
        self._memory = remembered or Remembered(LaneState(instance.name))
        self._memory.patience = pace.timeout
        self._entered = entered
        self._uniform = uniform
        self._clock = clock
        self._newest: Batch | None = None
        self._told: deque[tuple[str, Callable[[], None]]] = deque()
        self._nudges: SimpleQueue[None] = SimpleQueue()
        self._stopping = False
        self._started = False
        self._begun: Callable[[], None] = lambda: None
        self._thread = threading.Thread(target=self._run, name=f"kmetad-{self.name}", daemon=True)

    # -- from other threads ---------------------------------------------------------

    def start(self, begun: Callable[[], None] = lambda: None) -> None:
        """Start the thread; it waits for the first ``offer``. ``begun`` is called on it after ``on_start``."""
        self._begun = begun
        self._thread.start()

    def offer(self, batch: Batch) -> None:
        """This is the newest now."""
        self._newest = batch
        self._nudges.put(None)

    def tell(self, hook: str, call: Callable[[], None]) -> None:
        """Have ``call`` called on the lane's thread, as the hook of that name: after ``on_start``, between deliveries.

        In the order in which it was asked for; also what was asked for before ``stop``. What
        it raises is logged, and it isn't tried again.
        """
        self._told.append((hook, call))
        self._nudges.put(None)

    def stop(self) -> None:
        """Deliver nothing more, and call the plugin's ``on_stop`` when its present hook has returned."""
        self._stopping = True
        self._nudges.put(None)

    def join(self, timeout: float) -> bool:
        """Wait for the end, so many seconds at most. False if the plugin is still in a hook."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # -- on the lane's thread -------------------------------------------------------

    def _run(self) -> None:
        cursor = self._begin()
        if cursor is not None:
            self._started = True
            self._begun()
            self._deliver_for_ever(cursor)
            self._pass_on()
            self._enter("on_stop", self._instance.stop)

    def _begin(self) -> Cursor | None:
        """``on_start``, until it succeeds. None if kmetad stops before it did."""
        attempt = 0
        while not self._stopping:
            newest = self._newest
            if newest is None:
                self._nudges.get()
                continue
            attempt += 1
            if self._enter("on_start", self._instance.start, newest.current, attempt=attempt):
                return self._memory.begin(newest)
            self._back_off(attempt)
        return None

    def _deliver_for_ever(self, cursor: Cursor) -> None:
        looked_at: Batch | None = None
        parked_at: Snapshot | None = None
        while not self._stopping:
            if self._told:
                self._pass_on()
            newest = self._newest
            if newest is None or newest is looked_at:
                self._nudges.get()
            elif parked_at is not None and not self._filter(diff(parked_at, newest.current)):
                looked_at = newest  # noise wakes no parked lane
            else:
                looked_at, parked_at = self._catch_up(cursor, newest)

    def _catch_up(self, cursor: Cursor, newest: Batch) -> tuple[Batch, Snapshot | None]:
        """Deliver until it is acknowledged. Answers how far it came, and where it gave up, if it did."""
        attempt = 0
        while not self._stopping:
            changes = self._changes(cursor, newest)
            if changes and attempt == 0 and (self.pace.debounce or self.pace.splay):
                self._settle()
                newest = self._newest or newest
                changes = self._changes(cursor, newest)
            if not changes:
                self._memory.acknowledge(newest, silently=True)
                break
            attempt += 1
            batch = newest
            if attempt > 1 or changes is not newest.changes:
                batch = Batch(changes, cursor.acknowledged, newest.current, newest.time_ns, attempt)
            if self._enter("on_change", self._instance.deliver, batch, attempt=attempt, showing=changes):
                self._memory.acknowledge(newest)
                break
            self._memory.fail()
            if attempt == self.pace.retry_attempts:
                self._log.error("lane.parked", attempts=attempt, until="the next change")
                return newest, newest.current
            self._back_off(attempt)
            newest = self._newest or newest
        return newest, None

    def _changes(self, cursor: Cursor, newest: Batch) -> tuple[AnyChange, ...]:
        if newest.previous is cursor.acknowledged and cursor.settled:
            return self._filter(newest.changes)  # nothing in between: the watcher has compared already
        return self._filter(cursor.pending(newest.current))

    def _pass_on(self) -> None:
        """Call what ``tell`` was given, once ``on_start`` has succeeded."""
        while self._started and self._told:
            self._enter(*self._told.popleft(), told=True)

    def _enter(
        self,
        hook: str,
        call: Callable[..., None],
        *arguments: Any,
        attempt: int = 1,
        told: bool = False,
        showing: tuple[AnyChange, ...] = (),
    ) -> bool:
        """Call the plugin. False if it raised: whatever that was, it stays here."""
        self._memory.enter(told, showing)
        self.busy_since = self._clock()
        self._entered()
        try:
            call(*arguments)
        except BaseException as error:  # a plugin's SystemExit must not end its lane either
            self._log.error(
                "plugin.raised",
                hook=hook,
                attempt=attempt,
                error=f"{type(error).__name__}: {error}",
                exc_info=True,
            )
            return False
        finally:
            self.busy_since = None
            self._memory.leave()
        return True

    def _settle(self) -> None:
        """Wait for a burst to end: ``debounce`` seconds of quiet, ``max_wait`` at most; then ``splay``."""
        pace = self.pace
        if pace.debounce:
            newest, now = self._newest, self._clock()
            quiet, deadline = now + pace.debounce, now + pace.max_wait
            while not self._stopping and now < deadline:
                try:
                    self._nudges.get(timeout=max(0.0, min(quiet, deadline) - now))
                except Empty:
                    break
                self._pass_on()
                now = self._clock()
                if newest is not self._newest:
                    newest, quiet = self._newest, now + pace.debounce
        if pace.splay:
            self._sleep(self._uniform(0.0, pace.splay))

    def _back_off(self, attempt: int) -> None:
        """Exponential, with full jitter: a fault that many pods share doesn't strike in step."""
        ceiling = min(self.pace.retry_max, self.pace.retry_initial * 2.0 ** min(attempt - 1, 60))
        self._sleep(self._uniform(0.0, ceiling))

    def _sleep(self, seconds: float) -> None:
        """Not longer than it takes ``stop`` to come; of other nudges ``tell``'s are heeded, the newest waits."""
        deadline = self._clock() + seconds
        self._pass_on()
        while not self._stopping and (left := deadline - self._clock()) > 0:
            try:
                self._nudges.get(timeout=left)
            except Empty:
                return
            self._pass_on()
