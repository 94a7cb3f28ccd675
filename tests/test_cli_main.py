"""The command itself: help, version, usage, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kmetad as package
from kmetad._cli.main import COMMANDS
from tests.cli import environment, inside, kmetad


def test_version() -> None:
    """The version and nothing else."""
    done = kmetad("--version")
    assert (done.stdout, done.stderr, done.returncode) == (f"kmetad {package.__version__}\n", "", 0)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_s_help_shows_an_example(command: str) -> None:
    """--help ends with 0, and an example starts with the command."""
    done = inside(command, "--help")
    assert (done.stderr, done.returncode) == ("", 0)
    assert f"\n  kmetad {command}" in done.stdout.partition("example")[2]


def test_help_names_every_command() -> None:
    """With what it does."""
    done = inside("--help")
    assert done.returncode == 0
    for command, summary in COMMANDS.items():
        assert command in done.stdout
        assert summary in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ([], 2),
        (["gett"], 2),
        (["--nonsense"], 2),
        (["get", "--nonsense"], 2),
        (["plugins", "remove"], 2),
        (["run", "--nonsense"], 125),
        (["run", "-c"], 125),
    ],
)
def test_usage_errors(arguments: list[str], code: int) -> None:
    """2, and 125 where the exit code otherwise is the app's; the message says where to look."""
    done = inside(*arguments)
    assert (done.stdout, done.returncode) == ("", code)
    assert "--help" in done.stderr


def test_the_installed_command_is_the_same() -> None:
    """The script that pip puts beside the interpreter does what ``python -m kmetad`` does."""
    script = Path(sys.executable).with_name("kmetad")
    done = subprocess.run(
        [sys.executable, script, "--version"], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.returncode) == (inside("--version").stdout, 0)
    assert done.stdout.startswith("kmetad ")


def test_a_fault_of_kmetad_itself_is_no_answer() -> None:
    """A traceback and 2 (125 for run), never 1, which says that a field isn't there."""
    code = "import kmetad._cli.get as get; get.run = lambda args: 1 / 0; "
    code += "from kmetad._cli.main import main; raise SystemExit(main(['get']))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("kmetad: this is a fault of kmetad itself")
    assert "ZeroDivisionError" in done.stderr


def test_a_full_disk_is_told() -> None:
    """What can't be written isn't lost in silence."""
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kmetad", "--help"],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr == "kmetad: standard output: No space left on device\n"


@pytest.mark.parametrize("command", ["get", "plugins"])
def test_commands_import_only_what_they_need(command: str) -> None:
    """No watcher and no logger for a look at what is there now: scripts and probes wait for it."""
    code = (
        "import sys; from kmetad._cli.main import main; main(sys.argv[1:]); "
        "print([m for m in ('watchdog', 'structlog', 'asyncio', 'subprocess') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command],
        env={name: value for name, value in environment().items() if not name.startswith("COV")},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "[]"
