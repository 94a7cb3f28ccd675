"""What a watcher costs while nothing happens."""

from __future__ import annotations

import functools
import itertools
import operator
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bench.contenders import BARE, CONTENDERS, KMETAD, OBSERVER, Running, kmetad_command, kmetad_toml
from bench.process import Footprint, family, footprint, settle, wakeups
from bench.volume import Volume


@dataclass(frozen=True, slots=True)
class Idle:
    """One contender with all its processes, over so many seconds."""

    name: str
    volumes: int
    wakeups: int | None = None
    footprint: Footprint | None = None
    fault: str | None = None


def measure(seconds: float, counts: Sequence[int], directory: str) -> list[Idle]:
    """Start everything, wait until it is quiet, then count for so many seconds.

    All are counted at the same time: they sleep, or should.
    """
    with ExitStack() as ends:
        sleepers = _start(counts, directory, ends)
        time.sleep(1)
        settle([s.process.pid for s in sleepers if s.process is not None and s.process.fault() is None])
        before = [s.wakeups() for s in sleepers]
        time.sleep(seconds)
        return [sleeper.row(woken) for sleeper, woken in zip(sleepers, before, strict=True)]


@dataclass(frozen=True, slots=True)
class _Sleeper:
    name: str
    volumes: int
    process: Running | None

    def wakeups(self) -> int | None:
        if self.process is None or self.process.fault() is not None:
            return None
        return sum(map(wakeups, family(self.process.pid)))

    def row(self, before: int | None) -> Idle:
        after = self.wakeups()
        if self.process is None or before is None or after is None:
            fault = "not installed" if self.process is None else self.process.fault()
            return Idle(self.name, self.volumes, fault=fault)
        held = functools.reduce(operator.add, map(footprint, family(self.process.pid)))
        return Idle(self.name, self.volumes, after - before, held)


def _start(counts: Sequence[int], directory: str, ends: ExitStack) -> list[_Sleeper]:
    """Everyone, in homes of their own; ``ends`` stops them."""
    sleepers = []
    homes = (os.path.join(directory, f"idle{n}") for n in itertools.count())

    def start(name: str, count: int, argv: Callable[[str, list[str]], list[str]]) -> None:
        home = next(homes)
        os.mkdir(home)
        volumes = [Volume(os.path.join(home, f"volume{n:03}"), 2).path for n in range(count)]
        process = Running(argv(home, volumes), home)
        ends.callback(process.stop)
        sleepers.append(_Sleeper(name, count, process))

    for contender in CONTENDERS:
        name = "kmetad, one plugin" if contender.name == KMETAD else contender.name
        if not contender.available():
            sleepers.append(_Sleeper(name, counts[0], None))
            continue
        if contender.name == KMETAD:
            start("kmetad, no configuration", 0, lambda _home, _volumes: [*kmetad_command(), "run"])
            for count in counts:
                start("kmetad, no plugin", count, _without_plugin)
        for count in counts if contender.name in (BARE, KMETAD, OBSERVER) else counts[:1]:
            fifo = os.path.join(directory, f"reports-{contender.name.replace(' ', '-')}-{count}")
            os.mkfifo(fifo)
            ends.callback(os.close, os.open(fifo, os.O_RDWR | os.O_CLOEXEC))
            start(name, count, lambda home, volumes, c=contender, f=fifo: c.argv(home, f, volumes))  # type: ignore[misc]
    return sleepers


def _without_plugin(home: str, volumes: Sequence[str]) -> list[str]:
    return [*kmetad_command(), "run", "-c", kmetad_toml(home, volumes, None)]
