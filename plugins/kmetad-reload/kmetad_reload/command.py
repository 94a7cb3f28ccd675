"""A command, run for a batch: no shell, a time limit, its output in the log."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any

from kmetad import Batch

_LONGEST_VARIABLE = 128 * 1024 - 1  # MAX_ARG_STRLEN, execve(2): name, "=", value and NUL
_LONGEST_LINE = 4096
_PATIENCE = 1.0


def run(command: Sequence[str], batch: Batch, timeout: float, log: Any) -> None:
    """Run it to its end, at most ``timeout`` seconds. Raises RuntimeError unless it exits with 0."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables(batch)},
            start_new_session=True,  # so that all it starts can be killed with it
        )
    except OSError as error:
        raise RuntimeError(f"{command[0]}: can't be run: {error.strerror}") from None
    reader = threading.Thread(target=_log_lines, args=(process.stdout, log, command[0]), daemon=True)
    reader.start()
    late = threading.Event()
    timer = threading.Timer(timeout, _kill, (process, late))
    timer.start()
    try:
        _feed(process, batch.json_lines().encode("ascii"))
        code = process.wait()
    finally:
        timer.cancel()
        # What it left behind may hold its output open; it isn't waited for long.
        reader.join(_PATIENCE)
    if late.is_set():
        raise RuntimeError(f"{command[0]}: not done after {timeout:g} s, so it was killed")
    if code:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
        raise RuntimeError(f"{command[0]}: {how}")
    log.info("reload.ran", command=command[0], changes=len(batch.changes))


def variables(batch: Batch) -> Mapping[str, str]:
    """``KMETAD_*`` for a batch of one change; what no environment can hold is left out."""
    if len(batch.changes) != 1:
        return {}
    import json

    change = json.loads(batch.json_lines())
    found = {}
    for name in ("type", "op", "key", "old", "new", "source", "generation"):
        value = change[name]
        text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        variable = f"KMETAD_{name.upper()}"
        if "\0" not in text and len(os.fsencode(text)) + len(variable) + 1 <= _LONGEST_VARIABLE:
            found[variable] = text
    return found


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    try:
        with process.stdin as stdin:
            stdin.write(data)
    except BrokenPipeError:
        pass  # it didn't want to know


def _kill(process: subprocess.Popen[bytes], late: threading.Event) -> None:
    late.set()
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _log_lines(output: IO[bytes], log: Any, command: str) -> None:
    with output:
        for line in iter(lambda: output.readline(_LONGEST_LINE), b""):
            text = "".join(
                c if c.isprintable() else " " for c in line.decode("utf-8", "replace").rstrip("\r\n")
            )
            log.info("reload.output", command=command, line=text)
