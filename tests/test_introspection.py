"""``kmetad status`` and ``context.status()``, of daemons that run."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kmetad._cli import status as command
from kmetad._daemon.places import NAME, places
from kmetad.testing.kubelet import ServiceAccountVolume, Volume, token
from tests.cli import eventually, inside
from tests.daemons import Daemon
from tests.wrapper.wrapped import Wrapped

MOODY = """
import os, time
import msgspec
from kmetad import hookimpl

class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    then: str = ""
    at: str = "on_change"

class Plugin:
    def __init__(self, options, context):
        self.options, self.context = options, context

    def do(self, where):
        if self.options.at != where:
            return
        if self.options.then == "block":
            open("DIR/fifo").read()
        if self.options.then == "raise":
            raise RuntimeError("no \\x1b[31m good")
        if self.options.then == "exit":
            os._exit(1)
        if self.options.then == "look":
            status = self.context.status()
            self.context.log.info("looked", ready=status.ready, unready=status.unready, pid=status.pid,
                                  lanes=[(lane.name, lane.state, lane.hook) for lane in status.lanes],
                                  sources={name: state.status for name, state in status.sources.items()})

    @hookimpl
    def kmetad_on_start(self, snapshot):
        self.do("on_start")

    @hookimpl
    def kmetad_on_change(self, batch):
        self.do("on_change")
"""

TOML = '[state]\ndir = "DIR/state"\n[volumes.podinfo]\npath = "DIR/podinfo"\n'


def plugin(name: str, then: str = "", more: str = "") -> str:
    """A table of the TOML."""
    return f'[plugins.{name}]\npath = "DIR/moody.py"\nthen = "{then}"\n{more}\n'


class Watched(Daemon):
    """A daemon that can be asked."""

    def ask(self) -> dict[str, Any]:
        """``kmetad status -o json``; its exit code is in ``code``."""
        done = inside("status", "-c", str(self.toml), "-o", "json")
        self.code, self.said = done.returncode, done.stderr
        status: dict[str, Any] = json.loads(done.stdout or "{}")
        return status

    def until(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """The first answer for which that holds."""
        found: list[dict[str, Any]] = []

        def holds() -> bool:
            status = self.ask()
            if self.code == 2 or not condition(status):
                return False
            found.append(status)
            return True

        eventually(holds)
        return found[0]


def states(status: dict[str, Any]) -> dict[str, str]:
    """Of its lanes, by name."""
    return {lane["name"]: lane["state"] for lane in status["lanes"]}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's own daemon, or another test's, may be in /run/kmetad: it isn't asked."""
    monkeypatch.setattr(command, "places", partial(places, fallback=str(tmp_path / "none")))


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Watched]]:
    """Starts daemons, and kills what is left of them."""
    started: list[Watched] = []
    tmp_path.chmod(0o755)
    (tmp_path / "state").mkdir()
    (tmp_path / "moody.py").write_text(MOODY.replace("DIR", str(tmp_path)))
    os.mkfifo(tmp_path / "fifo")

    def start(toml: str) -> Watched:
        started.append(Watched(tmp_path, toml))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """What the daemons watch."""
    made = Volume(tmp_path / "podinfo")
    made.write(labels={"app": "web"})
    return made


def test_what_goes_on_in_each_lane(daemon: Callable[..., Watched], volume: Volume, tmp_path: Path) -> None:
    """Stuck, failing, parked, well: each as it is, and none of it makes the daemon unready."""
    kmetad = daemon(
        TOML
        + plugin("stuck", "block", 'lane.timeout = "10ms"')
        + plugin("failing", "raise", 'lane.retry = { initial = "1h", max = "1h" }')
        + plugin("parked", "raise", 'lane.retry = { initial = "1ms", attempts = 2 }')
        + plugin("well")
    )
    first = kmetad.until(lambda status: status["ready"])
    assert kmetad.code == 0
    assert set(states(first).values()) == {"idle"}
    assert first["pid"] == kmetad.process.pid
    assert first["config"] == {"file": str(kmetad.toml), "faults": [], "refused": []}
    assert first["state"] == {"dir": str(tmp_path / "state"), "error": ""}
    assert first["app"] is None
    volume.label("app", "api")
    wanted = {"stuck": "stuck", "failing": "retrying", "parked": "parked", "well": "idle"}
    status = kmetad.until(lambda status: states(status) == wanted and status["lanes"][0]["stuck"])
    assert (kmetad.code, status["ready"], status["unready"]) == (0, True, [])
    stuck, failing, parked, well = status["lanes"]
    before = first["generation"]
    assert [lane["generation"] for lane in status["lanes"]] == [before, before, before, status["generation"]]
    assert (stuck["hook"], stuck["attempt"], stuck["stuck"]) == ("on_change", 1, 1)
    assert stuck["hook_seconds"] > 0.01
    assert 0 < failing["retry_seconds"] <= 3600
    assert failing["last_fault"]["error"] == "RuntimeError: no \x1b[31m good"
    assert (parked["faults"], parked["attempt"]) == (2, 2)
    assert (well["acknowledged"], well["faults"], well["last_fault"]) == (1, 0, None)
    text = inside("status", "-c", str(kmetad.toml)).stdout
    assert "on_change: RuntimeError: no \\x1b[31m good" in text
    with open(tmp_path / "fifo", "w"):
        pass
    kmetad.until(lambda status: states(status)["stuck"] != "stuck")
    assert kmetad.end() == 0
    assert kmetad.ask() == {}
    assert kmetad.code == 2
    assert not (tmp_path / "state" / NAME).exists()


def test_unready_until_on_start_succeeds(daemon: Callable[..., Watched], volume: Volume) -> None:
    """1, with the plugin and what it said."""
    kmetad = daemon(
        TOML + plugin("failing", "raise", 'at = "on_start"\nlane.retry = { initial = "1h", max = "1h" }')
    )
    status = kmetad.until(lambda status: states(status) == {"failing": "retrying"})
    assert (kmetad.code, status["ready"]) == (1, False)
    assert status["unready"] == [
        "plugin failing: on_start hasn't succeeded yet: RuntimeError: no \x1b[31m good"
    ]
    assert status["lanes"][0]["generation"] is None


def test_a_volume_that_is_lost(daemon: Callable[..., Watched], volume: Volume, tmp_path: Path) -> None:
    """Not ready while it is away, and ready again by itself."""
    kmetad = daemon(TOML + plugin("well"))
    kmetad.until(lambda status: status["ready"])
    (tmp_path / "podinfo").rename(tmp_path / "away")
    status = kmetad.until(lambda status: not status["ready"])
    assert kmetad.code == 1
    (reason,) = status["unready"]
    assert reason.startswith(f"volume podinfo is lost: {tmp_path}/podinfo")
    assert status["sources"]["podinfo"] == {
        "status": "lost",
        "faults": 1,
        "error": reason.removeprefix("volume podinfo is lost: "),
    }
    (tmp_path / "away").rename(tmp_path / "podinfo")
    status = kmetad.until(lambda status: status["ready"])
    assert status["sources"]["podinfo"] == {"status": "healthy", "faults": 1, "error": ""}


def test_a_plugin_asks(daemon: Callable[..., Watched], volume: Volume) -> None:
    """``context.status()``, in a hook: it finds itself in it."""
    kmetad = daemon(TOML + plugin("other") + plugin("looking", "look"))
    kmetad.until(lambda status: status["ready"])
    volume.label("app", "api")
    looked = kmetad.line("looked")
    assert (looked["ready"], looked["unready"], looked["pid"]) == (True, [], kmetad.process.pid)
    assert ["looking", "delivering", "on_change"] in looked["lanes"]
    assert [name for name, _, _ in looked["lanes"]] == ["other", "looking"]
    assert looked["sources"] == {"podinfo": "healthy", "env": "healthy"}


def test_a_new_configuration(daemon: Callable[..., Watched], volume: Volume) -> None:
    """One that is refused is told, and leaves it ready; a good one takes the socket over, in the same process."""
    kmetad = daemon(TOML + plugin("well"))
    kmetad.until(lambda status: status["ready"])
    good = kmetad.toml.read_text()
    kmetad.toml.write_text(good + "[watch]\nrescan = 3\n")
    kmetad.process.send_signal(signal.SIGHUP)
    status = kmetad.until(lambda status: status["config"]["refused"])
    assert kmetad.code == 0
    assert "watch.rescan" in status["config"]["refused"][0]
    assert "newer version refused: " in inside("status", "-c", str(kmetad.toml)).stdout
    kmetad.toml.write_text(good.replace("[plugins.well]", "[plugins.again]"))
    kmetad.process.send_signal(signal.SIGHUP)
    status = kmetad.until(lambda status: states(status) == {"again": "idle"})
    assert status["config"]["refused"] == []
    assert status["pid"] == kmetad.process.pid


def test_two_in_one_directory(daemon: Callable[..., Watched], volume: Volume) -> None:
    """The second says so and goes without; the first one's successor has it again, also after a kill."""
    one = daemon(TOML)
    one.until(lambda status: status["ready"])
    other = daemon(TOML)
    held = other.line("status.unavailable")
    assert (held["level"], "another daemon" in held["reason"]) == ("warning", True)
    assert other.end() == 0
    assert one.ask()["pid"] == one.process.pid
    one.end(signal.SIGKILL)
    one.ask()
    assert (one.code, "nobody listens any more" in one.said) == (2, True)
    next_ = daemon(TOML)
    assert next_.until(lambda status: status["ready"])["pid"] == next_.process.pid


def test_no_secret_is_in_it(daemon: Callable[..., Watched], tmp_path: Path) -> None:
    """Neither the token, nor the content of a Secret, however often they fail (law 7)."""
    marker = "MARKERofaSECRET"
    account = ServiceAccountVolume(tmp_path / "account")
    account.write(files={"token": marker, "ca.crt": marker, "namespace": "default"})
    settings = Volume(tmp_path / "settings")
    settings.write(files={"password": marker, "labels": f'a="{marker}'})
    kmetad = daemon(
        '[state]\ndir = "DIR/state"\n[token]\npath = "DIR/account"\n'
        '[volumes.settings]\npath = "DIR/settings"\nkind = "files"\n'
        '[volumes.broken]\npath = "DIR/settings"\nkind = "downward"\n' + plugin("failing", "raise")
    )
    kmetad.until(lambda status: status["sources"].get("token", {}).get("error"))
    account.file("token", token(audiences=[marker]) + marker)
    settings.file("password", marker + "2")
    status = kmetad.until(lambda status: status["lanes"][0]["faults"])
    assert status["sources"]["broken"]["error"]
    assert marker not in json.dumps(status)
    assert marker not in inside("status", "-c", str(kmetad.toml)).stdout


def test_a_daemon_that_a_plugin_kills(volume: Volume, tmp_path: Path) -> None:
    """Each successor has the socket; at last the plugin is set aside, and that is told, beside the app."""
    tmp_path.chmod(0o755)
    (tmp_path / "state").mkdir()
    (tmp_path / "moody.py").write_text(MOODY)
    toml = tmp_path / "kmetad.toml"
    text = TOML + plugin("well") + plugin("killer", "exit", 'at = "on_start"') + "[plugins.relaod]\n"
    toml.write_text(text.replace("DIR", str(tmp_path)))
    with Wrapped(["sleep", "infinity"], options=["-c", str(toml)]) as wrapped:
        found: list[dict[str, Any]] = []

        def set_aside() -> bool:
            done = inside("status", "-c", str(toml), "-o", "json")
            found[:] = [json.loads(done.stdout)] if done.stdout else []
            return (
                bool(found)
                and states(found[0]) == {"well": "idle", "killer": "set-aside"}
                and found[0]["app"]["starts"] == 1
            )

        eventually(set_aside)
        (status,) = found
        assert status["pid"] == wrapped.daemon()
        assert not status["ready"]
        (fault,) = status["config"]["faults"]
        assert "no plugin 'relaod' is installed" in fault
        assert status["unready"][0] == f"the configuration has a fault: {fault}"
        assert status["unready"][1].startswith("plugin killer is set aside: the daemon died 3 times in a row")
        assert [lane["crashes"] for lane in status["lanes"]] == [0, 3]
        comm = Path(f"/proc/{status['app']['pid']}/comm").read_text()
        assert comm == "sleep\n"
        text = inside("status", "-c", str(toml)).stdout
        assert f"process {status['app']['pid']}, starts: 1" in text
        wrapped.send(signal.SIGTERM)
        assert wrapped.wait() == 128 + signal.SIGTERM
