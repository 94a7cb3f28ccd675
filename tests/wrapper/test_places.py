"""Where kmetad may have to run: as nobody, without a place to write, with pipes that nobody reads."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.cli import DEADLINE, environment, eventually
from tests.wrapper.conftest import Toml
from tests.wrapper.wrapped import (
    Wrapped,
    app,
    children,
    command_line,
    gone,
    kmetad,
    nobody,
    process_1,
    run,
    status_of,
)

KILL, TERM, USR1 = (int(number) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1))
RECORD = f"record('app', [{TERM}]); os._exit(5)"


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A directory that everybody may look into; pytest's own is for its user alone."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.parametrize("first", [False, True], ids=["plain", "process 1"])
def test_an_ordinary_user(first: bool, public_path: Path) -> None:
    """Everything but what only root may."""
    Volume(public_path / "podinfo").write(labels={"app": "web"})
    before = [*(process_1() if first else ()), *nobody()]
    options = Toml(public_path)(
        '[run.env]\nNAME = "{metadata.labels[\'app\']}"\n[volumes.podinfo]\npath = "DIR/podinfo"\n'
    )
    code = f"say(os.environ['NAME']); orphan(lambda: record('orphan', [{USR1}])); {RECORD}"
    with Wrapped(app(code), options=options, before=before) as wrapped:
        assert wrapped.line() == "web"
        orphan = wrapped.ready("orphan")
        it, daemon = wrapped.ready(), wrapped.daemon()
        if os.geteuid() == 0:
            assert {status_of(pid)["Uid"].split()[0] for pid in (wrapped.pid, it, daemon)} == {"65534"}
        os.kill(orphan, USR1)
        gone(orphan)
        os.kill(daemon, KILL)
        wrapped.told("started again")
        wrapped.daemon(but=daemon)
        wrapped.send(TERM)
        wrapped.until(f"app {TERM}")
        assert wrapped.wait() == 5


def test_limits_that_only_root_may_set(public_path: Path) -> None:
    """They are left as they are, and everything runs."""
    options = Toml(public_path)("[daemon]\nnice = -5\noom_score_adj = -500\n")
    with Wrapped(app(RECORD), options=options, before=nobody()) as wrapped:
        wrapped.ready()
        wrapped.told("kmetad.started")
        wrapped.send(TERM)
        assert wrapped.wait() == 5


READ_ONLY = """
for at in $(cut -d' ' -f2 /proc/self/mounts); do
    case $at in /proc*|/sys*) ;; *) mount -o remount,bind,ro "$at" 2>/dev/null ;; esac
done
exec "$@"
"""
NO_PROC = 'mount -t tmpfs none /proc && exec "$@"'


def mounted(script: str) -> list[str]:
    """What runs the command behind it in a mount namespace that the script has changed; skips where not permitted."""
    command = ["unshare", "--mount", "sh", "-c", script, "sh"]
    done = subprocess.run([*command, "true"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no mount namespace can be made here: {done.stderr.strip()}")
    return command


def test_no_place_to_write(toml: Toml, tmp_path: Path) -> None:
    """A read-only root, nor any directory for temporary files."""
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    options = toml(
        '[run.env]\nNAME = "{metadata.labels[\'app\']}"\n[volumes.podinfo]\npath = "DIR/podinfo"\n'
    )
    script = f"for at in . /tmp /var/tmp /dev/shm {tmp_path}; do touch $at/x 2>&- && exit 9; done; echo $NAME; exit 5"
    done = run(["sh", "-c", script], options=options, before=mounted(READ_ONLY))
    assert (done.stdout, done.returncode) == ("web\n", 5)


def test_no_proc() -> None:
    """Without /proc nothing can be found out about other processes; the app is started and its exit is kmetad's."""
    with Wrapped(app(RECORD), before=mounted(NO_PROC)) as wrapped:
        wrapped.until("app ready")
        wrapped.send(TERM)
        wrapped.until(f"app {TERM}")
        assert wrapped.wait() == 5


def test_not_process_1_of_a_namespace() -> None:
    """As with shareProcessNamespace: another process is 1, and gets no orphans."""
    code = f"orphan(lambda: record('orphan', [{USR1}])); {RECORD}"
    first = [*process_1(), "sh", "-c", '"$@"; exit $?', "sh"]
    with Wrapped(app(code), before=first) as outer:
        it, orphan = outer.ready(), outer.ready("orphan")
        shell = outer.pid
        wrapper = int(status_of(it)["PPid"])
        assert children(shell) == [wrapper]
        assert int(status_of(orphan)["PPid"]) == wrapper
        os.kill(orphan, USR1)
        gone(orphan)
        os.kill(wrapper, TERM)
        outer.until(f"app {TERM}")
        assert outer.wait() == 5


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """A pipe that holds as much as it can, and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 4096)
    except BlockingIOError:
        pass
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


def test_standard_error_that_nobody_reads(full_pipe: int, tmp_path: Path) -> None:
    """What kmetad has to say waits for nobody: signals, the daemon's end and the app's exit are as ever."""
    with Wrapped(app(RECORD), stderr=full_pipe) as wrapped:
        wrapped.ready()
        os.kill(daemon := wrapped.daemon(), KILL)
        gone(daemon)
        wrapped.daemon(but=daemon)
        wrapped.send(TERM)
        assert wrapped.line() == f"app {TERM}"
        assert wrapped.wait() == 5
        assert os.get_blocking(full_pipe)


def test_standard_output_that_nobody_reads(full_pipe: int) -> None:
    """The app blocks, as it would anyway; it can be ended."""
    with Wrapped(["sh", "-c", "echo up >&2; exec cat /dev/zero"], stdout=full_pipe) as wrapped:
        wrapped.told("up")
        wrapped.send(TERM)
        assert wrapped.wait() == 128 + TERM
        assert fcntl.fcntl(full_pipe, fcntl.F_GETFL) & os.O_NONBLOCK == 0


def test_a_reader_that_has_gone() -> None:
    """A pipe without a reader kills the app by SIGPIPE, as it would anyway."""
    reading, writing = os.pipe()
    os.close(reading)
    with Wrapped(["yes"], stdout=writing, stderr=writing) as wrapped:
        os.close(writing)
        assert wrapped.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors(closed: str, tmp_path: Path) -> None:
    """The app runs, the daemon as well, and the exit is the app's. Nothing of kmetad's own takes their numbers."""
    at = tmp_path / "at"
    os.mkfifo(at)
    process = subprocess.Popen(
        [
            "sh",
            "-c",
            f'exec "$@" {closed}',
            "sh",
            *kmetad(),
            "sh",
            "-c",
            f"echo $PPID $$ >{at}; exec sleep 1000",
        ],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wrapper, it = map(int, at.read_text().split())
        assert wrapper == process.pid
        eventually(lambda: len(children(wrapper)) == 2)
        (daemon,) = (pid for pid in children(wrapper) if pid != it)
        eventually(lambda: b"kmetad._daemon" in command_line(daemon))
        for pid in (wrapper, daemon):
            assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)} == {os.devnull}
        os.kill(it, USR1)
        assert process.wait(DEADLINE) == 128 + USR1
    finally:
        process.kill()
        process.wait(DEADLINE)


def test_a_state_directory_that_cannot_be_written(toml: Toml) -> None:
    """The app doesn't depend on it."""
    done = run(["sh", "-c", "exit 3"], options=toml('[state]\ndir = "/proc/nowhere"\n'))
    assert done.returncode == 3
    with Wrapped(app(RECORD), options=toml('[state]\ndir = "/proc/nowhere"\n')) as wrapped:
        wrapped.ready()
        wrapped.told("kmetad.started")


def test_timeouts_of_zero(before: tuple[str, ...], toml: Toml) -> None:
    """No time at all for anything: it still runs, and ends."""
    options = toml(
        '[run]\nstart = "after-sync"\nsync_timeout = "0s"\nstop_timeout = "0s"\ndrain_timeout = "0s"\n'
    )
    code = f"orphan(lambda: record('left'), session=True); {RECORD}"
    with Wrapped(app(code), options=options, before=before) as wrapped:
        left = wrapped.ready("left")
        wrapped.ready()
        wrapped.send(TERM)
        assert wrapped.wait() == 5
        gone(left)
