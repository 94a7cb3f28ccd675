"""Daemons as real processes: their log, line by line, and what they say to a supervisor."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmetad import _link

DEADLINE = 30.0
Lines = Callable[..., dict[str, Any]]

RECORDER = """
import msgspec
from kmetad import hookimpl

class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fail: int = 0

class Plugin:
    def __init__(self, options, context):
        self.left, self.log, self.context = options.fail, context.log, context

    @hookimpl
    def kmetad_on_start(self, snapshot):
        self.log.info("start", labels=dict(snapshot.labels))

    @hookimpl
    def kmetad_on_change(self, batch):
        if self.left:
            self.left -= 1
            raise RuntimeError("not yet")
        self.log.info("told", keys=[f"{c.type}:{c.key}" for c in batch.changes], attempt=batch.attempt,
                      now=dict(self.context.snapshot().labels))

    @hookimpl
    def kmetad_on_stop(self):
        self.log.info("stop")
        print("to standard output")
"""


class Daemon:
    """A ``kmetad run`` without a command, and the lines of its log."""

    def __init__(self, directory: Path, toml: str, *arguments: str, **environ: str) -> None:
        self.directory = directory
        (directory / "recorder.py").write_text(RECORDER)
        self.toml = directory / "kmetad.toml"
        self.toml.write_text(toml.replace("DIR", str(directory)))
        self.process = self.started(arguments, {**os.environ, "RUNTIME_DIRECTORY": str(directory), **environ})
        self.lines: list[dict[str, Any]] = []
        self._queue: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def started(self, arguments: tuple[str, ...], environ: dict[str, str]) -> subprocess.Popen[str]:
        """Start the process."""
        command = [sys.executable, "-m", "kmetad", "run", "-c", str(self.toml), *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, text=True
        )

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._queue.put(line)
        self._queue.put("")

    def line(self, event: str, **values: Any) -> dict[str, Any]:
        """The next line with this event and these values; fails where none comes."""
        while True:
            try:
                text = self._queue.get(timeout=DEADLINE)
            except queue.Empty:
                pytest.fail(f"no {event} {values} within {DEADLINE:g} s: {self.lines}")
            assert text, f"no {event} {values} before it ended: {self.lines}"
            line = json.loads(text) if text.startswith("{") else {"event": "text", "text": text}
            self.lines.append(line)
            if line["event"] == event and all(line.get(key) == value for key, value in values.items()):
                return line

    def seen(self, event: str, **values: Any) -> dict[str, Any]:
        """A line that has come already, or the next one."""
        for line in self.lines:
            if line["event"] == event and all(line.get(key) == value for key, value in values.items()):
                return line
        return self.line(event, **values)

    def end(self, how: int = signal.SIGTERM) -> int:
        """Its exit code, after that signal."""
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> int:
        """Its exit code, when it comes; then all of its log is in ``lines``."""
        code = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        while not self._queue.empty():
            text = self._queue.get()
            if text:
                self.lines.append(
                    json.loads(text) if text.startswith("{") else {"event": "text", "text": text}
                )
        return code

    def close(self) -> None:
        """Kill what is left of it."""
        self.process.kill()
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


class Supervised(Daemon):
    """The daemon of an app that is wrapped, whose supervisor is the test."""

    def started(self, arguments: tuple[str, ...], environ: dict[str, str]) -> subprocess.Popen[str]:
        """Start the process, as the supervisor does: with its end of the link, in a session of its own."""
        self.link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.link.settimeout(DEADLINE)
        self.variables: dict[str, str] = {}
        """In force, as the supervisor has them."""
        self.heard: list[str] = []
        """The kinds of all messages that were heard."""
        self._said: dict[str, bytes | None] = {}
        file = str(self.toml) if self.toml.read_text() else ""
        with theirs:
            command = [sys.executable, "-P", "-m", "kmetad._daemon", "--config", file, *arguments]
            return subprocess.Popen(
                [*command, "--link", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environ,
                text=True,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def say(self, kind: str, *values: Any) -> None:
        """Say something to it."""
        assert _link.send(self.link, kind, *values)

    def hear(self, kind: str) -> tuple[Any, ...]:
        """The values of its next message of this kind; variables on the way there are kept."""
        while True:
            message = _link.receive(self.link)
            assert message is not None, f"it ended without {kind}: {self.lines}"
            said, values = message
            self.heard.append(said)
            if said == "hello":
                self._said = dict.fromkeys(self.variables)
            elif said == "variable":
                self._said[values[0]] = values[1]
            elif said == "environment":
                for name, value in self._said.items():
                    if value is None:
                        self.variables.pop(name, None)
                    else:
                        self.variables[name] = value.decode("utf-8", "surrogateescape")
                self._said = {}
            if said == kind:
                return values

    def rest(self) -> list[str]:
        """The kinds of all that it has still said, when it has ended."""
        kinds = []
        while (message := _link.receive(self.link)) is not None:
            kinds.append(message[0])
        self.heard += kinds
        return kinds

    def close(self) -> None:
        """Kill what is left of it."""
        super().close()
        self.link.close()
