"""watchfiles: ``python -m bench.watchers.rust default|tuned FIFO DIR…``."""

from __future__ import annotations

import os
import sys

from watchfiles import watch

from bench.reading import marker
from bench.watchers import Report

OPTIONS = {
    "default": {},
    # A millisecond is the shortest step; a volume has no directories that matter below it.
    "tuned": {"step": 1, "debounce": 1, "recursive": False, "watch_filter": None},
}


def main(options: str, fifo: str, *volumes: str) -> None:
    """Never returns."""
    report = Report(fifo)
    known = set(volumes)
    for changes in watch(*volumes, **OPTIONS[options]):  # type: ignore[arg-type]
        for path in known & {os.path.dirname(path) for _, path in changes}:
            report(marker(path))


if __name__ == "__main__":
    main(*sys.argv[1:])
