"""``[daemon]``: keep the daemon's hunger away from the app beside it."""

from __future__ import annotations

import os
import resource
import threading

STACK_BYTES = 1 << 20


def apply(memory: int, nice: int, oom_score_adj: int, niceness: int) -> list[str]:
    """Limit this process. Answers one sentence for each limit that the kernel refused.

    ``memory``: see ``limit_memory``. ``nice``: added to ``niceness``, which was inherited;
    ``oom_score_adj``: see proc(5).
    """
    refused = limit_memory(memory)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, max(-20, min(19, niceness + nice)))
    except OSError as error:
        refused.append(f"daemon.nice: {error.strerror}; only root may lower it below what was inherited")
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(oom_score_adj))
    except FileNotFoundError:
        pass  # no Linux, no oom killer
    except OSError as error:
        refused.append(
            f"daemon.oom_score_adj: {error.strerror}; only root may lower it below what was inherited"
        )
    return refused


def limit_memory(memory: int) -> list[str]:
    """Limit the private writable memory (RLIMIT_DATA, setrlimit(2)) to so many bytes; answers as ``apply``.

    It is to be below the container's own limit, which would take the app along (``memory.oom.group``).
    Stacks of threads count, so they are made small: 1 MiB instead of 8. 0: no limit.
    """
    threading.stack_size(STACK_BYTES)
    if memory:
        try:
            _, hard = resource.getrlimit(resource.RLIMIT_DATA)
            within = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
            resource.setrlimit(resource.RLIMIT_DATA, (within, hard))
        except (OSError, ValueError) as error:
            return [f"daemon.memory_limit: {error}"]
    return []
