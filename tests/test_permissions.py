"""kmetad._sources.permissions: which permission is missing, and what to do."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmetad._sources.permissions import explain, may, printable
from tests.unprivileged import as_nobody

DENIED = PermissionError(errno.EACCES, "Permission denied")


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that everybody may enter; pytest's own may be entered by its owner alone."""
    path = Path(tempfile.mkdtemp(prefix="kmetad-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_a_file(open_path: Path) -> None:
    """Its mode and owner, who we are, and the remedy."""
    file = open_path / "token"
    file.write_text("SECRET")
    file.chmod(0o200)
    sentence = as_nobody(lambda: explain(DENIED, str(file)))
    assert sentence.startswith(f"{file}: permission denied: it is a file of user {os.getuid()}, ")
    assert "mode 0200" in sentence
    assert "the permission to read (r) is missing for this process, which is user " in sentence
    for remedy in ("fsGroup", "runAsUser", "defaultMode"):
        assert remedy in sentence
    assert "SECRET" not in sentence


def test_who_we_are(tmp_path: Path) -> None:
    """User, group and the other groups of this very process."""
    sentence = explain(DENIED, str(tmp_path))
    assert f"which is user {os.geteuid()}, group {os.getegid()}" in sentence
    others = [str(group) for group in os.getgroups() if group != os.getegid()]
    assert (f"(also of {', '.join(others)})" in sentence) is bool(others)


@pytest.mark.parametrize(("mode", "need"), [(0o311, "read (r)"), (0o444, "search (x)"), (0o000, "read (r)")])
def test_a_directory(open_path: Path, mode: int, need: str) -> None:
    """Which of its permissions is missing."""
    directory = open_path / "podinfo"
    directory.mkdir()
    directory.chmod(mode)
    sentence = as_nobody(lambda: explain(DENIED, str(directory)))
    assert f"it is a directory of user {os.getuid()}, " in sentence
    assert f"mode {mode:04o}, so the permission to {need} is missing" in sentence


def test_a_directory_above(open_path: Path) -> None:
    """What keeps us from a file may be a directory further up: that one is named."""
    above = open_path / "above"
    (above / "a" / "b").mkdir(parents=True)
    (above / "a" / "b" / "labels").write_text("")
    above.chmod(0o600)
    sentence = as_nobody(lambda: explain(DENIED, str(above / "a" / "b" / "labels")))
    assert f"denied: {above} is a directory of user" in sentence
    assert "mode 0600, so the permission to search (x) is missing" in sentence
    above.chmod(0o700)


def test_gone_meanwhile(tmp_path: Path) -> None:
    """What can't be looked at any more is still told of."""
    sentence = explain(DENIED, str(tmp_path / "gone"))
    assert f"{tmp_path}/gone can't be looked at by user {os.geteuid()}" in sentence


def test_other_errors(tmp_path: Path) -> None:
    """Any other error is in the kernel's words."""
    assert explain(OSError(errno.EIO, "Input/output error"), "/x/a\nb") == r"/x/a\nb: Input/output error"


def test_as_the_effective_user(open_path: Path) -> None:
    """What may be done is judged as the kernel will."""
    file = open_path / "file"
    file.write_text("")
    file.chmod(0o400)
    assert may(str(file), os.R_OK)
    if os.geteuid() == 0:
        assert not as_nobody(lambda: may(str(file), os.R_OK))


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/etc/podinfo/labels", "/etc/podinfo/labels"),
        ("größe 😀", "größe 😀"),
        ("a\nb", r"a\nb"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\udcff", r"\udcff"),
        ("a\u202eb", r"a\u202eb"),
    ],
)
def test_printable(path: str, shown: str) -> None:
    """What a terminal would obey, or what is no text, is escaped."""
    assert printable(path) == shown
