"""From the exec of an entrypoint wrapper until the app that it starts runs."""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.contenders import kmetad_toml
from bench.install import Installed
from bench.volume import Volume

APP = ("/bin/echo", "runs")
"""A small C program, whose first deed is to write: when that arrives, its main() has been reached."""
PATIENCE = 20.0
"""Seconds after which a wrapper counts as one that doesn't start its app."""
PASS = "python -c pass"
"""The yardstick: the least that a wrapper written in Python costs, from its start to its end."""


@dataclass(slots=True)
class Start:
    """What a wrapper did; times in ms, one a round."""

    name: str
    argv: Sequence[str] | None
    environ: dict[str, str] = field(default_factory=dict)
    target: bool = False
    """Whether the promised ratio is about this one."""
    times: list[float] = field(default_factory=list)
    fault: str | None = None

    def ratios(self, yardstick: Start) -> list[float]:
        """Against the yardstick of the same round, so that what drifts cancels."""
        return [ours / theirs for ours, theirs in zip(self.times, yardstick.times, strict=False)]


def measure(rounds: int, installed: Installed, directory: str) -> list[Start]:
    """Let all take turns, one at a time; each is waited for to its end before the next begins."""
    starts = _contenders(installed, directory)
    turns(starts, rounds)
    return starts


def turns(starts: list[Start], rounds: int) -> None:
    """The rounds themselves."""
    for number in range(-1, rounds):  # the first one only warms the caches
        turn = number % len(starts)
        for start in starts[turn:] + starts[:turn]:
            if start.fault is None:
                taken = _once(start)
                if taken is not None and number >= 0:
                    start.times.append(taken)


def yardstick(starts: Sequence[Start]) -> Start:
    """The bare interpreter."""
    return next(start for start in starts if start.name == PASS)


def _contenders(installed: Installed, directory: str) -> list[Start]:
    home = os.path.join(directory, "start")
    os.mkdir(home)
    volume = Volume(os.path.join(home, "podinfo"), 2)
    config = kmetad_toml(home, [volume.path], None)
    filled = f"{config}.env"
    with open(config) as toml, open(filled, "w") as with_env:
        with_env.write(toml.read() + "[run.env]\nMARKER = \"{metadata.labels['bench/marker']}\"\n")
    kmetad = [installed.script, "run", "--", *APP]
    module = [installed.python, "-m", "kmetad", "run", "--", *APP]
    starts = [
        Start(PASS, [installed.python, "-c", "pass"]),
        Start("the app alone", APP),
        Start("tini", wrapper("tini", APP)),
        Start("dumb-init", wrapper("dumb-init", APP)),
        Start("kmetad run", kmetad, target=True),
        Start("kmetad run, with a configuration", kmetad, {"KMETAD_CONFIG": config}),
        Start("kmetad run, with run.env", kmetad, {"KMETAD_CONFIG": filled}),
        Start("python -m kmetad run", module),
    ]
    for start in starts:
        if start.argv is None:
            start.fault = f"not installed: apt-get install {start.name}"
    return starts


def wrapper(name: str, app: Sequence[str]) -> list[str] | None:
    """The command line of tini or dumb-init around an app; None where it isn't installed."""
    path = shutil.which(name)
    # Elsewhere than as process 1 tini has to be told to reap orphans (-s), or prints a warning.
    options = {"tini": ["-s", "--"], "dumb-init": ["--"]}[name]
    return None if path is None else [path, *options, *app]


def _once(start: Start) -> float | None:
    """One start; ms until the app's byte arrived, or for the yardstick until it was gone."""
    assert start.argv is not None
    reader, writer = os.pipe()
    poll = select.poll()
    poll.register(reader, select.POLLIN | select.POLLHUP)
    try:
        began = time.monotonic_ns()
        pid = os.posix_spawn(
            start.argv[0],
            list(start.argv),
            os.environ | {"KMETAD_CONFIG": ""} | start.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, writer, 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
        )
        os.close(writer)
        # A byte, or the end of the pipe: everyone who held it has gone.
        arrived = poll.poll(PATIENCE * 1000)
        taken = time.monotonic_ns() - began
        said = os.read(reader, 64) if arrived else b""
        if not arrived:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(reader)
    if code != 0 or (start.name != PASS and not said):
        start.fault = f"ended with {code}" + ("" if said else ", and the app never ran")
        return None
    return taken / 1e6
