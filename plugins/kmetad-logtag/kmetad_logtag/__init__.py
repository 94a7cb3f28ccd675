"""An app's log lines carry its Pod's metadata as it is now: as a filter on its output, or in its own process.

Each name is fetched when it is first used: an app needs no msgspec, and the daemon none of ``logging``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmetad_logtag.inprocess import Follower as Follower
    from kmetad_logtag.inprocess import LogFilter as LogFilter
    from kmetad_logtag.inprocess import Processor as Processor
    from kmetad_logtag.inprocess import processor as processor
    from kmetad_logtag.plugin import Options as Options
    from kmetad_logtag.plugin import Plugin as Plugin

API_VERSION = 1

_HOMES = {"inprocess": ("Follower", "LogFilter", "Processor", "processor"), "plugin": ("Options", "Plugin")}


def __getattr__(name: str) -> Any:
    """PEP 562: import a name's home when somebody asks for it."""
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
