"""The app's output at its beginning and end: held for the first tags, passed on to the last byte, start after start."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.cli import eventually
from tests.wrapper.conftest import LOGTAG, V1, Toml
from tests.wrapper.wrapped import Wrapped, ended, gone, own_lines, run

LATE = """
[plugins.late]
path = "DIR/late.py"
"""
LATE_CODE = """
import os, threading, kmetad
class Plugin:
    @kmetad.hookimpl
    def kmetad_on_start(self, snapshot):
        here = os.path.dirname(__file__)
        open(here + "/asked", "w").close()
        while not os.path.exists(here + "/go"):
            threading.Event().wait(0.01)
    @kmetad.hookimpl
    def kmetad_log_tags(self, snapshot):
        return kmetad.LogTags({"late": True})
"""
"""Says what it has when a file is there."""
SIZE = 60_000
"""Bytes that fit into the app's pipe, and into no socket with the smallest of buffers."""


@pytest.fixture
def late(tmp_path: Path) -> Path:
    """The directory of the plugin; ``go`` in it lets it go on."""
    (tmp_path / "late.py").write_text(LATE_CODE)
    return tmp_path


@pytest.fixture
def narrow() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A socket that holds little of what is written to it: the reader's end, and the writer's."""
    reader, writer = socket.socketpair()
    writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    with reader, writer:
        yield reader, writer


def read_all(reader: socket.socket) -> bytes:
    """All there is, to the end."""
    return b"".join(iter(lambda: reader.recv(1 << 16), b""))


def let_go(wrapped: Wrapped) -> int:
    """End the input that its app waits for; the exit code."""
    assert wrapped.process.stdin is not None
    wrapped.process.stdin.close()
    return wrapped.wait()


def test_the_first_line_waits_for_all_who_have_tags(toml: Toml, volume: Volume, late: Path) -> None:
    """Some come sooner than others."""
    options = toml("[run]\nfirst_tags_timeout = '10m'\n" + LOGTAG + LATE)
    with Wrapped(["sh", "-c", "echo '{\"n\":1}'; read -r _; exit 7"], options=options, stdin=-1) as wrapped:
        eventually((late / "asked").exists)
        (late / "go").touch()
        assert wrapped.line() == '{"pod":{"version":"v1","late":true},"n":1}'
        assert let_go(wrapped) == 7


def test_no_line_waits_where_none_is_to(toml: Toml, late: Path) -> None:
    """Zero seconds are none."""
    options = toml('[run]\noutput = "tag"\nfirst_tags_timeout = "0s"\n' + LATE)
    with Wrapped(["sh", "-c", "echo '{}'; read -r _; exit 7"], options=options, stdin=-1) as wrapped:
        assert wrapped.line() == "{}"
        (late / "go").touch()
        assert let_go(wrapped) == 7


@pytest.mark.parametrize("drain", ["2s", "200ms"])
def test_what_waits_when_the_app_ends(drain: str, toml: Toml, late: Path) -> None:
    """Its last words come, without tags if need be, and nobody is accused of anything."""
    options = toml(f'[run]\noutput = "tag"\nfirst_tags_timeout = "10m"\ndrain_timeout = "{drain}"\n' + LATE)
    done = run(["sh", "-c", "echo '{}'; exit 3"], options=options)
    assert (done.stdout, done.returncode) == ("{}\n", 3)
    said = own_lines(done.stderr)
    assert not [line for line in said if "read to the end" in line or "started again" in line]


@pytest.mark.parametrize("run_", ["start = 'after-sync'", "env = { V = \"{metadata.labels['version']}\" }"])
def test_an_app_that_waits_has_its_tags_when_it_starts(run_: str, toml: Toml, volume: Volume) -> None:
    """They have come before it."""
    done = run(["echo", '{"n":1}'], options=toml(f"[run]\n{run_}\n" + LOGTAG))
    assert done.stdout == f'{V1}"n":1}}\n'


def test_all_is_passed_on_however_late_it_is_read(
    toml: Toml, volume: Volume, narrow: tuple[socket.socket, socket.socket]
) -> None:
    """The app and the daemon have gone by then."""
    reader, writer = narrow
    options = toml('[run]\ndrain_timeout = "10m"\n' + LOGTAG)
    command = ["sh", "-c", f"head -c {SIZE} /dev/zero; read -r _; exit 7"]
    with Wrapped(command, options=options, stdin=-1, stdout=writer) as wrapped:
        writer.close()
        daemon = wrapped.daemon()
        assert wrapped.process.stdin is not None
        wrapped.process.stdin.close()
        gone(daemon)
        assert read_all(reader) == bytes(SIZE)
        assert wrapped.wait() == 7


def test_nobody_reads_to_the_end(
    toml: Toml, volume: Volume, narrow: tuple[socket.socket, socket.socket]
) -> None:
    """The rest is given up after drain_timeout, and that is said."""
    _, writer = narrow
    options = toml('[run]\ndrain_timeout = "300ms"\n' + LOGTAG)
    with Wrapped(["head", "-c", str(SIZE), "/dev/zero"], options=options, stdout=writer) as wrapped:
        wrapped.told("the app's stdout was not read to the end within 0.3 s")
        assert wrapped.wait() == 0


def test_a_start_s_output_comes_before_the_next_one_s(
    toml: Toml, volume: Volume, narrow: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    """Even where nobody reads it in time."""
    reader, writer = narrow
    script = f"[ -e first ] && {{ touch second; echo '{{}}'; exit; }}; touch first; head -c {SIZE} /dev/zero; exit 3"
    options = toml('[run]\nrestart = "on-failure"\ndrain_timeout = "200ms"\n' + LOGTAG)
    with Wrapped(["sh", "-c", script], options=options, stdout=writer, cwd=tmp_path) as wrapped:
        writer.close()
        eventually((tmp_path / "second").exists)
        assert read_all(reader) == bytes(SIZE) + b'{"pod":{"version":"v1"}}\n'
        assert wrapped.wait() == 0


def test_somebody_else_has_the_app_s_pipe(toml: Toml, volume: Volume, tmp_path: Path) -> None:
    """One who isn't the app's, and doesn't end with it, holds up neither its next start nor the end."""
    script = "echo '{\"n\":1}'; echo app ready $$; read -r _; [ -e tried ] && exit 0; touch tried; exit 3"
    options = toml('[run]\nrestart = "on-failure"\ndrain_timeout = "200ms"\n' + LOGTAG)
    with Wrapped(["sh", "-c", script], options=options, stdin=-1, cwd=tmp_path) as wrapped:
        assert wrapped.line() == V1 + '"n":1}'
        first = wrapped.ready()
        with open(f"/proc/{first}/fd/1", "w") as theirs:
            assert wrapped.process.stdin is not None
            wrapped.process.stdin.write("\n")
            wrapped.process.stdin.flush()
            ended(first)
            theirs.write("last\n")
            theirs.flush()
            assert wrapped.line() == "last"
            assert wrapped.line() == V1 + '"n":1}'
            with open(f"/proc/{_of_app(wrapped, first)}/fd/1", "w"):
                assert let_go(wrapped) == 0
        assert wrapped.err is not None
        assert not [line for line in wrapped.err.rest() if "read to the end" in line]


def _of_app(wrapped: Wrapped, before: int) -> int:
    """The pid that an app, another than before, says it has."""
    pid = int(wrapped.until(" ready ").split()[-1])
    assert pid != before
    return pid


def test_lines_stay_whole_beside_kmetad_s_own(toml: Toml, volume: Volume, tmp_path: Path) -> None:
    """Its log goes where the app's standard error goes, between two lines."""
    (tmp_path / "chatty.py").write_text(
        "import os, threading, kmetad\n"
        "def chat():\n"
        "    while True:\n"
        "        os.write(2, b'CHAT' * 50 + b'\\n')\n"
        "        threading.Event().wait(0.0002)\n"
        "class Plugin:\n"
        "    @kmetad.hookimpl\n"
        "    def kmetad_on_start(self, snapshot):\n"
        "        threading.Thread(target=chat, daemon=True).start()\n"
    )
    app = "import os\nline = b'{\"n\":%d,' + b'\"x\":\"' + b'x' * 100 + b'\"}\\n'\n"
    app += "for n in range(0, 300000, 30): os.write(2, b''.join(line % k for k in range(n, n + 30)))\n"
    options = toml(LOGTAG + '[plugins.chatty]\npath = "DIR/chatty.py"\n')
    with Wrapped([sys.executable, "-I", "-c", app], options=options) as wrapped:
        assert wrapped.err is not None
        lines = wrapped.err.rest()
        assert wrapped.wait() == 0
    of_app = [line for line in lines if '"n":' in line]
    assert of_app == [f'{V1}"n":{n},"x":"{"x" * 100}"}}' for n in range(300_000)]
    assert {line for line in lines if "CHAT" in line} == {"CHAT" * 50}


@pytest.mark.parametrize("limit", range(6, 12))
def test_hardly_any_descriptor(limit: int, toml: Toml, volume: Volume) -> None:
    """Tags are what is given up first; the app's lines and its exit code are its own."""
    shell = ("bash", "-c", f'ulimit -n {limit}; exec "$@"', "bash")
    options = toml("[run]\nfirst_tags_timeout = '300ms'\n" + LOGTAG)
    done = run(["sh", "-c", "echo '{\"n\":1}'; exit 7"], options=options, before=shell)
    assert done.stdout in ('{"n":1}\n', f'{V1}"n":1}}\n')
    assert done.returncode == 7
