"""Commands and pid files that mean no good."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from kmetad_reload import Plugin
from structlog.testing import capture_logs

from kmetad import Fail
from kmetad.testing import Host

WAITS = [sys.executable, "-c", "import time; time.sleep(600)"]


def running(*command: str) -> Host:
    """The plugin with a command, started."""
    host = Host(Plugin, exec=list(command))
    host.start()
    return host


def test_what_a_command_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    """A daemon in a session of its own holds all its pipes; the command itself has succeeded."""
    code = (
        "import subprocess, sys\n"
        "left = subprocess.Popen(sys.argv[2:], start_new_session=True)\n"
        "open(sys.argv[1], 'w').write(str(left.pid))\n"
    )
    pid = tmp_path / "pid"
    try:
        host = running(sys.executable, "-c", code, str(pid), *WAITS)
        with capture_logs() as logs:
            host.set(labels={str(number): "x" * 100 for number in range(5000)})  # more than a pipe holds
        assert logs[-1]["event"] == "reload.applied"
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_endless_output_is_cut() -> None:
    """So many lines are logged, and how many more there were; long ones are broken."""
    host = running(sys.executable, "-c", "print('x' * 10_000); print('y\\n' * 5000)")
    with capture_logs() as logs:
        host.set(labels={"a": "1"})
    lines = [entry["line"] for entry in logs if entry["event"] == "reload.output"]
    assert len(lines) == 1000
    assert [len(line) for line in lines[:3]] == [4096, 4096, 10_000 - 2 * 4096]
    (dropped,) = [entry for entry in logs if entry["event"] == "reload.output_dropped"]
    assert dropped["lines"] == 5004 - 1000


def test_a_lone_surrogate_is_left_out(tmp_path: Path) -> None:
    """It stands for no byte, so no variable can have it; the command runs all the same."""
    report = tmp_path / "report"
    code = "import os, sys; open(sys.argv[1], 'w').write(' '.join(sorted(os.environ)))"
    running(sys.executable, "-c", code, str(report)).set(annotations={"a": "\ud800"})
    names = report.read_text().split()
    assert "KMETAD_KEY" in names and "KMETAD_NEW" not in names


def test_variables_of_our_own_environment_are_no_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kmetad may itself have been started by a command of kmetad's."""
    monkeypatch.setenv("KMETAD_KEY", "of somebody else")
    report = tmp_path / "report"
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ.get('KMETAD_KEY', 'unset'))"
    running(sys.executable, "-c", code, str(report)).set(labels={"a": "1", "b": "2"})
    assert report.read_text() == "unset"


def test_too_much_for_an_environment(tmp_path: Path) -> None:
    """Where old and new together are over the limit (E2BIG), they are left out, and the command runs."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    report = tmp_path / "report"
    code = "import os, sys; open(sys.argv[1], 'w').write(' '.join(sorted(os.environ)))"
    host = running(sys.executable, "-c", code, str(report))
    host.set(annotations={"a": "x" * 120_000})
    resource.setrlimit(resource.RLIMIT_STACK, (512 * 1024, hard))  # a quarter is 128 KiB
    try:
        host.set(annotations={"a": "y" * 120_000})
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))
    names = report.read_text().split()
    assert "KMETAD_KEY" in names and "KMETAD_NEW" not in names


def test_a_pid_file_that_is_a_named_pipe(tmp_path: Path) -> None:
    """Nobody writes to it: the lane isn't held."""
    os.mkfifo(tmp_path / "pid")
    with pytest.raises(Fail, match="is empty"):
        signalling(tmp_path / "pid").set(labels={"a": "1"})


def test_a_number_that_is_too_large(tmp_path: Path) -> None:
    """No process can have it."""
    (tmp_path / "pid").write_text("9" * 20)
    with pytest.raises(Fail, match="too large"):
        signalling(tmp_path / "pid").set(labels={"a": "1"})


def test_our_own_number(tmp_path: Path) -> None:
    """A stale file that names kmetad itself."""
    (tmp_path / "pid").write_text(str(os.getpid()))
    with pytest.raises(Fail, match="kmetad itself"):
        signalling(tmp_path / "pid").set(labels={"a": "1"})


def signalling(pid_file: Path) -> Host:
    """The plugin with a signal that does nothing to us, started."""
    host = Host(Plugin, signal="CONT", pid_file=os.fspath(pid_file))
    host.start()
    return host
