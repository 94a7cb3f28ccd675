"""The objects, every change to them in order, and those who wait for the next."""

from __future__ import annotations

import base64
import collections
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.apiserver.answers import bad_request, expired
from tests.apiserver.objects import Object, normal

_TOO_OLD_LIST = "The resourceVersion for the provided list is too old."
_TOO_OLD_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of "
    "the results. Continuing with the provided token results in an inconsistent list - objects that were "
    "created, modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True)
class Key:
    """Where an object is."""

    storage: tuple[str, str]  # group and plural
    namespace: str
    name: str


@dataclass(frozen=True)
class Change:
    """One object, before and after; None where there is none."""

    version: int
    key: Key
    before: Object | None
    after: Object | None


class Feed:
    """What one who waits is told: changes, and anything else that is pushed, in order.

    It is a file descriptor to poll, readable when there is something.
    """

    def __init__(self) -> None:
        self._descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._told: collections.deque[Change | Callable[[Any], None]] = collections.deque()

    def fileno(self) -> int:
        """What becomes readable."""
        return self._descriptor

    def push(self, told: Change | Callable[[Any], None]) -> None:
        """Tell something."""
        self._told.append(told)
        os.eventfd_write(self._descriptor, 1)

    def take(self) -> Iterator[Change | Callable[[Any], None]]:
        """All that was told since."""
        try:
            os.eventfd_read(self._descriptor)
        except BlockingIOError:
            pass
        while self._told:
            yield self._told.popleft()

    def close(self) -> None:
        """Be told no more."""
        os.close(self._descriptor)


class Store:
    """All objects, with one resourceVersion for all."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.version = 300
        self.compacted = self.version
        self._objects: dict[Key, Object] = {}
        self._changes: list[Change] = []
        self._feeds: set[Feed] = set()

    def get(self, key: Key) -> Object | None:
        """One, or None. Nobody may change it in place."""
        return self._objects.get(key)

    def put(self, key: Key, new: Object) -> Object:
        """Keep an object under the next resourceVersion."""
        with self.lock:
            self.version += 1
            kept = normal(new)
            kept["metadata"]["resourceVersion"] = str(self.version)
            kept = normal(kept)
            self._changed(Change(self.version, key, self._objects.get(key), kept))
            self._objects[key] = kept
            return kept

    def remove(self, key: Key) -> Object | None:
        """Take one away; what it was, under the version of its removal."""
        with self.lock:
            before = self._objects.pop(key, None)
            if before is None:
                return None
            self.version += 1
            self._changed(Change(self.version, key, before, None))
            return _at(before, self.version)

    def compact(self) -> None:
        """Forget all but the present: an older resourceVersion is too old from now on."""
        with self.lock:
            self.version += 1
            self.compacted = self.version
            self._changes.clear()

    def at(self, version: int, storage: tuple[str, str], namespace: str) -> dict[Key, Object]:
        """What there was at a version, in the order of lists; -1 is the present."""
        with self.lock:
            found = dict(self._objects)
            if version >= 0:
                for change in reversed(self._changes):
                    if change.version <= version:
                        break
                    if change.before is None:
                        del found[change.key]
                    else:
                        found[change.key] = change.before
        chosen = [key for key in found if key.storage == storage and namespace in ("", key.namespace)]
        return {key: found[key] for key in sorted(chosen, key=lambda key: (key.namespace, key.name))}

    def since(self, version: int) -> list[Change]:
        """All changes after a version. Raises the refusal if it is forgotten."""
        with self.lock:
            if version < self.compacted:
                raise expired(f"too old resource version: {version} ({self.version})")
            return [change for change in self._changes if change.version > version]

    def exact(self, version: int) -> None:
        """Raise the refusal if the state at a version is forgotten."""
        if version < self.compacted:
            raise expired(_TOO_OLD_LIST)

    def start(self, token: str) -> tuple[int, str]:
        """Where a continue token goes on: a version, and the last one listed."""
        try:
            told = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
            version, start = int(told["rv"]), str(told["start"])
        except (ValueError, TypeError, KeyError):
            # what Go's decoder says of the bytes isn't imitated beyond those that were recorded
            raise bad_request(
                "invalid continue token: continue key is not valid: "
                "invalid character 'Ï' looking for beginning of value"
            ) from None
        if 0 <= version < self.compacted:
            raise expired(_TOO_OLD_CONTINUE, {"continue": token_for(-1, start)})
        return version, start

    @contextmanager
    def feed(self) -> Iterator[Feed]:
        """Be told of changes."""
        feed = Feed()
        with self.lock:
            self._feeds.add(feed)
        try:
            yield feed
        finally:
            with self.lock:
                self._feeds.discard(feed)
                feed.close()

    def push(self, told: Callable[[Any], None]) -> None:
        """Tell all who wait something, after the changes so far."""
        with self.lock:
            for feed in self._feeds:
                feed.push(told)

    def _changed(self, change: Change) -> None:
        self._changes.append(change)
        for feed in self._feeds:
            feed.push(change)


def token_for(version: int, start: str) -> str:
    """A continue token."""
    told = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(told.encode()).rstrip(b"=").decode()


def _at(given: Object, version: int) -> Object:
    return {**given, "metadata": {**given["metadata"], "resourceVersion": str(version)}}
