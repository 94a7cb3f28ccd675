"""The exit code: the app's; and kmetad's own, where the app can't be started."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli import DEADLINE, environment
from tests.wrapper.conftest import Toml
from tests.wrapper.wrapped import UNMEASURED, kmetad, own_lines, run


@pytest.mark.parametrize("code", [0, 1, 2, 100, 124, 125, 126, 127, 128, 143, 200, 255])
def test_the_apps_code(code: int) -> None:
    """Every code, those that have a meaning of kmetad's own too."""
    done = run(["sh", "-c", f"exit {code}"], env=UNMEASURED)
    assert (done.stdout, done.returncode) == ("", code)


def test_the_apps_code_as_process_1(before: tuple[str, ...]) -> None:
    """The same for process 1, and for a signal."""
    assert run(["sh", "-c", "exit 42"], before=before).returncode == 42
    assert run(["sh", "-c", "kill -KILL $$"], before=before).returncode == 128 + signal.SIGKILL


@pytest.mark.parametrize(
    "number",
    [signal.SIGHUP, signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE, signal.SIGTERM, signal.SIGXFSZ, 36, 64],
)
def test_the_apps_signal(number: int) -> None:
    """128 and the signal's number, as a shell has it."""
    assert run(["sh", "-c", f"kill -{int(number)} $$"], env=UNMEASURED).returncode == 128 + number


def test_a_parent_that_ignores_its_children() -> None:
    """An ignored SIGCHLD is inherited, and would leave nothing to wait for."""
    assert run(["sh", "-c", "exit 42"], before=["env", "--ignore-signal=CHLD"]).returncode == 42


@pytest.mark.parametrize(
    ("script", "code"), [("exit 3", 4), ("kill -TERM $$", 0), ("exit 0", 9), ("exit 5", 5), ("exit 4", 4)]
)
def test_codes_can_be_exchanged(script: str, code: int, toml: Toml) -> None:
    """``exit_codes``: the app's, and kmetad's instead; each once."""
    assert (
        run(["sh", "-c", script], options=toml("[run]\nexit_codes = { 3 = 4, 143 = 0, 0 = 9 }\n")).returncode
        == code
    )


def test_a_command_of_the_configuration(toml: Toml) -> None:
    """``[run] command``; what is on the command line wins."""
    options = toml('[run]\ncommand = ["sh", "-c", "echo toml; exit 3"]\n')
    done = subprocess.run(
        kmetad(*options)[:-1], env=environment(), capture_output=True, text=True, timeout=DEADLINE
    )
    assert (done.stdout, done.returncode) == ("toml\n", 3)
    done = run(["echo", "line"], options=options)
    assert (done.stdout, done.returncode) == ("line\n", 0)


def made(path: Path, content: bytes, mode: int) -> Path:
    """A file of this content and mode."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)
    return path


def refused(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    """Whether it ended so: this code, nothing on standard output, one line on standard error that says why."""
    assert (done.stdout, done.returncode) == ("", code)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("kmetad: ")
    for text in said:
        assert text in done.stderr


CANT: dict[str, tuple[Callable[[Path], str], int, tuple[str, ...]]] = {
    "no such command": (lambda _: "no-such-command", 127, ("no-such-command", "PATH")),
    "no such file": (lambda at: f"{at}/nothing", 127, ("nothing", "no such file")),
    "no such file, relative": (lambda _: "./nothing", 127, ("nothing",)),
    "below a file": (lambda at: f"{made(at / 'file', b'', 0o755)}/x", 127, ("file/x",)),
    "not executable": (
        lambda at: f"{made(at / 'file', b'#!/bin/sh', 0o644)}",
        126,
        ("permission denied", "file"),
    ),
    "a directory": (str, 126, ("is a directory",)),
    "no such interpreter": (
        lambda at: f"{made(at / 'x', b'#!/no/such/thing', 0o755)}",
        127,
        ("interpreter", "/x"),
    ),
    "the interpreter is no program": (lambda at: f"{made(at / 'x', b'#!/etc/passwd', 0o755)}", 126, ("/x",)),
    "an empty word": (lambda _: "", 127, ("empty",)),
}


@pytest.mark.parametrize("kind", CANT)
def test_commands_that_cannot_be_run(kind: str, tmp_path: Path) -> None:
    """126 and 127, as shells have them, and one line."""
    make, code, said = CANT[kind]
    refused(run([make(tmp_path), "argument"], cwd=tmp_path), code, *said)


def test_the_same_with_a_configuration(tmp_path: Path, toml: Toml) -> None:
    """And where the app waits for the daemon first."""
    make, code, said = CANT["not executable"]
    refused(run([make(tmp_path)], options=toml("[run]\n")), code, *said)
    done = run(["no-such-command"], options=toml('[run]\nstart = "after-sync"\nsync_timeout = "0s"\n'))
    assert (done.stdout, done.returncode) == ("", 127)
    assert "no-such-command: no such command" in done.stderr


def test_the_same_as_process_1(before: tuple[str, ...]) -> None:
    """The code passes through."""
    refused(run(["no-such-command"], before=before), 127)


def test_no_command_after_the_separator() -> None:
    """That is wrong usage."""
    refused(run([]), 125, "command")


@pytest.mark.parametrize("content", [b"echo $0 $1 $2\n", b"\n#!/bin/false\necho $0 $1 $2\n"])
@pytest.mark.parametrize("by_path", [False, True])
def test_a_script_without_its_first_line(content: bytes, by_path: bool, tmp_path: Path) -> None:
    """/bin/sh runs it, as execvp(3) does."""
    script = made(tmp_path / "bin" / "script", content, 0o755)
    path = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"} if by_path else {}
    done = run(["script" if by_path else str(script), "a b", "c"], env=path)
    assert (done.stdout, done.returncode) == (f"{script} a b c\n", 0)


def test_an_empty_file(tmp_path: Path) -> None:
    """A script that does nothing."""
    assert run([str(made(tmp_path / "empty", b"", 0o755))]).returncode == 0


def test_where_a_command_is_looked_for(tmp_path: Path) -> None:
    """The first directory of PATH that has one that can be run; an empty part is the working directory."""
    here = {"PATH": f"{tmp_path}/a:{tmp_path}/none:{tmp_path}/file:{tmp_path}/b:{tmp_path}/c"}
    made(tmp_path / "file", b"", 0o644)
    made(tmp_path / "a" / "it", b"#!/bin/sh\necho a", 0o644)
    refused(run(["it"], env=here), 126, "a/it", "permission denied")
    made(tmp_path / "b" / "it", b"#!/bin/sh\necho b", 0o755)
    made(tmp_path / "c" / "it", b"#!/bin/sh\necho c", 0o755)
    assert run(["it"], env=here).stdout == "b\n"
    assert run(["it"], env={"PATH": "/usr/bin::/bin"}, cwd=tmp_path / "c").stdout == "c\n"
    assert run(["./it"], cwd=tmp_path / "c").stdout == "c\n"
    assert run(["c/it"], cwd=tmp_path).stdout == "c\n"


def test_without_a_path() -> None:
    """The system's own default."""
    env = {name: value for name, value in environment().items() if name != "PATH"}
    done = subprocess.run(
        [*kmetad(), "sh", "-c", "echo found"], env=env, capture_output=True, text=True, timeout=DEADLINE
    )
    assert (done.stdout, done.returncode) == ("found\n", 0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--rewrite", "TREM:QUIT"], ("TREM", "TERM")),
        (["--rewrite", "TERM:QIUT"], ("QIUT", "QUIT")),
        (["--rewrite", "TERM"], ("--rewrite TERM", "A:B")),
        (["--rewrite", "KILL:TERM"], ("KILL",)),
        (["--rewrite", "STOP:TERM"], ("STOP",)),
        (["--rewrite", "99:1"], ("99",)),
        (["--rewrite", "TERM:-1"], ("-1",)),
        (["--rewrite", "32:15"], ("32",)),
        (["-c", "/no/such/file.toml"], ("/no/such/file.toml",)),
    ],
)
def test_wrong_usage(options: list[str], said: tuple[str, ...], tmp_path: Path) -> None:
    """125, one line, and nothing is started."""
    refused(run(["touch", "started"], options=options, cwd=tmp_path), 125, *said)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("options", [["--gruop"], ["--rewrite"], ["-c"]])
def test_no_such_option(options: list[str], tmp_path: Path) -> None:
    """125 for the wrapper, and the usage; nothing is started."""
    done = subprocess.run(
        [*kmetad(*options)[: -1 if len(options) < 2 else None], "--", "touch", "started"],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.stdout, done.returncode) == ("", 125)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[run\n", ("kmetad.toml:1", "isn't TOML")),
        ('[run]\nstop_signal = "TREM"\n', ("kmetad.toml:2", "stop_signal", "TERM")),
        ('[run]\nrewrite_signals = { TREM = "INT" }\n', ("kmetad.toml:2", "TREM")),
        ('[run]\nrewrite_signals = { KILL = "INT" }\n', ("kmetad.toml:2", "KILL")),
        ("[run]\nstop_timeout = 3\n", ("kmetad.toml:2", "stop_timeout")),
        ('[run]\nstop_timout = "3s"\n', ("stop_timout", "stop_timeout")),
        ("[run]\nexit_codes = { 256 = 0 }\n", ("kmetad.toml:2", "exit_codes")),
        ('[run]\nrestart = "sometimes"\n', ("kmetad.toml:2", "restart")),
        ("[daemon]\nnice = 99\n", ("kmetad.toml:2", "daemon.nice")),
    ],
)
def test_faults_that_start_nothing(text: str, said: tuple[str, ...], toml: Toml, tmp_path: Path) -> None:
    """TOML that doesn't parse, and any fault of ``[run]`` and ``[daemon]``: 125, with file and line."""
    done = run(["touch", "started"], options=toml(text), cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("", 125)
    assert done.stderr.startswith("kmetad: ")
    for one in said:
        assert one in done.stderr
    assert not (tmp_path / "started").exists()


ELSEWHERE = {
    "a plugin that isn't there": "[plugins.nowhere]\n",
    "a plugin that can't be imported": '[plugins.broken]\npath = "DIR/broken.py"\n',
    "another table": "[watch]\nrescan = 3\n",
}


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_faults_elsewhere(kind: str, toml: Toml, tmp_path: Path) -> None:
    """The app runs; with --strict it doesn't: 125, and it is said why."""
    made(tmp_path / "broken.py", b"1 / 0", 0o644)
    assert run(["echo", "app"], options=toml(ELSEWHERE[kind])).stdout == "app\n"
    done = run(["touch", "started"], options=toml(ELSEWHERE[kind], "--strict"), cwd=tmp_path)
    assert (done.stdout, done.returncode) == ("", 125)
    assert not (tmp_path / "started").exists()
    assert own_lines(done.stderr) or done.stderr


def test_strict_without_a_fault(toml: Toml) -> None:
    """The app runs once all is found right."""
    done = run(["echo", "app"], options=toml("[run]\n", "--strict"))
    assert (done.stdout, done.returncode) == ("app\n", 0)
