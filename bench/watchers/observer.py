"""watchdog's ``Observer`` as its documentation shows it, with a handler that reads the volume."""

from __future__ import annotations

import os
import sys
import threading

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

from bench.reading import marker
from bench.watchers import Report


class Handler(FileSystemEventHandler):
    """Reads whenever something happens to ``..data``; other events of the swap mean nothing."""

    def __init__(self, path: str, report: Report) -> None:
        self._path = path
        self._data = os.path.join(path, "..data")
        self._report = report

    def on_any_event(self, event: FileSystemEvent) -> None:
        if self._data in (event.src_path, event.dest_path):
            self._report(marker(self._path))


def main(fifo: str, *volumes: str) -> None:
    """Never returns."""
    report = Report(fifo)
    observer = Observer()
    for path in volumes:
        observer.schedule(Handler(path, report), path)
    observer.start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
