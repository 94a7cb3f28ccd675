"""kmetad._plugins: what may be loaded, and what every mistake is told as."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kmetad import Context, PluginError, Snapshot, hookimpl
from kmetad._plugins import Instance, Loaded, installed, load, make
from kmetad.events import Batch, LabelChange, SourceChange
from kmetad.metadata import SourceState

GREETER = """
import msgspec
from kmetad import hookimpl

class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    greeting: str = "hello"

class Plugin:
    def __init__(self, options):
        self.options = options

    @hookimpl
    def kmetad_on_label(self, change):
        pass
"""


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A directory in which nobody else may write, as pytest's own is."""
    directory = tmp_path / "plugins"
    directory.mkdir(mode=0o755)
    return directory


def write(directory: Path, text: str, name: str = "greeter.py") -> str:
    """A file that only we may write."""
    (directory / name).write_text(text)
    (directory / name).chmod(0o644)
    return str(directory / name)


def made(plugin: type, options: object | None = None) -> Instance:
    """An instance of a class."""
    return make(Loaded(plugin, None, "here"), "x", options, Context("x", None))


def test_by_path(plugins: Path) -> None:
    """A file's class and its Options are found."""
    found = load("greeter", path=write(plugins, GREETER))
    assert found.plugin.__name__ == "Plugin"
    assert found.options_type is not None
    assert found.options_type().greeting == "hello"


def test_two_instances_of_a_file_share_no_module(plugins: Path) -> None:
    """Each table that names the path runs the file anew."""
    path = write(plugins, GREETER)
    assert load("one", path=path).plugin is not load("two", path=path).plugin


def test_by_module(plugins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module's name is imported as Python would."""
    write(plugins, GREETER, "kmetad_test_greeter.py")
    monkeypatch.syspath_prepend(str(plugins))
    assert load("x", module="kmetad_test_greeter").origin == "module kmetad_test_greeter"
    with pytest.raises(PluginError, match="there is no module kmetad_test_nothing"):
        load("x", module="kmetad_test_nothing")


def test_by_entry_point() -> None:
    """An installed plugin is found by its name; an unknown name lists what is installed."""
    assert "reload" in [plugin.name for plugin in installed()]
    assert load("reload").plugin.__module__.startswith("kmetad_reload")
    assert load("nginx", use="reload").plugin is load("reload").plugin
    with pytest.raises(PluginError, match=r"no plugin 'relaod' is installed .*reload.*did you mean reload\?"):
        load("relaod")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 / 0", r"importing .*greeter\.py raised ZeroDivisionError: division by zero \(.*greeter\.py:1\)"),
        ("import sys\nsys.exit(3)", r"raised SystemExit: 3"),
        ("def broken(:\n  pass", r"raised SyntaxError.*greeter\.py:1"),
        (
            "import nothing_of_this_name",
            r"raised ModuleNotFoundError: No module named 'nothing_of_this_name'",
        ),
        ("x = 1", r"has no class Plugin"),
        ("Plugin = 1", r"has no class Plugin"),
    ],
)
def test_import_that_fails(plugins: Path, text: str, message: str) -> None:
    """Whatever a file raises is told with the instance's name, the error, and its place."""
    path = write(plugins, text)
    with pytest.raises(PluginError, match="plugins.g[^g]*" + message):
        load("g", path=path)
    assert not [name for name in sys.modules if name == "kmetad_plugin_g" and "raised" in message]


def test_refuses_what_others_may_write(plugins: Path) -> None:
    """A file or directory that somebody else may change isn't run."""
    path = write(plugins, GREETER)
    os.chmod(path, 0o664)
    with pytest.raises(PluginError, match=r"greeter\.py is writable by others \(mode 0664\)"):
        load("g", path=path)
    os.chmod(path, 0o644)
    plugins.chmod(0o777)
    with pytest.raises(PluginError, match=r"plugins is writable by others \(mode 0777\).*mount it read-only"):
        load("g", path=path)
    plugins.chmod(0o1777)  # sticky: others may add files, and replace none
    assert load("g", path=path)
    plugins.chmod(0o755)
    link = plugins.parent / "link.py"
    link.symlink_to(path)
    os.chmod(path, 0o666)
    with pytest.raises(PluginError, match=r"greeter\.py is writable"):
        load("g", path=str(link))


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_refuses_what_belongs_to_others(plugins: Path) -> None:
    """A file of another user's isn't run either."""
    path = write(plugins, GREETER)
    os.chown(path, 65534, -1)
    with pytest.raises(PluginError, match="belongs to user 65534"):
        load("g", path=path)


def test_missing_file(plugins: Path) -> None:
    """A path that isn't there is said so."""
    with pytest.raises(PluginError, match=r"none\.py is no file"):
        load("g", path=str(plugins / "none.py"))


def test_arguments_of_the_constructor() -> None:
    """Nothing, options, context, or both, by their names."""

    class Base:
        @hookimpl
        def kmetad_on_start(self) -> None: ...

    class Both(Base):
        def __init__(self, options: Any, context: Any) -> None:
            self.got = (options, context.name)

    class One(Base):
        def __init__(self, context: Any, more: int = 1) -> None:
            self.got = (context.name, more)

    class Unknown(Base):
        def __init__(self, settings: Any) -> None: ...

    assert made(Base).hooks == ("kmetad_on_start",)
    assert made(Both, "o").plugin.got == ("o", "x")  # type: ignore[attr-defined]
    assert made(One, "o").plugin.got == ("x", 1)  # type: ignore[attr-defined]
    with pytest.raises(PluginError, match=r"wants settings; it may take options"):
        made(Unknown, "o")


def test_constructor_that_raises() -> None:
    """It is told with what was raised, and where."""

    class Plugin:
        def __init__(self) -> None:
            raise LookupError("no such thing")

        @hookimpl
        def kmetad_on_start(self) -> None: ...

    with pytest.raises(
        PluginError, match=r"plugins.x: making it raised LookupError: no such thing \(.*test_plugins"
    ):
        made(Plugin)


def test_hooks_are_checked() -> None:
    """Misspelt, unmarked, with a wrong argument, or none at all: said with what was meant."""

    class Misspelt:
        @hookimpl
        def kmetad_on_lable(self, change: Any) -> None: ...

    class Unmarked:
        def kmetad_on_label(self, change: Any) -> None: ...

    class Argument:
        @hookimpl
        def kmetad_on_label(self, label: Any) -> None: ...

    class Nothing:
        pass

    with pytest.raises(
        PluginError, match=r"Misspelt.kmetad_on_lable .* is no hook.*did you mean kmetad_on_label\?"
    ):
        made(Misspelt)
    with pytest.raises(PluginError, match=r"isn't marked: put @kmetad.hookimpl above it"):
        made(Unmarked)
    with pytest.raises(PluginError, match=r"asks for label; this hook has change"):
        made(Argument)
    with pytest.raises(PluginError, match=r"has no hook; mark one with @kmetad.hookimpl: kmetad_app_env, "):
        made(Nothing)


def test_deliver_calls_hooks_in_order() -> None:
    """Single changes in the batch's order, then the batch; only with the arguments asked for."""
    calls: list[Any] = []

    class Plugin:
        @hookimpl
        def kmetad_on_start(self, snapshot: Any) -> None:
            calls.append(snapshot)

        @hookimpl
        def kmetad_on_source(self) -> None:
            calls.append("source")

        @hookimpl
        def kmetad_on_label(self, change: Any) -> None:
            calls.append(change.key)

        @hookimpl
        def kmetad_on_change(self, batch: Any) -> None:
            calls.append(len(batch.changes))

        @hookimpl
        def kmetad_on_stop(self) -> None:
            calls.append("stop")

    instance = made(Plugin)
    source = SourceChange("podinfo", None, SourceState(), "podinfo")
    label = LabelChange("app", None, "a", "podinfo")
    snapshot = Snapshot()
    instance.start(snapshot)
    instance.deliver(Batch((source, label), snapshot, snapshot, 0))
    instance.stop()
    assert calls == [snapshot, "source", "app", 2, "stop"]


def test_a_hook_that_raises_ends_the_delivery() -> None:
    """What it raised comes out, so that the batch stays unacknowledged."""

    class Plugin:
        @hookimpl
        def kmetad_on_change(self, batch: Any) -> None:
            raise LookupError("no")

    with pytest.raises(LookupError):
        made(Plugin).deliver(Batch((), Snapshot(), Snapshot(), 0))
