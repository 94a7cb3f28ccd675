"""The daemon's faults stay the daemon's: killed, hung, out of memory; the app doesn't notice."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.cli import environment, eventually
from tests.wrapper.conftest import Toml
from tests.wrapper.wrapped import (
    UNMEASURED,
    Wrapped,
    app,
    children,
    descendants,
    ended,
    gone,
    kmetad,
    stat_of,
    state,
)

KILL, TERM, USR1, USR2 = (
    int(number) for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
)
RECORD = f"record('app', [{TERM}]); os._exit(5)"


def test_killed_fifty_times() -> None:
    """At random moments, while apps write numbered lines: none is lost or doubled, and they know of nothing."""
    script = Path(__file__).with_name("kill_daemon.sh")
    command = [str(script), "--", *kmetad()[:-1]]
    done = subprocess.run(command, env=environment(UNMEASURED), capture_output=True, text=True, timeout=110)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.split()) == 10
    assert all(int(lines) > 50 for lines in done.stdout.split())


def test_a_daemon_that_ends_is_started_again(before: tuple[str, ...]) -> None:
    """After a pause, and that is said, in one line; the app gets no signal of it."""
    with Wrapped(app(RECORD), before=before) as wrapped:
        it, daemon = wrapped.ready(), wrapped.daemon()
        for _ in range(2):
            os.kill(daemon, KILL)
            assert wrapped.told("kmetad: the daemon").endswith("the app is left alone")
            daemon = wrapped.daemon(but=daemon)
        assert stat_of(it)[0] == "S"
        wrapped.send(TERM)
        assert wrapped.line() == f"app {TERM}"
        assert wrapped.wait() == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_somebody_ends(number: int) -> None:
    """With a signal that it takes for its own end: it is started again all the same."""
    with Wrapped(app(RECORD)) as wrapped:
        wrapped.ready()
        wrapped.told("kmetad.started")
        os.kill(daemon := wrapped.daemon(), number)
        wrapped.told("kmetad: the daemon")
        wrapped.daemon(but=daemon)


def test_a_daemon_that_hangs(before: tuple[str, ...], toml: Toml) -> None:
    """Signals, orphans and the exit are as ever; in the end it is killed."""
    code = f"orphan(lambda: record('orphan', [{USR1}])); {RECORD}"
    options = toml('[run]\ndrain_timeout = "200ms"\n')
    with Wrapped(app(code), options=options, before=before) as wrapped:
        orphan, daemon = wrapped.ready("orphan"), wrapped.daemon()
        wrapped.ready()
        os.kill(daemon, signal.SIGSTOP)
        state(daemon, "T")
        os.kill(orphan, USR1)
        assert wrapped.line() == f"orphan {USR1}"
        gone(orphan)
        for number in (USR2, TERM):
            wrapped.send(number)
            assert wrapped.line() == f"app {number}"
        assert wrapped.wait() == 5
        assert not stat_of(daemon)


HUNGRY = """
from kmetad import hookimpl

class Plugin:
    @hookimpl
    def kmetad_on_label(self, change):
        held = []
        def eat():
            while True:
                held.append(bytes(1 << 12))
        try:
            eat()
        except MemoryError:
            pass
        eat()
"""


def test_a_daemon_that_runs_out_of_memory(toml: Toml, tmp_path: Path) -> None:
    """A plugin takes all that the daemon may have; the app has no limit, and goes on."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "web"})
    (tmp_path / "hungry.py").write_text(HUNGRY)
    options = toml(
        '[daemon]\nmemory_limit = "96Mi"\n[volumes.podinfo]\npath = "DIR/podinfo"\n'
        '[plugins.hungry]\npath = "DIR/hungry.py"\n'
    )
    code = f"record('app', [{USR1}]); x = bytes(200 << 20); say('ate'); {RECORD}"
    with Wrapped(app(code), options=options) as wrapped:
        it = wrapped.ready()
        wrapped.told("kmetad.started")
        volume.label("app", "api")
        assert "hungry" in wrapped.told("MemoryError")
        assert stat_of(it)[0] == "S"
        wrapped.send(USR1)
        wrapped.until("ate")
        wrapped.ready()
        wrapped.send(TERM)
        assert wrapped.wait() == 5


BABBLING = """
import marshal, os
from kmetad import hookimpl

MESSAGES = [
    ("signal",), ("signal", 2**40), ("signal", -5), ("signal", 99), ("signal", "HUP"), ("signal", None),
    ("run",), ("run", 5), ("variable",), ("variable", 1, 2), ("restart", 1, 2), ("hello", 1), ("nothing",),
]

class Plugin:
    @hookimpl
    def kmetad_on_start(self, snapshot):
        words = open("/proc/self/cmdline").read().split("\\0")
        link = int(words[words.index("--link") + 1])
        os.write(link, b"(\\xff\\xff\\xff\\x0f")
        os.write(link, b"no packet of ours")
        for message in MESSAGES:
            os.write(link, marshal.dumps((1, *message), 2))
        os.write(link, marshal.dumps((1, "signal", USR1), 2))
"""


def test_a_daemon_that_talks_nonsense(toml: Toml, tmp_path: Path) -> None:
    """A plugin writes into the socket to the supervisor whatever it likes; what makes sense of it is heard."""
    (tmp_path / "babbling.py").write_text(BABBLING.replace("USR1", str(USR1)))
    options = toml('[plugins.babbling]\npath = "DIR/babbling.py"\n')
    with Wrapped(app(f"record('app', [{USR1}]); {RECORD}"), options=options) as wrapped:
        wrapped.ready()
        assert wrapped.line() == f"app {USR1}"
        wrapped.send(TERM)
        assert wrapped.until(f"app {TERM}")
        assert wrapped.wait() == 5


def test_limits_are_the_daemons_alone(before: tuple[str, ...]) -> None:
    """Its niceness and what the kernel kills first; the app's and the wrapper's stay."""
    with Wrapped(app(RECORD), before=before) as wrapped:
        it, daemon = wrapped.ready(), wrapped.daemon()
        wrapped.told("kmetad.started")
        mine = int(Path("/proc/self/oom_score_adj").read_text())
        found = [int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (wrapped.pid, it, daemon)]
        assert found == [mine, mine, max(mine, 500)]
        niceness = [os.getpriority(os.PRIO_PROCESS, pid) for pid in (wrapped.pid, it, daemon)]
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert niceness == [own, own, min(19, own + 5)]


@pytest.mark.parametrize("hangs", [False, True])
def test_nothing_outlives_the_supervisor(before: tuple[str, ...], hangs: bool) -> None:
    """Killed itself, it takes the daemon with it, even one that wouldn't notice."""
    with Wrapped(app(RECORD), before=before) as wrapped:
        it, daemon = wrapped.ready(), wrapped.daemon()
        wrapped.told("kmetad.started")
        if hangs:
            os.kill(daemon, signal.SIGSTOP)
            state(daemon, "T")
        wrapped.send(KILL)
        wrapped.wait()
        ended(daemon)
        if not before:  # in a namespace of its own, the app goes with it as well
            os.kill(it, KILL)
        ended(it)


PARENT = """
import subprocess
from kmetad import hookimpl

class Plugin:
    @hookimpl
    def kmetad_on_start(self, snapshot):
        started = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"])
        print("started", started.pid)
"""


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_what_the_daemon_started_is_not_waited_for(killed: bool, toml: Toml, tmp_path: Path) -> None:
    """A plugin's processes aren't the app's, also those of a daemon that died: the exit comes without them."""
    (tmp_path / "parent.py").write_text(PARENT)
    options = toml('[run]\ndrain_timeout = "1h"\n[plugins.parent]\npath = "DIR/parent.py"\n')
    with Wrapped(app(RECORD), options=options) as wrapped:
        wrapped.ready()
        started = int(wrapped.told("started ").split()[-1])
        if killed:
            daemon = wrapped.daemon()
            os.kill(daemon, KILL)
            wrapped.daemon(but=daemon)
        wrapped.send(TERM)
        assert wrapped.wait() == 5
        ended(started)


def test_orphans_of_the_daemon_are_reaped(toml: Toml, tmp_path: Path) -> None:
    """No zombie of a plugin's stays when the daemon died, either."""
    (tmp_path / "parent.py").write_text(PARENT)
    with Wrapped(app(RECORD), options=toml('[plugins.parent]\npath = "DIR/parent.py"\n')) as wrapped:
        it = wrapped.ready()
        started = int(wrapped.told("started ").split()[-1])
        os.kill(daemon := wrapped.daemon(), KILL)
        gone(daemon)
        eventually(lambda: stat_of(started)[1] == str(wrapped.pid))
        os.kill(started, KILL)
        gone(started)
        assert it in children(wrapped.pid)


def test_nothing_of_the_apps_is_the_daemons() -> None:
    """It has neither the app's output nor what else is open: who waits for a pipe's end waits for all that hold it."""
    reading, writing = os.pipe()
    with os.fdopen(reading), Wrapped(app(RECORD), pass_fds=[writing]) as wrapped:
        pipe = os.readlink(f"/proc/self/fd/{writing}")
        os.close(writing)
        it, daemon = wrapped.ready(), wrapped.daemon()
        wrapped.told("kmetad.started")
        assert descendants(daemon) == []
        of_app = [os.readlink(f"/proc/{it}/fd/{fd}") for fd in (0, 1, 2, writing)]
        assert of_app[3] == pipe
        of_daemon = {fd: os.readlink(f"/proc/{daemon}/fd/{fd}") for fd in os.listdir(f"/proc/{daemon}/fd")}
        assert [of_daemon[fd] for fd in "012"] == [os.devnull, of_app[2], of_app[2]]
        assert not {of_app[1], pipe} & {*of_daemon.values()}
