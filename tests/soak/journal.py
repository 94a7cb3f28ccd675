"""What happened, a line each, in the order in which it did; it outlives whoever wrote it.

A line is appended by one system call, so lines of several threads and processes never
mix. A writer that is killed in the middle leaves half a line, which counts for nothing:
what it was to tell of comes after it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any

from kmetad.events import SUBJECTS, AnyChange
from kmetad.metadata import Digest, Snapshot, SourceState

Line = dict[str, Any]

Values = Mapping[tuple[str, str], Any]
"""By type and key, as JSON has them."""

_LONG = 40


class Journal:
    """One for all processes: made before they are forked."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.bell, self._ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        """Readable when there are new lines."""
        self._at = 0
        self._rest = b""

    def write(self, what: str, **values: Any) -> None:
        """Append a line."""
        line = {"what": what, "ms": time.monotonic_ns() // 10_000 % 10_000_000 / 100, **values}
        # The newline before it closes what a killed writer may have left.
        os.write(self._file, b"\n" + json.dumps(line, separators=(",", ":")).encode() + b"\n")
        try:
            os.write(self._ring, b".")
        except BlockingIOError:
            pass  # it has been rung

    def new(self) -> list[Line]:
        """The lines since the last time."""
        try:
            os.read(self.bell, 65536)
        except BlockingIOError:
            pass
        while data := os.pread(self._file, 1 << 20, self._at):
            self._at += len(data)
            self._rest += data
        *texts, self._rest = self._rest.split(b"\n")
        lines = []
        for text in texts:
            try:
                lines.append(json.loads(text))
            except ValueError:
                pass  # empty, or half of one
        return lines

    def close(self) -> None:
        """Give everything back."""
        for fd in (self._file, self.bell, self._ring):
            os.close(fd)


def brief(text: str) -> str:
    """Short texts are their own; long ones are told by what they are made of, and how much of it."""
    return text if len(text) <= _LONG else f"{text[:1]}×{len(text)}"


def plain(value: Any) -> Any:
    """A value of a change as JSON has it; None where there is none."""
    if isinstance(value, Digest):
        return "digest " + value.value.hex()
    if isinstance(value, SourceState):
        return [value.status, value.faults, value.error]
    return value if value is None else brief(str(value))


def packed(snapshot: Snapshot) -> list[list[Any]]:
    """All that a snapshot says: type, key, value."""
    return [
        [kind.type, key, plain(value)]
        for kind, part in SUBJECTS
        for key, value in getattr(snapshot, part).items()
    ]


def packed_changes(changes: tuple[AnyChange, ...]) -> list[list[Any]]:
    """Type, key, the old value and the new."""
    return [[change.type, change.key, plain(change.old), plain(change.new)] for change in changes]
