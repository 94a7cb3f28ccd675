"""``kmetad proxy`` beside ``kubectl proxy`` and no proxy at all: requests, open watches, memory."""

from __future__ import annotations

import functools
import operator
import os
import re
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from bench.contenders import Running
from bench.install import Installed, with_plugin
from bench.process import Footprint, family, footprint, settle
from bench.proxy_load import Figures, Wrk
from bench.proxy_pod import PATH
from bench.proxy_upstream import PATIENCE, Upstream, upstream
from bench.proxy_watches import Watches

DIRECT, KUBECTL, KMETAD, SILENT = "direct", "kubectl proxy", "kmetad proxy", "kmetad proxy, no log"
CONNECTIONS = (1, 8, 64)
WATCHES = 200
ADDED, ADDED_AT, RATIO, EVENT = 1000.0, 8, 0.5, 2000.0
"""Targets: µs that a request takes longer than direct, at so many connections; requests a second against
kubectl proxy's; µs of a watch event."""
REST, WATCHING, LOADED = "just started", f"{WATCHES} watches", "after the requests"
"""When memory is looked at."""
SECONDS = 2
"""How long one run of requests takes: with fewer, its first requests, which connections are made for, are its p99."""
_SINGLES, _BURSTS = 40, 4
"""Events of each in a round: one at a time; to all watches at once."""
_ASLEEP = 0.003
"""Seconds until everyone is asleep again."""
_DESCRIPTORS = 4096
_SERVING = re.compile(r"^Starting to serve on (\S+)$", re.MULTILINE)


@dataclass(slots=True)
class Proxied:
    """What was measured of one way to the server; one value or list a round, times in microseconds."""

    name: str
    loads: dict[int, list[Figures]] = field(default_factory=dict)
    """By the number of connections."""
    singles: list[list[float]] = field(default_factory=list)
    """Events that nothing else happens beside."""
    bursts: list[list[float]] = field(default_factory=list)
    """Events of all watches at once."""
    memory: dict[str, Footprint] = field(default_factory=dict)
    """Of all its processes."""
    fault: str | None = None
    requests_fault: str | None = None
    """Why there are no requests, though there are watches."""

    def median(self, connections: int, figure: Callable[[Figures], float]) -> float:
        """Over the rounds."""
        return statistics.median(figure(run) for run in self.loads[connections])

    def ratios(self, connections: int, other: Proxied) -> list[float]:
        """Requests a second against another way's in the same round, so that what drifts cancels."""
        pairs = zip(self.loads.get(connections, ()), other.loads.get(connections, ()), strict=False)
        return [ours.a_second / theirs.a_second for ours, theirs in pairs]

    def waits(self, other: Proxied) -> list[float]:
        """What a single event's p50 has more than another way's in the same round."""
        pairs = zip(self.singles, other.singles, strict=False)
        return [statistics.median(ours) - statistics.median(theirs) for ours, theirs in pairs]

    def added(self, connections: int, other: Proxied) -> list[float]:
        """What a request's p50 has more than another way's in the same round."""
        pairs = zip(self.loads.get(connections, ()), other.loads.get(connections, ()), strict=False)
        return [ours.p50 - theirs.p50 for ours, theirs in pairs]


@dataclass(slots=True)
class _Way:
    """One that takes part: where it listens, and its process if it has one."""

    figures: Proxied
    url: str = ""
    process: Running | None = None
    watches: Watches | None = None

    def remember(self, moment: str) -> None:
        """Look at its memory."""
        if self.process is not None:
            members = family(self.process.pid)
            self.figures.memory[moment] = functools.reduce(operator.add, map(footprint, members))


def measure(rounds: int, installed: Installed, directory: str) -> list[Proxied]:
    """Start all, open the watches, tell of events; then requests, in half as many rounds.

    All take turns, in an order that rotates.
    """
    script = with_plugin(installed, "kmetad-ambassador").script
    home = os.path.join(directory, "proxies")
    os.mkdir(home)
    names = (DIRECT, KUBECTL, KMETAD, SILENT)
    ways = [_Way(Proxied(name)) for name in names]
    _more_descriptors()
    try:
        with upstream(home) as server, ExitStack() as ends:
            for way in ways:
                _guard(way, lambda way: _start(way, server, script, home, ends))
            _settle(ways)
            _remember(ways, REST)
            for way in ways:
                _guard(way, lambda way: _watch(way, server, ways.index(way) * WATCHES, ends))
            for turn in _turns(rounds, ways):
                _guard(turn, _events)
            _settle(ways)
            _remember(ways, WATCHING)
            for way in ways:
                if way.watches is not None:
                    way.watches.close()
            _requests((rounds + 1) // 2, ways, home)
            _settle(ways)
            _remember([way for way in ways if way.figures.loads], LOADED)
            if (dead := server.server.fault()) is not None:
                raise RuntimeError(f"nginx {dead}")
    except (OSError, RuntimeError, ImportError) as error:
        for way in ways:
            way.figures.fault = str(error) if isinstance(error, RuntimeError) else repr(error)
    return [way.figures for way in ways]


def kubectl_version() -> str:
    """As kubectl says it; empty where it isn't installed."""
    try:
        said = subprocess.run(
            ["kubectl", "version", "--client"], capture_output=True, text=True, timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"v[0-9]+\.[0-9]+\.[0-9]+[^\s\",]*", said.stdout)
    return found[0] if found else "of an unknown version"


def named(proxied: Sequence[Proxied], name: str) -> Proxied:
    """One of them."""
    return next(one for one in proxied if one.name == name)


def _guard(way: _Way, act: Callable[[_Way], None]) -> None:
    """Do something with one that hasn't failed before; what it fails with is for its row to tell."""
    if way.figures.fault is None:
        try:
            act(way)
        except (OSError, RuntimeError) as error:
            dead = way.process.fault() if way.process is not None else None
            way.figures.fault = dead or str(error)


def _turns(rounds: int, ways: Sequence[_Way]) -> Iterator[_Way]:
    """Each of them in each round; whoever comes first changes from one to the next."""
    for number in range(rounds):
        turn = number % len(ways)
        yield from (*ways[turn:], *ways[:turn])


def _start(way: _Way, server: Upstream, script: str, home: str, ends: ExitStack) -> None:
    name = way.figures.name
    if name == DIRECT:
        way.url = server.url
        return
    options = ["--kubeconfig", server.kubeconfig, "--port", "0"]
    if name == KUBECTL:
        program = shutil.which("kubectl")
        if program is None:
            raise RuntimeError("not installed: apt-get install kubernetes-client")
        argv = [program, "proxy", *options]
    else:
        argv = [script, "proxy", *options, *(("--log-requests", "none") if name == SILENT else ())]
    directory = os.path.join(home, name.replace(" ", "-"))
    os.mkdir(directory)
    way.process = Running(argv, directory)
    ends.callback(way.process.stop)
    end = time.monotonic() + PATIENCE
    while not (found := _SERVING.search(way.process.said())):
        if way.process.fault() is not None or time.monotonic() > end:
            raise RuntimeError(f"it doesn't serve: {way.process.last_words()}")
        time.sleep(0.02)
    way.url = f"http://{found[1]}"


def _watch(way: _Way, server: Upstream, first: int, ends: ExitStack) -> None:
    way.watches = Watches(way.url, server, first, WATCHES)
    ends.callback(way.watches.close)
    way.watches.all()  # the first event of each may find something that isn't ready


def _events(way: _Way) -> None:
    assert way.watches is not None
    singles, bursts = [], []
    for _ in range(_SINGLES):
        time.sleep(_ASLEEP)
        singles.append(way.watches.one())
    for _ in range(_BURSTS):
        time.sleep(_ASLEEP)
        bursts += way.watches.all()
    way.figures.singles.append(singles)
    way.figures.bursts.append(bursts)


def _requests(rounds: int, ways: Sequence[_Way], home: str) -> None:
    try:
        wrk = Wrk(home)
    except RuntimeError as missing:
        for way in ways:
            way.figures.requests_fault = str(missing)
        return
    for connections in CONNECTIONS:

        def run(way: _Way, connections: int = connections) -> None:
            figures = wrk.run(way.url + PATH, connections, SECONDS)
            way.figures.loads.setdefault(connections, []).append(figures)

        for way in _turns(rounds, ways):
            _guard(way, run)


def _settle(ways: Sequence[_Way]) -> None:
    alive = [way.process for way in ways if way.process is not None and way.process.fault() is None]
    settle([pid for process in alive for pid in family(process.pid)])


def _remember(ways: Sequence[_Way], moment: str) -> None:
    for way in ways:
        _guard(way, lambda way: way.remember(moment))


def _more_descriptors() -> None:
    """All watches are open at once: as many descriptors as are allowed, within reason, for all processes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
