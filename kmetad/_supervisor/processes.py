"""The processes below this one: they become its children when their parents die, and end with it."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

_PR_SET_CHILD_SUBREAPER = 36


class Process:
    """A process, as /proc/PID/stat has it (proc_pid_stat(5))."""

    __slots__ = ("alive", "name", "parent", "pid", "session")

    def __init__(self, pid: int, stat: bytes) -> None:
        before, _, after = stat.rpartition(b")")  # the name may hold anything, brackets too
        fields = after.split()
        self.pid = pid
        self.name = before.partition(b"(")[2].decode("utf-8", "backslashreplace")
        self.parent = int(fields[1])
        self.session = int(fields[3])
        # A process whose first thread alone has ended looks like a zombie, too.
        self.alive = fields[0] not in (b"Z", b"X") or int(fields[17]) > 1

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})"


def adopt_orphans() -> None:
    """Have orphans below become children of this process, as of process 1 (PR_SET_CHILD_SUBREAPER, prctl(2)).

    Without that, which only an interpreter without ctypes brings about, they go to process
    1, and aren't waited for.
    """
    if os.getpid() == 1:
        return
    try:
        # All of `ctypes` that this takes, for a quarter of its price: the app waits for it.
        from _ctypes import call_function, dlopen, dlsym
    except ImportError:
        return
    whole_program: Any = None
    call_function(dlsym(dlopen(whole_program, 0), "prctl"), (_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def descendants(other_sessions: Collection[int] = ()) -> list[Process]:
    """All that run below this process, but for those of other sessions and what is below these.

    And its children that have ended, but weren't waited for yet: this isn't a look at one
    moment, so whoever was started by one that ended meanwhile may be missing. Where nothing
    at all is found, nothing is missing, and SIGCHLD comes for each of these.
    """
    own = os.getpid()
    below: dict[int, list[Process]] = {}
    for process in _all():
        below.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    parents = [own]
    while parents:
        for process in below.get(parents.pop(), ()):
            if process.session not in other_sessions:
                parents.append(process.pid)
                if process.alive or process.parent == own:
                    found.append(process)
    return found


def signal_all(processes: Collection[Process], *numbers: int) -> None:
    """Send them signals. One that has ended meanwhile, or belongs to another user, is passed over."""
    for process in processes:
        for number in numbers:
            try:
                os.kill(process.pid, number)
            except OSError:
                break


def _all() -> list[Process]:
    try:
        entries = os.listdir("/proc")
    except OSError:
        return []  # not mounted
    processes = []
    for entry in entries:
        if entry.isdecimal():
            try:
                with open(f"/proc/{entry}/stat", "rb", buffering=0) as file:
                    processes.append(Process(int(entry), file.read()))
            except (OSError, ValueError, IndexError):
                pass  # it has ended
    return processes
