"""What a watcher, and a wrapper around an app, costs while nothing happens."""

from __future__ import annotations

import functools
import itertools
import operator
import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from bench.contenders import BARE, CONTENDERS, KMETAD, OBSERVER, Running, kmetad_command, kmetad_toml
from bench.install import Installed
from bench.process import Footprint, command_line, family, footprint, settle, wakeups
from bench.start import wrapper
from bench.volume import Volume

APP = ("/bin/sleep", "infinity")
"""What is wrapped: it isn't counted."""
ALONE, SUPERVISOR, BOTH = 17.0, 5.5, 22.0
"""Megabytes Private_Dirty: of the daemon without an app and plugins, of a supervisor, of both around an app."""


@dataclass(frozen=True, slots=True)
class Idle:
    """One contender over so many seconds: all its processes, or those that the name tells of."""

    name: str
    volumes: int
    watches: bool = True
    """Whether its inotify descriptor is counted against the target."""
    megabytes: float | None = None
    """The most Private_Dirty that is promised of it."""
    wakeups: int | None = None
    footprint: Footprint | None = None
    fault: str | None = None


def measure(seconds: float, counts: Sequence[int], installed: Installed, directory: str) -> list[Idle]:
    """Start everything, wait until it is quiet, then count for so many seconds.

    All are counted at the same time: they sleep, or should.
    """
    with ExitStack() as ends:
        sleepers = [*_watchers(counts, directory, ends), *_wrappers(installed, directory, ends)]
        time.sleep(1)
        settle([pid for sleeper in sleepers for pid in sleeper.pids()])
        before = [s.wakeups() for s in sleepers]
        time.sleep(seconds)
        return [sleeper.row(woken) for sleeper, woken in zip(sleepers, before, strict=True)]


@dataclass(frozen=True, slots=True)
class _Sleeper:
    idle: Idle
    process: Running | None
    members: Callable[[int], list[int]] = family
    """Whose figures are added, given the process that was started."""

    def pids(self) -> list[int]:
        """Nobody if it isn't installed or has ended."""
        if self.process is None or self.process.fault() is not None:
            return []
        return self.members(self.process.pid)

    def wakeups(self) -> dict[int, int]:
        """By process, so that one which was replaced meanwhile is noticed."""
        return {pid: wakeups(pid) for pid in self.pids()}

    def row(self, before: dict[int, int]) -> Idle:
        after = self.wakeups()
        if not after or after.keys() != before.keys():
            return replace(self.idle, fault=self._fault())
        held = functools.reduce(operator.add, map(footprint, after))
        return replace(self.idle, wakeups=sum(after.values()) - sum(before.values()), footprint=held)

    def _fault(self) -> str:
        if self.process is None:
            return "not installed"
        return self.process.fault() or f"its processes changed: {self.process.last_words()}"


def _wrappers(installed: Installed, directory: str, ends: ExitStack) -> list[_Sleeper]:
    """Wrappers around the same app; kmetad's without a configuration and with one that has a volume."""
    sleepers = []

    def start(name: str, argv: Sequence[str] | None) -> Running | None:
        if argv is None:
            return None
        home = os.path.join(directory, f"wrapper-{name}")
        os.mkdir(home)
        process = Running(argv, home)
        ends.callback(process.stop)
        return process

    for name in ("tini", "dumb-init"):
        sleepers.append(_Sleeper(Idle(f"{name} around an app", 0), start(name, wrapper(name, APP)), _own))
    config = os.path.join(directory, "wrapper.d")
    os.mkdir(config)
    toml = kmetad_toml(config, [Volume(os.path.join(config, "podinfo"), 2).path], None)
    for options, volumes in ((), 0), (("-c", toml), 1):
        process = start(f"kmetad{volumes}", [installed.script, "run", *options, "--", *APP])
        sleepers += [
            _Sleeper(Idle("kmetad run, supervisor", volumes, False, SUPERVISOR), process, _own),
            _Sleeper(Idle("kmetad run, its daemon", volumes), process, _daemon),
            _Sleeper(Idle("kmetad run, both", volumes, False, BOTH), process, _own_and_daemon),
        ]
    return sleepers


def _own(pid: int) -> list[int]:
    return [pid]


def _daemon(pid: int) -> list[int]:
    return [member for member in family(pid) if "kmetad._daemon" in command_line(member)]


def _own_and_daemon(pid: int) -> list[int]:
    daemon = _daemon(pid)
    return [pid, *daemon] if daemon else []


def _watchers(counts: Sequence[int], directory: str, ends: ExitStack) -> list[_Sleeper]:
    """All that watch volumes, in homes of their own; ``ends`` stops them."""
    sleepers = []
    homes = (os.path.join(directory, f"idle{n}") for n in itertools.count())

    def start(
        name: str, count: int, argv: Callable[[str, list[str]], list[str]], megabytes: float | None = None
    ) -> None:
        home = next(homes)
        os.mkdir(home)
        volumes = [Volume(os.path.join(home, f"volume{n:03}"), 2).path for n in range(count)]
        process = Running(argv(home, volumes), home)
        ends.callback(process.stop)
        sleepers.append(_Sleeper(Idle(name, count, megabytes=megabytes), process))

    for contender in CONTENDERS:
        name = "kmetad, one plugin" if contender.name == KMETAD else contender.name
        if not contender.available():
            sleepers.append(_Sleeper(Idle(name, counts[0]), None))
            continue
        if contender.name == KMETAD:
            start("kmetad, no configuration", 0, lambda _home, _volumes: [*kmetad_command(), "run"], ALONE)
            for count in counts:
                start("kmetad, no plugin", count, _without_plugin, ALONE if count == 1 else None)
        for count in counts if contender.name in (BARE, KMETAD, OBSERVER) else counts[:1]:
            fifo = os.path.join(directory, f"reports-{contender.name.replace(' ', '-')}-{count}")
            os.mkfifo(fifo)
            ends.callback(os.close, os.open(fifo, os.O_RDWR | os.O_CLOEXEC))
            start(name, count, lambda home, volumes, c=contender, f=fifo: c.argv(home, f, volumes))  # type: ignore[misc]
    return sleepers


def _without_plugin(home: str, volumes: Sequence[str]) -> list[str]:
    return [*kmetad_command(), "run", "-c", kmetad_toml(home, volumes, None)]
