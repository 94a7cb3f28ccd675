"""Metadata in files: whole or not at all, and no line that somebody else has made."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kmetad_reload.write import Write, advice, describe, render, write

from kmetad import Fail, Snapshot
from kmetad.errors import FieldPathError

ROOT = pytest.mark.skipif(os.getuid() != 0, reason="only root gives files to others")
TEMPLATE = {"format": "template", "template": "app={metadata.labels['app']}\n"}


def pod(**labels: str) -> Snapshot:
    """One with these labels."""
    fields = MappingProxyType({"metadata.name": "web-1"})
    return Snapshot(labels=MappingProxyType(labels), fields=fields)


def made(file: Path, **options: Any) -> Write:
    """The options of a file."""
    return Write(str(file), **options)


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
    """Nor nothing: 500 replacements, while somebody reads as fast as possible."""
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
        for number in range(500):
            write(options, pod(app=f"{number:03}"))
    finally:
        stop.set()
        reader.join()
    assert all(text == text[:3] * 2000 for text in seen)
    assert len(seen) > 1


def test_a_field_that_is_missing(tmp_path: Path) -> None:
    """The file stays as it is, and it isn't tried again with the same."""
    file = tmp_path / "file"
    write(made(file, **TEMPLATE), pod(app="a"))
    with pytest.raises(Fail, match=r"there is no metadata.* now, and no default; the file stays") as caught:
        write(made(file, **TEMPLATE), pod())
    assert not caught.value.retry
    assert file.read_text() == "app=a\n"


@pytest.mark.parametrize("value", ["a\nadmin=yes", "a\r", "a\0", "a\x1b[31m", "a\x85b", "a\u2028b"])
def test_a_value_that_could_forge_a_line(tmp_path: Path, value: str) -> None:
    """A template refuses it; the other formats encode it."""
    file = tmp_path / "file"
    with pytest.raises(Fail, match='could forge a line.*the formats "env" and "json" encode it') as caught:
        write(made(file, **TEMPLATE), pod(app=value))
    assert not caught.value.retry
    assert os.listdir(tmp_path) == []
    fields = {"A": "metadata.labels['app']"}
    write(made(file, format="json", fields=fields), pod(app=value))
    assert json.loads(file.read_text()) == {"A": value}
    if "\0" in value:
        with pytest.raises(Fail, match="holds a NUL"):
            write(made(file, fields=fields), pod(app=value))


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1, max_size=20))
def test_a_shell_reads_back_exactly_what_there_was(values: list[str]) -> None:
    """Quotes, newlines, dollars: nothing is run, nothing is lost."""
    names = [f"V{number}" for number in range(len(values))]
    fields = {name: f"metadata.labels['{name.lower()}']" for name in names}
    snapshot = pod(**{name.lower(): value for name, value in zip(names, values, strict=True)})
    script = render(Write("/x", fields=fields), snapshot)
    script += b"".join(b"printf '%%s\\0' \"$%s\"\n" % name.encode() for name in names)
    done = subprocess.run(["sh"], input=script, capture_output=True, check=True)
    assert done.stderr == b""
    assert done.stdout.decode().split("\0")[:-1] == values


@given(st.text())
def test_json_is_read_back_as_it_was(value: str) -> None:
    """Lone surrogates, too."""
    content = render(Write("/x", format="json", fields={"a": "metadata.labels['app']"}), pod(app=value))
    assert json.loads(content) == {"a": value}


@given(st.text(), st.text())
def test_a_template_has_as_many_lines_as_its_author_wrote(first: str, second: str) -> None:
    """Whatever the values are, or it is refused."""
    options = Write("/x", format="template", template="a={metadata.labels['a']}\nb={metadata.labels['b']}\n")
    try:
        text = render(options, pod(a=first, b=second)).decode("utf-8", "surrogateescape")
    except Fail:
        return
    assert len(text.splitlines()) == 2


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


@ROOT
def test_what_only_root_may(tmp_path: Path) -> None:
    """A directory that isn't ours, and a file for somebody else."""
    code = (
        "import os, sys\n"
        "from kmetad import Fail, Snapshot\n"
        "import grp, pwd, shlex, kmetad.podview\n"
        "from kmetad_reload.write import Write, advice, write\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "for place, owner in ((sys.argv[1], ''), (sys.argv[2], 'root')):\n"
        "    options = Write(place, owner=owner)\n"
        "    try: write(options, Snapshot())\n"
        "    except Fail as fail: print(fail)\n"
        "    print(*advice(options))\n"
    )
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir(0o755)
    theirs.mkdir()
    theirs.chmod(0o777)
    for place in (tmp_path, *tmp_path.parents):
        if place != Path("/"):
            place.chmod(place.stat().st_mode | 0o111)
    done = subprocess.run(
        [sys.executable, "-c", code, str(ours / "x"), str(theirs / "x")], capture_output=True, text=True
    )
    refused, advised, given, _ = done.stdout.splitlines()
    assert "x can't be written: Permission denied; make" in refused
    assert "isn't writable for this user" in advised
    assert "kmetad may not give a file to root; run it as root" in given
    assert os.listdir(theirs) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"file": "relative"}, "absolute path"),
        ({"file": "/x/"}, "absolute path"),
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


def test_advice(tmp_path: Path) -> None:
    """What will fail, before it does."""
    assert list(advice(made(tmp_path / "file"))) == []
    assert "mount a volume there" in "".join(advice(made(tmp_path / "none" / "file")))
    (tmp_path / "directory").mkdir()
    assert "it is a directory" in "".join(advice(made(tmp_path / "directory")))
    assert "there is no such user" in "".join(advice(made(tmp_path / "file", owner="nobody-of-this-name")))


def test_a_full_disk(tmp_path: Path) -> None:
    """What there was stays, and nothing is left beside it."""
    code = (
        "import os, sys\n"
        "from types import MappingProxyType\n"
        "from kmetad import Fail, Snapshot\n"
        "from kmetad_reload.write import Write, write\n"
        "options = Write(sys.argv[1] + '/file', format='json')\n"
        "write(options, Snapshot())\n"
        "try: write(options, Snapshot(labels=MappingProxyType({'a': 'x' * 1_000_000})))\n"
        "except Fail as fail: print(fail)\n"
        "print(os.listdir(sys.argv[1]), open(sys.argv[1] + '/file').read())\n"
    )
    small = f"mount -t tmpfs -o size=64k tmpfs {tmp_path} && exec "
    command = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        small + '"$@"',
        "sh",
        sys.executable,
        "-c",
        code,
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no mount namespace can be made here: {done.stderr.strip()}")
    assert "can't be written: No space left on device" in done.stdout
    assert done.stdout.splitlines()[1] == "['file'] {}"
