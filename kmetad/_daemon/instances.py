"""From a plugin's table to its lane."""

from __future__ import annotations

from collections.abc import Callable

from kmetad import _log
from kmetad._config import Loaded, PluginTable, options
from kmetad._delivery.lane import Lane, Pace
from kmetad._delivery.lanes import Lanes
from kmetad._delivery.match import Filter
from kmetad._plugins import Instance, load, make
from kmetad.errors import ConfigError, PluginError
from kmetad.hookspecs import Context
from kmetad.metadata import Snapshot


def make_instance(table: PluginTable, snapshot: Callable[[], Snapshot]) -> Instance:
    """The plugin of one ``[plugins.NAME]``, found, given its options, and made.

    ``snapshot`` answers what the Pod is now. Raises ConfigError and PluginError.
    """
    found = load(table.name, use=table.use, module=table.module, path=table.path)
    own: object | None = None
    if found.options_type is not None:
        own = options(found.options_type, table.options, table.name, table.lines)
    elif table.options:
        keys = ", ".join(table.options)
        raise PluginError(
            f"plugins.{table.name}: {found.origin} takes no options, so {keys} mean nothing to it"
        )
    context = Context(name=table.name, log=_log.get_logger(plugin=table.name), snapshot=snapshot)
    return make(found, table.name, own, context)


def make_lanes(
    loaded: Loaded, lanes: Lanes, snapshot: Callable[[], Snapshot]
) -> tuple[list[Lane], list[str]]:
    """A lane for each instance that can be made, and what is wrong with the others."""
    made: list[Lane] = []
    faults: list[str] = []
    for table in loaded.config.plugins.values():
        try:
            instance = make_instance(table, snapshot)
        except (ConfigError, PluginError) as error:
            faults += str(error).splitlines()
            continue
        filter_ = Filter(table.match, loaded.config.watch.ignore)
        log = _log.get_logger(plugin=table.name)
        made.append(Lane(instance, filter_, _pace(table), log, entered=lanes.entered))
    return made, faults


def _pace(table: PluginTable) -> Pace:
    lane, retry = table.lane, table.lane.retry
    return Pace(
        debounce=lane.debounce,
        max_wait=lane.max_wait,
        splay=lane.splay,
        timeout=lane.timeout,
        retry_initial=retry.initial,
        retry_max=retry.max,
        retry_attempts=retry.attempts,
    )
