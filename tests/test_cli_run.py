"""``kmetad run``, as far as the command line goes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.cli import Running, kmetad


@pytest.mark.parametrize("arguments", [["--", "true"], ["--"], ["-v", "--", "app", "--", "-x"]])
def test_no_command_is_wrapped_yet(arguments: list[str]) -> None:
    """125 and a message, before anything is started."""
    done = kmetad("run", *arguments)
    assert (done.stdout, done.returncode) == ("", 125)
    assert done.stderr.startswith("kmetad: this version can't run")


def test_nor_one_of_the_configuration(tmp_path: Path) -> None:
    """``[run] command`` is as good as one on the command line."""
    toml = tmp_path / "kmetad.toml"
    toml.write_text('[run]\ncommand = ["true"]\n')
    done = kmetad("run", "-c", str(toml))
    assert (done.stdout, done.returncode) == ("", 125)
    assert "[run] command" in done.stderr


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


def test_strict_ends_at_any_fault(tmp_path: Path) -> None:
    """A plugin that isn't there: left out, or 125 with --strict."""
    toml = tmp_path / "kmetad.toml"
    toml.write_text('[plugins.nowhere]\nuse = "nowhere"\n')
    assert kmetad("run", "--strict", "-c", str(toml)).returncode == 125
    with Running("run", "-c", str(toml)) as daemon:
        daemon.err.until("plugins.nowhere")
        daemon.err.until("kmetad.started")
        daemon.send(signal.SIGTERM)
        assert daemon.wait() == 0
