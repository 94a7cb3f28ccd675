"""The daemon: one thread that watches, one for each plugin, and the main one, which waits for signals.

``run`` is imported when it is asked for: the daemon's process first sees to it that it ends with its supervisor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmetad._daemon.daemon import run as run


def __getattr__(name: str) -> Any:
    if name != "run":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from kmetad._daemon.daemon import run

    return run
