"""One client that listens to events, as server-sent events have it (HTML standard, 9.2).

Nothing waits for it: it has a place in the history, and is given what comes after that when it can take it.
"""

from __future__ import annotations

from kmetad_status.documents import encode
from kmetad_status.history import History

ALIVE = b":\n\n"
"""A comment: nothing has happened, and the connection is there."""


def event(kind: str, data: bytes, name: str | None = None) -> list[bytes]:
    """One event, in parts; ``name``: its id, which a client sends when it comes back."""
    named = f"id: {name}\n" if name is not None else ""
    return [f"event: {kind}\n{named}data: ".encode(), data, b"\n\n"]


class Stream:
    """What a client gets, piece by piece. ``last``: the id of the last event that it has seen, if it says so."""

    def __init__(self, history: History, kinds: frozenset[str], last: str | None) -> None:
        self.kinds = kinds
        self._history = history
        self._said_hello = False
        self._follows = not kinds.isdisjoint(("change", "outcome"))
        at = history.number(last) if last is not None and self._follows else history.last
        self._missed = at is None
        self._at = history.last if at is None else at
        self._states: dict[str, bytes] = {}

    def now(self, kind: str, data: bytes) -> None:
        """The status, or the metadata, is this; what is older and wasn't sent yet needn't be."""
        self._states[kind] = data

    def next(self) -> list[bytes]:
        """What it is to be sent now, in parts, of which the large ones are everybody's; empty: nothing more."""
        if not self._said_hello:
            self._said_hello = True
            last = self._history.last
            hello = {"boot": self._history.boot, "last": self._history.name(last) if last else None}
            # Its id is where the client is: one that comes back before anything has happened says so.
            return [b"retry: 1000\n", *event("hello", encode(hello), self._history.name(self._at))]
        if self._follows and not self._missed:
            while (found := self._history.after(self._at)) is not None and found:
                self._at = found[-1].number
                parts = [
                    part
                    for one in found
                    if one.kind in self.kinds
                    for part in event(one.kind, one.data, self._history.name(one.number))
                ]
                if parts:
                    return parts
            self._missed = found is None
        if self._missed:
            self._missed = False
            self._at = self._history.last
            return event("reset", b"{}", self._history.name(self._at))
        if self._states:
            kind = next(iter(self._states))
            return event(kind, self._states.pop(kind))
        return []
