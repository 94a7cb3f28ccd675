"""Plays schedules: a daemon that is killed and started anew over volumes that are swapped, and plugins that fail it.

``python -m tests.soak.schedules --seed N`` plays one of them again. What the plan says is
the same each time; what the scheduler of the kernel makes of it isn't, so a rare fault
may take ``--times``.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import random
import re
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Any, NoReturn

import kmetad._watch.inotify  # noqa: F401  # before the forks
from kmetad._config import load
from kmetad._daemon import daemon
from kmetad.testing.kubelet import Volume
from tests.soak import model
from tests.soak.journal import Journal, Line
from tests.soak.oracle import Broken, Judge
from tests.soak.plan import SENTINEL, Await, Matches, Pause, Plan, Restart, State, Swap, plan
from tests.soak.plugins import both, single, whole

DEADLINE = 30.0
"""Seconds after which it is called broken that what has to come doesn't."""

_MODULES = {"whole": whole, "single": single, "both": both}
_LONG = re.compile(r"(.)\1{40,}")
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_FATAL = ("memory.failed", "memory.unreadable", "state.failed", "state.unreadable")
"""Events of the log that no schedule gives a reason for."""


@dataclass
class _Daemon:
    """The process under test, in one of its lives."""

    pid: int
    pidfd: int
    log: str


class Player:
    """Plays one schedule in a directory of its own."""

    def __init__(self, plan_: Plan, directory: str) -> None:
        self.plan = plan_
        self.directory = directory
        self.lines: list[Line] = []
        self.journal = Journal(f"{directory}/journal")
        self.judge = Judge({p.name: (p.attempts, p.timeout) for p in plan_.plugins}, plan_.volumes)
        self._volumes = {name: Volume(f"{directory}/{name}") for name in plan_.volumes}
        self._held: dict[str, State] = dict(plan_.volumes)
        self._calm, self._disturbed = os.pipe2(os.O_CLOEXEC)
        self._matches: Matches = plan_.matches
        self._memory = os.memfd_create("kmetad-lanes") if plan_.memory else None
        self._uid = 1
        self._life = 0
        self._daemon: _Daemon | None = None
        self._clean = False  # whether the last one ended as it should
        self._fresh, self._whole = True, False
        os.mkdir(f"{directory}/state")
        for name, state in plan_.volumes.items():
            _write(self._volumes[name], state)

    def play(self) -> None:
        """From the first life to the last. Raises Broken."""
        try:
            self._start()
            for act in self.plan.acts:
                self._survive()
                if isinstance(act, Swap):
                    self._swap(act.volume, act.state)
                elif isinstance(act, Pause):
                    time.sleep(act.seconds)
                elif isinstance(act, Await):
                    seen = len(self.lines)
                    self._until(lambda act=act, seen=seen: self._has(act, seen), act.within)
                else:
                    self._restart(act)
            self._converge()
            self._end_well()
        finally:
            self._close()

    # -- the end ----------------------------------------------------------------------

    def _converge(self) -> None:
        """Now that nobody misbehaves any more, each plugin comes to hold what the volumes say."""
        os.close(self._disturbed)
        self._disturbed = -1
        if self.plan.wakes:
            self._change_sentinel("calm")
        self._settle(forgiving=True)

    def _end_well(self) -> None:
        """Another daemon has nothing to tell but what comes then."""
        self._restart(self.plan.last)
        self._until(lambda: all(lane.started for lane in self.judge.lanes.values() if lane.there), DEADLINE)
        self._change_sentinel("the end")
        self._settle(forgiving=False)
        self._stop("TERM")
        if not self._clean:
            raise Broken("it did not end as it should")

    def _change_sentinel(self, value: str) -> None:
        state = {type_: dict(values) for type_, values in self._held["podinfo"].items()}
        state["label"][SENTINEL] = value
        self._swap("podinfo", state)

    def _settle(self, *, forgiving: bool) -> None:
        """Wait until all plugins are where the volumes are. ``forgiving``: some may need another daemon for it."""
        deadline = time.monotonic() + DEADLINE
        while True:
            self._survive()
            settled = self._until(lambda: not self._missing(), 0.3)
            if settled and not self._set_aside():
                return
            if forgiving and (self._set_aside() or (self.judge.parked() and not self.plan.wakes)):
                self._restart(Restart("TERM", False, False, None))
            if time.monotonic() > deadline:
                raise Broken("they never settled:\n" + "\n".join(self._missing()))

    def _missing(self) -> list[str]:
        return self.judge.unsettled(self.judge.truth(), self._set_aside())

    # -- the Pod ------------------------------------------------------------------------

    def _swap(self, volume: str, state: State) -> None:
        self.journal.write("swap", volume=volume, state=state)
        self._held[volume] = state
        _write(self._volumes[volume], state)
        self.journal.write("swapped", volume=volume)

    # -- the daemon ---------------------------------------------------------------------

    def _start(self) -> None:
        """Another life."""
        self._life += 1
        toml = f"{self.directory}/kmetad.toml"
        with open(toml, "w") as file:
            file.write(_toml(self.plan, self._matches, self.directory, self._life))
        loaded = load(toml)
        assert not loaded.problems, loaded.problems
        log = f"{self.directory}/log.{self._life}"
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        alone = self._memory is None or self._whole
        self.journal.write(
            "life",
            number=self._life,
            lanes=self._matches,
            fresh=self._fresh,
            alone=alone,
            lagging=alone and not self._clean,
        )
        pid = os.fork()
        if pid == 0:
            self._live(loaded, descriptor)
        os.close(descriptor)
        self._daemon = _Daemon(pid, os.pidfd_open(pid), log)
        self._fresh = self._whole = False

    def _live(self, loaded: Any, log: int) -> NoReturn:
        """The child's part."""
        code = 70
        try:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            os.dup2(log, 2)
            if self._disturbed >= 0:
                os.close(self._disturbed)
            random.seed(f"{self.plan.seed} {self._life}")  # of the back-off's jitter
            model.World.journal, model.World.calm = self.journal, self._calm
            model.record(self.journal)
            self._tell_digest_key()
            environ = {"POD_UID": f"uid-{self._uid}"}
            code = daemon.run(loaded, environ=environ, memory=self._memory)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _tell_digest_key(self) -> None:
        """So that the judge can tell the contents by their digests."""
        original = daemon.build_sources

        def build_sources(config: Any, environ: Mapping[str, str], digest_key: bytes) -> Any:
            self.journal.write("digests", key=digest_key.hex())
            return original(config, environ, digest_key)

        daemon.build_sources = build_sources

    def _restart(self, act: Restart) -> None:
        self._stop(act.how)
        if act.whole:
            self._replace_memory()
            self._whole = True
            if not self.plan.directory or act.another_pod:
                self._fresh = True
                self._uid += act.another_pod
        if act.matches is not None:
            self._matches = act.matches
        self._start()

    def _replace_memory(self) -> None:
        """What was in it is gone, with the supervisor that held it."""
        if self._memory is not None:
            os.close(self._memory)
            self._memory = os.memfd_create("kmetad-lanes")

    def _stop(self, how: str) -> None:
        if self._daemon is None:
            return  # it was faster
        signal.pidfd_send_signal(self._daemon.pidfd, signal.Signals[f"SIG{how}"])
        if not self._until(lambda: self._daemon is None, DEADLINE):
            raise Broken(f"it did not end {DEADLINE:g} s after {how}")

    def _survive(self) -> None:
        """What has died is started again, as a supervisor would."""
        self._feed()
        while self._daemon is None:
            self._start()

    def _until(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition, at most so long; False if it doesn't hold by then."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.journal.bell, select.POLLIN)
        if self._daemon is not None:
            poll.register(self._daemon.pidfd, select.POLLIN)
        while True:
            alive = self._daemon is not None
            self._feed()
            if condition():
                return True
            left = deadline - time.monotonic()
            if left <= 0 or (alive and self._daemon is None):
                return False
            poll.poll(1000 * min(left, 0.1))

    def _feed(self) -> None:
        """Have the judge hear what is new; notice that the daemon has ended."""
        ended = self._daemon is not None and _has_ended(self._daemon)
        for line in self.journal.new():
            self.lines.append(line)
            self.judge.hear(line)
        if ended:
            self._bury()

    def _bury(self) -> None:
        dead, self._daemon = self._daemon, None
        assert dead is not None
        _, status = os.waitpid(dead.pid, 0)
        os.close(dead.pidfd)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, 3, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGALRM):
            raise Broken(f"it ended with {code}:\n{_tail(dead.log)}")
        self._clean = code == 0
        events = _events(dead.log, cut=code != 0)
        for event in events:
            if event["event"] in _FATAL or event.get("level") == "critical":
                raise Broken(f"it said {event}")
        aside, given_up = (
            [event["plugin"] for event in events if event["event"] == what]
            for what in ("plugin.set_aside", "lane.given_up")
        )
        self.judge.counts[f"ended by {signal.Signals(-code).name if code < 0 else code}"] += 1
        line = {"what": "died", "orderly": self._clean, "set_aside": aside, "given_up": given_up}
        self.lines.append(line)
        self.judge.hear(line)

    def _set_aside(self) -> list[str]:
        """The plugins that this daemon does without."""
        if self._daemon is None or not self.judge.suspects():
            return []
        events = _events(self._daemon.log, cut=True)
        return [event["plugin"] for event in events if event["event"] == "plugin.set_aside"]

    def _has(self, act: Await, since: int) -> bool:
        return any(
            line["what"] == act.line and line["lane"] == act.plugin
            for line in self.lines[since:]
            if "lane" in line
        )

    def _close(self) -> None:
        if self._daemon is not None:
            os.kill(self._daemon.pid, signal.SIGKILL)
            os.waitpid(self._daemon.pid, 0)
            os.close(self._daemon.pidfd)
        for fd in (self._calm, self._disturbed, self._memory):
            if fd is not None and fd >= 0:
                os.close(fd)
        self.journal.close()


def _has_ended(process: _Daemon) -> bool:
    return bool(select.select([process.pidfd], [], [], 0)[0])


def _write(volume: Volume, state: State) -> None:
    volume.write(state.get("label"), state.get("annotation"), state.get("file"))


def _events(log: str, *, cut: bool) -> list[dict[str, Any]]:
    """What the daemon logged. Raises Broken where that is no log: the interpreter itself has spoken."""
    with open(log, errors="replace") as file:
        *lines, last = file.read().split("\n")
    if last and not cut:
        lines.append(last)
    events = []
    for line in lines:
        try:
            events.append(json.loads(line))
        except ValueError:
            raise Broken(f"on standard error: {line}\n{_tail(log)}") from None
    return events


def _tail(log: str) -> str:
    with open(log, errors="replace") as file:
        return file.read()[-4000:]


def _toml(plan_: Plan, matches: Matches, directory: str, life: int) -> str:
    """The configuration of one life."""
    lines = ["[run]", 'drain_timeout = "0.2s"', "[daemon]", "nice = 0", "[log]", 'format = "json"']
    lines += ["[env]", 'POD_UID = "metadata.uid"']
    if plan_.directory:
        lines += ["[state]", f'dir = "{directory}/state"']
    for name in plan_.volumes:
        lines += [f"[volumes.{name}]", f'path = "{directory}/{name}"']
        lines += ['kind = "files"'] if name == "settings" else []
    for name, match in matches.items():
        plugin = plan_.places[name]
        lines += [f"[plugins.{name}]", f'module = "{_MODULES[plugin.module].__name__}"']
        lines += [f"match = {json.dumps(match)}"] if match else []
        lines += [f'seed = "{plan_.seed} {life}"', f"timeout = {plugin.timeout}"]
        lines += [f"fates = {_inline(plugin.fates)}", f"start_fates = {_inline(plugin.start_fates)}"]
        lines += [f"lane.{key} = {json.dumps(value)}" for key, value in plugin.lane.items()]
    return "\n".join(lines) + "\n"


def _inline(fates: Mapping[str, float]) -> str:
    return "{ " + ", ".join(f"{fate} = {probability}" for fate, probability in fates.items()) + " }"


@dataclass(frozen=True)
class Played:
    """What came of a schedule."""

    seed: int
    counts: Counter[str]
    broken: str
    """Which law, with all that is known of it; empty: none."""


def play(seed: int, directory: str) -> Played:
    """Play the schedule of a seed. Of one that is broken the files are kept."""
    directory = tempfile.mkdtemp(prefix=f"{seed}-", dir=directory)
    player = Player(plan(seed), directory)
    broken = ""
    try:
        player.play()
    except Broken as fault:
        broken = _explain(player, str(fault))
    else:
        shutil.rmtree(directory)
    return Played(seed, player.judge.counts, broken)


def _explain(player: Player, broken: str) -> str:
    plan_ = player.plan
    return "\n".join(
        (
            *(_LONG.sub(r"\1…", json.dumps(line)) for line in player.lines[-60:]),
            *map(str, plan_.plugins),
            f"matches at first: {plan_.matches}; memory file: {plan_.memory}; [state] dir: {plan_.directory}",
            f"all of it is in {player.directory}",
            f"again: python -m tests.soak.schedules --seed {plan_.seed} --times 20",
            f"SEED {plan_.seed}: {broken}",
        )
    )


def play_all(seeds: Iterable[int], jobs: int) -> Iterator[Played]:
    """Play them, so many at a time, on a file system in memory, as volumes of the kubelet are."""
    parent = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    directory = tempfile.mkdtemp(prefix="kmetad-schedules-", dir=parent)
    # Frozen: nothing of what is there is copied into each child.
    with ProcessPoolExecutor(jobs, get_context("fork"), gc.freeze) as pool:
        yield from pool.map(partial(play, directory=directory), seeds)
    try:
        os.rmdir(directory)
    except OSError:
        pass  # some are broken


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was played, and what is broken: then 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.schedules", description=__doc__)
    parser.add_argument("--count", type=int, default=2000, metavar="N", help="so many schedules (2000)")
    parser.add_argument("--first", type=int, default=1, metavar="SEED", help="the seed of the first (1)")
    parser.add_argument("--seed", type=int, metavar="N", help="only this one")
    parser.add_argument("--times", type=int, default=1, metavar="N", help="each so many times (1)")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, metavar="N", help="at a time (the cores)"
    )
    parser.add_argument("--stop", action="store_true", help="at the first that is broken")
    options = parser.parse_args(argv)
    first, count = (options.first, options.count) if options.seed is None else (options.seed, 1)
    begun = time.monotonic()
    counts: Counter[str] = Counter()
    played, broken = 0, []
    for one in play_all([*range(first, first + count)] * options.times, options.jobs):
        played += 1
        counts += one.counts
        if one.broken:
            broken.append(one.seed)
            print(one.broken, flush=True)
            if options.stop:
                break
        elif played % 100 == 0:
            print(f"{played} schedules, {time.monotonic() - begun:.0f} s", flush=True)
    print(", ".join(f"{what}: {number}" for what, number in sorted(counts.items())))
    print(f"{played} schedules in {time.monotonic() - begun:.0f} s, {len(broken)} broken {sorted(broken)}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
