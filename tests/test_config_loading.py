"""Finding and reading the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kmetad._config import Config, find, load, parse


def test_find_order(tmp_path: Path) -> None:
    """``-c`` wins over the variable, which wins over the default file."""
    default = tmp_path / "kmetad.toml"
    default.write_text("")
    environ = {"KMETAD_CONFIG": "/from/variable"}
    assert find("/from/option", environ, str(default)) == "/from/option"
    assert find(None, environ, str(default)) == "/from/variable"
    assert find(None, {}, str(default)) == str(default)


def test_find_nothing(tmp_path: Path) -> None:
    """An empty variable means none, even with a default file; so does a default that isn't there."""
    default = tmp_path / "kmetad.toml"
    assert find(None, {}, str(default)) is None
    assert find(None, {}, str(default / "below" / "a" / "file")) is None
    default.write_text("")
    assert find(None, {"KMETAD_CONFIG": ""}, str(default)) is None
    assert find("", {}, str(default)) is None
    assert find(None, {}, f"{default}/below") is None


def test_find_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    """A default that is linked but missing isn't passed over in silence."""
    default = tmp_path / "kmetad.toml"
    default.symlink_to(tmp_path / "gone")
    assert find(None, {}, str(default)) == str(default)
    assert load(str(default)).fatal


def test_no_file() -> None:
    """Without a file everything has its default."""
    loaded = load(None)
    assert (loaded.config, loaded.problems, loaded.file, loaded.fatal) == (Config(), (), None, False)


def test_load(tmp_path: Path) -> None:
    """A file is read as UTF-8, with or without a byte order mark, and Windows' line ends."""
    file = tmp_path / "kmetad.toml"
    for data in (b'[log]\nlevel = "debug"\n', b'\xef\xbb\xbf[log]\r\nlevel = "debug"\r\n'):
        file.write_bytes(data)
        loaded = load(str(file))
        assert (loaded.config.log.level, loaded.problems, loaded.file) == ("debug", (), str(file))
        assert loaded.content == data


def test_load_what_was_read_before(tmp_path: Path) -> None:
    """Whatever is in the file by now, if it is there at all; faults are told of it all the same."""
    file = tmp_path / "kmetad.toml"
    loaded = load(str(file), b'[log]\nlevel = "debug"\n')
    assert (loaded.config.log.level, loaded.problems, loaded.file) == ("debug", (), str(file))
    (problem,) = load(str(file), b"\n\xff").problems
    assert str(problem).startswith(f"{file}:2: it isn't UTF-8")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "missing.toml",
            ": it can't be read: No such file or directory — name another file with -c or $KMETAD_CONFIG",
        ),
        ("", ": it can't be read: Is a directory — name another file with -c or $KMETAD_CONFIG"),
        (
            "nul\0.toml",
            ": it can't be read: embedded null byte — name another file with -c or $KMETAD_CONFIG",
        ),
    ],
)
def test_unreadable(tmp_path: Path, name: str, message: str) -> None:
    """A file that can't be read is a fault after which nothing starts."""
    path = os.path.join(tmp_path, name)
    loaded = load(path)
    assert [str(problem) for problem in loaded.problems] == [path + message]
    assert loaded.fatal
    assert (loaded.config, loaded.content) == (Config(), None)


def test_no_utf8(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are told with their line, not shown."""
    file = tmp_path / "kmetad.toml"
    file.write_bytes(b'# first\n[log]\nlevel = "\xff"\n')
    (problem,) = load(str(file)).problems
    assert str(problem) == f"{file}:3: it isn't UTF-8, as TOML must be — save it as UTF-8"
    assert problem.fatal


@pytest.mark.parametrize(
    "text", ["a = " + "[" * 100_000, "a = " + "9" * 5000, "a = {" * 3, "a", "\0", "[", "x = 1\nx = 2"]
)
def test_what_tomllib_refuses(text: str) -> None:
    """Whatever tomllib raises becomes one fatal problem."""
    loaded = parse(text, "kmetad.toml")
    assert len(loaded.problems) == 1
    assert loaded.fatal
    assert str(loaded.problems[0]).startswith("kmetad.toml:")


def test_line_of_the_end() -> None:
    """A text that ends too early is told with its last line."""
    assert parse("a = [\n1,\n\n\n", "kmetad.toml").problems[0].line == 2


def test_only_some_faults_are_fatal() -> None:
    """Those in [run] and [daemon] are, others leave the app its start."""
    assert parse("[run]\nx = 1", "f").fatal
    assert parse("[daemon]\nx = 1", "f").fatal
    assert not parse("[log]\nx = 1", "f").fatal
    assert not parse("[plugins.run]\nmatch = 1", "f").fatal
