"""Starting ``kmetad run … -- app`` in every way that these tests need, and asking the kernel what became of it.

``WRAPPER="tini -s -g --" pytest tests/wrapper/test_signals.py`` runs the tests that
need no option of kmetad's own with another init: whether a test is right shows there.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import pytest

from tests.cli import DEADLINE, Output, environment, eventually

APP = str(Path(__file__).with_name("app.py"))
OTHER = shlex.split(os.environ.get("WRAPPER", ""))
"""The other init's command line, if there is one."""


UNMEASURED = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
"""Variables for wrappers whose coverage isn't wanted: measuring takes longer than all else that they do."""


def kmetad(*options: str) -> list[str]:
    """``kmetad run OPTIONS --``."""
    if OTHER:
        if options:
            pytest.skip("only kmetad has these options")
        return OTHER
    return [sys.executable, "-m", "kmetad", "run", *options, "--"]


def app(code: str) -> list[str]:
    """The command line of an app made of ``app.py``'s functions."""
    return [sys.executable, "-I", "-S", APP, code]


@functools.cache
def process_1() -> tuple[str, ...]:
    """What makes the command behind it process 1 of a new namespace; skips the test where that isn't permitted."""
    told = ""
    for more in ((), ("--user", "--map-root-user")):
        command = ("unshare", *more, "--pid", "--fork", "--kill-child", "--mount-proc")
        try:
            done = subprocess.run([*command, *app("")], capture_output=True, text=True)
        except FileNotFoundError as error:
            told = str(error)
        else:
            if done.returncode == 0:
                return command
            told = done.stderr
    pytest.skip(f"no process namespace can be made here: {told.strip()}")


def with_plugins(before: Sequence[str]) -> Sequence[str]:
    """``before``, where plugins are trusted; skips the test where they aren't."""
    if "--user" in before:
        pytest.skip(
            "in a user namespace root's directories belong to nobody known, so no plugin in them is trusted"
        )
    return before


@functools.cache
def nobody() -> tuple[str, ...]:
    """What makes user and group 65534 run the command behind it; who we are, where we aren't root."""
    if os.geteuid() != 0:
        return ()
    command = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    # Where the interpreter is in root's home: may read everything, and nothing else.
    reads = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    told = ""
    for more in ((), reads):
        try:
            done = subprocess.run(
                [*command, *more, "sh", "-c", 'exec "$@"', "sh", sys.executable, "-c", "import kmetad"],
                capture_output=True,
                text=True,
            )
        except FileNotFoundError as error:
            told = str(error)
        else:
            if done.returncode == 0:
                return (*command, *more)
            told = done.stderr
    pytest.skip(f"user 65534 can't run kmetad here: {told.strip()}")


class Wrapped:
    """A wrapper that runs, with its app; leaving the ``with`` block kills what is left of it."""

    def __init__(
        self,
        command: Sequence[str | bytes],
        *,
        options: Sequence[str] = (),
        before: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        **popen: object,
    ) -> None:
        """``before``: what runs the wrapper in its turn (``process_1()``); ``popen``: as subprocess has it."""
        given: dict[str, object] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **popen,
        }
        self.process: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
            [*before, *kmetad(*options), *command],
            env=environment(env),
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            **given,
        )
        self.out = Output(self.process.stdout) if self.process.stdout else None
        self.err = Output(self.process.stderr) if self.process.stderr else None
        self._forked = "unshare" in before
        self._ready: dict[str, int] = {}

    def __enter__(self) -> Wrapped:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)  # or it might start another app meanwhile
            state(self.process.pid, "T", "Z")
            for pid in (self.process.pid, *descendants(self.process.pid)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(DEADLINE)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                for pid in _holders(pipe.fileno()):  # what a failed test has left behind, or is just ending
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        for stream in (self.out, self.err):
            if stream is not None:
                stream.close()
        if self.process.stdin is not None:
            self.process.stdin.close()

    @functools.cached_property
    def pid(self) -> int:
        """The wrapper's own."""
        return children(self.process.pid)[0] if self._forked else self.process.pid

    def send(self, number: int) -> None:
        """Send the wrapper a signal."""
        os.kill(self.pid, number)

    def line(self) -> str:
        """The next line of standard output."""
        assert self.out is not None
        return self.out.line()

    def until(self, text: str) -> str:
        """The next line of standard output that holds ``text``."""
        assert self.out is not None
        return self.out.until(text)

    def ready(self, name: str = "app") -> int:
        """Wait for ``NAME ready PID``, in whatever order several say it; the pid, as it is outside."""
        while name not in self._ready:
            said, _, pid = self.until(" ready ").split()
            self._ready[said] = int(pid)
        return self.outside(self._ready[name])

    def daemon(self, but: int = 0) -> int:
        """Wait for the daemon, another than ``but``; its pid, as it is outside."""
        found: list[int] = []

        def there() -> bool:
            found[:] = [p for p in children(self.pid) if p != but and b"kmetad._daemon" in command_line(p)]
            return bool(found)

        eventually(there)
        return found[0]

    def told(self, text: str) -> str:
        """The next line of standard error that holds ``text``."""
        assert self.err is not None
        return self.err.until(text)

    def outside(self, pid: int) -> int:
        """The pid out here of a process that calls itself so."""
        return pid if not self._forked else next(p for p in descendants(self.pid) if inner_pid(p) == pid)

    def wait(self) -> int:
        """The exit code, when it comes."""
        return self.process.wait(DEADLINE)


def run(
    command: Sequence[str | bytes],
    *,
    options: Sequence[str] = (),
    before: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    input: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a wrapped command to its end."""
    return subprocess.run(
        [*before, *kmetad(*options), *command],
        env=environment(env),
        cwd=cwd,
        input=input,
        stdin=subprocess.DEVNULL if input is None else None,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=DEADLINE,
    )


def _holders(pipe: int) -> list[int]:
    """The processes whose standard output or error this pipe of ours is."""
    name = os.readlink(f"/proc/self/fd/{pipe}")
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if name in (os.readlink(f"/proc/{entry}/fd/{fd}") for fd in (1, 2)):
                    found.append(int(entry))
    return found


def own_lines(stderr: str) -> list[str]:
    """The wrapper's own messages, without the daemon's log."""
    return [line for line in stderr.splitlines() if line.startswith("kmetad: ")]


def children(pid: int) -> list[int]:
    """The pids of a process's children, zombies included, the oldest first."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := stat_of(int(entry))) and int(stat[1]) == pid:
            found.append((int(stat[19]), int(entry)))
    return [child for _, child in sorted(found)]


def descendants(pid: int) -> list[int]:
    """Its children, and theirs."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def stat_of(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, group, session, …; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def status_of(pid: int | str) -> dict[str, str]:
    """/proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def command_line(pid: int) -> bytes:
    """/proc/PID/cmdline; empty for a zombie, and where there is none."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def inner_pid(pid: int) -> int:
    """The pid of a process in its own namespace."""
    try:
        return int(status_of(pid)["NSpid"].split()[-1])
    except (FileNotFoundError, ProcessLookupError):
        return -1


def gone(pid: int) -> None:
    """Wait until there is no such process, not even a zombie."""
    eventually(lambda: not stat_of(pid))


def ended(pid: int) -> None:
    """Wait until a process has ended, whether or not who has to wait for it (an init outside) has done so."""
    eventually(lambda: stat_of(pid)[:1] in ([], ["Z"], ["X"]))


def state(pid: int, *states: str) -> None:
    """Wait until a process is in one of these states: ``T`` stopped, ``S`` asleep, ``Z`` a zombie."""
    eventually(lambda: stat_of(pid)[:1] in [[one] for one in states])
