"""Hints by watchdog's plain ``Observer``, where there is no inotify (macOS, BSD, Windows).

Good enough to develop on: the observer has threads of its own, and a swap may
be told late. The slow rescan and ``Watch`` treat it like any other backend.
"""

from __future__ import annotations

import errno
import os
import queue
import threading
from typing import TYPE_CHECKING

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from kmetad._watch.hints import Hint

if TYPE_CHECKING:
    from watchdog.observers.api import ObservedWatch

_READERS_ONLY = frozenset({"opened", "closed_no_write"})  # what others' reading causes


class ObserverHints:
    """See ``Hints``."""

    def __init__(self) -> None:
        self._observer = Observer()
        self._watches: dict[str, ObservedWatch] = {}
        self._events: queue.SimpleQueue[tuple[str, bool] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._observer.start()

    def add(self, path: str, *, swapped: bool) -> None:
        # The observer swallows EACCES and is silent ever after.
        if not os.path.isdir(path):
            code = errno.ENOTDIR if os.path.exists(path) else errno.ENOENT
            raise OSError(code, os.strerror(code), path)
        if not os.access(path, os.R_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        self.remove(path)  # scheduling a re-created directory again would do nothing
        handler = _Enqueue(path, self._events)
        self._watches[path] = self._observer.schedule(handler, path, follow_symlink=True)

    def remove(self, path: str) -> None:
        watch = self._watches.pop(path, None)
        if watch is not None:
            self._observer.unschedule(watch)

    def wait(self, timeout: float | None) -> Hint:
        hint = Hint()
        try:
            event = self._events.get(timeout=timeout)
            while event is not None:
                path, ended = event
                (hint.ended if ended else hint.touched).add(path)
                event = self._events.get_nowait()
        except queue.Empty:
            pass
        if self._stopping.is_set():
            self._events.put(None)  # every later wait ends at once too
        for path in hint.ended:
            self.remove(path)
        return hint

    def wake(self) -> None:
        self._events.put(None)

    def stop(self) -> None:
        self._stopping.set()
        self._events.put(None)

    def stopped(self) -> bool:
        return self._stopping.is_set()

    def close(self) -> None:
        self._observer.stop()
        self._observer.join()
        self._watches.clear()


class _Enqueue(FileSystemEventHandler):
    """Only enqueues: an exception in a handler would end the observer's thread for good."""

    def __init__(self, path: str, events: queue.SimpleQueue[tuple[str, bool] | None]) -> None:
        self._path = path
        self._real = os.path.realpath(path)
        self._events = events

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in _READERS_ONLY:
            return
        itself = os.fsdecode(event.src_path) in (self._path, self._real)
        self._events.put((self._path, itself and event.event_type in ("deleted", "moved")))
