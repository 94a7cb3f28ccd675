"""What has happened, as far as it is kept: a ring of events, written by the plugin's hooks, read by the loop."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

MOST_BYTES = 2 << 20
"""Of all events that are kept, together."""

AT_ONCE = 64 << 10
"""Bytes, or one event, that are handed out together: each client that is slow holds so many."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened. ``data`` is JSON, on one line, in ASCII."""

    number: int
    """From 1, without a gap."""
    kind: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Timeline:
    """The document of what was kept at a moment, ``/api/timeline``: its pieces, as often as they are asked for.

    They are made on the way, and the events in them are everybody's: whoever reads it slowly holds no copy.
    """

    boot: str
    events: tuple[Event, ...]
    truncated: bool

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"events":['
        for at, event in enumerate(self.events):
            yield b'%s{"id":"%s-%d","event":"%s","data":' % (
                b"," if at else b"",
                self.boot.encode(),
                event.number,
                event.kind.encode(),
            )
            yield event.data
            yield b"}"
        yield b'],"truncated":%s}' % (b"true" if self.truncated else b"false")


class History:
    """For any thread. ``boot`` tells the numbers of this life of the daemon from those of others."""

    def __init__(self, most: int, boot: str) -> None:
        self.boot = boot
        self._most = most
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._last = 0
        self._lock = threading.Lock()

    @property
    def last(self) -> int:
        """The newest event's number; 0 before the first."""
        return self._last

    def name(self, number: int) -> str:
        """An event's id, as clients know it."""
        return f"{self.boot}-{number}"

    def number(self, name: str) -> int | None:
        """An event's number by its id; None where it is none of this daemon's."""
        boot, _, number = name.rpartition("-")
        if boot != self.boot or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        return int(number) if int(number) <= self._last else None

    def add(self, kind: str, *data: bytes) -> None:
        """These happened. The oldest go where there are too many."""
        with self._lock:
            for one in data:
                self._last += 1
                self._events.append(Event(self._last, kind, one))
                self._bytes += len(one)
                while len(self._events) > self._most or self._bytes > MOST_BYTES:
                    self._bytes -= len(self._events.popleft().data)

    def after(self, number: int) -> tuple[Event, ...] | None:
        """The oldest events that came after one, as many as are taken at once; None where some are gone already."""
        with self._lock:
            first = self._events[0].number if self._events else self._last + 1
            if number + 1 < first:
                return None
            found, size = [], 0
            for event in islice(self._events, number + 1 - first, None):
                found.append(event)
                size += len(event.data)
                if size >= AT_ONCE:
                    break
            return tuple(found)

    def timeline(self) -> Timeline:
        """All that is kept."""
        with self._lock:
            events = tuple(self._events)
            return Timeline(self.boot, events, self._last > len(events))
