"""``inotifywait -m -e moved_to``, with a Python program at the end of its pipe."""

from __future__ import annotations

import subprocess
import sys

from bench.reading import marker
from bench.watchers import Report


def main(fifo: str, *volumes: str) -> None:
    """Returns when inotifywait ends."""
    report = Report(fifo)
    argv = ["inotifywait", "-m", "-q", "-e", "moved_to", "--format", "%w", "--", *volumes]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            report(marker(line.rstrip("/\n")))


if __name__ == "__main__":
    main(*sys.argv[1:])
