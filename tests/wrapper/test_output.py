"""The app's lines on their way through the wrapper: tagged, whole, in order, and as slow as whoever reads them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.cli import environment, eventually
from tests.soak import lines
from tests.wrapper.conftest import LOGTAG, V1, Toml
from tests.wrapper.terminals import Terminal
from tests.wrapper.wrapped import Wrapped, children, command_line, kmetad, own_lines, run, stat_of

FORCED = '[run]\noutput = "tag"\n' + LOGTAG
NEVER = """
[run]
output = "tag"
first_tags_timeout = "300ms"
drain_timeout = "300ms"

[plugins.never]
path = "DIR/never.py"
"""
_FIONREAD = 0x541B
NEVER_CODE = """
import threading, kmetad
class Plugin:
    @kmetad.hookimpl
    def kmetad_on_start(self, snapshot):
        threading.Event().wait()
    @kmetad.hookimpl
    def kmetad_log_tags(self, snapshot):
        return None
"""


def test_each_stream_from_its_first_line_on(before: tuple[str, ...], toml: Toml, volume: Volume) -> None:
    """Objects have tags, what else there is passes; the app's exit is kmetad's."""
    script = """echo '{"n":1}'; echo text; printf '{ }'; echo '{"e":1}' >&2; exit 7"""
    done = run(["sh", "-c", script], options=toml(LOGTAG), before=before)
    assert done.stdout == f'{V1}"n":1}}\ntext\n{V1[:-1]} }}'
    assert f'{V1}"e":1}}' in done.stderr.splitlines()
    assert done.returncode == 7


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ('text = "prefix"', "pod.version=v1 a line"),
        ('key = ""\ntext = "prefix"', "version=v1 a line"),
        ('streams = ["stderr"]\ntext = "prefix"', "a line"),
    ],
)
def test_options_of_the_plugin(more: str, line: str, toml: Toml, volume: Volume) -> None:
    """As its table says."""
    assert run(["echo", "a line"], options=toml(LOGTAG + more)).stdout == f"{line}\n"


def test_text_as_json(toml: Toml, volume: Volume) -> None:
    """With its stream and time."""
    done = run(["echo", 'a "line"'], options=toml(LOGTAG + 'text = "json"'))
    made = json.loads(done.stdout)
    assert (made["stream"], made["pod"], made["message"]) == ("stdout", {"version": "v1"}, 'a "line"')
    assert list(made) == ["time", "stream", "pod", "message"]


def test_without_the_plugin_the_app_has_the_files_themselves(toml: Toml, tmp_path: Path) -> None:
    """Nothing is in between."""
    read, write = os.pipe()
    with open(read), open(write, "w") as out:
        script = "import os, sys; print(os.readlink('/proc/self/fd/1'), file=sys.stderr)"
        command = [*kmetad(*toml("[run]\n")), sys.executable, "-c", script]
        done = subprocess.run(command, env=environment(), stdout=out, stderr=subprocess.PIPE, text=True)
        assert os.readlink(f"/proc/self/fd/{write}") in done.stderr.splitlines()


def test_a_label_changes_and_the_daemon_is_killed(toml: Toml, volume: Volume) -> None:
    """Lines follow the one, and go on through the other with the last tags."""
    echo = """while read -r line; do echo "{\\"n\\":$line}"; done"""
    with Wrapped(["sh", "-c", echo], options=toml(LOGTAG), stdin=subprocess.PIPE) as wrapped:
        assert wrapped.process.stdin is not None

        def line(number: int) -> str:
            assert wrapped.process.stdin is not None
            wrapped.process.stdin.write(f"{number}\n")
            wrapped.process.stdin.flush()
            return wrapped.line()

        assert line(0) == V1 + '"n":0}'
        volume.label("version", "v2")
        eventually(lambda: '"v2"' in line(1))
        daemon = wrapped.daemon()
        os.kill(daemon, signal.SIGKILL)
        assert line(2) == '{"pod":{"version":"v2"},"n":2}'
        volume.label("version", "v3")
        eventually(lambda: '"v3"' in line(3))
        assert wrapped.daemon() != daemon
        wrapped.process.stdin.close()
        assert wrapped.wait() == 0


def test_a_reader_that_has_gone(toml: Toml, volume: Volume) -> None:
    """The app gets what it would have got: SIGPIPE."""
    done = subprocess.run(
        [
            "bash",
            "-c",
            '"$@" | head -n 2; echo ${PIPESTATUS[0]}',
            "bash",
            *kmetad(*toml("[run]\nfirst_tags_timeout = '1m'\n" + LOGTAG)),
            "yes",
            '{"a":1}',
        ],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [V1 + '"a":1}'] * 2 + [str(128 + signal.SIGPIPE)]


def test_a_reader_that_goes_while_the_app_sleeps(toml: Toml, volume: Volume) -> None:
    """The very next write fails."""
    script = "echo '{}'; read -r _; echo more; echo survived >&2"
    read, write = os.pipe()
    options = toml(LOGTAG)
    with Wrapped(["sh", "-c", script], options=options, stdin=subprocess.PIPE, stdout=write) as wrapped:
        os.close(write)
        with open(read) as out:
            assert out.readline() == V1[:-1] + "}\n"
        eventually(lambda: _pumps(wrapped.pid) == 1)
        assert wrapped.process.stdin is not None
        wrapped.process.stdin.write("\n")
        wrapped.process.stdin.flush()
        assert wrapped.wait() == 128 + signal.SIGPIPE


def _pumps(pid: int) -> int:
    """How many pumps the wrapper still has: threads but for the main one."""
    return len(os.listdir(f"/proc/{pid}/task")) - 1


def test_a_socket_whose_other_end_goes(toml: Toml, volume: Volume) -> None:
    """It is a stream as a pipe is one: the very next write fails."""
    here, there = socket.socketpair()
    script = "echo '{}'; read -r _; echo more; echo survived >&2"
    with Wrapped(
        ["bash", "-c", script], options=toml(LOGTAG), stdin=subprocess.PIPE, stdout=there
    ) as wrapped:
        there.close()
        assert here.recv(100) == b'{"pod":{"version":"v1"}}\n'
        here.close()
        eventually(lambda: _pumps(wrapped.pid) == 1)
        assert wrapped.process.stdin is not None
        wrapped.process.stdin.write("\n")
        wrapped.process.stdin.flush()
        assert wrapped.wait() == 128 + signal.SIGPIPE


def test_a_socket_of_messages(toml: Toml, volume: Volume) -> None:
    """What the app writes at once is one, so it writes them itself."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with here, Wrapped(["bash", "-c", "echo '{}'; echo b"], options=toml(LOGTAG), stdout=there) as wrapped:
        there.close()
        assert [here.recv(100) for _ in range(3)] == [b"{}\n", b"b\n", b""]
        assert wrapped.wait() == 0


def test_a_slow_reader_slows_the_app(toml: Toml, volume: Volume) -> None:
    """What nobody reads is held by the pipes, not by kmetad."""
    read, write = os.pipe()
    with Wrapped(["head", "-c", "10000000", "/dev/zero"], options=toml(LOGTAG), stdout=write) as wrapped:
        os.close(write)

        def is_full() -> bool:
            held = bytearray(4)
            fcntl.ioctl(read, _FIONREAD, held)
            size = fcntl.fcntl(read, fcntl.F_GETPIPE_SZ)
            return int.from_bytes(held, "little") == size and stat_of(app())[0] == "S"

        def app() -> int:
            return next(pid for pid in children(wrapped.pid) if command_line(pid).startswith(b"head"))

        eventually(is_full)
        written = dict(line.split(": ") for line in Path(f"/proc/{app()}/io").read_text().splitlines())
        assert int(written["wchar"]) < 1_000_000
        with open(read, "rb") as out:
            assert out.read() == bytes(10_000_000)
        assert wrapped.wait() == 0


def test_one_file_for_both_streams(toml: Toml, volume: Volume) -> None:
    """What is written to one and the other keeps its order."""
    script = "for i in $(seq 300); do echo $i; echo $i >&2; done"
    done = subprocess.run(
        [*kmetad(*toml(LOGTAG + "[log]\nlevel = 'critical'\n")), "sh", "-c", script],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == [str(n) for n in range(1, 301) for _ in "12"]


def test_a_full_disk(toml: Toml, volume: Volume) -> None:
    """It is said once; the app goes on."""
    with open("/dev/full", "w") as full:
        command = [*kmetad(*toml(LOGTAG)), "sh", "-c", "echo a; echo b; exit 3"]
        done = subprocess.run(command, env=environment(), stdout=full, stderr=subprocess.PIPE, text=True)
    said = [line for line in own_lines(done.stderr) if "can't be written" in line]
    assert said == [
        "kmetad: the app's stdout can't be written: No space left on device; what comes meanwhile is lost"
    ]
    assert done.returncode == 3


def test_first_tags_are_waited_for_only_so_long(toml: Toml, tmp_path: Path) -> None:
    """Then the lines go as they are."""
    (tmp_path / "never.py").write_text(NEVER_CODE)
    with Wrapped(["sh", "-c", "echo '{}'; read -r _"], options=toml(NEVER), stdin=subprocess.PIPE) as wrapped:
        assert wrapped.line() == "{}"
        assert wrapped.process.stdin is not None
        wrapped.process.stdin.close()
        wrapped.wait()


def test_an_app_that_is_started_again(toml: Toml, volume: Volume, tmp_path: Path) -> None:
    """The output of all its starts, in order."""
    script = "echo '{\"a\":1}'; [ -e tried ] || { touch tried; exit 3; }"
    options = toml('[run]\nrestart = "on-failure"\n' + LOGTAG)
    done = run(["sh", "-c", script], options=options, cwd=tmp_path)
    assert done.stdout == (V1 + '"a":1}\n') * 2


@pytest.mark.parametrize(("configuration", "tagged"), [(LOGTAG, False), (FORCED, True)])
def test_a_terminal(configuration: str, tagged: bool, toml: Toml, volume: Volume) -> None:
    """It is the app's, unless tags are asked for."""
    script = "[ -t 1 ] && echo '{\"tty\":1}' || echo '{\"tty\":0}'"
    terminal = Terminal([*kmetad(*toml(configuration)), "sh", "-c", script])
    assert terminal.sees(r'\{[^\r\n]*"tty":[01]\}').group(0) == (V1 + '"tty":0}' if tagged else '{"tty":1}')
    terminal.spawned.close(force=True)


def test_standard_error_of_a_terminal_s_app(toml: Toml, volume: Volume, tmp_path: Path) -> None:
    """With a terminal on standard output, nothing of the app's is tagged."""
    shell = ["bash", "-c", f'"$@" 2>{tmp_path}/errors', "bash"]
    terminal = Terminal([*shell, *kmetad(*toml(LOGTAG)), "sh", "-c", "echo '{\"e\":1}' >&2"])
    terminal.rest()
    assert '{"e":1}' in (tmp_path / "errors").read_text().splitlines()
    terminal.spawned.close(force=True)


@pytest.mark.parametrize("closed", ["1", "2"])
def test_a_closed_stream_stays_closed(closed: str, toml: Toml, volume: Volume) -> None:
    """Whatever else passes through."""
    other = "3" if closed == "1" else "1"
    script = f"[ -e /proc/self/fd/{closed} ] && echo open >&{other} || echo closed >&{other}"
    command = [
        "bash",
        "-c",
        f'exec "$@" 3>&1 {closed}>&-',
        "bash",
        *kmetad(*toml(FORCED)),
        "sh",
        "-c",
        script,
    ]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.stdout == "closed\n"


def test_a_new_configuration_names_logtag(toml: Toml, volume: Volume) -> None:
    """The app that runs keeps the output that it has; it is said, once, and so is the way back."""
    options = toml("[run]\nstop_timeout = '1s'\n")
    with Wrapped(["sh", "-c", "echo '{}'; read -r _"], options=options, stdin=subprocess.PIPE) as wrapped:
        assert wrapped.line() == "{}"
        wrapped.told("kmetad.started")
        for text, said in (
            (LOGTAG, "the app's lines get tags from its next start on"),
            ("[run]\nstop_timeout = '2s'\n" + LOGTAG, ""),
        ):
            toml(text)
            os.kill(wrapped.daemon(), signal.SIGHUP)
            wrapped.told(said or "kmetad.started")
        assert wrapped.process.stdin is not None
        wrapped.process.stdin.close()
        wrapped.wait()
        assert wrapped.err is not None
        assert not [line for line in wrapped.err.rest() if "next start" in line]


def test_status_counts(toml: Toml, volume: Volume, tmp_path: Path) -> None:
    """Lines, bytes, and how many have tags."""
    env = {"XDG_RUNTIME_DIR": str(tmp_path)}
    script = "echo '{}'; echo text; echo done; read -r _"
    with Wrapped(["sh", "-c", script], options=toml(LOGTAG), stdin=subprocess.PIPE, env=env) as wrapped:
        wrapped.until("done")

        def counted() -> object:
            command = [*kmetad()[:-2], "status", "-o", "json"]
            done = subprocess.run(command, env=environment(env), capture_output=True, text=True)
            return json.loads(done.stdout)["app"]["output"] if done.stdout else None

        eventually(lambda: counted() is not None)
        stdout = {"lines": 3, "bytes": 13, "tagged": 1, "lost": 0}
        assert counted() == {"stdout": stdout}
        assert wrapped.process.stdin is not None
        wrapped.process.stdin.close()
        wrapped.wait()


def test_lines_while_labels_change_and_daemons_die(tmp_path: Path) -> None:
    """Each once, in order, with a version that was current; ten million of them by ``make soak``."""
    lines.check(200_000, 20, 2, str(tmp_path))  # raises where one is missing
