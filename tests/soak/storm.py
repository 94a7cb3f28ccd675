"""A storm: 20 volumes that are swapped 20 times a second each, told to 5 plugins, under the real supervisor.

One of the plugins is slow, one fails every other time, and one kills the daemon now and
then. Nothing may be lost, nothing that was acknowledged told again, the app that is
wrapped may notice nothing, and memory has to stay flat.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.soak.figures import Held, Trend, held, trend
from tests.soak.journal import Journal
from tests.soak.oracle import Broken, Judge, Key
from tests.soak.swapper import Swapper

VOLUMES = 20
SWAPS_A_SECOND = 20.0
"""Of each volume."""
SWAPPERS = 2
"""Processes that do so."""

SAMPLE_SECONDS = 2.0
WARM_SECONDS = 5.0
"""Of a daemon's life: until then its figures don't count."""
DEADLINE = 60.0
"""Seconds after which what has to come when all is still counts as lost."""
MOST_GROWTH = 1.2
"""What the last quarter holds, by the first. The C library takes some minutes to have all the room that it needs
for the odd pieces of so many threads; what leaks at this pace has grown many times over."""

_NAMES = [f"v{number:02}" for number in range(VOLUMES)]

MATCHES: Mapping[str, tuple[str, ...]] = {
    "good": (),
    "narrow": (f"label:{_NAMES[-1]}/*",),
    "slow": (),
    "failing": (),
    "deadly": (),
}
"""The plugins, and what each is to hear of."""

_TABLES: Mapping[str, str] = {
    "good": "",
    "narrow": f'match = ["{MATCHES["narrow"][0]}"]\nlane.debounce = "100ms"',
    "slow": 'kind = "slow"',
    "failing": 'kind = "failing"\nlane.retry.initial = "20ms"\nlane.retry.max = "100ms"',
    "deadly": 'kind = "deadly"\nevery = EVERY',
}

_APP = "import itertools, time\nfor n in itertools.count(1): print(n, flush=True), time.sleep(0.005)"
"""What is wrapped counts. It ends by the first TERM."""

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Sample:
    """Of what there is at a moment."""

    at: float
    """Seconds from the first swap."""
    life: int
    """Which daemon this is."""
    age: float
    """Seconds of its life so far."""
    supervisor: Held
    daemon: Held
    memory_file: int
    """Bytes."""
    state_file: int


class Storm:
    """See the module. ``every``: in seconds, how long the daemon lives on the average."""

    def __init__(self, directory: str, every: float) -> None:
        self.directory = Path(directory)
        self.journal = Journal(f"{directory}/journal")
        self.judge = Judge(dict.fromkeys(MATCHES, (0, 30.0)), {})
        self.samples: list[Sample] = []
        self.seconds = self.cpu_seconds = 0.0
        self.swaps = self.app_lines = 0
        self.lives = 0
        self._pid = 0  # of the daemon
        self._life_began = 0.0
        (self.directory / "state").mkdir()
        (self.directory / "kmetad.toml").write_text(_toml(directory, every))
        shares = [_NAMES[number::SWAPPERS] for number in range(SWAPPERS)]
        self._swappers = [Swapper(directory, share, SWAPS_A_SECOND) for share in shares]
        self._kmetad = self._start()

    def run(self, seconds: float) -> None:
        """From the first swap to the last, and until all is told. Raises Broken."""
        try:
            self._wait(self._all_started, "on_start of all plugins")
            self._rage(seconds)
            truth: dict[Key, str] = {}
            for swapper in self._swappers:
                swaps, labels = swapper.end()
                self.swaps += swaps
                truth.update({("label", key): value for key, value in labels.items()})
            self._wait(
                lambda: not self.judge.unsettled(truth),
                "the plugins to hold what the volumes say",
                lambda: self.judge.unsettled(truth),
            )
            self._end()
            for what, one in self.trends().items():
                if one.last > MOST_GROWTH * one.first:
                    raise Broken(f"not flat: {what}: {one}")
        finally:
            for swapper in self._swappers:
                swapper.kill()
            self._kmetad.kill()
            self._kmetad.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "kmetad", "run", "-c", str(self.directory / "kmetad.toml"), "--"]
        command += [sys.executable, "-I", "-S", "-c", _APP]
        environ = {**os.environ, "PYTHONPATH": str(_ROOT)}
        with (self.directory / "out").open("wb") as out, (self.directory / "log").open("wb") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, env=environ)

    def _rage(self, seconds: float) -> None:
        begun = time.monotonic()
        for swapper in self._swappers:
            swapper.begin()
        next_sample = 0.0
        while self.seconds < seconds:
            self.seconds = time.monotonic() - begun
            self._feed()
            if self._kmetad.poll() is not None:
                raise Broken(f"kmetad ended with {self._kmetad.returncode}; see {self.directory}/log")
            if self.seconds >= next_sample:
                self._sample()
                next_sample += SAMPLE_SECONDS
            time.sleep(0.05)

    def _end(self) -> None:
        """The app's end is kmetad's, and all of it was there."""
        self._kmetad.terminate()
        code = self._kmetad.wait(DEADLINE)
        times = os.times()
        self.cpu_seconds = times.children_user + times.children_system
        self._feed()
        self.judge.hear({"what": "died", "orderly": True, "set_aside": (), "given_up": ()})
        if code != 128 + signal.SIGTERM:
            raise Broken(f"the app ended by TERM, kmetad with {code}")
        lines = (self.directory / "out").read_bytes().splitlines()
        self.app_lines = len(lines)
        if lines != [b"%d" % number for number in range(1, len(lines) + 1)]:
            raise Broken(f"the app's lines aren't whole; see {self.directory}/out")
        log = (self.directory / "log").read_text(errors="replace")
        seen = log.count("kmetad: the daemon was ended by SIGKILL")
        if seen != self.lives - 1:
            raise Broken(f"{self.lives - 1} daemons were killed; their supervisor told of {seen}")
        for event in (
            "plugin.set_aside",
            "memory.failed",
            "memory.unreadable",
            "state.failed",
            "state.unreadable",
        ):
            if event in log:
                raise Broken(f"{event}; see {self.directory}/log")

    def _feed(self) -> None:
        """Have the judge hear what is new."""
        for line in self.journal.new():
            if line["what"] != "made":
                self.judge.hear(line)
            elif line["pid"] != self._pid:
                if self._pid:
                    self.judge.hear({"what": "died", "orderly": False, "set_aside": (), "given_up": ()})
                life = {"what": "life", "lanes": MATCHES, "fresh": False, "alone": False, "lagging": False}
                self.judge.hear(life)
                self.lives += 1
                self._pid, self._life_began = line["pid"], time.monotonic()

    def _wait(
        self, condition: Callable[[], bool], what: str, missing: Callable[[], Sequence[str]] = lambda: ()
    ) -> None:
        deadline = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > deadline:
                raise Broken("\n".join((f"waited in vain for {what}; see {self.directory}/log", *missing())))
            time.sleep(0.02)
            self._feed()

    def _all_started(self) -> bool:
        return all(lane.started for lane in self.judge.lanes.values())

    def _sample(self) -> None:
        try:
            daemon = held(self._pid)
        except OSError:
            return  # there is none just now
        age = time.monotonic() - self._life_began
        sizes = _memory_file(self._kmetad.pid), (self.directory / "state/kmetad.state").stat().st_size
        self.samples.append(Sample(self.seconds, self.lives, age, held(self._kmetad.pid), daemon, *sizes))

    # -- what is told of it ---------------------------------------------------------------

    def trends(self) -> dict[str, Trend]:
        """What may grow, over time."""
        warm = [sample for sample in self.samples if sample.age > WARM_SECONDS]
        figures: dict[str, Callable[[Sample], float]] = {
            "supervisor, private MB": lambda sample: sample.supervisor.private,
            "supervisor, resident MB": lambda sample: sample.supervisor.resident,
            "supervisor, descriptors": lambda sample: sample.supervisor.descriptors,
            "supervisor, threads": lambda sample: sample.supervisor.threads,
            "daemons, private MB": lambda sample: sample.daemon.private,
            "daemons, resident MB": lambda sample: sample.daemon.resident,
            "daemons, descriptors": lambda sample: sample.daemon.descriptors,
            "daemons, threads": lambda sample: sample.daemon.threads,
            "memory file, KB": lambda sample: sample.memory_file / 1024,
            "state file, KB": lambda sample: sample.state_file / 1024,
        }
        found = {what: trend([(sample.at, of(sample)) for sample in warm]) for what, of in figures.items()}
        lives = [[s for s in warm if s.life == life] for life in range(1, self.lives + 1)]
        longest = max(lives, key=len)
        found[f"the longest life ({longest[-1].age if longest else 0:.0f} s), private MB"] = trend(
            [(sample.age, sample.daemon.private) for sample in longest]
        )
        return {what: one for what, one in found.items() if one is not None}

    def report(self) -> Iterator[str]:
        """The figures."""
        due = VOLUMES * SWAPS_A_SECOND * self.seconds
        yield f"{self.seconds / 60:.1f} minutes, {self.swaps} swaps: {self.swaps / due:.0%} of {due:.0f} due"
        yield f"{self.lives - 1} daemons killed, {self.app_lines} lines of the app, none missing"
        for name, lane in self.judge.lanes.items():
            yield f"  {name}: " + ", ".join(f"{number} {what}" for what, number in lane.counts.items())
        yield ", ".join(f"{what}: {number}" for what, number in sorted(self.judge.counts.items()))
        yield f"processor: {self.cpu_seconds:.0f} s in {self.seconds:.0f} s, for kmetad, its app and the swappers"
        for what, one in self.trends().items():
            yield f"{what}: {one}"


def _toml(directory: str, every: float) -> str:
    parts = ['[log]\nlevel = "warning"', f'[state]\ndir = "{directory}/state"']
    parts += [f'[volumes.{name}]\npath = "{directory}/{name}"' for name in _NAMES]
    for name, table in _TABLES.items():
        parts.append(f'[plugins.{name}]\nmodule = "tests.soak.stormy"\njournal = "{directory}/journal"')
        parts.append(table.replace("EVERY", str(every)))
    return "\n".join(parts) + "\n"


def _memory_file(pid: int) -> int:
    """How large the one is that this process holds; bytes."""
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{descriptor}"
        if os.readlink(path).startswith("/memfd:kmetad"):
            return os.stat(path).st_size
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; 1 if something is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.storm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="so long (10)")
    parser.add_argument(
        "--every", type=float, default=40.0, metavar="SECONDS", help="a daemon's life, on the average (40)"
    )
    options = parser.parse_args(argv)
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = tempfile.mkdtemp(prefix="kmetad-storm-", dir=parent)
    storm = Storm(directory, options.every)
    try:
        storm.run(60 * options.minutes)
    except Broken as broken:
        print(f"{broken}\nall of it is in {directory}")
        return 1
    print("\n".join(storm.report()))
    shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
