"""The app finds all as it would without kmetad: a probe that is run with the wrapper and without it sees the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli import DEADLINE, environment
from tests.wrapper.wrapped import kmetad, run


def seen(
    probe: Sequence[str | bytes],
    directory: Path,
    *,
    wrapped: bool,
    prelude: str = "",
    launcher: Sequence[str | bytes] = (),
) -> bytes:
    """What a probe writes. A shell runs the prelude, then becomes the launcher, the wrapper, the probe."""
    # What measures the tests' coverage would open files and set variables.
    env = {name: value for name, value in environment().items() if not name.startswith("COVERAGE_")}
    with (
        open(directory / "in", "w+b") as stdin,
        open(directory / "out", "w+b") as stdout,
        open(directory / "err", "w+b") as stderr,
    ):
        stdin.write(b"one\ntwo\n")
        stdin.seek(4)
        subprocess.run(
            ["sh", "-c", prelude + '\nexec "$@"', "sh", *launcher, *(kmetad() if wrapped else []), *probe],
            env=env,
            cwd=directory,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            timeout=DEADLINE,
        )
        stderr.seek(0)
        assert b"kmetad: " not in stderr.read()
        stdout.seek(0)
        return stdout.read()


def same(
    probe: Sequence[str | bytes],
    directory: Path,
    prelude: str = "",
    launcher: Sequence[str | bytes] = (),
) -> bytes:
    """What it sees, the same both ways."""
    without, with_it = (
        seen(probe, directory, wrapped=wrapped, prelude=prelude, launcher=launcher)
        for wrapped in (False, True)
    )
    assert with_it == without
    return without


# Not the process's own numbers, nor what it has used so far.
STATUS = [
    "grep",
    "-vE",
    "^(Pid|PPid|Tgid|Ngid|NS.*|Vm.*|Rss.*|Hugetlb.*|.*ctxt_switches|SigQ|FDSize):",
    "/proc/self/status",
]


@pytest.mark.parametrize(
    ("prelude", "launcher", "holds"),
    [
        pytest.param("", [], "SigIgn:\t0000000000000000", id="what Python ignores"),
        pytest.param("trap '' HUP", [], "SigIgn:\t0000000000000001", id="nohup"),
        pytest.param("trap '' INT QUIT USR2 TSTP TTOU", [], "SigIgn:\t0000000000280806", id="others ignored"),
        pytest.param("", ["env", "--block-signal=TERM,USR2,CHLD"], "SigBlk:\t0000000000014800", id="a mask"),
        pytest.param(
            "",
            ["env", "--ignore-signal=RTMIN", "--block-signal=RTMAX"],
            "SigBlk:\t8000000000000000",
            id="real-time signals",
        ),
        pytest.param("umask 027", [], "Umask:\t0027", id="umask"),
    ],
)
def test_status(tmp_path: Path, prelude: str, launcher: list[str], holds: str) -> None:
    """Signals blocked, ignored and caught, the umask, users, groups, capabilities: all that the kernel tells.

    Except for 32 and 33, the C library's own, which its posix_spawn(3) always leaves ignored.
    """
    without, with_it = (
        seen(STATUS, tmp_path, wrapped=wrapped, prelude=prelude, launcher=launcher).decode()
        for wrapped in (False, True)
    )
    without, with_it = map(without_internal, (without, with_it))
    assert holds in without
    assert with_it == without


def without_internal(status: str) -> str:
    """As if 32 and 33 weren't ignored; whoever has started pytest may have used posix_spawn(3) as well."""
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    return status.replace(ignored, f"SigIgn:\t{int(ignored.split()[1], 16) & ~0x180000000:016x}")


@pytest.mark.parametrize(
    ("prelude", "probe"),
    [
        pytest.param(
            "ulimit -S -n 300; ulimit -c 0; ulimit -S -s 4096", ["cat", "/proc/self/limits"], id="limits"
        ),
        pytest.param("echo 321 >/proc/self/oom_score_adj", ["cat", "/proc/self/oom_score_adj"], id="oom"),
        pytest.param("mkdir -p within; cd within", ["pwd", "-P"], id="directory"),
        pytest.param(
            "mkdir gone; cd gone; rmdir ../gone", ["readlink", "/proc/self/cwd"], id="directory gone"
        ),
        pytest.param("", ["sh", "-c", "cut -d' ' -f6,7,8 /proc/$$/stat"], id="session and terminal"),
        pytest.param("", ["cat"], id="the rest of standard input"),
    ],
)
def test_surroundings(tmp_path: Path, prelude: str, probe: list[str]) -> None:
    """Limits, what the kernel kills first, the directory, the session, and where standard input stands."""
    assert same(probe, tmp_path, prelude)


def test_niceness(tmp_path: Path) -> None:
    """The daemon's is its own."""
    assert same(["nice"], tmp_path, launcher=["nice", "-n", "3"])


DESCRIPTORS = """
import fcntl, os
found = []
for fd in range(256):
    try:
        stat = os.fstat(fd)
    except OSError:
        continue
    at = os.lseek(fd, 0, os.SEEK_CUR) if os.path.isfile(f"/proc/self/fd/{fd}") else None
    found.append(f"{fd} {stat.st_dev} {stat.st_ino} {fcntl.fcntl(fd, fcntl.F_GETFL):o} {at}")
with open("found", "w") as file:
    file.write("\\n".join(found))
"""


@pytest.mark.parametrize(
    ("prelude", "open_ones"),
    [
        pytest.param("", "0 1 2", id="as usual"),
        pytest.param("exec 7<in 9>>other", "0 1 2 7 9", id="more"),
        pytest.param("exec <&-", "1 2", id="no input"),
        pytest.param("exec >&-", "0 2", id="no output"),
        pytest.param("exec 2>&-", "0 1", id="no error"),
        pytest.param("exec <&- >&- 2>&-", "", id="none"),
        pytest.param("exec <&- 2>&- 5<in", "1 5", id="none but two"),
    ],
)
def test_descriptors(tmp_path: Path, prelude: str, open_ones: str) -> None:
    """What is open stays open, with its flags and offsets; what is closed, closed; nothing of kmetad's is there."""
    found = []
    for wrapped in (False, True):
        probe = [sys.executable, "-I", "-S", "-c", DESCRIPTORS]
        seen(probe, tmp_path, wrapped=wrapped, prelude=prelude)
        found.append((tmp_path / "found").read_text())
        (tmp_path / "found").unlink()
    assert found[1] == found[0]
    assert " ".join(line.split()[0] for line in found[0].splitlines()) == open_ones


ENVIRON = ["/bin/cat", "/proc/self/environ"]


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param([], id="none"),
        pytest.param([b"A=1"], id="the C locale"),
        pytest.param([b"A=1", b"LANG=C"], id="LANG"),
        pytest.param([b"A=1", b"LC_CTYPE=C"], id="LC_CTYPE"),
        pytest.param([b"LC_CTYPE=C.UTF-8", b"A=1"], id="LC_CTYPE in UTF-8"),
        pytest.param([b"LC_CTYPE=", b"A=1"], id="LC_CTYPE empty"),
        pytest.param([b"LC_ALL=C", b"A=1"], id="LC_ALL"),
        pytest.param([b"LC_ALL=POSIX", b"LC_CTYPE=C"], id="LC_ALL and LC_CTYPE"),
        pytest.param([b"A=\xff\xfe", b"\xe4=\xf6", b"A b=\n\x01", b"EMPTY="], id="bytes"),
        pytest.param([b"LANG=en_US.ISO-8859-1", b"A=\xe4", b"B=\xc3\xa4"], id="another locale"),
        pytest.param([b"KMETAD_CONFIG=", b"PYTHONUTF8=0", b"PYTHONCOERCECLOCALE=warn"], id="Python's own"),
        pytest.param([b"KMETAD_CONFIG=", b"BIG=" + b"x" * 100_000], id="big"),
    ],
)
def test_environment(tmp_path: Path, variables: list[bytes]) -> None:
    """Byte for byte, in its order; what Python sets for itself (PEP 538) isn't there."""
    assert same(ENVIRON, tmp_path, launcher=["env", "-i", *variables]).split(b"\0")[:-1] == variables


def test_arguments(tmp_path: Path) -> None:
    """All that is behind the command, whatever it looks like."""
    arguments: list[bytes] = [
        b"--",
        b"-v",
        b"--group",
        b"",
        b" ",
        b"a\nb",
        b"\xff\x80",
        b"*",
        b"$HOME",
        b"--help",
        b"--",
    ]
    probe = ["sh", "-c", "cat /proc/$$/cmdline", b"--", *arguments]
    assert same(probe, tmp_path).split(b"\0")[4:-1] == arguments


@pytest.mark.parametrize("separator", [["--"], []])
def test_the_separator_is_optional(separator: list[str]) -> None:
    """The first word that is no option is the command; what follows is the command's."""
    done = subprocess.run(
        [*kmetad()[:-1], *separator, "sh", "-c", 'echo "$@"', "-v", "--strict", "--", "-c"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.stdout, done.returncode) == ("--strict -- -c\n", 0)


def test_bytes_pass_untouched() -> None:
    """A megabyte in and out, through pipes."""
    text = "".join(map(chr, range(1, 128))) * 8192
    done = run(["cat"], input=text.replace("\r", ""))
    assert done.stdout == text.replace("\r", "")
    assert done.returncode == 0


def test_the_app_is_a_child_with_a_group_of_its_own() -> None:
    """So that signals for the group, and the terminal, are the app's alone."""
    done = run(["sh", "-c", "cut -d' ' -f1,5 /proc/$$/stat"])
    pid, group = done.stdout.split()
    assert pid == group
    assert os.getpgrp() != int(group)
