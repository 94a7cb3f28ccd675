"""Metadata in files: whole or not at all, and no line that somebody else has made."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kmetad_reload.write import Write, advice, describe, render, write

from kmetad import Fail, Snapshot
from kmetad.errors import FieldPathError
from tests.namespaces import own
from tests.unprivileged import as_nobody

ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files to others")
TEMPLATE = {"format": "template", "template": "app={metadata.labels['app']}\n"}


def pod(**labels: str) -> Snapshot:
    """One with these labels."""
    fields = MappingProxyType({"metadata.name": "web-1"})
    return Snapshot(labels=MappingProxyType(labels), fields=fields)


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A directory that everybody may enter; pytest's own may be entered by its owner alone."""
    path = Path(tempfile.mkdtemp(prefix="kmetad-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def failing(options: Write, snapshot: Snapshot) -> str:
    """What the Fail says; empty if there was none."""
    try:
        write(options, snapshot)
    except Fail as fail:
        return fail.reason
    return ""


def made(file: Path, **options: Any) -> Write:
    """The options of a file."""
    return Write(str(file), **options)


POD = pod()


@pytest.mark.parametrize(
    ("options", "content"),
    [
        ({}, "POD_NAME=web-1\n"),
        ({"fields": {"A": "metadata.labels['app']", "B": "metadata.uid"}}, "A='it'\"'\"'s $(x)'\n"),
        ({"format": "json", "fields": {"a": "metadata.labels['app']"}}, '{\n  "a": "it\'s $(x)"\n}\n'),
        (TEMPLATE, "app=it's $(x)\n"),
        ({"format": "template", "template": "{metadata.uid:-none}"}, "none"),
    ],
)
def test_formats(tmp_path: Path, options: dict[str, Any], content: str) -> None:
    """What isn't known is left out; a template has defaults for that."""
    file = tmp_path / "file"
    assert write(made(file, **options), pod(app="it's $(x)"))
    assert file.read_text() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_json_without_fields_is_the_pod(tmp_path: Path) -> None:
    """As ``kmetad get -o json`` prints it."""
    write(made(tmp_path / "file", format="json"), pod(app="web"))
    assert json.loads((tmp_path / "file").read_text()) == {
        "metadata": {"name": "web-1", "labels": {"app": "web"}}
    }


def test_what_is_so_already_is_not_touched(tmp_path: Path) -> None:
    """Neither its time nor its inode; a mode that isn't as wanted is a difference."""
    file = tmp_path / "file"
    assert write(made(file, **TEMPLATE), pod(app="a"))
    before = file.stat()
    assert not write(made(file, **TEMPLATE), pod(app="a"))
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert write(made(file, mode="0600", **TEMPLATE), pod(app="a"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["file"]


@ROOT
def test_whose_it_is(tmp_path: Path) -> None:
    """By name or number; that it is another's is a difference."""
    file = tmp_path / "file"
    assert write(made(file, **TEMPLATE), pod(app="a"))
    assert write(made(file, owner="65534:65533", **TEMPLATE), pod(app="a"))
    assert (file.stat().st_uid, file.stat().st_gid) == (65534, 65533)
    assert not write(made(file, owner="65534", **TEMPLATE), pod(app="a"))
    assert write(made(file, owner=":root", **TEMPLATE), pod(app="a"))
    assert (file.stat().st_uid, file.stat().st_gid) == (0, 0)
    with pytest.raises(Fail, match="owner 'nobody-of-this-name': there is no such user"):
        write(made(file, owner="nobody-of-this-name", **TEMPLATE), pod(app="b"))


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    """Whoever can put a link there doesn't choose what is overwritten."""
    target, file = tmp_path / "target", tmp_path / "file"
    target.write_text("precious")
    file.symlink_to(target)
    (tmp_path / ".file.kmetad").symlink_to(target)  # in the way of the temporary file as well
    assert write(made(file, **TEMPLATE), pod(app="a"))
    assert (target.read_text(), file.is_symlink(), file.read_text()) == ("precious", False, "app=a\n")
    assert sorted(os.listdir(tmp_path)) == ["file", "target"]


def test_what_a_kill_has_left_is_taken_away(tmp_path: Path) -> None:
    """The temporary file of a kmetad that was killed half-way."""
    (tmp_path / ".file.kmetad").write_text("half")
    assert write(made(tmp_path / "file", **TEMPLATE), pod(app="a"))
    assert os.listdir(tmp_path) == ["file"]


def test_a_reader_never_sees_half_of_it(tmp_path: Path) -> None:
    """Nor nothing: 200 replacements, while somebody reads as fast as possible."""
    file = tmp_path / "file"
    options = made(file, format="template", template="{metadata.labels['app']}" * 2000)
    write(options, pod(app="000"))
    seen: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            seen.add(file.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(200):
            write(options, pod(app=f"{number:03}"))
    finally:
        stop.set()
        reader.join()
    assert all(text == text[:3] * 2000 for text in seen)
    assert len(seen) > 1


def test_several_that_write_the_same_file(tmp_path: Path) -> None:
    """Two rules, whose lanes are threads, or two containers: it's whole at any time, and nothing is left behind."""
    file = tmp_path / "file"
    options = made(file, format="template", template="{metadata.labels['app']}" * 2000)
    write(options, pod(app="000"))
    torn: list[str] = []
    reasons: set[str] = set()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            text = file.read_text()
            if text != text[:3] * 2000:
                torn.append(text)

    def work(writer: int) -> None:
        for number in range(50):
            reasons.add(failing(options, pod(app=f"{writer}{number:02}")))

    # Processes of their own as well: a lock among threads wouldn't be enough.
    code = (
        "import sys; from pathlib import Path; from types import MappingProxyType\n"
        "from kmetad import Fail, Snapshot; from kmetad_reload.write import Write, write\n"
        "options = Write(sys.argv[1], format='template', template=\"{metadata.labels['app']}\" * 2000)\n"
        "for number in range(50):\n"
        "    try: write(options, Snapshot(labels=MappingProxyType({'app': sys.argv[2] + f'{number:02}'})))\n"
        "    except Fail as fail: assert 'another process is writing it' in fail.reason\n"
    )
    others = [subprocess.Popen([sys.executable, "-c", code, str(file), str(n)]) for n in (1, 2)]
    threads = [threading.Thread(target=work, args=(writer,)) for writer in (3, 4)]
    reader = threading.Thread(target=read)
    for thread in (reader, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    codes = [other.wait() for other in others]
    stop.set()
    reader.join()
    assert (torn, codes, os.listdir(tmp_path)) == ([], [0, 0], ["file"])
    assert all(not reason or "another process is writing it" in reason for reason in reasons)


def test_another_is_at_it(tmp_path: Path) -> None:
    """What somebody writes at this moment isn't taken away from him; it's tried again later."""
    temporary = tmp_path / ".file.kmetad"
    with temporary.open("w") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(Fail, match="another process is writing it; have only one rule") as caught:
            write(made(tmp_path / "file"), POD)
        assert caught.value.retry
        assert os.listdir(tmp_path) == [temporary.name]
    assert write(made(tmp_path / "file"), POD)


def test_killed_at_any_point(tmp_path: Path) -> None:
    """There is the one before or the one after, and what the kill leaves is gone with the next write."""
    file = tmp_path / "file"
    options = made(file, format="template", template="{metadata.labels['app']}" * 50_000)
    code = (
        "import sys; from types import MappingProxyType\n"
        "from kmetad import Snapshot; from kmetad_reload.write import Write, write\n"
        "options = Write(sys.argv[1], format='template', template=\"{metadata.labels['app']}\" * 50_000)\n"
        "for number in range(1_000_000):\n"
        "    write(options, Snapshot(labels=MappingProxyType({'app': f'{number % 1000:03}'})))\n"
        "    if not number: print('ready', flush=True)\n"
    )
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE)
        with contextlib.closing(child.stdout) as pipe:  # type: ignore[type-var]
            assert pipe is not None and pipe.readline() == b"ready\n"
            child.kill()
            child.wait()
        text = file.read_text()
        assert text == text[:3] * 50_000
        assert write(options, pod(app="xxx"))
        assert os.listdir(tmp_path) == ["file"]


def test_a_field_that_is_missing(tmp_path: Path) -> None:
    """The file stays as it is, and it isn't tried again with the same."""
    file = tmp_path / "file"
    write(made(file, **TEMPLATE), pod(app="a"))
    with pytest.raises(Fail, match=r"there is no metadata.* now, and no default; the file stays") as caught:
        write(made(file, **TEMPLATE), pod())
    assert not caught.value.retry
    assert file.read_text() == "app=a\n"


@pytest.mark.parametrize(
    "value", ["a\nadmin=yes", "a\r", "a\0", "a\x1b[31m", "a\x85b", "a\u2028b", "a\udcc2"]
)
def test_a_value_that_could_forge_a_line(tmp_path: Path, value: str) -> None:
    """A template refuses it; the other formats encode it."""
    file = tmp_path / "file"
    message = r"metadata.labels\['app'\] holds a control character.*could forge a line.*\"env\" and \"json\" quote it"
    with pytest.raises(Fail, match=message) as caught:
        write(made(file, **TEMPLATE), pod(app=value))
    assert not caught.value.retry
    assert os.listdir(tmp_path) == []
    fields = {"A": "metadata.labels['app']"}
    write(made(file, format="json", fields=fields), pod(app=value))
    assert json.loads(file.read_text()) == {"A": value}
    if "\0" in value:
        with pytest.raises(Fail, match="holds a NUL"):
            write(made(file, fields=fields), pod(app=value))


BYTES = st.one_of(
    st.sampled_from(" '\"\\$`\n\r\t;&|<>*?!~#()[]{}=-%"),
    st.characters(codec="utf-8", exclude_characters="\0"),
    st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
)
"""A character, or a byte that is no UTF-8 as kmetad has it."""
ANY = st.text(st.one_of(st.characters(), st.characters(categories=["Cc", "Zl", "Zp", "Cs"])))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(BYTES, max_size=12), min_size=1, max_size=20))
def test_a_shell_reads_back_exactly_what_there_was(values: list[str]) -> None:
    """Quotes, newlines, dollars, bytes that are no UTF-8: nothing is run, nothing is lost."""
    names = [f"V{number}" for number in range(len(values))]
    fields = {name: f"metadata.labels['{name.lower()}']" for name in names}
    snapshot = pod(**{name.lower(): value for name, value in zip(names, values, strict=True)})
    script = render(Write("/x", fields=fields), snapshot)
    script += b"".join(b"printf '%%s\\0' \"$%s\"\n" % name.encode() for name in names)
    done = subprocess.run(["sh"], input=script, capture_output=True, check=True)
    assert done.stderr == b""
    assert done.stdout.split(b"\0")[:-1] == [value.encode("utf-8", "surrogateescape") for value in values]


@given(ANY)
def test_json_is_read_back_as_it_was(value: str) -> None:
    """Lone surrogates, too."""
    content = render(Write("/x", format="json", fields={"a": "metadata.labels['app']"}), pod(app=value))
    assert json.loads(content) == {"a": value}


@given(ANY, ANY)
def test_a_template_has_as_many_lines_as_its_author_wrote(first: str, second: str) -> None:
    """Whatever the values are, or it is refused."""
    options = Write("/x", format="template", template="a={metadata.labels['a']}{metadata.labels['b']}\nb=1\n")
    try:
        content = render(options, pod(a=first, b=second))
    except Fail:
        return
    assert content.decode("utf-8").splitlines() == [f"a={first}{second}", "b=1"]


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    """Each with what to do."""
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    for place, message in (
        ("none/file", "none isn't there; mount a volume there"),
        ("directory", "is a directory; name a file in it"),
        ("file/x", "file is no directory"),
    ):
        with pytest.raises(Fail, match=message):
            write(made(tmp_path / place, **TEMPLATE), pod(app="a"))
    assert sorted(os.listdir(tmp_path)) == ["directory", "file"]
    (tmp_path / ".new.kmetad").mkdir()
    with pytest.raises(Fail, match=r"\.new\.kmetad is in the way, a directory; remove it"):
        write(made(tmp_path / "new"), POD)
    with pytest.raises(Fail, match="File name too long; shorten it"):
        write(made(tmp_path / ("x" * 250)), POD)


def test_what_else_may_be_there(tmp_path: Path) -> None:
    """A pipe that nobody writes to, or a socket, is replaced, too, and not waited for."""
    for name in ("pipe", ".pipe.kmetad"):
        os.mkfifo(tmp_path / name)
    assert write(made(tmp_path / "pipe"), POD)
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(tmp_path):
        listening.bind(".socket.kmetad")
        assert write(made(tmp_path / "socket"), POD)
    assert sorted(os.listdir(tmp_path)) == ["pipe", "socket"]
    assert (tmp_path / "pipe").read_text() == (tmp_path / "socket").read_text() == "POD_NAME=web-1\n"


def test_a_directory_that_is_not_ours(open_path: Path) -> None:
    """Known beforehand, and said with what to do."""
    options = made(open_path / "x")
    open_path.chmod(0o555)
    refused, advised = as_nobody(lambda: (failing(options, POD), list(advice(options))))
    open_path.chmod(0o755)
    assert f"x can't be written: Permission denied; make {open_path} writable for kmetad's user" in refused
    assert advised == [f"{open_path}/x can't be written: {open_path} isn't writable for this user"]
    assert os.listdir(open_path) == []


@ROOT
def test_a_file_for_somebody_else(open_path: Path) -> None:
    """Only root gives files away; nothing is left behind."""
    open_path.chmod(0o777)
    options = made(open_path / "x", owner="0")
    reason = as_nobody(lambda: failing(options, POD))
    assert "x: kmetad may not give a file to 0 (Operation not permitted); run it as root" in reason
    assert os.listdir(open_path) == []


@ROOT
def test_a_file_of_somebody_else(open_path: Path) -> None:
    """It can be replaced where the directory is ours to write, unless that is sticky as /tmp is."""
    file = open_path / "x"
    file.write_text("root's")
    open_path.chmod(0o1777)
    reason = as_nobody(lambda: failing(made(file), POD))
    assert "x can't be written: Operation not permitted; another user's file is in its place" in reason
    assert os.listdir(open_path) == ["x"]
    (open_path / ".x.kmetad").touch(0o600)  # a temporary file, which root has left
    open_path.chmod(0o777)
    assert as_nobody(lambda: failing(made(file), POD)) == ""
    assert (file.read_text(), os.listdir(open_path)) == ("POD_NAME=web-1\n", ["x"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": "relative"}, "absolute path"),
        ({"file": "/x/"}, "absolute path"),
        ({"file": "/x/.."}, "absolute path"),
        ({"file": "/x/\0"}, "absolute path"),
        ({"file": "/x/{metadata.name}"}, "a path can hold no field"),
        ({"fields": {}}, "fields is empty"),
        ({"format": "json", "fields": {"a": "metadata.annotations"}}, "name one"),
        ({"format": "template", "template": "{metadata.labels}"}, "name one"),
        ({"format": "template", "template": "{metadata.name:-a\nb}"}, "the default of metadata.name holds"),
        ({"format": "template", "template": "{metadata.name"}, "nothing closes"),
        ({"owner": "4294967295"}, "no number of a user"),
        ({"owner": f"a:{2**64}"}, "no number of a user"),
        ({"format": "template"}, "belong together"),
        ({"template": "x"}, "belong together"),
        ({**TEMPLATE, "fields": {"A": "metadata.name"}}, "fields are for"),
        ({"fields": {"A": "metadata.nmae"}}, "metadata.name"),
        ({"fields": {"A": "metadata.labels"}}, "name one"),
        ({"fields": {"A-B": "metadata.name"}}, "no name of a variable"),
        ({"format": "template", "template": "{metadata.nmae}"}, "metadata.name"),
        ({"mode": "rw"}, "octal"),
        ({"mode": "4755"}, "octal"),
        ({"owner": "a:b:c"}, "owner: found"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    """They are a fault when they are read."""
    with pytest.raises((ValueError, FieldPathError), match=message):
        Write(**{"file": "/x/y", **options})


def test_described(tmp_path: Path) -> None:
    """Whether it would change, and nothing is written for that."""
    options = made(tmp_path / "file", **TEMPLATE)
    assert describe(options, pod(app="a")) == f"write {tmp_path}/file (template, 1 line), which would change"
    assert os.listdir(tmp_path) == []
    write(options, pod(app="a"))
    assert describe(options, pod(app="a")).endswith("which is as it would be")
    assert describe(options, pod()).startswith("write nothing: ")
    assert describe(made(tmp_path / "file", owner="nobody-of-this-name"), POD).startswith("write nothing: ")
    nowhere = describe(made(tmp_path / "none" / "file"), POD)
    assert nowhere == f"write nothing: {next(iter(advice(made(tmp_path / 'none' / 'file'))))}"


def test_advice(tmp_path: Path) -> None:
    """What will fail, before it does."""
    assert list(advice(made(tmp_path / "file"))) == []
    assert "mount a volume there" in "".join(advice(made(tmp_path / "none" / "file")))
    (tmp_path / "directory").mkdir()
    assert "it is a directory" in "".join(advice(made(tmp_path / "directory")))
    assert "there is no such user" in "".join(advice(made(tmp_path / "file", owner="nobody-of-this-name")))


MOUNTED = """
import os, subprocess, sys
from types import MappingProxyType
from kmetad import Fail, Snapshot
from kmetad_reload.write import Write, advice, write

def attempt(file, **labels):
    try:
        write(Write(file, format="json"), Snapshot(labels=MappingProxyType(labels)))
    except Fail as fail:
        print(fail.reason)
    else:
        print("written")

place = sys.argv[1]
file = place + "/file"
"""


@pytest.mark.parametrize(
    ("mounted", "code", "told"),
    [
        (
            "mount -t tmpfs -o size=64k tmpfs $0",
            "attempt(file); attempt(file, a='x' * 1_000_000); print(os.listdir(place), open(file).read().strip())",
            ["written", "file can't be written: No space left on device; make room", "['file'] {}"],
        ),
        (
            "mount -t tmpfs -o ro tmpfs $0",
            "attempt(file); print(*advice(Write(file)))",
            ["Read-only file system; mount a volume there that can be written", "isn't writable for this"],
        ),
        (
            "mount -t tmpfs tmpfs $0; touch $0/file; mount --bind $0/file $0/file",
            "attempt(file); print(os.listdir(place))",
            ["something is mounted at the file itself (subPath?)", "['file']"],
        ),
    ],
    ids=["full", "read-only", "mount point"],
)
def test_what_is_mounted_there(tmp_path: Path, mounted: str, code: str, told: list[str]) -> None:
    """What there was stays, nothing is left beside it, and it's said what to do."""
    script = f'{mounted}; exec "$@"'
    command = [*own("mount"), "sh", "-ec", script, str(tmp_path), sys.executable, "-c", MOUNTED + code]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True)
    assert done.stderr == ""
    for line, part in zip(done.stdout.splitlines(), told, strict=True):
        assert part in line
