"""The JSON documents: what a change, an outcome, the status and the metadata are for clients.

All are in ASCII: bytes that were no UTF-8 are escaped lone surrogates.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from json import dumps
from typing import Any

from kmetad.events import Batch, Outcome, TokenChange, rfc3339
from kmetad.metadata import Snapshot
from kmetad.podview import pod
from kmetad.status import Status, plain

_MOST_CHANGES = 20
"""Of an outcome's, that are listed."""
_LONGEST_ERROR = 2000
"""Characters of an exception's text."""


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return dumps(value, separators=(",", ":")).encode("ascii")


def changes(batch: Batch) -> list[bytes]:
    """Each change, as ``kmetad events -o json`` prints it."""
    return [line.encode("ascii") for line in batch.json_lines().splitlines()]


def outcome(told: Outcome) -> bytes:
    """What an instance did with a delivery."""
    error = told.error if len(told.error) <= _LONGEST_ERROR else f"{told.error[:_LONGEST_ERROR]}…"
    return encode(
        {
            "time": rfc3339(told.started_ns),
            "instance": told.instance,
            "result": told.result,
            "attempt": told.attempt,
            "seconds": round(told.seconds, 6),
            "error": error,
            "detail": dict(told.detail),
            "changes": [{"type": one.type, "key": one.key} for one in told.changes[:_MOST_CHANGES]],
            "count": len(told.changes),
            "generation": told.current.generation,
        }
    )


def status(now: Status) -> bytes:
    """What ``kmetad status -o json`` prints."""
    return encode(plain(now))


def told_apart(now: Status) -> object:
    """What two statuses are compared by: all of them, but for the clock of the hook that runs."""
    document = plain(now)
    for lane in document["lanes"]:
        del lane["hook_seconds"]
    return document


def metadata(now: Snapshot) -> bytes:
    """What ``kmetad get -o json`` prints, and when the mounted tokens go stale."""
    tokens = {name: TokenChange.as_json(token) for name, token in now.tokens.items()}
    return encode(pod(now) | {"tokens": tokens})


class Metadata:
    """The document of the newest snapshot that was asked for, made once: whoever reads it slowly holds no copy."""

    def __init__(self) -> None:
        self._of: Snapshot | None = None
        self._document = b""

    def of(self, now: Snapshot) -> bytes:
        """As ``metadata``."""
        if now is not self._of or not self._document:
            self._document, self._of = metadata(now), now
        return self._document


def unready(now: Status, lag_limit: timedelta) -> Iterable[str]:
    """Why the Pod shouldn't be sent traffic, a sentence each; none: it may be."""
    yield from (" ".join(why.split()) for why in now.unready)  # a line each, whatever a plugin's error holds
    seconds = lag_limit.total_seconds()
    for lane in now.lanes:
        if seconds and lane.behind_seconds > seconds:
            yield (
                f"plugin {lane.name} has been behind for {lane.behind_seconds:.0f}s, longer than "
                f"lag_limit allows ({seconds:g}s): it is {lane.state}"
            )
