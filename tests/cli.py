"""kmetad's commands as real processes, for the tests of the command line."""

from __future__ import annotations

import contextlib
import io
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import IO, Any

import structlog

from kmetad._cli.main import main

DEADLINE = 60.0
"""Seconds after which a test gives up waiting; never how long anything should take."""

_KEPT = ("PATH", "HOME", "TMPDIR", "LANG", "PYTHONPATH")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment that says nothing of a Pod, nor of a configuration."""
    kept = {
        name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("COVERAGE_")
    }
    return {**kept, "KMETAD_CONFIG": "", **(extra or {})}


def kmetad(
    *args: str, env: Mapping[str, str] | None = None, cwd: str | os.PathLike[str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "kmetad", *args],
        env=environment(env),
        cwd=cwd,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=DEADLINE,
    )


def inside(*args: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The same in this process, which takes a tenth of the time: for what doesn't depend on being one."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
    try:
        os.environ.clear()
        os.environ.update(environment(env))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(args)
    finally:
        os.environ.clear()
        os.environ.update(before)
        signal.signal(signal.SIGTERM, handler)
        structlog.reset_defaults()
    return subprocess.CompletedProcess(args, code, _text(out), _text(err))


def _text(stream: io.TextIOWrapper) -> str:
    stream.seek(0)
    return stream.read()


class Running:
    """A command that runs on; leaving the ``with`` block ends it."""

    def __init__(self, *args: str, env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kmetad", *args],
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.out = Output(self.process.stdout)
        self.err = Output(self.process.stderr)

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait(DEADLINE)
        self.out.close()
        self.err.close()

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """The exit code, when it comes."""
        return self.process.wait(DEADLINE)


class Output:
    """What a process writes, line by line, read by a thread so that a deadline can be kept."""

    def __init__(self, stream: IO[str] | None) -> None:
        assert stream is not None
        self.seen: list[str] = []
        self._stream = stream
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def line(self) -> str:
        """The next line, without its end; fails the test if there will be none, or none comes."""
        try:
            line = self._lines.get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError(f"no further line after {self.seen}") from None
        if line is None:
            self._lines.put(None)
            raise AssertionError(f"it ended after {self.seen}")
        self.seen.append(line)
        return line

    def until(self, text: str) -> str:
        """The next line that holds a text."""
        while text not in (line := self.line()):
            pass
        return line

    def rest(self) -> list[str]:
        """All further lines, when the process has ended."""
        lines = []
        while (line := self._lines.get(timeout=DEADLINE)) is not None:
            lines.append(line)
        self._lines.put(None)
        return lines

    def close(self) -> None:
        """Give back the pipe."""
        self._thread.join(DEADLINE)
        self._stream.close()

    def _read(self) -> None:
        for line in self._stream:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)


def eventually(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Wait until a condition holds, and answer what it gave; fails the test if it never does."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} never held"
        time.sleep(0.01)
    return found
