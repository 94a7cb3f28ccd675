"""What has been imported when the app starts: next to nothing, since the app waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.cli import DEADLINE, environment
from tests.wrapper.conftest import Toml

HEAVY = {
    "argparse",
    "asyncio",
    "ctypes",
    "importlib.metadata",
    "logging",
    "msgspec",
    "pluggy",
    "re",
    "socket",
    "ssl",
    "structlog",
    "subprocess",
    "threading",
    "tomllib",
    "typing",
    "watchdog",
}

# Python's own site module imports it at the start of everything; the interpreter tells it of each spawn.
SITECUSTOMIZE = """
import os, sys

def note(event, args):
    if event == "os.posix_spawn":
        with open(os.environ["SPAWNS"], "a") as file:
            print(repr([os.fsdecode(word) for word in args[1]]), *sorted(sys.modules), sep="\\t", file=file)

sys.addaudithook(note)
"""
SCRIPT = [os.path.join(sysconfig.get_path("scripts"), "kmetad")]
MODULE = [sys.executable, "-m", "kmetad"]


def spawns(command: list[str], directory: Path) -> list[tuple[str, set[str]]]:
    """What is started, in its order, and the modules that had been imported by then."""
    (directory / "sitecustomize.py").write_text(SITECUSTOMIZE)
    (directory / "spawns").touch()
    env = {name: value for name, value in environment().items() if not name.startswith("COVERAGE_")}
    env |= {"PYTHONPATH": str(directory), "SPAWNS": str(directory / "spawns")}
    subprocess.run(command, env=env, check=True, timeout=DEADLINE)
    lines = (line.split("\t") for line in (directory / "spawns").read_text().splitlines())
    return [(argv, set(modules)) for argv, *modules in lines]


def bare(directory: Path) -> set[str]:
    """What an interpreter imports that does nothing."""
    ((_, modules),) = spawns(
        [sys.executable, "-c", "import os; os.waitpid(os.posix_spawn('/bin/true', ['true'], {}), 0)"],
        directory,
    )
    return modules


def test_without_a_configuration(tmp_path: Path) -> None:
    """Beside kmetad's own few modules: what CPython has built in, and the C half of ctypes."""
    nothing = bare(tmp_path)
    (tmp_path / "spawns").unlink()
    (app, modules), *_ = spawns([*SCRIPT, "run", "--", "/bin/sh", "-c", "exit 0"], tmp_path)
    assert app == repr(["/bin/sh", "-c", "exit 0"])
    more = modules - nothing
    assert not more & HEAVY
    assert {name for name in more if name.partition(".")[0] != "kmetad"} <= {"__future__", "_ctypes", "errno"}


@pytest.mark.parametrize("command", [SCRIPT, MODULE], ids=["script", "module"])
@pytest.mark.parametrize("configured", [False, True])
def test_nothing_heavy(command: list[str], configured: bool, toml: Toml, tmp_path: Path) -> None:
    """Nor with a configuration: another process reads it. The app is first, then comes the daemon."""
    nothing = bare(tmp_path)
    (tmp_path / "spawns").unlink()
    options = toml("[run]\n") if configured else []
    (app, modules), *others = spawns(
        [*command, "run", *options, "--rewrite", "15:3", "--", "/bin/sh", "-c", "exit 0"], tmp_path
    )
    assert app == repr(["/bin/sh", "-c", "exit 0"])
    assert not (modules - nothing) & HEAVY
    (argv, modules), *_ = others
    assert "kmetad._daemon" in argv
    assert not (modules - nothing) & {
        "asyncio",
        "logging",
        "msgspec",
        "pluggy",
        "ssl",
        "structlog",
        "watchdog",
    }
