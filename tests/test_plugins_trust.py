"""Whether somebody else could put another file where a plugin's is."""

from __future__ import annotations

import os
import py_compile
from pathlib import Path

import pytest

from kmetad._plugins import load
from kmetad._plugins.load import RESERVED_KEYS
from kmetad._plugins.trust import untrusted
from kmetad.errors import PluginError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A plugin's file that nobody else can touch."""
    folder = tmp_path / "plugins"
    folder.mkdir(mode=0o755)
    path = folder / "x.py"
    path.write_text("class Plugin: origin = 'ours'\n")
    path.chmod(0o644)
    return path


def test_a_safe_file(file: Path) -> None:
    """No reason against it."""
    assert untrusted(os.fspath(file)) == (os.fspath(file), [])


def test_a_link_in_a_directory_of_everybody(file: Path, tmp_path: Path) -> None:
    """They could point it elsewhere: every directory on the way counts, not only the file's own."""
    way = tmp_path / "way"
    way.mkdir()
    (way / "link.py").symlink_to(file)
    assert untrusted(f"{way}/link.py") == (os.fspath(file), [])
    way.chmod(0o777)
    (reason,) = untrusted(f"{way}/link.py")[1]
    assert reason.startswith(f"{way} is writable by others (mode 0777)")


def test_a_config_map(tmp_path: Path) -> None:
    """Its root is writable by everybody, but mounted read-only, and its links lead through ..data."""
    root = tmp_path / "volume"
    (root / "..2026_01_02").mkdir(parents=True)
    (root / "..2026_01_02" / "x.py").write_text("")
    (root / "..data").symlink_to("..2026_01_02")
    (root / "x.py").symlink_to("..data/x.py")
    root.chmod(0o777)
    real = os.fspath(root / "..2026_01_02" / "x.py")
    assert untrusted(f"{root}/x.py", read_only=lambda path: path.startswith(f"{root}")) == (real, [])
    assert len(untrusted(f"{root}/x.py", read_only=lambda path: False)[1]) >= 1


def test_owners(file: Path) -> None:
    """Root and ourselves are trusted; anybody else isn't, on a read-only mount either."""
    owner = os.stat(file).st_uid
    assert untrusted(os.fspath(file), uid=owner)[1] == []
    if owner:
        reasons = untrusted(os.fspath(file), uid=owner + 1, read_only=lambda path: True)[1]
        assert any(f"belongs to user {owner}" in reason for reason in reasons)


def test_a_loop_of_links(tmp_path: Path) -> None:
    """Ends as the kernel would end it."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        untrusted(f"{tmp_path}/a")
    with pytest.raises(PluginError, match="symbolic links"):
        load("x", path=f"{tmp_path}/a")


def test_compiled_files_are_not_run(file: Path) -> None:
    """What lies in __pycache__ isn't the file that was looked at, so it is neither read nor written."""
    other = file.with_name("other.py")
    other.write_text(file.read_text().replace("ours", "evil"))
    stamp = file.stat()
    os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    cache = file.parent / "__pycache__"
    cache.mkdir()
    import importlib.util

    py_compile.compile(os.fspath(other), cfile=importlib.util.cache_from_source(os.fspath(file)))
    before = sorted(cache.iterdir())
    assert load("x", path=os.fspath(file)).plugin.origin == "ours"  # type: ignore[attr-defined]
    assert sorted(cache.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("class Options: pass", "is no msgspec.Struct"),
        ("class Options(msgspec.Struct): pass", "isn't frozen"),
        ("class Options(msgspec.Struct, frozen=True): path: str = ''", "has path, which .* kmetad's own"),
    ],
)
def test_options_that_could_not_work(file: Path, options: str, told: str) -> None:
    """No Struct, not frozen, or with a key that is kmetad's own."""
    file.write_text(f"import msgspec\nclass Plugin: pass\n{options}\n")
    with pytest.raises(PluginError, match=told):
        load("x", path=os.fspath(file))


def test_reserved_keys_are_those_of_the_configuration() -> None:
    """The two lists are one."""
    from kmetad._config import model

    assert set(RESERVED_KEYS) == set(model.RESERVED_KEYS)
