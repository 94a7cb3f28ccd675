"""What Linux tells of a process without disturbing it: proc(5)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Footprint:
    """What processes hold."""

    private_dirty: float
    """Megabytes (2**20) that each alone has written to: what a container is charged for."""
    pss: float
    """Megabytes of all that it maps, shared pages divided by their users."""
    rss: float
    """Megabytes of all that it maps, shared pages counted whole."""
    threads: int
    inotify: int
    """Open inotify descriptors."""
    watches: int
    """Directories watched by them."""

    def __add__(self, other: Footprint) -> Footprint:
        return Footprint(
            self.private_dirty + other.private_dirty,
            self.pss + other.pss,
            self.rss + other.rss,
            self.threads + other.threads,
            self.inotify + other.inotify,
            self.watches + other.watches,
        )


def family(pid: int) -> list[int]:
    """A process and what it started, and so on."""
    found = [pid]
    for parent in found:
        for children in _of_threads(parent, "children"):
            found += [int(child) for child in children.split()]
    return found


def _of_threads(pid: int, name: str) -> Iterator[str]:
    """This file of each thread; of those that end meanwhile, nothing."""
    with suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with (
                suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/{pid}/task/{thread}/{name}") as file,
            ):
                yield file.read()


def command_line(pid: int) -> list[str]:
    """The arguments that a process was started with; none if it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/cmdline") as file:
        return file.read().split("\0")
    return []


def footprint(pid: int) -> Footprint:
    """Of one process. Raises OSError if it is gone."""
    kilobytes: dict[str, int] = {}
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        for line in lines:
            words = line.split()
            if words[-1] == "kB":
                kilobytes[words[0]] = int(words[1])
    descriptors = [fd for fd in os.listdir(f"/proc/{pid}/fd") if _leads_to_inotify(pid, fd)]
    watches = 0
    for descriptor in descriptors:
        with open(f"/proc/{pid}/fdinfo/{descriptor}") as lines:
            watches += sum(line.startswith("inotify ") for line in lines)
    return Footprint(
        private_dirty=kilobytes["Private_Dirty:"] / 1024,
        pss=kilobytes["Pss:"] / 1024,
        rss=kilobytes["Rss:"] / 1024,
        threads=len(os.listdir(f"/proc/{pid}/task")),
        inotify=len(descriptors),
        watches=watches,
    )


def _leads_to_inotify(pid: int, descriptor: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{descriptor}") in ("anon_inode:inotify", "inotify")
    except FileNotFoundError:
        return False


def wakeups(pid: int) -> int:
    """Voluntary context switches of all present threads so far: each is a sleep, and so a wake-up."""
    lines = (line for status in _of_threads(pid, "status") for line in status.splitlines())
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt"))


def settle(pids: list[int], quiet: float = 1.0, deadline: float = 15.0) -> None:
    """Wait until the processes' threads and memory stay as they are, or the deadline (seconds)."""
    end = time.monotonic() + deadline
    before: list[tuple[int, int]] = []
    while time.monotonic() < end:
        now = [(len(os.listdir(f"/proc/{pid}/task")), _resident(pid)) for pid in pids]
        if now == before:
            return
        before = now
        time.sleep(quiet)


def _resident(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1])
