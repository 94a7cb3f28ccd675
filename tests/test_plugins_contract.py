"""API_VERSION: a plugin says which contract it was written for, and one that kmetad doesn't have is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kmetad import PluginError, __version__, hookspecs
from kmetad._plugins import load
from kmetad.testing import Host
from tests.cli import Running, eventually, inside

PLUGIN = """
from kmetad import hookimpl

class Plugin:
    @hookimpl
    def kmetad_on_start(self, snapshot):
        pass
"""
NOW = hookspecs.API_VERSION


def written(folder: Path, says: str) -> str:
    """A plugin whose module says this of its contract."""
    file = folder / "greeter.py"
    file.write_text(f"{says}\n{PLUGIN}")
    file.chmod(0o644)
    return str(file)


@pytest.mark.parametrize("says", ["", f"API_VERSION = {NOW}", "API_VERSION = None"])
def test_this_contract(says: str, tmp_path: Path) -> None:
    """Said, or not said at all."""
    found = load("greeter", path=written(tmp_path, says))
    assert found.api_version == (NOW if "=" in says and "None" not in says else None)


@pytest.mark.parametrize("says", ["'1'", "1.0", "True", "[1]", "(1, 0)"])
def test_no_number(says: str, tmp_path: Path) -> None:
    """It is said what was found, and what to write."""
    with pytest.raises(PluginError, match=r"which is no whole number; write API_VERSION = 1$"):
        load("greeter", path=written(tmp_path, f"API_VERSION = {says}"))


def test_a_newer_contract(tmp_path: Path) -> None:
    """What the plugin is, what kmetad has, and two ways out."""
    path = written(tmp_path, f"API_VERSION = {NOW + 1}")
    with pytest.raises(PluginError) as raised:
        load("greeter", path=path)
    assert str(raised.value) == (
        f"plugins.greeter: {path} was written for plugin API {NOW + 1}, and this kmetad ({__version__}) has {NOW}: "
        "upgrade kmetad, or use an older version of the plugin"
    )


def test_an_older_contract(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As far back as kmetad goes it is taken; what is older is refused the other way round."""
    with pytest.raises(
        PluginError, match=r"plugin API 0, and this kmetad \(\S+\) has 1: use a newer version of the "
    ):
        load("greeter", path=written(tmp_path, "API_VERSION = 0"))
    module = sys.modules[load.__module__]
    monkeypatch.setattr(module, "API_VERSION", 4)
    monkeypatch.setattr(module, "OLDEST_API_VERSION", 3)
    assert load("greeter", path=written(tmp_path, "API_VERSION = 3")).api_version == 3
    with pytest.raises(
        PluginError, match=r"API 2, and this kmetad \(\S+\) has 4, and takes 3 at least: use a newer"
    ):
        load("greeter", path=written(tmp_path, "API_VERSION = 2"))


def test_it_is_a_fault_like_any_other(tmp_path: Path) -> None:
    """``kmetad check`` names it, the app runs without the plugin, and ``kmetad status`` says why that isn't ready."""
    toml = tmp_path / "kmetad.toml"
    path = written(tmp_path, f"API_VERSION = {NOW + 1}")
    toml.write_text(f'[state]\ndir = "{tmp_path}"\n[plugins.greeter]\npath = "{path}"\n')
    done = inside("check", "-c", str(toml))
    assert done.returncode == 2
    assert f"plugins.greeter: {path} was written for plugin API {NOW + 1}" in done.stderr
    with Running("run", "-c", str(toml), "--", "sh", "-c", "echo runs; exec sleep infinity") as running:
        assert running.out.line() == "runs"
        running.err.until(f"was written for plugin API {NOW + 1}")
        assert eventually(
            lambda: "was written for" in inside("status", "-c", str(toml)).stdout, "the status has it"
        )
        assert running.process.poll() is None


def test_in_a_test_of_its_own(tmp_path: Path) -> None:
    """``Host`` refuses it by path, as kmetad would."""
    with pytest.raises(PluginError, match="was written for plugin API"):
        Host(written(tmp_path, f"API_VERSION = {NOW + 1}"))
