"""Those who listen to events: told what is new, and asleep together with them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from kmetad.hookspecs import Context
from kmetad_status import documents
from kmetad_status.stream import Stream

LOOK = 1.0
"""Seconds between two looks at the status and the metadata, while somebody listens to them."""
ALIVE = 15.0
"""Seconds between two signs of life: many a proxy closes what is silent for a minute."""
STATES = ("status", "metadata")
"""Events that say what is, and not what has happened."""


class Listener(Protocol):
    """Who listens, and has the stream."""

    def pump(self) -> None:
        """Send the stream on, as far as the client takes it."""

    def keep_alive(self) -> None:
        """Send a sign of life."""


class Audience:
    """For the loop's own thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, context: Context, metadata: documents.Metadata
    ) -> None:
        self._loop = loop
        self._context = context
        self._metadata = metadata
        self._streams: dict[Listener, Stream] = {}
        self._look: asyncio.TimerHandle | None = None
        self._alive: asyncio.TimerHandle | None = None
        self._seen: dict[str, object] = {}
        """What the states were when they were looked at last."""

    def __len__(self) -> int:
        """How many listen."""
        return len(self._streams)

    def add(self, listener: Listener, stream: Stream) -> None:
        """One more; the stream has what it wants to know at once."""
        self._streams[listener] = stream
        if self._alive is None:
            self._alive = self._loop.call_later(ALIVE, self._keep_alive)
        for kind in STATES:
            if kind in stream.kinds:
                self._look_at(kind, newcomer=listener)
                if self._look is None:
                    self._look = self._loop.call_later(LOOK, self._look_again)

    def discard(self, listener: Listener) -> None:
        """One less. With the last one, nothing is left that wakes the loop up."""
        self._streams.pop(listener, None)
        if not self._streams:
            for timer in (self._look, self._alive):
                if timer is not None:
                    timer.cancel()
            self._look = self._alive = None
            self._seen.clear()

    def tell(self) -> None:
        """The history has something new."""
        for one in tuple(self._streams):
            one.pump()
        self._look_at("metadata")

    def _look_again(self) -> None:
        wanted = any(not stream.kinds.isdisjoint(STATES) for stream in self._streams.values())
        self._look = self._loop.call_later(LOOK, self._look_again) if wanted else None
        for kind in STATES:
            self._look_at(kind)

    def _look_at(self, kind: str, newcomer: Listener | None = None) -> None:
        """Tell what is: everybody if it isn't what it was, a newcomer in any case."""
        listening = [one for one, stream in self._streams.items() if kind in stream.kinds]
        if not listening:
            self._seen.pop(kind, None)
            return
        key, make = self._state(kind)
        if kind not in self._seen or self._seen[kind] != key:
            self._seen[kind] = key
        elif newcomer is None:
            return
        else:
            listening = [newcomer]
        data = make()
        for one in listening:
            self._streams[one].now(kind, data)
            one.pump()

    def _state(self, kind: str) -> tuple[object, Callable[[], bytes]]:
        """What to compare by, and the document."""
        if kind == "status":
            status = self._context.status()
            return documents.told_apart(status), lambda: documents.status(status)
        snapshot = self._context.snapshot()
        return snapshot, lambda: self._metadata.of(snapshot)

    def _keep_alive(self) -> None:
        self._alive = self._loop.call_later(ALIVE, self._keep_alive)
        for one in tuple(self._streams):
            one.keep_alive()
