"""kmetad's own TOML changes: a good one comes into force by itself, a bad one changes nothing and is reported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from kmetad import _log
from kmetad._config import load
from kmetad._daemon.renewal import LONGEST, SETTLE, Renewal
from kmetad.testing.kubelet import Volume
from tests.cli import eventually
from tests.daemons import DEADLINE, Daemon, Supervised
from tests.wrapper.wrapped import children, ended, process_1

PODINFO = '[volumes.podinfo]\npath = "DIR/podinfo"\n'
ONE = PODINFO + '[plugins.one]\npath = "DIR/recorder.py"\n'
TWO = PODINFO + '[plugins.two]\npath = "DIR/recorder.py"\n'

HELD = """
import os, time
from kmetad import hookimpl

open("DIR/importing.new", "w").write(str(os.getpid()))
os.rename("DIR/importing.new", "DIR/importing")
while not os.path.exists("DIR/go"):
    time.sleep(0.01)

class Plugin:
    @hookimpl
    def kmetad_on_stop(self):
        pass
"""

HUNGRY = """
from kmetad import hookimpl

memory = bytearray(80 << 20)

class Plugin:
    @hookimpl
    def kmetad_on_stop(self):
        pass
"""

SLOW_END = """
import os, time
from kmetad import hookimpl

class Plugin:
    def __init__(self, context):
        self.log = context.log

    @hookimpl
    def kmetad_on_stop(self):
        self.log.info("ending")
        while not os.path.exists("DIR/go"):
            time.sleep(0.01)
"""


class InConfigMap(Daemon):
    """One whose TOML is in a ConfigMap's mount."""

    def started(self, arguments: tuple[str, ...], environ: dict[str, str]) -> subprocess.Popen[str]:
        """Start the process."""
        self.mount = Volume(self.directory / "etc")
        self.mount.write(files={"kmetad.toml": self.toml.read_text(), "other": "1"})
        self.toml = self.directory / "etc" / "kmetad.toml"
        return super().started(arguments, environ)


Start = Callable[..., Any]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Start]:
    """Starts daemons, and kills what is left of them."""
    started: list[Daemon] = []
    tmp_path.chmod(0o755)

    def start(toml: str, kind: type[Daemon] = Daemon, *arguments: str) -> Daemon:
        started.append(kind(tmp_path, toml, *arguments))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """A volume with two labels."""
    made = Volume(tmp_path / "podinfo")
    made.write(labels={"app": "a", "tier": "1"})
    return made


def events(daemon: Daemon, name: str) -> list[dict[str, Any]]:
    """The lines with this event, of those that were taken."""
    return [line for line in daemon.lines if line["event"] == name]


def test_in_a_config_map(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """Swapped by the kubelet: the same process goes on where each lane was.

    Nothing that was acknowledged is told again; what wasn't, is.
    """
    never = 'fail = 9\nlane.retry = { initial = "1h", max = "1h" }\n'
    kmetad = daemon(ONE + TWO.removeprefix(PODINFO) + never, InConfigMap)
    for plugin in ("one", "two"):
        kmetad.seen("start", plugin=plugin)
    volume.label("app", "b")
    kmetad.seen("told", plugin="one")
    kmetad.seen("plugin.raised", plugin="two")
    text = (ONE + TWO.removeprefix(PODINFO)).replace("DIR", str(tmp_path))
    kmetad.mount.file("other", "2")  # no difference in what counts: nothing happens
    kmetad.mount.file("kmetad.toml", text)
    assert kmetad.line("config.reloading")["file"] == str(kmetad.toml)
    assert kmetad.line("told", plugin="two")["keys"] == ["label:app"]
    volume.label("tier", "2")
    assert kmetad.line("told", plugin="one")["keys"] == ["label:tier"]
    assert kmetad.end() == 0
    assert len(events(kmetad, "config.reloading")) == 1
    assert {line["pid"] for line in events(kmetad, "kmetad.started")} == {kmetad.process.pid}


def test_bad_gone_back_and_good(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """A fault is told with its line, and the daemon goes on; everything is told once, also that all is well again."""
    kmetad = daemon(ONE)
    kmetad.line("kmetad.started")
    kmetad.seen("start")
    before = kmetad.toml.read_text()
    bad = before + "[watch]\nrescan = 3\n[plugins.relaod]\n"
    kmetad.toml.write_text(bad)
    kmetad.line("config.kept")
    faults = [line["fault"] for line in events(kmetad, "config.fault")]
    assert f"{kmetad.toml}:6: watch.rescan" in faults[0]
    assert "no plugin 'relaod' is installed" in faults[1]
    new = tmp_path / "new"
    new.write_text(bad)
    new.rename(kmetad.toml)  # the same again: it is known to be bad
    kmetad.toml.rename(new)
    assert kmetad.line("config.lost")["error"] == f"{kmetad.toml} isn't there"
    volume.label("app", "b")
    kmetad.line("told")
    kmetad.toml.write_text(before)
    kmetad.line("config.found")
    kmetad.line("config.mended")
    kmetad.toml.write_text(TWO.replace("DIR", str(tmp_path)))
    kmetad.line("kmetad.started", plugins=["two"])
    assert kmetad.end() == 0
    counts = {name: len(events(kmetad, f"config.{name}")) for name in ("fault", "kept", "lost", "reloading")}
    assert counts == {"fault": 2, "kept": 1, "lost": 1, "reloading": 1}


def test_changed_while_it_is_checked(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """What was checked comes into force, byte by byte, though the file is a bad one by then; that is refused."""
    (tmp_path / "held.py").write_text(HELD.replace("DIR", str(tmp_path)))
    kmetad = daemon(ONE)
    kmetad.line("kmetad.started")
    kmetad.toml.write_text(f'{TWO}[plugins.held]\npath = "DIR/held.py"\n'.replace("DIR", str(tmp_path)))
    kmetad.process.send_signal(signal.SIGHUP)
    eventually((tmp_path / "importing").exists)
    kmetad.toml.write_text("[plugins")
    (tmp_path / "go").touch()
    kmetad.line("kmetad.started", plugins=["two", "held"])
    kmetad.line("config.kept")
    assert kmetad.end() == 0


def test_beside_an_app(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """One that was bad at the start is mended: the link stays, what the app's next start needs is said anew.

    Nobody asks for that start.
    """
    kmetad = daemon("[run]\nenv.V = \"1{metadata.labels['app']}\"\n[plugins.relaod]\n" + PODINFO, Supervised)
    kmetad.hear("environment")
    kmetad.line("kmetad.started", plugins=[])
    kmetad.say("app_started", 7, 1)
    text = "[run]\nstop_timeout = '9s'\nenv.V = \"2{metadata.labels['app']}\"\n" + ONE
    kmetad.toml.write_text(text.replace("DIR", str(tmp_path)))
    kmetad.hear("hello")
    (settings,) = kmetad.hear("run")
    assert settings["stop_timeout"] == 9.0
    kmetad.hear("ready")
    assert kmetad.variables == {"V": "2a"}
    kmetad.say("stop", 5.0)
    assert kmetad.wait() == 0
    assert kmetad.rest() == []
    assert kmetad.heard == [*["hello", "run", "tags", "variable", "environment"] * 2, "ready"]


def test_a_larger_memory_limit(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """It comes into force, and a plugin is checked in the memory that it will have."""
    (tmp_path / "hungry.py").write_text(HUNGRY)
    hungry = '[plugins.hungry]\npath = "DIR/hungry.py"\n'

    def reload(memory: int, event: str) -> None:
        limit = f'[daemon]\nmemory_limit = "{memory}Mi"\n'
        kmetad.toml.write_text((PODINFO + hungry + limit).replace("DIR", str(tmp_path)))
        kmetad.process.send_signal(signal.SIGHUP)
        kmetad.line(event)

    kmetad = daemon(ONE + '[daemon]\nmemory_limit = "64Mi"\n')
    kmetad.line("kmetad.started")
    reload(65, "config.kept")
    assert "hungry" in events(kmetad, "config.fault")[0]["fault"]
    assert "MemoryError" in events(kmetad, "config.fault")[0]["fault"]
    reload(1, "config.kept")  # not even enough for kmetad
    reload(256, "kmetad.started")
    limits = Path(f"/proc/{kmetad.process.pid}/limits").read_text().splitlines()
    assert next(line for line in limits if line.startswith("Max data size")).split()[3] == str(256 << 20)
    assert kmetad.end() == 0


def test_a_plugin_that_needs_an_app(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """Where there is none it is a fault, as it would be at the start: the daemon isn't ended by it."""
    kmetad = daemon(ONE)
    kmetad.line("kmetad.started")
    more = '[plugins.version]\nuse = "reload"\nmatch = ["label:*"]\nrestart = true\n'
    kmetad.toml.write_text((ONE + more).replace("DIR", str(tmp_path)))
    kmetad.process.send_signal(signal.SIGHUP)
    assert "plugins.version" in kmetad.line("config.fault")["fault"]
    kmetad.line("config.kept")
    assert kmetad.end() == 0


def test_told_to_end_meanwhile(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """TERM while it stops for a new configuration: it ends, and starts none."""
    (tmp_path / "slow.py").write_text(SLOW_END.replace("DIR", str(tmp_path)))
    kmetad = daemon("[run]\ndrain_timeout = '10m'\n" + PODINFO + '[plugins.slow]\npath = "DIR/slow.py"\n')
    kmetad.line("kmetad.started")
    kmetad.process.send_signal(signal.SIGHUP)
    kmetad.line("ending")
    kmetad.process.send_signal(signal.SIGTERM)
    (tmp_path / "go").touch()
    assert kmetad.wait() == 0
    assert len(events(kmetad, "kmetad.started")) == 1


class AsProcess1(Daemon):
    """One that the kernel takes no default action against."""

    def started(self, arguments: tuple[str, ...], environ: dict[str, str]) -> subprocess.Popen[str]:
        """Start the process."""
        command = [*process_1(), sys.executable, "-m", "kmetad", "run", "-c", str(self.toml), *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, text=True
        )


@pytest.mark.parametrize("kind", [Daemon, AsProcess1])
def test_told_to_end_at_the_last_moment(daemon: Start, volume: Volume, kind: type[Daemon]) -> None:
    """TERM that comes when it has stopped, or while the next one starts, isn't lost either."""
    kmetad = daemon(PODINFO, kind)
    kmetad.line("kmetad.started")
    pid = kmetad.process.pid if kind is Daemon else children(kmetad.process.pid)[0]
    os.kill(pid, signal.SIGHUP)
    kmetad.line("kmetad.stopped")
    os.kill(pid, signal.SIGHUP)
    os.kill(pid, signal.SIGTERM)
    assert kmetad.wait() in (0, 128 + signal.SIGTERM)


def test_a_check_ends_with_its_daemon(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """Also one that hangs."""
    (tmp_path / "held.py").write_text(HELD.replace("DIR", str(tmp_path)))
    kmetad = daemon(ONE)
    kmetad.line("kmetad.started")
    kmetad.toml.write_text(f'[plugins.held]\npath = "{tmp_path}/held.py"\n')
    kmetad.process.send_signal(signal.SIGHUP)
    eventually((tmp_path / "importing").exists)
    assert kmetad.end() == 0
    ended(int((tmp_path / "importing").read_text()))


def test_no_file_to_watch(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """A device is read when it is asked for, and never else."""

    class FromDevice(Daemon):
        def started(self, arguments: tuple[str, ...], environ: dict[str, str]) -> subprocess.Popen[str]:
            self.toml = Path(os.devnull)
            return super().started(arguments, environ)

    kmetad = daemon("", FromDevice)
    kmetad.line("kmetad.started", config=os.devnull)
    kmetad.process.send_signal(signal.SIGHUP)
    kmetad.line("kmetad.started", config=os.devnull)
    assert kmetad.end() == 0
    assert not [line for line in kmetad.lines if line["level"] == "error"]


class Clocked:
    """A Renewal with a clock that a test sets, and real checks."""

    def __init__(self, directory: Path) -> None:
        self.toml = directory / "kmetad.toml"
        self.toml.write_text("# 0\n")
        self.now = 0.0
        self.woken = threading.Semaphore(0)
        self.refused: list[str] = []
        self.renewal = Renewal(
            load(str(self.toml)),
            lambda: str(self.toml),
            self.woken.release,
            lambda faults: self.refused.__setitem__(slice(None), faults),
            _log.get_logger(),
            wrapped=False,
            clock=lambda: self.now,
        )

    def change(self, text: str) -> bool:
        """The file is another, and the watcher says so."""
        self.toml.write_text(text)
        return self.seen(text.encode())

    def seen(self, news: bytes | str) -> bool:
        """The watcher says so."""
        self.renewal.seen(news)
        assert self.woken.acquire(timeout=DEADLINE)
        return self.renewal.proceed()

    def later(self, seconds: float) -> bool:
        """So much time passes."""
        self.now += seconds
        return self.renewal.proceed()

    def checked(self) -> bool:
        """A check ends."""
        assert self.woken.acquire(timeout=DEADLINE)
        return self.renewal.proceed()

    @property
    def checks(self) -> bool:
        """Whether it has to wait for a check."""
        return self.renewal._check is not None


@pytest.fixture
def clocked(tmp_path: Path) -> Clocked:
    """One in whose file is ``# 0``."""
    return Clocked(tmp_path)


def content(renewal: Renewal) -> bytes:
    """What the next daemon is to be given."""
    assert renewal.content is not None
    found = os.pread(renewal.content, 1 << 16, 0)
    os.close(renewal.content)
    return found


def test_a_storm_is_one_check(clocked: Clocked) -> None:
    """It waits for the file to settle, but not for ever."""
    assert clocked.renewal.patience() is None
    assert not clocked.later(3600.0)
    for n in range(50):
        assert not clocked.change(f"# {n}\n")
        assert clocked.renewal.patience() == SETTLE
        assert not clocked.later(0.1)
        assert not clocked.checks
    clocked.later(SETTLE - 0.2)
    assert not clocked.checks
    clocked.later(0.2)
    assert clocked.checks
    assert clocked.renewal.patience() is None
    assert clocked.checked()
    assert content(clocked.renewal) == b"# 49\n"


def test_a_storm_without_end(clocked: Clocked) -> None:
    """It is checked all the same, and what was checked comes into force although it isn't the newest."""
    n = 0
    while not clocked.checks:
        n += 1
        assert not clocked.change(f"# {n}\n")
        assert not clocked.later(0.125)
    assert clocked.now == LONGEST
    check = clocked.renewal._check
    eventually(lambda: check is not None and check.descriptor is not None)
    assert not clocked.change("[")
    assert clocked.checked()
    assert content(clocked.renewal) == f"# {n}\n".encode()


def test_back_before_it_settled(clocked: Clocked) -> None:
    """Nothing happened."""
    clocked.change("[")
    clocked.change("# 0\n")
    with capture_logs() as logs:
        clocked.later(SETTLE)
    assert (clocked.checks, clocked.refused, logs) == (False, [], [])
    assert clocked.renewal.patience() is None


def test_lost_and_found(clocked: Clocked) -> None:
    """Each is said once, when it is sure; nothing is checked."""
    with capture_logs() as logs:
        for news in ("gone", b"# 0\n", "gone"):
            clocked.seen(news)
        assert logs == []
        clocked.later(SETTLE)
        for news in (b"# 0\n", "gone"):
            clocked.seen(news)
        clocked.later(SETTLE)
        for news in ("denied", b"# 0\n"):
            clocked.seen(news)
            clocked.later(SETTLE)
        clocked.change("# 1\n")
        clocked.change("# 0\n")
        clocked.later(SETTLE)
    assert [(line["event"], line.get("error")) for line in logs] == [
        ("config.lost", "gone"),
        ("config.lost", "denied"),
        ("config.found", None),
    ]
    assert not clocked.checks


def test_what_was_refused(clocked: Clocked) -> None:
    """It is there to be shown until the file is mended, or another is refused; the same isn't checked again."""
    for text, line in (("[a", 1), ("\n[b", 2)):
        clocked.change(text)
        clocked.later(SETTLE)
        assert not clocked.checked()
        (fault,) = clocked.refused
        assert fault.startswith(f"{clocked.toml}:{line}: it isn't TOML")
    clocked.change("# 0\n")
    clocked.change("\n[b")
    clocked.later(SETTLE)
    assert not clocked.checks
    assert clocked.refused == [fault]
    clocked.change("# 0\n")
    with capture_logs() as logs:
        clocked.later(SETTLE)
    assert (clocked.checks, clocked.refused) == (False, [])
    assert [line["event"] for line in logs] == ["config.mended"]


def test_asked_for(clocked: Clocked) -> None:
    """HUP waits for nothing, and checks again what was refused, and what is in force."""
    clocked.toml.write_text("[")
    for _ in range(2):
        clocked.renewal.ask()
        assert not clocked.renewal.proceed()
        assert not clocked.checked()
        assert clocked.refused
    clocked.toml.write_text("# 0\n")
    clocked.renewal.ask()
    assert not clocked.renewal.proceed()
    assert clocked.checked()
    assert (clocked.renewal.file, content(clocked.renewal)) == (str(clocked.toml), b"# 0\n")


def test_asked_for_while_it_is_checked(clocked: Clocked) -> None:
    """What is refused by then may be mended already: it is checked again before anything is said."""
    clocked.toml.write_text("[")
    clocked.renewal.ask()
    clocked.renewal.proceed()
    eventually(lambda: clocked.renewal._check is not None and clocked.renewal._check.done)
    clocked.toml.write_text("# 1\n")
    clocked.renewal.ask()
    with capture_logs() as logs:
        assert not clocked.renewal.proceed()
    assert (clocked.refused, logs) == ([], [])
    clocked.woken.acquire()
    assert clocked.checked()
    assert content(clocked.renewal) == b"# 1\n"


def test_asked_for_what_is_not_there(clocked: Clocked) -> None:
    """It is refused, until it is there again."""
    clocked.toml.unlink()
    clocked.renewal.ask()
    clocked.renewal.proceed()
    assert not clocked.checked()
    assert clocked.refused == [f"{clocked.toml} isn't there"]
    clocked.change("# 0\n")
    clocked.later(SETTLE)
    assert clocked.refused == []


def test_without_a_file(tmp_path: Path) -> None:
    """HUP where nothing is found by convention: the defaults again."""
    woken = threading.Semaphore(0)
    renewal = Renewal(load(None), lambda: None, woken.release, print, _log.get_logger(), wrapped=False)
    renewal.ask()
    assert not renewal.proceed()
    assert woken.acquire(timeout=DEADLINE)
    assert renewal.proceed()
    assert (renewal.file, renewal.content) == (None, None)
