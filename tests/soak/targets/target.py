"""A target, and what several of them are made with."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from kmetad._diff import apply, diff
from kmetad._sources.content import Content, Source
from kmetad._sources.merge import merge
from kmetad.errors import SourceError
from kmetad.events import Batch
from kmetad.metadata import Snapshot, SourceState

KEY = b"k" * 32


@dataclass(frozen=True)
class Target:
    """A reader under test."""

    name: str
    run: Callable[[bytes], None]
    """Raises whatever it likes where the reader has a fault."""
    seeds: Sequence[bytes]
    """Inputs that get far, for a fuzzer to begin with."""
    words: Sequence[bytes]
    """What is worth putting anywhere into an input; 64 bytes each at most."""
    longest: int = 1024
    """Bytes of an input."""
    share: float = 1.0
    """How many inputs it gets, of the number that is asked for: less than all of them if each takes long."""


class Take:
    """Decisions out of an input's bytes; when they run out, the first choice and nothing."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """From 0, by the next byte."""
        self._at += 1
        return self._data[self._at - 1] % below if self._at <= len(self._data) else 0

    def one(self, choices: Sequence[Any]) -> Any:
        """One of these."""
        return choices[self.number(len(choices))]

    def bytes(self) -> bytes:
        """As many as the next byte says."""
        length = self.number(256)
        self._at += length
        return self._data[self._at - length : self._at]

    def rest(self) -> bytes:
        """All that are left."""
        left = self._data[self._at :]
        self._at = len(self._data)
        return left


def text(data: bytes) -> str:
    """As kmetad reads text: bytes that are no UTF-8 are surrogate escapes."""
    return data.decode("utf-8", "surrogateescape")


@cache
def directory() -> str:
    """This process's own, in memory where there is such a place."""
    place = os.environ.get("TMPDIR") or ("/dev/shm" if os.access("/dev/shm", os.W_OK) else None)
    made = tempfile.TemporaryDirectory(prefix="kmetad-fuzz-", dir=place)
    _kept.append(made)
    return made.name


_kept: list[object] = []  # the directory goes with its object


def look(source: Source, previous: Content) -> Content | None:
    """Read, and have all that is made of a reading made of it; None if it raised what it may raise."""
    try:
        content = source.read(previous)
    except SourceError as error:
        _in_one_line(str(error))
        return None
    assert source.fingerprint() == content.fingerprint
    for sentence in (*content.faults, *content.unreadable):
        _in_one_line(sentence)
    snapshot = merge([(source.name, SourceState(), content)], Snapshot())
    changes = diff(Snapshot(), snapshot)
    assert apply(Snapshot(), changes) == snapshot
    for line in Batch(changes, Snapshot(), snapshot, 0).json_lines().splitlines():
        json.loads(line)
    return content


def _in_one_line(sentence: str) -> None:
    assert sentence.isprintable(), sentence
