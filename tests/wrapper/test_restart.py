"""Starting the app again: when it ends by itself, and when a plugin asks for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.wrapper.conftest import CrashLoop, Toml
from tests.wrapper.wrapped import Wrapped, app, children, gone, run, stat_of, with_plugins

HUP, TERM, USR1, USR2 = (
    int(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
)

# Fails at its first start.
SECOND = "echo start; [ -e tried ] || { touch tried; exit 3; }; exit 0"


@pytest.mark.parametrize(
    ("restart", "script", "starts", "code"),
    [
        ("never", SECOND, 1, 3),
        ("on-failure", SECOND, 2, 0),
        ("on-failure", "echo start; exit 0", 1, 0),
        ("on-failure", SECOND.replace("exit 3", "kill -KILL $$"), 2, 0),
    ],
)
def test_policies(restart: str, script: str, starts: int, code: int, toml: Toml, tmp_path: Path) -> None:
    """``never``, the default, and ``on-failure``: not after 0, but after any other code, and after a signal."""
    done = run(["sh", "-c", script], options=toml(f'[run]\nrestart = "{restart}"\n'), cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("start\n" * starts, code)


def test_always(toml: Toml, tmp_path: Path) -> None:
    """After 0, too; only a signal from outside ends it, whatever the app makes of it."""
    toml_ = toml('[run]\nrestart = "always"\n')
    script = f"os.path.exists('tried') or (open('tried', 'w'), os._exit(0)); record('app', [{TERM}])"
    with Wrapped(app(script), options=toml_, cwd=tmp_path) as wrapped:
        wrapped.ready()
        wrapped.send(TERM)
        assert wrapped.wait() == 0


def test_codes_are_exchanged_last(toml: Toml, tmp_path: Path) -> None:
    """``exit_codes`` says what kmetad answers, not whether the app failed."""
    options = toml('[run]\nrestart = "on-failure"\nexit_codes = { 3 = 0, 0 = 8 }\n')
    done = run(["sh", "-c", SECOND], options=options, cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("start\nstart\n", 8)


def test_the_pause_can_be_ended(before: tuple[str, ...], toml: Toml) -> None:
    """A TERM between two starts: no further one, and the last code."""
    with Wrapped(
        ["sh", "-c", "exit 3"], options=toml('[run]\nrestart = "always"\n'), before=before
    ) as wrapped:
        wrapped.told("started again")
        wrapped.send(TERM)
        assert wrapped.wait() == 3


def test_what_is_left_ends_before_the_next_start(toml: Toml, tmp_path: Path) -> None:
    """Nothing of the last run meets the next one."""
    code = f"""
if os.path.exists('tried'):
    say('second')
    os._exit(0)
open('tried', 'w')
def left():
    record('left', [{USR2}])
    say('left done')
orphan(left, session=True)
record('app', [{USR1}])
os._exit(3)
"""
    options = toml('[run]\nrestart = "on-failure"\ndrain_timeout = "1h"\n')
    with Wrapped(app(code), options=options, cwd=tmp_path) as wrapped:
        left = wrapped.ready("left")
        wrapped.ready()
        wrapped.send(USR1)
        wrapped.until(f"left {TERM}")
        os.kill(left, USR2)
        wrapped.until("left done")
        assert wrapped.line() == "second"
        assert wrapped.wait() == 0


@pytest.mark.parametrize("kind", ["3", "0", "exchanged", "signal"])
def test_an_app_that_never_comes_up(kind: str, crash_loops: dict[str, CrashLoop]) -> None:
    """Five ends within ten seconds of the start: its last code, and 1 where that was 0."""
    code, starts, said = crash_loops[kind].wait()
    assert (code, starts) == ({"3": 3, "0": 1, "exchanged": 9, "signal": 128 + signal.SIGKILL}[kind], 5)
    assert "gives up" in said


PLUGIN = """
from kmetad import hookimpl

class Plugin:
    def __init__(self, context):
        self.app = context.app

    @hookimpl
    def kmetad_on_label(self, change):
        if change.key == "signal":
            self.app.signal(change.new)
        elif change.key == "version":
            self.app.restart(f"version {change.new}")
"""
TOML = """
[run]
env = {{ APP_VERSION = "v{{metadata.labels['version']}}" }}
{}
[volumes.podinfo]
path = "DIR/podinfo"
[plugins.restarter]
path = "DIR/restarter.py"
"""


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    """A volume with one label, beside a plugin that acts on it."""
    tmp_path.chmod(0o755)
    (tmp_path / "restarter.py").write_text(PLUGIN)
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"version": "1"}, annotations={"big": "small"})
    return volume


SAYS = "say('version', os.environ['APP_VERSION']);"


def test_a_plugin_restarts_the_app(before: tuple[str, ...], volume: Volume, toml: Toml) -> None:
    """It gets the stop signal, and its environment is what the Pod is by then."""
    code = f"{SAYS} record('app', [{USR1}])"
    options = toml(TOML.format('stop_signal = "USR1"\nstop_timeout = "1h"'))
    with Wrapped(app(code), options=options, before=with_plugins(before)) as wrapped:
        for version in "123":
            if version != "1":
                volume.label("version", version)
                assert wrapped.line() == f"app {USR1}"
            assert wrapped.line() == f"version v{version}"
            assert wrapped.line().startswith("app ready")
        assert "version 2" in wrapped.told("restarted")
        wrapped.send(TERM)
        assert wrapped.line() == f"app {TERM}"
        wrapped.send(USR1)
        assert wrapped.wait() == 0


FILLER = """
import time
from kmetad import Skip, hookimpl

class Plugin:
    @hookimpl
    def kmetad_on_change(self, batch):
        if batch.current.labels["version"] == "2":
            time.sleep(0.5)
        if batch.current.labels["version"] == "3":
            raise Skip("nothing to do, but the variables are others")
        if batch.current.labels["version"] == "4":
            raise RuntimeError("not today")

    @hookimpl
    def kmetad_app_env(self, snapshot):
        return {"FILLED": snapshot.labels["version"]}
"""


def test_a_restart_waits_for_other_plugins_variables(volume: Volume, toml: Toml, tmp_path: Path) -> None:
    """A slow one, and one that skips; for one that fails the last ones do."""
    (tmp_path / "filler.py").write_text(FILLER)
    options = toml(
        TOML.format('stop_signal = "USR1"\nstart = "after-sync"')
        + '[plugins.filler]\npath = "DIR/filler.py"\n'
    )
    code = f"say('filled', os.environ['FILLED']); record('app', [{USR1}])"
    with Wrapped(app(code), options=options) as wrapped:
        for version, filled in [("1", "1"), ("2", "2"), ("3", "3"), ("4", "3")]:
            if version != "1":
                volume.label("version", version)
                assert wrapped.line() == f"app {USR1}"
            assert wrapped.line() == f"filled {filled}"
            assert wrapped.line().startswith("app ready")


def test_a_plugin_signals_the_app(volume: Volume, toml: Toml) -> None:
    """As ``signal_scope`` says; nothing is rewritten."""
    options = toml(TOML.format('signal_scope = "group"\nrewrite_signals = { HUP = "INT" }'))
    with Wrapped(app("child(lambda: record('child')); record('app')"), options=options) as wrapped:
        wrapped.ready("child")
        wrapped.ready()
        volume.label("signal", "HUP")
        assert {wrapped.line(), wrapped.line()} == {f"app {HUP}", f"child {HUP}"}


def test_one_that_does_not_stop_is_killed(volume: Volume, toml: Toml) -> None:
    """After ``stop_timeout``, with its whole group."""
    code = f"{SAYS} os.environ['APP_VERSION'] == 'v1' and child(lambda: record('child')); record('app')"
    with Wrapped(app(code), options=toml(TOML.format('stop_timeout = "200ms"'))) as wrapped:
        assert wrapped.line() == "version v1"
        child, it = wrapped.ready("child"), wrapped.ready()
        volume.label("version", "2")
        wrapped.until("version v2")
        assert not stat_of(it)
        gone(child)
        assert "run.stop_timeout" in wrapped.told("kill")


def test_one_that_is_stopped_is_restarted_as_well(volume: Volume, toml: Toml) -> None:
    """It would not come to its stop signal otherwise."""
    with Wrapped(
        app(f"{SAYS} record('app', [{TERM}])"), options=toml(TOML.format('stop_timeout = "1h"'))
    ) as wrapped:
        os.kill(wrapped.ready(), signal.SIGSTOP)
        volume.label("version", "2")
        wrapped.until("version v2")


def test_the_next_start_waits_for_the_whole_group(volume: Volume, toml: Toml) -> None:
    """The app has ended, a process of its group hasn't yet: it gets its time."""
    code = f"""
def left():
    record('left', [{USR2}])
    say('left done')
{SAYS}
if os.environ['APP_VERSION'] == 'v1':
    child(left)
record('app', [{TERM}])
"""
    with Wrapped(app(code), options=toml(TOML.format('drain_timeout = "1h"'))) as wrapped:
        left, it = wrapped.ready("left"), wrapped.ready()
        volume.label("version", "2")
        gone(it)
        wrapped.until(f"left {TERM}")
        os.kill(left, USR2)
        wrapped.until("left done")
        assert wrapped.line() == "version v2"


def test_a_signal_from_outside_ends_a_restart(volume: Volume, toml: Toml) -> None:
    """Kubernetes stops the Pod while a plugin's restart is under way: there is no next start."""
    code = f"{SAYS} record('app', [{USR2}]); os._exit(6)"
    with Wrapped(
        app(code), options=toml(TOML.format('stop_signal = "USR1"\nstop_timeout = "1h"'))
    ) as wrapped:
        it = wrapped.ready()
        volume.label("version", "2")
        wrapped.until(f"app {USR1}")
        wrapped.send(TERM)
        wrapped.until(f"app {TERM}")
        os.kill(it, USR2)
        assert wrapped.wait() == 6


def test_a_value_that_no_environment_can_hold(volume: Volume, toml: Toml) -> None:
    """It is refused, it is said, and the last one stays."""
    text = TOML.format("").replace("env = {", "env = { BIG = \"{metadata.annotations['big']}\",")
    code = f"say('big', os.environ['BIG'][:5]); {SAYS} record('app', [{TERM}])"
    with Wrapped(app(code), options=toml(text)) as wrapped:
        assert wrapped.line() == "big small"
        wrapped.ready()
        volume.update(labels={"version": "2"}, annotations={"big": "x" * 200_000})
        wrapped.until(f"app {TERM}")
        assert wrapped.line() == "big small"
        assert "BIG" in wrapped.told("BIG")


@pytest.mark.parametrize("asked", [True, False], ids=["HUP", "by itself"])
def test_a_new_configuration_is_for_the_next_start(asked: bool, volume: Volume, toml: Toml) -> None:
    """The daemon reads it again when the file changes, or HUP comes; the app that runs goes on as it is."""
    code = f"say('setting', os.environ['SETTING']); record('app', [{TERM}])"
    text = TOML.format("").replace("env = {", 'env = { SETTING = "old",')
    with Wrapped(app(code), options=toml(text)) as wrapped:
        assert wrapped.line() == "setting old"
        it, daemon = wrapped.ready(), wrapped.daemon()
        wrapped.told("kmetad.started")
        toml(text.replace('"old"', '"new"'))
        if asked:
            os.kill(daemon, HUP)
        wrapped.told("kmetad.started")
        assert stat_of(it)
        assert daemon in children(wrapped.pid)
        volume.label("version", "2")
        wrapped.until(f"app {TERM}")
        assert wrapped.line() == "setting new"
