"""A new configuration, checked in a process of its own, just as the next daemon will take it.

Of its own, for a plugin has to be imported to be checked, and what a process has
imported, it keeps.
"""

from __future__ import annotations

import json
import os
import sys

from kmetad import _log
from kmetad._config import Loaded, build_sources
from kmetad._daemon import limits
from kmetad._daemon.instances import make_instance
from kmetad.errors import ConfigError, PluginError
from kmetad.hookspecs import App
from kmetad.metadata import Snapshot

_OWN_THREADS = 5
"""For watching, for the journal's lane, the link, the status socket, and a check."""
_WHY = "this is a check of the configuration; it has no app that could be signalled or restarted"


def check(loaded: Loaded, *, wrapped: bool) -> int:
    """Write what is wrong with it to standard output, a JSON array of sentences; answers the exit code.

    ``wrapped``: the daemon has an app. Every plugin is made, within the memory that the
    daemon will have, and never called; what it prints goes to standard error.
    """
    with open(os.dup(sys.stdout.fileno()), "w") as told:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        _log.configure(level="warning")
        json.dump(_faults(loaded, App(wrapped=True, why=_WHY) if wrapped else App()), told)
    return 0


def _faults(loaded: Loaded, app: App) -> list[str]:
    from kmetad._daemon import daemon  # noqa: F401  # whose memory is limited, too

    config = loaded.config
    threads = _OWN_THREADS + len(config.plugins)
    limits.limit_memory(max(1, config.daemon.memory_limit - threads * limits.STACK_BYTES))
    build_sources(config, os.environ, os.urandom(32))
    faults = [str(problem) for problem in loaded.problems]
    for table in config.plugins.values():
        try:
            make_instance(table, Snapshot, app)
        except (ConfigError, PluginError) as error:
            faults += str(error).splitlines()
    return faults
