"""The daemon under a service manager of the test's own: what it says, in which order, and what it never says."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.process import wakeups
from kmetad.testing.kubelet import Volume
from tests.cli import eventually, kmetad
from tests.daemons import Daemon
from tests.listening import Listening
from tests.wrapper.wrapped import stat_of

# Begins once there is a file `go`, and then says what it finds in its environment.
SLOW = """
import os
from kmetad import hookimpl

class Plugin:
    def __init__(self, context):
        self.log = context.log

    @hookimpl
    def kmetad_on_start(self, snapshot):
        if not os.path.exists("DIR/go"):
            raise RuntimeError("not yet")
        self.log.info("begun", variables=[name for name in os.environ if name.startswith(("NOTIFY", "WATCHDOG"))])
"""
# Once there is a file `hang`, makes METHOD, which one of kmetad's own threads calls, hang for as long as it is there.
HANGING = """
import os, time
from kmetad import hookimpl
from MODULE import CLASS

original = CLASS.METHOD

def hanging(*args, **more):
    if os.path.exists("DIR/hang"):
        open("DIR/hangs", "w").close()
    while os.path.exists("DIR/hang"):
        time.sleep(0.01)
    return original(*args, **more)

CLASS.METHOD = hanging

class Plugin:
    @hookimpl
    def kmetad_on_label(self, change):
        while os.path.exists("DIR/stick"):
            time.sleep(0.01)
"""
PODINFO = '[volumes.podinfo]\npath = "DIR/podinfo"\n'
PLUGIN = '[plugins.slow]\npath = "DIR/slow.py"\nlane.retry = { initial = "1ms", max = "10ms" }\n'


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Listening]:
    """Who started the daemon."""
    tmp_path.chmod(0o755)
    listening = Listening(tmp_path / "notify")
    yield listening
    listening.close()


@pytest.fixture
def daemon(tmp_path: Path, manager: Listening) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons that are services, and kills what is left of them."""
    started: list[Daemon] = []

    def start(toml: str, where: Path = tmp_path, **environ: str) -> Daemon:
        started.append(Daemon(where, toml, **{"NOTIFY_SOCKET": manager.path, **environ}))
        return started[-1]

    yield start
    for one in started:
        one.close()


def plugin(directory: Path, name: str, text: str, **replaced: str) -> None:
    """Write one."""
    for old, new in {"DIR": str(directory), **replaced}.items():
        text = text.replace(old, new)
    (directory / name).write_text(text)


def test_a_life(daemon: Callable[..., Daemon], manager: Listening, tmp_path: Path) -> None:
    """Not ready before the first sync, and why; then ready, changes, a reload by the same process, the end."""
    plugin(tmp_path, "slow.py", SLOW)
    service = daemon(PODINFO + PLUGIN)
    manager.until("STATUS", "Not ready: volume podinfo is lost: ")
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "web"})
    manager.until("STATUS", "Not ready: plugin slow: on_start hasn't succeeded yet: RuntimeError: not yet")
    assert not any("READY" in message for message in manager.heard)
    (tmp_path / "go").touch()
    ready = manager.until("READY")
    assert ready == {"READY": "1", "STATUS": "Ready: 2 sources, 1 plugin, generation 2"}
    assert service.line("begun")["variables"] == []
    volume.label("app", "api")
    assert manager.hear() == {"STATUS": "Ready: 2 sources, 1 plugin, generation 3"}

    service.toml.write_text("[plugins.nothing]\n")
    service.process.send_signal(signal.SIGHUP)
    assert "a newer configuration has faults and isn't in force: " in manager.hear()["STATUS"]
    before = time.monotonic_ns() // 1000
    service.toml.write_text(PODINFO.replace("DIR", str(tmp_path)))
    service.process.send_signal(signal.SIGHUP)
    reloading = manager.hear()
    assert reloading["RELOADING"] == "1"
    assert before < int(reloading["MONOTONIC_USEC"]) < time.monotonic_ns() // 1000
    assert manager.until("READY")["STATUS"].startswith("Ready: 2 sources, 0 plugins, ")

    assert service.end() == 0
    assert manager.hear()["STOPPING"] == "1"
    assert not manager.waiting()
    assert set(manager.pids) == {service.process.pid}
    assert not any({"WATCHDOG", "WATCHDOG_USEC"} & message.keys() for message in manager.heard)


def test_an_end_while_it_is_not_ready(daemon: Callable[..., Daemon], manager: Listening) -> None:
    """It stops as well; ready it never was."""
    service = daemon(PODINFO)
    manager.until("STATUS", "Not ready: volume podinfo")
    assert service.end() == 0
    manager.until("STOPPING")
    assert not any("READY" in message for message in manager.heard)


def test_a_fault_is_the_last_that_is_said(daemon: Callable[..., Daemon], manager: Listening) -> None:
    """``systemctl status`` shows it, also once it has failed."""
    assert daemon(PODINFO + "[plugins.nothing]\n").wait() == 125
    said = manager.hear()
    assert said["STATUS"].startswith("Not ready: the configuration has a fault: ")
    assert "nothing" in said["STATUS"]
    assert not manager.waiting()


def test_nobody_is_there(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """A socket that can't be reached is told once, and changes nothing else."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "web"})
    service = daemon(PODINFO, NOTIFY_SOCKET=f"{tmp_path}/nobody", WATCHDOG_USEC="100000")
    service.line("kmetad.started")
    service.seen("notify.failed")
    for app in ("api", "job"):
        volume.label("app", app)
        service.line("pod.changed")
    assert service.end() == 0
    assert len([line for line in service.lines if line["event"] == "notify.failed"]) == 1


def test_behind_an_app(manager: Listening, tmp_path: Path) -> None:
    """The service is the app: it has the variables as they are, and the daemon says nothing."""
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    toml = tmp_path / "kmetad.toml"
    toml.write_text('[run]\nstart = "after-sync"\n' + PODINFO.replace("DIR", str(tmp_path)))
    variables = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}
    shown = "; ".join(f"echo {name}=${name}" for name in variables)
    app = kmetad("run", "-c", str(toml), "--", "sh", "-c", shown, env=variables)
    assert app.returncode == 0, app.stderr
    assert dict(line.split("=") for line in app.stdout.split()) == variables
    assert "kmetad.started" in app.stderr  # so the daemon was there, and ready
    assert not manager.waiting()


def test_a_reload_takes_as_long_as_plugins_may(
    daemon: Callable[..., Daemon], manager: Listening, tmp_path: Path
) -> None:
    """The watchdog waits for `drain_timeout` more; the successor asks for what was configured again."""
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    service = daemon('[run]\ndrain_timeout = "7s"\n' + PODINFO, WATCHDOG_USEC="1000000000")
    service.line("kmetad.started")
    service.process.send_signal(signal.SIGHUP)
    assert manager.until("RELOADING")["WATCHDOG_USEC"] == "1007000000"
    assert manager.until("WATCHDOG_USEC")["WATCHDOG_USEC"] == "1000000000"


# -- the watchdog ----------------------------------------------------------------------------

HANGS = {
    "watching": ("kmetad._watch.followed", "Followed", "look"),
    "timeouts": ("kmetad._delivery.lane", "Lane", "is_stuck"),
}


@pytest.mark.parametrize("thread", HANGS)
def test_a_thread_that_hangs(
    daemon: Callable[..., Daemon], manager: Listening, tmp_path: Path, thread: str
) -> None:
    """Whichever of kmetad's own it is, the watchdog isn't fed any more, although the main thread still speaks."""
    module, class_, method = HANGS[thread]
    plugin(tmp_path, "hanging.py", HANGING, MODULE=module, CLASS=class_, METHOD=method)
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "web"})
    toml = PODINFO + '[plugins.hanging]\npath = "DIR/hanging.py"\nlane.timeout = "10ms"\n'
    service = daemon(toml, WATCHDOG_USEC="40000")
    manager.until("READY")
    for _ in range(3):
        manager.until("WATCHDOG")
    for name in ("hang", "stick"):
        (tmp_path / name).touch()
    volume.label("app", "api")
    eventually((tmp_path / "hangs").exists, "the thread hangs")
    while manager.waiting():
        manager.hear()
    # A configuration is checked by a process of its own, so this takes longer than several beats would.
    service.toml.write_text("[plugins.nothing]\n")
    service.process.send_signal(signal.SIGHUP)
    since = len(manager.heard)
    eventually(lambda: "a newer configuration" in manager.hear().get("STATUS", ""), "the main thread speaks")
    assert not any("WATCHDOG" in message for message in manager.heard[since + 1 :])
    for name in ("hang", "stick"):
        (tmp_path / name).unlink()
    manager.until("WATCHDOG")
    assert service.end() == 0


def test_a_hook_that_hangs(daemon: Callable[..., Daemon], manager: Listening, tmp_path: Path) -> None:
    """Is no reason to end the daemon: it is fed on. And while the hook is in the way of being ready, that is said."""
    text = SLOW.replace("raise RuntimeError", "import time; time.sleep(1000)\n            raise RuntimeError")
    plugin(tmp_path, "slow.py", text)
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    daemon(PODINFO + PLUGIN + 'lane.timeout = "10ms"\n', WATCHDOG_USEC="40000")
    manager.until("STATUS", "Not ready: plugin slow: on_start hasn't succeeded yet; it runs for longer than")
    for _ in range(5):
        manager.until("WATCHDOG")


def test_idle_is_asleep(daemon: Callable[..., Daemon], manager: Listening, tmp_path: Path) -> None:
    """Without the watchdog nobody wakes; with it, three threads each half of its time, and no more."""
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    other = Listening(tmp_path / "other")
    (tmp_path / "asleep").mkdir()
    Volume(tmp_path / "asleep/podinfo").write(labels={"app": "web"})
    asleep = daemon(PODINFO, tmp_path / "asleep", NOTIFY_SOCKET=other.path)
    other.until("READY")
    asleep.line("source.watched", source="podinfo")
    watched = daemon(PODINFO, WATCHDOG_USEC="200000")
    manager.until("READY")
    for _ in range(5):
        manager.until("WATCHDOG")
    pids = [service.process.pid for service in (asleep, watched)]
    before = [wakeups(pid) for pid in pids]
    for _ in range(10):
        manager.until("WATCHDOG")
    woken = [wakeups(pid) - count for pid, count in zip(pids, before, strict=True)]
    assert woken[0] == 0
    # Each wakes the next; on the way to sleep a thread may have to wait for the interpreter's lock, too.
    assert 20 <= woken[1] <= 10 * 3 * 3
    assert not other.waiting()
    other.close()


def tasks(service: Daemon) -> list[str]:
    """Its threads."""
    return os.listdir(f"/proc/{service.process.pid}/task")


@pytest.mark.parametrize("usec", ["0", "1000000000"])
def test_where_it_hung(daemon: Callable[..., Daemon], manager: Listening, tmp_path: Path, usec: str) -> None:
    """The watchdog's SIGABRT has each thread's place written to the log; nobody else's has."""
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    service = daemon(PODINFO, WATCHDOG_USEC=usec)
    manager.until("READY")
    service.line("source.watched", source="podinfo")
    # Frames are read without a lock: one that changes just then is a second fault, and ends it as well.
    eventually(lambda: all(stat_of(int(task))[:1] == ["S"] for task in tasks(service)), "its threads sleep")
    os.kill(service.process.pid, signal.SIGABRT)
    assert service.wait() == -signal.SIGABRT
    text = "".join(line["text"] for line in service.lines if line["event"] == "text")
    assert ("Fatal Python error: Aborted" in text) == (usec != "0")
    assert ("watcher.py" in text) == (usec != "0")
