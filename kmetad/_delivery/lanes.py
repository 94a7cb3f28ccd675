"""All lanes together: offered to at once, watched for hooks that don't return, stopped by one deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from kmetad._delivery.lane import Lane
from kmetad.events import Batch

_HEAD_START = 0.001
"""Seconds that the other lanes have before the last one is told."""


class Lanes:
    """The lanes of a daemon; ``log`` gets what is wrong with them."""

    def __init__(self, log: Callable[[str], Any], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._lanes: Sequence[Lane] = ()
        self._others: Sequence[Lane] = ()
        self._last: Lane | None = None
        self._armed = False
        self._told: dict[str, float] = {}  # by lane, the entry that was called stuck
        self._calls: SimpleQueue[bool] = SimpleQueue()

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
        for lane in self._others:
            lane.offer(batch)
        if self._last is not None:
            if self._others:
                # Asleep, this thread is out of their way: they need the interpreter's lock now.
                time.sleep(_HEAD_START)
            self._last.offer(batch)

    def stop(self, timeout: float) -> None:
        """Let each lane finish its present hook and call ``on_stop``: so many seconds for all together."""
        deadline = self._clock() + timeout
        for lane in self._lanes:
            lane.stop()
        for lane in self._lanes:
            if not lane.join(max(0.0, deadline - self._clock())):
                self._log(lane.name).error("lane.given_up", waited=timeout, reason="a hook did not return")
        self._calls.put(False)

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
        waits = []
        for lane in self._lanes:
            since = lane.busy_since
            if since is None or self._told.get(lane.name) == since:
                continue
            left = since + lane.pace.timeout - self._clock()
            if left > 0:
                waits.append(left)
                continue
            self._told[lane.name] = since
            self._log(lane.name).error(
                "lane.stuck",
                timeout=lane.pace.timeout,
                remedy="the hook has not returned; it is not entered again before it does",
            )
        if not waits:
            return None
        self._armed = True
        return min(waits)


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
