"""A command, run for a batch: no shell, a time limit, its output in the log.

What whoever may patch the Pod has written reaches it as JSON on standard input and in variables, never as an argument.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence
from errno import E2BIG
from typing import IO, Any

from kmetad import Batch, Fail

_LONGEST_VARIABLE = 128 * 1024 - 1  # MAX_ARG_STRLEN, execve(2): name, "=" and value; a NUL follows
_NAMES = ("type", "op", "key", "old", "new", "source", "generation")
_LONGEST_LINE = 4096
_MOST_LINES = 1000
_LINES_TOLD = 3
"""So many of the last lines stand in the error as well,"""
_LONGEST_TOLD = 300
"""each cut to so many characters."""
_MOST_LEFT = 1 << 20
"""Bytes that are still read after its end: what a pipe can hold at most (pipe(7))."""
_PATIENCE = 1.0
"""Seconds that the output of what was killed may take to end: nearly at once, unless somebody else has it."""
_LOOK = 0.05
"""Seconds between two looks whether it has ended, where the kernel has no pidfds (Linux 5.3)."""


def run(command: Sequence[str], batch: Batch, seconds: float, log: Any) -> None:
    """Run it to its end, so many seconds at most. Raises Fail unless it exits with 0."""
    process = _start(command, batch)
    lines = _Lines(log, command[0])
    try:
        code = _attend(process, batch.json_lines().encode("ascii"), seconds, lines)
    finally:
        if process.returncode is None:  # too late, or kmetad is interrupted
            os.killpg(process.pid, signal.SIGKILL)  # it isn't reaped yet, so the number is still its own
            process.wait()
            lines.read_to_end(process.stdout, _PATIENCE)
        lines.end()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
    if code is None:
        raise Fail(f"{command[0]}: not done after {seconds:.3g} s, so it was killed{lines.told()}")
    if code:
        how = f"was ended by {_name_of(-code)}" if code < 0 else f"exited with {code}"
        raise Fail(f"{command[0]}: {how}{lines.told()}")


def variables(batch: Batch) -> Mapping[str, str]:
    """``KMETAD_*`` for a batch of one change; what no environment can hold is left out."""
    if len(batch.changes) != 1:
        return {}
    change = json.loads(batch.json_lines())
    found = {}
    for name in _NAMES:
        value = change[name]
        text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        variable = f"KMETAD_{name.upper()}"
        try:
            size = len(os.fsencode(text))
        except UnicodeEncodeError:
            continue  # a lone surrogate that stands for no byte
        if "\0" not in text and len(variable) + 1 + size <= _LONGEST_VARIABLE:
            found[variable] = text
    return found


def _start(command: Sequence[str], batch: Batch) -> subprocess.Popen[bytes]:
    # Variables that kmetad itself was started with say nothing of this batch.
    ours = {f"KMETAD_{name.upper()}" for name in _NAMES}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    own = dict(variables(batch))
    try:
        try:
            return _spawn(command, inherited | own)
        except OSError as error:
            if error.errno != E2BIG:
                raise
            # All together must fit a quarter of the stack's limit (execve(2)); the JSON has both.
            for name in ("KMETAD_OLD", "KMETAD_NEW"):
                own.pop(name, None)
            return _spawn(command, inherited | own)
    except OSError as error:
        raise Fail(f"{command[0]}: can't be run: {error.strerror}{_remedy(error, command[0])}") from None


def _remedy(error: OSError, program: str) -> str:
    if isinstance(error, FileNotFoundError):
        where = "" if "/" in program else f", in a directory of PATH ({os.environ.get('PATH', os.defpath)})"
        return f"; is it where kmetad runs{where}?"
    return "; is it executable by kmetad's user?" if isinstance(error, PermissionError) else ""


def _spawn(command: Sequence[str], env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=env,
        start_new_session=True,  # so that all it starts can be killed with it
    )


def _attend(process: subprocess.Popen[bytes], data: bytes, timeout: float, lines: _Lines) -> int | None:
    """Feed it and read from it until it ends. Answers its exit code; None after ``timeout`` seconds.

    Its own end counts, not that of its pipes: what it leaves in the background may hold them for ever.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin.fileno(), process.stdout.fileno()
    os.set_blocking(stdin, False)
    os.set_blocking(stdout, False)
    ended = _pidfd(process.pid)
    poll = select.poll()
    poll.register(stdin, select.POLLOUT)
    poll.register(stdout, select.POLLIN)
    if ended is not None:
        poll.register(ended, select.POLLIN)
    left = memoryview(data)
    deadline = time.monotonic() + timeout
    try:
        while (code := process.poll()) is None:
            wait = deadline - time.monotonic()
            if wait <= 0:
                return None
            for ready, _ in poll.poll(1 + 1000 * (wait if ended is not None else min(wait, _LOOK))):
                if ready == stdin:
                    left = _write(stdin, left)
                    if not left:
                        poll.unregister(stdin)
                        process.stdin.close()
                elif ready == stdout and lines.read(stdout) == 0:
                    poll.unregister(stdout)
        more = _MOST_LEFT
        while more > 0 and (count := lines.read(stdout)):
            more -= count
        return code
    finally:
        if ended is not None:
            os.close(ended)


def _write(stdin: int, left: memoryview) -> memoryview:
    """Write what fits; answers what is left."""
    try:
        return left[os.write(stdin, left) :]
    except BlockingIOError:
        return left
    except BrokenPipeError:
        return left[:0]  # it doesn't want to know


def _pidfd(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):  # not Linux, an older kernel, a seccomp filter
        return None


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have no name
        return f"signal {number}"


class _Lines:
    """The lines of a command's output, logged as they come: so many at most, none longer than 4 KiB."""

    def __init__(self, log: Any, command: str) -> None:
        self._log = log
        self._command = command
        self._begun = b""
        self._logged = 0
        self._dropped = 0
        self._last: deque[str] = deque(maxlen=_LINES_TOLD)

    def read(self, descriptor: int) -> int | None:
        """Read what there is. Answers how many bytes; 0 at the end, None if there is nothing now."""
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return None
        *whole, self._begun = (self._begun + data).split(b"\n")
        for line in whole:
            for at in range(0, len(line) or 1, _LONGEST_LINE):
                self._log_line(line[at : at + _LONGEST_LINE])
        while len(self._begun) > _LONGEST_LINE:
            self._log_line(self._begun[:_LONGEST_LINE])
            self._begun = self._begun[_LONGEST_LINE:]
        return len(data)

    def read_to_end(self, stream: IO[bytes] | None, patience: float) -> None:
        """Read until all have closed it, so many seconds at most."""
        assert stream is not None
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        deadline = time.monotonic() + patience
        while (wait := deadline - time.monotonic()) > 0 and poll.poll(1 + 1000 * wait):
            if self.read(stream.fileno()) == 0:
                return

    def end(self) -> None:
        """Log a line that has no end, and how many were too many."""
        if self._begun:
            self._log_line(self._begun)
        if self._dropped:
            self._log.warning("reload.output_dropped", command=self._command, lines=self._dropped)

    def told(self) -> str:
        """The last lines, as the end of an error; empty if there was none."""
        said = " | ".join(line[:_LONGEST_TOLD] for line in self._last)
        return f"; it said: {said}" if said else ""

    def _log_line(self, line: bytes) -> None:
        text = line.decode("utf-8", "replace").rstrip("\r")
        clean = "".join(c if c.isprintable() else " " for c in text)
        if clean.strip():
            self._last.append(clean.strip())
        if self._logged == _MOST_LINES:
            self._dropped += 1
            return
        self._logged += 1
        self._log.info("reload.output", command=self._command, line=clean)
