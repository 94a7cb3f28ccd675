"""Tags in the app's own log entries: a processor for structlog, a filter for the standard library's logging.

Both read what a thread of this process keeps up to date, so an entry has the Pod's metadata as it is now.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any
from weakref import WeakSet, finalize

import kmetad
from kmetad import Snapshot, Watch
from kmetad_logtag.tags import Preset, known, paths, place

Volumes = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]
"""One volume's directory or several; none: found by convention, as ``kmetad get`` does."""

PATIENCE = 2.0
"""Seconds that a start may wait for the first reading."""
_RETRY = 1.0
_JOIN = 2.0
_SURROGATE = re.compile("[\ud800-\udfff]")
_RESERVED = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

_log = logging.getLogger("kmetad_logtag")


class Follower:
    """Keeps ``snapshot`` up to date on a daemon thread, until ``close``, or until nobody has the follower any more.

    Waits ``patience`` seconds at most for the first reading. What goes wrong is logged once, and
    tried again; the last snapshot stays. A forked child gets a thread of its own.
    """

    def __init__(self, volumes: Volumes = (), *, patience: float = PATIENCE) -> None:
        one = isinstance(volumes, (str, os.PathLike))
        self._following = _Following((volumes,) if one else tuple(volumes))  # type: ignore[arg-type]
        self._following.start()
        self._end = finalize(self, self._following.stop)
        self._end.atexit = False  # the thread ends with the process by itself
        self._following.ready.wait(patience)

    @property
    def snapshot(self) -> Snapshot:
        """What the Pod is now."""
        return self._following.snapshot

    def close(self) -> None:
        """End the thread; the last snapshot stays."""
        self._end()
        self._following.thread.join(_JOIN)


class _Following:
    """What the thread holds, so that it doesn't hold the follower itself."""

    def __init__(self, paths: tuple[str | os.PathLike[str], ...]) -> None:
        self.snapshot = Snapshot()
        self._paths = paths
        self._reported = False

    def start(self) -> None:
        self.ready = threading.Event()
        self._stopped = threading.Event()
        self._watch: Watch | None = None
        self.thread = threading.Thread(target=self._run, name="logtag", daemon=True)
        self.thread.start()
        _started.add(self)

    def stop(self) -> None:
        self._stopped.set()
        watch = self._watch  # once: the thread may take it away
        if watch is not None:
            watch.stop()

    def start_in_child(self) -> None:
        if self._stopped.is_set():
            return
        # Left alone here, for ever: its locks may be held by threads that only the parent has.
        _inherited.append(self._watch)
        self.start()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow()
            except Exception as error:  # a log call must not notice
                self._report(error)
            self.ready.set()
            self._stopped.wait(_RETRY)

    def _follow(self) -> None:
        with kmetad.watch(*self._paths) as batches:
            self._watch = batches
            try:
                if self._stopped.is_set():
                    return
                for batch in batches:
                    self.snapshot = batch.current
                    self._reported = False
                    self.ready.set()
            finally:
                self._watch = None

    def _report(self, error: Exception) -> None:
        if not self._reported:
            self._reported = True
            _log.warning("logtag.not_followed: %s: %s; tags stay as they are", type(error).__name__, error)


_started: WeakSet[_Following] = WeakSet()
_inherited: list[Watch | None] = []


def _after_fork() -> None:
    for following in list(_started):
        following.start_in_child()


os.register_at_fork(after_in_child=_after_fork)


class _Tagger:
    """What both have in common: the options, and the tags of the snapshot that is newest."""

    def __init__(
        self,
        *,
        tags: Mapping[str, str] | None = None,
        preset: Preset | None = None,
        key: str | None = None,
        volumes: Volumes = (),
        follower: Follower | None = None,
    ) -> None:
        """``tags``: by name in the log, the field path. ``preset``: OpenTelemetry's names, too.

        ``key``: where the tags stand, ``pod`` if None; empty: beside the entry's own keys, as with a
        preset if None. Raises FieldPathError and ValueError.
        """
        super().__init__()
        self._paths = paths(tags or {}, preset)
        self.key = place(key, preset)
        self._check([self.key] if self.key else list(self._paths))
        self._own = follower is None
        self._follower = Follower(volumes) if follower is None else follower
        self._known = (self._follower.snapshot, self._made(self._follower.snapshot))

    def _check(self, names: Iterable[str]) -> None:
        """Raise ValueError for names that can't be; before a thread is started."""

    def close(self) -> None:
        """End its thread, unless the follower was given; entries keep the last tags."""
        if self._own:
            self._follower.close()

    def _add_to(self, entry: MutableMapping[str, Any]) -> None:
        """What the app itself put there stays."""
        snapshot = self._follower.snapshot
        made_of, tags = self._known
        if made_of is not snapshot:
            tags = self._made(snapshot)
            self._known = (snapshot, tags)  # one assignment: another thread sees the old pair or the new one
        if self.key:
            if self.key not in entry:
                entry[self.key] = dict(tags)
            return
        for name, text in tags.items():
            entry.setdefault(name, text)

    def _made(self, snapshot: Snapshot) -> dict[str, str]:
        made = known(self._paths, snapshot)
        return {name: _SURROGATE.sub("\ufffd", text) for name, text in made.items()}


class Processor(_Tagger):
    """A processor of structlog that adds the Pod's metadata to each event."""

    def __call__(self, logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Add the tags to an event."""
        self._add_to(event)
        return event


processor = Processor
"""The name for a pipeline of processors, most of which are functions."""


class LogFilter(_Tagger, logging.Filter):
    """A filter of the standard library's logging that lets all through, and adds the tags to each record.

    With a key the attribute is always there, ``{}`` if nothing is known, so ``%(pod)s`` in a format
    never fails. Add it to a handler: a logger's filter isn't asked for the records of loggers below.
    A name that a record needs for itself is a ValueError, too.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the tags; always True."""
        self._add_to(record.__dict__)
        return True

    def _check(self, names: Iterable[str]) -> None:
        for name in names:
            if name in _RESERVED:
                raise ValueError(f"{name!r} is an attribute that a log record has already; take another name")
