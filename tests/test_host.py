"""kmetad.testing.host and the pytest fixtures: what plugin authors test with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kmetad import ConfigError, PluginError, Resource, Skip, hookimpl
from kmetad.errors import AppError
from kmetad.testing import Host, Volume

pytest_plugins = ["pytester"]


class Recorder:
    """Remembers what it was told."""

    def __init__(self, context: Any) -> None:
        self.context = context
        self.seen: list[Any] = []

    @hookimpl
    def kmetad_on_start(self, snapshot: Any) -> None:
        self.seen.append(dict(snapshot.labels))

    @hookimpl
    def kmetad_on_change(self, batch: Any) -> None:
        self.seen.append([(c.type, c.key, c.op) for c in batch.changes])
        if "bad" in batch.current.labels:
            raise ValueError("bad")


def test_start_and_set() -> None:
    """Each ``set`` delivers what differs; equal content delivers nothing."""
    host = Host(Recorder)
    host.start(labels={"app": "web"})
    assert host.set(labels={"app": "web"}) is None
    host.set(labels={"app": "api"}, resources={".limits.cpu": "1500m"}, files={"settings/a": "1"})
    assert host.plugin.seen == [
        {"app": "web"},
        [("file", "settings/a", "added"), ("label", "app", "changed"), ("resource", ".limits.cpu", "added")],
    ]
    assert str(host.snapshot.resources[".limits.cpu"]) == "1500m"
    assert host.plugin.context.snapshot() is host.snapshot
    assert isinstance(host.snapshot.resources[".limits.cpu"], Resource)


def test_what_a_hook_raises_reaches_the_test() -> None:
    """There is no lane that would catch it."""
    host = Host(Recorder)
    host.start()
    with pytest.raises(ValueError, match="bad"):
        host.set(labels={"bad": "1"})
    with pytest.raises(ValueError, match="bad"):
        host.again()
    host.stop()


class Half:
    """Comes to the first key only, the first time; and skips what it has no use for."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    @hookimpl
    def kmetad_on_change(self, batch: Any) -> None:
        self.told.append(([(c.key, c.old, c.new) for c in batch.changes], batch.attempt))
        if batch.current.labels["app"] == "b":
            raise RuntimeError("half-way")
        if batch.current.labels["app"] == "c":
            raise Skip("not for me")


def test_it_is_told_what_kmetad_would_tell_it() -> None:
    """After A -> B, which failed, and back to A: B -> A. What it skipped isn't told again."""
    host = Host(Half)
    host.start(labels={"app": "a"})
    with pytest.raises(RuntimeError):
        host.set(labels={"app": "b"})
    host.set(labels={"app": "a"})
    with pytest.raises(Skip):
        host.set(labels={"app": "c"})
    host.set(labels={"app": "d"})
    assert host.plugin.told == [
        ([("app", "a", "b")], 1),
        ([("app", "b", "a")], 2),
        ([("app", "a", "c")], 1),
        ([("app", "c", "d")], 1),
    ]


def test_options_are_checked() -> None:
    """As the TOML's are: unknown ones are errors."""
    from kmetad_reload import Plugin

    with pytest.raises(ConfigError, match="comand"):
        Host(Plugin, comand=["true"])
    with pytest.raises(PluginError, match="no class Options"):
        Host(Recorder, greeting="hi")


class ForTheApp:
    """Asks for what it can, and has variables."""

    def __init__(self, context: Any) -> None:
        self.app = context.app
        self.seen: list[Any] = []

    @hookimpl
    def kmetad_on_label(self, change: Any) -> None:
        self.app.signal("HUP")
        self.app.restart(f"{change.key} changed")

    @hookimpl
    def kmetad_on_app_start(self, pid: int, starts: int) -> None:
        self.seen.append(("start", pid, starts, self.app.pid, self.app.starts))

    @hookimpl
    def kmetad_on_app_exit(self, code: int, signal: int) -> None:
        self.seen.append(("exit", code, signal, self.app.pid))

    @hookimpl
    def kmetad_app_env(self, snapshot: Any) -> Any:
        return {"APP": snapshot.labels["app"]} if snapshot.labels["app"] != "odd" else {"APP": 1}


def test_what_is_asked_of_the_app() -> None:
    """It is recorded; variables are those of the last delivery."""
    host = Host(ForTheApp)
    host.start(labels={"app": "web"})
    assert (host.app.signals, host.app.restarts, host.environment) == ([], [], {"APP": "web"})
    host.set(labels={"app": "api"})
    assert (host.app.signals, host.app.restarts) == ([1], ["app changed"])
    assert host.environment == {"APP": "api"}
    with pytest.raises(TypeError, match="'APP' with a value of type int, expected texts"):
        host.set(labels={"app": "odd"})


def test_what_the_app_does() -> None:
    """The hooks are called, and the plugin's view of the app goes along."""
    host = Host(ForTheApp)
    host.app_started(7)
    host.app_exited(3)
    host.app_started(8)
    host.app_exited(signal="TERM")
    assert host.plugin.seen == [
        ("start", 7, 1, 7, 1),
        ("exit", 3, 0, 0),
        ("start", 8, 2, 8, 2),
        ("exit", 143, 15, 0),
    ]


def test_without_an_app() -> None:
    """Asking says why there is none."""
    host = Host.without_app(ForTheApp)
    host.start(labels={"app": "web"})
    with pytest.raises(AppError, match="kmetad wraps no app here"):
        host.set(labels={"app": "api"})
    assert not host.app.wrapped


def test_fixtures(pytester: pytest.Pytester) -> None:
    """A stranger's test gets both by their names, without importing kmetad."""
    pytester.makepyfile(
        """
        import sys
        from kmetad import hookimpl

        class Plugin:
            @hookimpl
            def kmetad_on_label(self, change):
                self.last = change.new

        def test_plugin(kmetad_host, kmetad_volume):
            host = kmetad_host(Plugin)
            host.start()
            host.set(labels={"app": "api"})
            assert host.plugin.last == "api"
            assert kmetad_volume.write(labels={"app": "web"})
            assert not kmetad_volume.write(labels={"app": "web"})
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_names_of_the_kit() -> None:
    """The door of the kit has them."""
    import kmetad.testing

    assert {"Host", "Volume", "ServiceAccountVolume", "encode", "quote", "token"} <= set(
        kmetad.testing.__all__
    )
    assert Volume is kmetad.testing.kubelet.Volume


HEARER = """
from kmetad import hookimpl

class Plugin:
    def __init__(self, context):
        self.heard, self.context = [], context

    @hookimpl
    def kmetad_on_change(self, batch):
        return {"app": batch.current.labels["app"]}

    @hookimpl
    def kmetad_on_applied(self, outcome):
        self.heard.append((outcome.instance, outcome.result, dict(outcome.detail)))
"""


def test_outcomes_are_kept_and_told(tmp_path: Path) -> None:
    """What others would hear of it, and what it hears of others; its context is a whole one."""
    (tmp_path / "hearer.py").write_text(HEARER)
    tmp_path.chmod(0o755)
    host = Host(str(tmp_path / "hearer.py"))
    host.start(labels={"app": "web"})
    host.set(labels={"app": "api"})
    assert [(made.result, dict(made.detail)) for made in host.outcomes] == [
        ("applied", {}),
        ("applied", {"app": "api"}),
    ]
    host.applied(host.outcomes[-1])
    assert host.plugin.heard == [("test", "applied", {"app": "api"})]
    assert host.plugin.context.covers("label", "anything")
    assert host.plugin.context.timeout == 30.0
