"""The programs that are measured, each a process of its own: ``python -m bench.watchers.NAME FIFO DIR…``.

Each writes one line ``MARKER NANOSECONDS`` into the named pipe whenever it has the
content of a volume: the label that tells the swaps apart, and CLOCK_MONOTONIC then.
"""

from __future__ import annotations

import os
import time


class Report:
    """The way back to the bench."""

    def __init__(self, fifo: str) -> None:
        self._descriptor = os.open(fifo, os.O_WRONLY | os.O_CLOEXEC)

    def __call__(self, marker: str) -> None:
        """Say that the generation with this marker has been read, now."""
        now = time.monotonic_ns()
        os.write(self._descriptor, f"{marker} {now}\n".encode())
