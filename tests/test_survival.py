"""A daemon that is killed, or killed by a plugin: its successor, with the same memory file, goes on where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kmetad.errors import OWN_FAILURE
from kmetad.testing.kubelet import ServiceAccountVolume, Volume
from tests.daemons import Daemon
from tests.test_slots import memory_file

FRAGILE = """
import ctypes, os, signal, time
import msgspec
from kmetad import hookimpl

class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    dies: str = ""
    by: str = ""

class Plugin:
    def __init__(self, options, context):
        self.options, self.log = options, context.log
        self.die("making")

    def die(self, where):
        if self.options.dies == where:
            by = self.options.by
            if by == "exit":
                os._exit(0)
            if by == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if by == "segfault":
                ctypes.string_at(0)
            if by == "being slow":
                time.sleep(0.5)
            if by == "waiting":
                open("DIR/fifo").read()
            if by == "hoarding":
                self.hoard, size = [], 1 << 20
                while size > 16:
                    try:
                        while True:
                            self.hoard.append(bytearray(size))
                    except MemoryError:
                        size //= 2
                raise MemoryError

    @hookimpl
    def kmetad_on_start(self, snapshot):
        self.log.info("start")
        self.die("on_start")

    @hookimpl
    def kmetad_on_change(self, batch):
        told = [[c.type, c.key, str(c.old), str(c.new)] for c in batch.changes if c.type != "source"]
        self.log.info("told", changes=told, sources=[str(c.new.status) for c in batch.changes if c.type == "source"])
        self.die("on_change")
"""

SABOTEUR = """
import threading
from kmetad import hookimpl

def fail():
    raise RuntimeError("its own business")

class Plugin:
    def __init__(self, context):
        self.log = context.log

    @hookimpl
    def kmetad_on_start(self, snapshot):
        thread = threading.Thread(target=fail, name="its own")
        thread.start()
        thread.join()
        self.log.info("told")

    @hookimpl
    def kmetad_on_change(self, batch):
        from kmetad._delivery.kept import Kept
        def acknowledge(self, newest, silently=False):
            raise RuntimeError("a fault of kmetad")
        Kept.acknowledge = acknowledge
"""

PODINFO = '[volumes.podinfo]\npath = "DIR/podinfo"\n'


class Survivor(Daemon):
    """A daemon that is given a memory file, as the supervisor does."""

    def __init__(self, directory: Path, toml: str, memory: int) -> None:
        self.memory = memory
        (directory / "fragile.py").write_text(FRAGILE.replace("DIR", str(directory)))
        super().__init__(directory, toml)

    def started(self, arguments: tuple[str, ...], environ: dict[str, str]) -> subprocess.Popen[str]:
        """Start the process."""
        command = [sys.executable, "-P", "-m", "kmetad._daemon", "--config", str(self.toml)]
        return subprocess.Popen(
            [*command, "--memory", str(self.memory)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environ,
            text=True,
            pass_fds=[self.memory],
        )

    def kill(self) -> None:
        """At once."""
        assert self.end(signal.SIGKILL) == -signal.SIGKILL

    def told(self, plugin: str = "one") -> list[Any]:
        """What that plugin is told next."""
        changes: list[Any] = self.line("told", plugin=plugin)["changes"]
        return changes


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[[str], Survivor]]:
    """Starts daemons with one memory file, and kills what is left of them."""
    started: list[Survivor] = []
    tmp_path.chmod(0o755)
    os.mkfifo(tmp_path / "fifo")
    with memory_file() as memory:

        def start(toml: str) -> Survivor:
            started.append(Survivor(tmp_path, toml, memory))
            return started[-1]

        yield start
        for one in started:
            one.close()


def plugin(name: str, more: str = "") -> str:
    """Its table."""
    return f'[plugins.{name}]\npath = "DIR/fragile.py"\n{more}\n'


WAITING = plugin("one", 'dies = "on_change"\nby = "waiting"')
ONE = PODINFO + plugin("one")


def test_killed_half_way_and_back(daemon: Callable[[str], Survivor], tmp_path: Path) -> None:
    """A -> B, killed in the hook, back to A: the plugin is told B -> A. Nothing that was acknowledged comes again."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a", "tier": "1"})
    kmetad = daemon(ONE)
    kmetad.line("start")
    volume.label("tier", "2")
    assert kmetad.told() == [["label", "tier", "1", "2"]]
    volume.label("tier", "3")
    assert kmetad.told() == [["label", "tier", "2", "3"]]  # so the one before is acknowledged
    volume.label("tier", "2")
    kmetad.told()
    assert kmetad.end() == 0  # and the last one too
    kmetad = daemon(PODINFO + WAITING)
    kmetad.line("start")
    volume.label("app", "b")
    assert kmetad.told() == [["label", "app", "a", "b"]]
    kmetad.kill()
    volume.label("app", "a")
    kmetad = daemon(ONE)
    kmetad.line("start")
    assert kmetad.seen("plugin.suspected", plugin="one")["crashes"] == 1
    assert kmetad.told() == [["label", "app", "b", "a"]]
    volume.label("app", "c")
    assert kmetad.told() == [["label", "app", "a", "c"]]
    assert kmetad.end() == 0
    kmetad = daemon(ONE)
    kmetad.line("start")
    volume.label("app", "d")
    assert kmetad.told() == [["label", "app", "c", "d"]]
    assert not [line for line in kmetad.lines if line["event"] == "plugin.suspected"]


@pytest.mark.parametrize("where", ["on_change", "on_start", "making"])
@pytest.mark.parametrize("by", ["exit", "kill", "segfault"])
def test_a_plugin_that_brings_the_daemon_down_is_set_aside(
    daemon: Callable[[str], Survivor], tmp_path: Path, where: str, by: str
) -> None:
    """After the third time, wherever it was; the others go on, and it is said what to do."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"})
    good = PODINFO + plugin("good")
    kmetad = daemon(good + plugin("one"))
    for name in ("good", "one"):
        kmetad.seen("start", plugin=name)
    assert kmetad.end() == 0
    volume.label("app", "b")
    toml = good + plugin("one", f'dies = "{where}"\nby = "{by}"')
    code = {"exit": 0, "kill": -signal.SIGKILL, "segfault": -signal.SIGSEGV}[by]
    for crashes in range(3):
        kmetad = daemon(toml)
        assert kmetad.wait() == code
        suspected = [line for line in kmetad.lines if line["event"] == "plugin.suspected"]
        said = [line["crashes"] for line in suspected if line["plugin"] == "one"]
        assert said == ([crashes] if crashes else [])
    kmetad = daemon(toml)
    aside = kmetad.line("plugin.set_aside", plugin="one", level="error")
    assert aside["crashes"] == 3
    assert "restart the container" in aside["remedy"]
    kmetad.line("kmetad.started", plugins=["good"])
    volume.label("app", "c")
    kmetad.seen("start", plugin="good")
    while kmetad.told("good")[0][-1] != "c":
        pass
    kmetad.toml.write_text((good + plugin("one")).replace("DIR", str(tmp_path)))
    kmetad.process.send_signal(signal.SIGHUP)  # another configuration: it is tried again
    assert kmetad.told("one") == [["label", "app", "b" if where == "on_change" else "a", "c"]]
    assert kmetad.end() == 0


def test_a_plugin_that_takes_all_the_memory(daemon: Callable[[str], Survivor], tmp_path: Path) -> None:
    """It can't even be logged what it raises; the daemon ends by it, and the plugin is set aside in the end."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"})
    good = PODINFO + plugin("good")
    kmetad = daemon(good + plugin("one"))
    kmetad.seen("start", plugin="good"), kmetad.seen("start", plugin="one")
    assert kmetad.end() == 0
    volume.label("app", "b")
    limit = '[daemon]\nmemory_limit = "48Mi"\n'
    hoarding = good + plugin("one", 'dies = "on_change"\nby = "hoarding"\nlane.debounce = "50ms"')
    for _ in range(3):
        assert daemon(limit + hoarding).wait() != 0  # 125, or a signal: extensions bear it badly, too
    kmetad = daemon(limit + hoarding)
    assert kmetad.line("plugin.set_aside")["plugin"] == "one"
    volume.label("app", "c")
    while kmetad.told("good")[0][-1] != "c":
        pass
    assert kmetad.end() == 0


def test_a_fault_of_kmetads_own_is_no_silence(tmp_path: Path) -> None:
    """A thread of the daemon's that ends by an exception takes the daemon along: whoever started it starts it again."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"})
    (tmp_path / "saboteur.py").write_text(SABOTEUR)
    tmp_path.chmod(0o755)
    kmetad = Daemon(tmp_path, PODINFO + '[plugins.one]\npath = "DIR/saboteur.py"\n')
    try:
        line = kmetad.line("plugin.thread_died", thread="its own")
        assert "its own business" in line["exception"]
        kmetad.line("told")
        volume.label("app", "b")
        line = kmetad.line("thread.died")
        assert line["thread"] == "kmetad-one"
        assert "a fault of kmetad" in line["exception"]
        assert kmetad.wait() == OWN_FAILURE
    finally:
        kmetad.close()


def test_the_configuration_is_read_again(daemon: Callable[[str], Survivor], tmp_path: Path) -> None:
    """HUP: lanes go on where they were, with what a wider ``match`` brings; digests compare with those of before."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a", "tier": "gold"})
    settings = Volume(tmp_path / "settings")
    settings.write(files={"x": "1"})
    files = '[volumes.settings]\npath = "DIR/settings"\nkind = "files"\n'
    kmetad = daemon(PODINFO + files + plugin("one", 'match = ["label:app", "file:*"]'))
    kmetad.line("start")
    volume.label("app", "b")
    assert kmetad.told() == [["label", "app", "a", "b"]]
    toml = PODINFO + files + plugin("one", 'match = ["label:*", "file:*"]')
    kmetad.toml.write_text(toml.replace("DIR", str(tmp_path)))
    kmetad.process.send_signal(signal.SIGHUP)
    kmetad.line("start")
    assert kmetad.told() == [["label", "tier", "None", "gold"]]
    settings.file("x", "2")
    assert [change[:2] for change in kmetad.told()] == [["file", "settings/x"]]
    assert kmetad.end() == 0


def test_without_a_supervisor_it_keeps_its_own_memory(tmp_path: Path) -> None:
    """``kmetad run`` without a command hands its memory file over to what it becomes."""
    (tmp_path / "fragile.py").write_text(FRAGILE)
    tmp_path.chmod(0o755)
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"})
    kmetad = Daemon(tmp_path, ONE)
    try:
        kmetad.line("start")
        volume.label("app", "b")
        kmetad.line("told")
        narrow = ONE + 'match = ["label:app"]\n'
        kmetad.toml.write_text(narrow.replace("DIR", str(tmp_path)))
        kmetad.process.send_signal(signal.SIGHUP)
        kmetad.line("start")
        volume.label("app", "c")
        assert kmetad.line("told")["changes"] == [["label", "app", "b", "c"]]
        assert kmetad.end() == 0
    finally:
        kmetad.close()


def test_a_volume_that_is_away_at_the_restart(daemon: Callable[[str], Survivor], tmp_path: Path) -> None:
    """Its last values stay in force: nobody is told that the labels have gone."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"})
    kmetad = daemon(ONE)
    kmetad.line("start")
    volume.label("app", "b")
    kmetad.told()
    volume.label("app", "c")
    kmetad.told()
    kmetad.end()
    os.rename(tmp_path / "podinfo", tmp_path / "away")
    kmetad = daemon(ONE)
    line = kmetad.line("told")
    assert (line["changes"], line["sources"]) == ([], ["lost"])
    os.rename(tmp_path / "away", tmp_path / "podinfo")
    line = kmetad.line("told")
    assert (line["changes"], line["sources"]) == ([], ["healthy"])
    kmetad.kill()


def test_no_secret_is_in_the_memory(daemon: Callable[[str], Survivor], tmp_path: Path) -> None:
    """Neither the token nor the content of a file: digests of them alone."""
    marker = "MARKERofaSECRET"
    account = ServiceAccountVolume(tmp_path / "account")
    account.write(files={"token": marker, "ca.crt": marker, "namespace": "default"})
    settings = Volume(tmp_path / "settings")
    settings.write(files={"password": marker})
    kmetad = daemon(
        '[token]\npath = "DIR/account"\n[volumes.settings]\npath = "DIR/settings"\nkind = "files"\n'
        + plugin("one", 'dies = "on_change"\nby = "waiting"')
    )
    kmetad.line("start")
    settings.file("password", marker + "2")
    kmetad.told()
    kmetad.kill()
    content = os.pread(kmetad.memory, os.fstat(kmetad.memory).st_size, 0)
    assert b"settings/password" in content
    assert marker.encode() not in content


def test_a_slow_plugin_is_not_set_aside_for_another(
    daemon: Callable[[str], Survivor], tmp_path: Path
) -> None:
    """One whose hook ran when another brought the daemon down is suspected, and cleared: they take turns."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"})
    slow = PODINFO + plugin("slow", 'dies = "on_change"\nby = "being slow"')
    kmetad = daemon(slow + plugin("one"))
    kmetad.seen("start", plugin="slow"), kmetad.seen("start", plugin="one")
    assert kmetad.end() == 0
    volume.label("app", "b")
    toml = slow + plugin("one", 'dies = "on_change"\nby = "kill"\nlane.debounce = "100ms"')
    for _ in range(3):
        assert daemon(toml).wait() == -signal.SIGKILL
    kmetad = daemon(toml)
    assert kmetad.line("plugin.set_aside")["plugin"] == "one"
    assert kmetad.line("kmetad.started")["plugins"] == ["slow"]
    assert kmetad.end() == 0
