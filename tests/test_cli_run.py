"""``kmetad run``, as far as the command line goes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kmetad._cli.run import split
from kmetad.testing.kubelet import Volume
from tests.cli import Running, environment, kmetad


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--"], "there is no command after `--`"),
        (["--group"], "--group and --rewrite are for a command's signals"),
        (["--rewrite", "TERM", "--", "true"], "it is written A:B"),
        (["--rewrite", "TERMM:QUIT", "--", "true"], "did you mean TERM?"),
        (["--rewrite", "KILL:TERM", "--", "true"], "nobody can catch it"),
        (["--rewrite"], "expected one argument"),
        (["--once"], "--once needs a command"),
        (["--once", "--group", "--", "true"], "with --once nobody is left"),
        (["--nonsense", "--", "true"], "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_usage(arguments: list[str], said: str) -> None:
    """125, one line, and nothing is started."""
    done = kmetad("run", *arguments)
    assert (done.stdout, done.returncode) == ("", 125)
    assert done.stderr.startswith("kmetad: ")
    assert said in done.stderr


@pytest.mark.parametrize(
    ("argv", "own", "wrapped"),
    [
        ([], [], None),
        (["-v", "-c", "x"], ["-v", "-c", "x"], None),
        (["app", "-v"], [], ["app", "-v"]),
        (["-v", "app", "--", "-v"], ["-v"], ["app", "--", "-v"]),
        (["-v", "--", "app", "--", "-v"], ["-v"], ["app", "--", "-v"]),
        (["-c", "--", "--", "app"], ["-c", "--"], ["app"]),
        (["--config=x", "--rewrite", "1:2", "-"], ["--config=x", "--rewrite", "1:2"], ["-"]),
        (["--"], [], []),
    ],
)
def test_whose_words_are_whose(argv: list[str], own: list[str], wrapped: list[str] | None) -> None:
    """`--` is optional; everything from the command on is the command's."""
    assert split(argv) == (own, wrapped)


def test_help_needs_no_command() -> None:
    """It names what stands behind it."""
    done = kmetad("run", "--help")
    assert done.returncode == 0
    assert "[-- COMMAND ARG...]" in done.stdout
    assert "kmetad run -- gunicorn" in done.stdout


def test_a_configuration_that_does_not_parse(tmp_path: Path) -> None:
    """125, with file and line; standard output is the app's."""
    toml = tmp_path / "kmetad.toml"
    toml.write_text("[run\n")
    done = kmetad("run", "-c", str(toml))
    assert (done.stdout, done.returncode) == ("", 125)
    assert f"{toml}:1" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_daemon_runs_until_it_is_told(number: signal.Signals, tmp_path: Path) -> None:
    """TERM and INT end it with 0."""
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    toml = tmp_path / "kmetad.toml"
    toml.write_text(f'[volumes.podinfo]\npath = "{tmp_path}/podinfo"\n')
    with Running("run", "-c", str(toml)) as daemon:
        daemon.err.until("kmetad.started")
        daemon.send(number)
        assert daemon.wait() == 0
        assert daemon.out.rest() == []


def test_a_fault_of_a_plugin(tmp_path: Path) -> None:
    """A plugin that isn't there: 125, as without --strict; where there is an app, it starts in that case."""
    toml = tmp_path / "kmetad.toml"
    toml.write_text('[plugins.nowhere]\nuse = "nowhere"\n')
    for strict in ([], ["--strict"]):
        done = kmetad("run", *strict, "-c", str(toml))
        assert done.returncode == 125
        assert "plugins.nowhere" in done.stderr
    assert kmetad("run", "-c", str(toml), "--", "echo", "runs").stdout == "runs\n"
    done = kmetad("run", "--strict", "-c", str(toml), "--", "echo", "runs")
    assert (done.stdout, done.returncode) == ("", 125)


def started_with(change: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``kmetad run`` in an interpreter in which something was changed before."""
    code = f"import os, sys; {change}; sys.argv = ['kmetad', 'run', *sys.argv[1:]]; "
    code += "from kmetad.__main__ import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_fault_of_kmetad_itself() -> None:
    """125, which is no code of the app's, and a message before the traceback."""
    done = started_with("import kmetad._supervisor as s; s.run = lambda *_, **__: 1 / 0", "--", "true")
    assert (done.stdout, done.returncode) == ("", 125)
    assert done.stderr.startswith("kmetad: this is a fault of kmetad itself")
    assert "ZeroDivisionError" in done.stderr


def test_a_signal_before_the_daemon_has_handlers() -> None:
    """As process 1 the kernel would drop a TERM that nobody handles; kmetad ends by it at any time."""
    done = started_with("import kmetad._daemon as d; d.run = lambda *_, **__: os.kill(os.getpid(), 15)")
    assert done.returncode == 143
