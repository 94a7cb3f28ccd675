"""When the app starts: at once, or once volumes and plugins are ready."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.wrapper.conftest import Toml
from tests.wrapper.wrapped import Wrapped, app, children, run, with_plugins

TERM, INT, USR1 = int(signal.SIGTERM), int(signal.SIGINT), int(signal.SIGUSR1)

AFTER = '[run]\nstart = "after-sync"\nsync_timeout = "{}"\ndrain_timeout = "100ms"\n'
PODINFO = '[volumes.podinfo]\npath = "DIR/podinfo"\n'
SLOW = '[plugins.slow]\npath = "DIR/slow.py"\n'
PLUGIN = """
from kmetad import hookimpl

class Plugin:
    @hookimpl
    def kmetad_on_start(self, snapshot):
        print("on_start", dict(snapshot.labels))
        with open("DIR/go") as go:
            assert go.read() == "go"
"""


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A plugin whose ``on_start`` takes until somebody writes ``go`` to this pipe."""
    tmp_path.chmod(0o755)
    (tmp_path / "slow.py").write_text(PLUGIN.replace("DIR", str(tmp_path)))
    os.mkfifo(tmp_path / "go")
    return tmp_path / "go"


def test_it_waits_for_its_volumes(before: tuple[str, ...], toml: Toml, tmp_path: Path) -> None:
    """The volume isn't there: the app isn't, either. It comes: so does the app."""
    options = toml(AFTER.format("1h") + PODINFO)
    with Wrapped(["echo", "app"], options=options, before=before) as wrapped:
        wrapped.told('"lost"')
        assert children(wrapped.pid) == [wrapped.daemon()]
        Volume(tmp_path / "podinfo").write(labels={"app": "web"})
        assert wrapped.line() == "app"
        assert wrapped.wait() == 0


def test_it_waits_for_its_plugins(toml: Toml, tmp_path: Path, slow: Path) -> None:
    """Until each ``on_start`` has returned, with what it was shown."""
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    with Wrapped(["echo", "app"], options=toml(AFTER.format("1h") + PODINFO + SLOW)) as wrapped:
        assert "web" in wrapped.told("on_start")
        assert children(wrapped.pid) == [wrapped.daemon()]
        slow.write_text("go")
        assert wrapped.line() == "app"
        assert wrapped.wait() == 0


def test_at_once_it_waits_for_nothing(toml: Toml, slow: Path) -> None:
    """The default: neither for a volume that isn't there nor for a plugin that hangs."""
    with Wrapped(app("record('app')"), options=toml("[run]\n" + PODINFO + SLOW)) as wrapped:
        wrapped.ready()


@pytest.mark.parametrize("timeout", ["300ms", "0s"])
@pytest.mark.parametrize("kind", ["volume", "plugin"])
def test_the_deadline(timeout: str, kind: str, toml: Toml, tmp_path: Path, slow: Path) -> None:
    """Then it starts without them, and that is said."""
    if kind == "plugin":
        Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    options = toml(AFTER.format(timeout) + PODINFO + (SLOW if kind == "plugin" else ""))
    done = run(["echo", "app"], options=options)
    assert (done.stdout, done.returncode) == ("app\n", 0)
    assert "run.sync_timeout" in done.stderr


@pytest.mark.parametrize("env", ["", "A = \"{metadata.labels['app']}!\""])
def test_variables_imply_it(env: str, toml: Toml, tmp_path: Path) -> None:
    """``[run.env]``: the first start has them already; without any there is nothing to wait for."""
    options = toml(f'[run]\nsync_timeout = "1h"\n[run.env]\n{env}\n' + PODINFO)
    with Wrapped(["sh", "-c", 'echo "A=$A"'], options=options) as wrapped:
        if env:
            wrapped.told('"lost"')
            assert children(wrapped.pid) == [wrapped.daemon()]
            Volume(tmp_path / "podinfo").write(labels={"app": "wéb\xa0"})
        assert wrapped.line() == ("A=wéb\xa0!" if env else "A=")


def test_a_fault_elsewhere(toml: Toml, tmp_path: Path) -> None:
    """A plugin that isn't there will never be ready: the app starts in time all the same."""
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    done = run(["echo", "app"], options=toml(AFTER.format("300ms") + PODINFO + "[plugins.nowhere]\n"))
    assert (done.stdout, done.returncode) == ("app\n", 0)


@pytest.mark.parametrize("number", [TERM, INT])
def test_a_signal_while_it_waits(before: tuple[str, ...], number: int, toml: Toml, slow: Path) -> None:
    """No app is there to take it: nothing is started any more."""
    options = toml(AFTER.format("1h") + SLOW)
    with Wrapped(["echo", "app"], options=options, before=with_plugins(before)) as wrapped:
        wrapped.told("on_start")
        wrapped.send(number)
        assert wrapped.wait() == 128 + number
        assert wrapped.out is not None
        assert wrapped.out.rest() == []


def test_another_signal_while_it_waits(toml: Toml, slow: Path) -> None:
    """One that doesn't ask for the end changes nothing."""
    with Wrapped(["echo", "app"], options=toml(AFTER.format("1h") + SLOW)) as wrapped:
        wrapped.told("on_start")
        wrapped.send(USR1)
        slow.write_text("go")
        assert wrapped.line() == "app"


def test_the_daemon_dies_while_it_waits(toml: Toml, slow: Path) -> None:
    """The next one takes over."""
    with Wrapped(["echo", "app"], options=toml(AFTER.format("1h") + SLOW)) as wrapped:
        wrapped.told("on_start")
        os.kill(wrapped.daemon(), signal.SIGKILL)
        wrapped.told("started again")
        wrapped.told("on_start")
        slow.write_text("go")
        assert wrapped.line() == "app"
        assert wrapped.wait() == 0
