"""From the rename of ``..data`` until a watcher has the content."""

from __future__ import annotations

import itertools
import os
import select
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.contenders import BARE, CONTENDERS, Contender, Running
from bench.volume import MARKER, Volume

PATIENCE = 3.0
"""Seconds after which a swap counts as missed."""
START = 20.0
"""Seconds that a watcher may take to answer for the first time."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is watched, and for how many rounds."""

    volumes: int
    files: int
    rounds: int


@dataclass(slots=True)
class Figures:
    """What a contender did in one scenario; latencies in µs."""

    name: str
    rounds: dict[int, list[float]] = field(default_factory=dict)
    missed: int = 0
    fault: str | None = None

    @property
    def all(self) -> list[float]:
        return list(itertools.chain.from_iterable(self.rounds.values()))

    @property
    def p50(self) -> float | None:
        return statistics.median(self.all) if self.all else None

    @property
    def p99(self) -> float | None:
        ordered = sorted(self.all)
        return ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] if ordered else None

    def ratios(self, yardstick: Figures) -> list[float]:
        """p50 against the yardstick's, round by round, so that what drifts cancels."""
        return [
            statistics.median(ours) / statistics.median(theirs)
            for number, ours in self.rounds.items()
            if ours and (theirs := yardstick.rounds.get(number))
        ]


def measure(scenario: Scenario, directory: str) -> list[Figures]:
    """Start every contender on volumes of its own, then let them take turns, one at a time."""
    lanes = [_Lane(c, scenario, os.path.join(directory, f"{n}")) for n, c in enumerate(CONTENDERS)]
    try:
        for lane in lanes:
            lane.warm_up()
        for number in range(scenario.rounds):
            turn = number % len(lanes)  # nobody always follows the same neighbour
            for lane in lanes[turn:] + lanes[:turn]:
                if number % lane.contender.every == 0:
                    lane.run(number)
        return [lane.figures for lane in lanes]
    finally:
        for lane in lanes:
            lane.close()


def yardstick(figures: Sequence[Figures]) -> Figures:
    """The bare reader's figures."""
    return next(f for f in figures if f.name == BARE)


class _Lane:
    """One contender with its process, its volumes and its pipe."""

    def __init__(self, contender: Contender, scenario: Scenario, directory: str) -> None:
        self.contender = contender
        self.figures = Figures(contender.name)
        self._process: Running | None = None
        self._fifo = -1
        if not contender.available():
            self.figures.fault = "not installed"
            return
        os.mkdir(directory)
        paths = [os.path.join(directory, f"volume{n:03}") for n in range(scenario.volumes)]
        self._volumes = itertools.cycle([Volume(path, scenario.files) for path in paths])
        self._markers = itertools.count(1)
        fifo = os.path.join(directory, "reports")
        os.mkfifo(fifo)
        self._fifo = os.open(fifo, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)  # never at its end
        self._poll = select.poll()
        self._poll.register(self._fifo, select.POLLIN)
        self._rest_of_line = b""
        self._process = Running(contender.argv(directory, fifo, paths), directory)

    def warm_up(self) -> None:
        """Swap until it has noticed five times in a row, at each turn at once."""
        if self._process is None:
            return
        deadline = time.monotonic() + START
        in_a_row = 0
        while in_a_row < 5:
            in_a_row = in_a_row + 1 if self._swap(1.0) is not None else 0
            fault = self._process.fault()
            if fault is None and time.monotonic() > deadline:
                fault = f"never noticed a swap: {self._process.last_words()}"
            if fault is not None:
                self._give_up(fault)
                return
            time.sleep(self.contender.rest)

    def run(self, number: int) -> None:
        """One round; a process that ended meanwhile takes no further part."""
        if self._process is None:
            return
        if fault := self._process.fault():
            self._give_up(fault)
            return
        latencies = self.figures.rounds.setdefault(number, [])
        deadline = time.monotonic() + self.contender.seconds
        for _ in range(self.contender.swaps):
            latency = self._swap(PATIENCE)
            if latency is None:
                self.figures.missed += 1
            else:
                latencies.append(latency)
            time.sleep(self.contender.rest)
            if time.monotonic() > deadline:
                break

    def close(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
        if self._fifo >= 0:
            os.close(self._fifo)
            self._fifo = -1

    def _give_up(self, fault: str) -> None:
        self.figures.fault = fault
        self.close()

    def _swap(self, patience: float) -> float | None:
        """One swap; µs until it was noticed, None if it wasn't in time (seconds)."""
        marker = next(self._markers)
        published = next(self._volumes).swap(marker)
        deadline = time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            self._poll.poll(left * 1000)
            noticed = self._read(marker)
            if noticed is not None:
                return (noticed - published) / 1000
        return None

    def _read(self, marker: int) -> int | None:
        """When this marker was noticed (ns), if the pipe has it; reports of older ones are dropped."""
        try:
            data = self._rest_of_line + os.read(self._fifo, 65536)
        except BlockingIOError:
            return None
        received = time.monotonic_ns()
        *lines, self._rest_of_line = data.split(b"\n")
        for line in lines:
            if MARKER.encode() in line:
                if line.endswith(b'="%d"' % marker):
                    return received
            else:
                seen, _, stamp = line.partition(b" ")
                if seen == b"%d" % marker:
                    return int(stamp)
        return None
