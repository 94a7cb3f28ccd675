"""All lanes together: offered to at once, watched for hooks that don't return, stopped by one deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from kmetad._delivery.lane import Lane
from kmetad._delivery.news import News
from kmetad.events import Batch
from kmetad.status import LaneStatus

_HEAD_START = 0.001
"""Seconds that the other lanes have before the last one is told."""


class Lanes:
    """The lanes of a daemon. ``noticed`` is called once a hook has been called stuck."""

    def __init__(
        self, noticed: Callable[[], object] = lambda: None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._noticed = noticed
        self._clock = clock
        self._lanes: Sequence[Lane] = ()
        self._others: Sequence[Lane] = ()
        self._last: Lane | None = None
        self._set_aside: list[LaneStatus] = []
        self._armed = False
        self._told: dict[str, tuple[str, float]] = {}  # by lane, the hook that was called stuck
        self._calls: SimpleQueue[bool] = SimpleQueue()
        self._asked: Callable[[], object] | None = None

    def start(
        self, lanes: Sequence[Lane], last: Lane | None = None, begun: Callable[[], None] = lambda: None
    ) -> None:
        """Start them all, and the thread that notices stuck ones. ``last``: one more, told after the others.

        ``begun`` is called once, when ``on_start`` of each has succeeded, ``last`` aside:
        on a lane's thread; where there is no lane, at once.
        """
        self._others = lanes
        self._last = last
        self._lanes = lanes if last is None else [*lanes, last]
        for lane in lanes:
            lane.heard_by([other for other in lanes if other.hears and other is not lane])
        all_begun = _Countdown(len(lanes), begun)
        for lane in lanes:
            lane.start(all_begun.one_less)
        if last is not None:
            last.start()
        lanes = self._lanes
        if lanes:
            threading.Thread(target=self._notice_stuck, name="kmetad-timeouts", daemon=True).start()

    def offer(self, batch: Batch) -> None:
        """This is the newest for all of them. Takes about a millisecond, whatever they do."""
        news = News(batch)
        for lane in self._others:
            lane.offer(news)
        if self._last is not None:
            if self._others:
                # Asleep, this thread is out of their way: they need the interpreter's lock now.
                time.sleep(_HEAD_START)
            self._last.offer(news)

    def stop(self, timeout: float) -> None:
        """Let each lane finish its present hook and call ``on_stop``: so many seconds for all together.

        A hook that is called stuck is given up at once, as there is no more to be expected of it.
        """
        deadline = self._clock() + timeout
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            while not lane.join(max(0.0, self._patience(lane, deadline))):
                if self._patience(lane, deadline) <= 0:
                    lane.give_up()
                    break
        self._calls.put(False)

    def ask(self, answer: Callable[[], object]) -> None:
        """Have ``answer`` called on the thread that notices stuck hooks: so that one hangs nowhere itself.

        From any thread. Of two that were asked for meanwhile only the last is called.
        """
        self._asked = answer
        self._calls.put(True)

    def set_aside(self, name: str, crashes: int) -> None:
        """An instance has no lane, for it brought the daemon down so many times in a row."""
        self._set_aside.append(LaneStatus(name, "set-aside", crashes=crashes))

    def status(self) -> tuple[LaneStatus, ...]:
        """How each is, in order, ``last`` aside; then those that are set aside."""
        return (*(lane.status() for lane in self._others), *self._set_aside)

    def _patience(self, lane: Lane, deadline: float) -> float:
        """Seconds that the lane still has: for all it does until the deadline, for one hook its own timeout."""
        running = lane.running
        until = deadline if running is None else min(deadline, running[1] + lane.pace.timeout)
        return until - self._clock()

    def entered(self) -> None:
        """A lane enters a hook. Wakes the thread below unless it is looking already."""
        if not self._armed:
            self._armed = True
            self._calls.put(True)

    def _notice_stuck(self) -> None:
        """Sleeps while no hook runs; while one does, until the first could be late."""
        while self._calls.get():
            while (wait := self._look()) is not None:
                try:
                    if not self._calls.get(timeout=wait):
                        return
                except Empty:
                    pass

    def _look(self) -> float | None:
        """Tell of hooks that are late. Seconds until the next could be; None if there is none to wait for."""
        self._armed = False  # a hook that is entered from here on wakes us again
        if self._asked is not None:
            answer, self._asked = self._asked, None
            answer()
        waits = []
        for lane in self._lanes:
            entry = lane.running
            if entry is None or self._told.get(lane.name) is entry:
                continue
            left = entry[1] + lane.pace.timeout - self._clock()
            if left > 0:
                waits.append(left)
                continue
            self._told[lane.name] = entry
            lane.is_stuck(entry)
            self._noticed()
        if not waits:
            return None
        self._armed = True
        # A hook that is entered meanwhile may be of a lane with less patience than those that were looked at.
        return min(threading.TIMEOUT_MAX, *waits, *(lane.pace.timeout for lane in self._lanes))


class _Countdown:
    """Calls ``then`` when ``one_less`` was called so many times, from whatever threads."""

    def __init__(self, count: int, then: Callable[[], None]) -> None:
        self._left = count
        self._then = then
        self._lock = threading.Lock()
        if not count:
            then()

    def one_less(self) -> None:
        with self._lock:
            self._left -= 1
            last = not self._left
        if last:
            self._then()
