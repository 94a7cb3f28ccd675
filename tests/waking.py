"""How often processes wake: what law 8, idle is asleep, is held to."""

from __future__ import annotations

import time
from pathlib import Path


def wake_ups(pid: int, thread: int | None = None) -> int:
    """How often a thread of the process, or any of them, had gone to sleep, and so was woken (proc(5))."""
    tasks = [Path(f"/proc/{pid}/task/{thread}")] if thread else list(Path(f"/proc/{pid}/task").iterdir())
    counts = [(task / "status").read_text().partition("\nvoluntary_ctxt_switches:")[2] for task in tasks]
    return sum(int(count.split()[0]) for count in counts)


class Quiet:
    """A condition to wait for: no thread of the process has woken for so many seconds."""

    def __init__(self, pid: int, seconds: float = 1.5) -> None:
        self._pid = pid
        self._seconds = seconds
        self._count = -1
        self._since = 0.0

    def __call__(self) -> bool:
        now, count = time.monotonic(), wake_ups(self._pid)
        if count != self._count:
            self._count, self._since = count, now
        return now - self._since >= self._seconds
