"""From a plugin's table to its lane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kmetad import _log
from kmetad._delivery.lane import Lane, Pace
from kmetad._delivery.lanes import Lanes
from kmetad._delivery.match import Filter
from kmetad.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from kmetad._config import Loaded
    from kmetad._config.model import PluginTable
    from kmetad.metadata import Snapshot


def make_lane(
    table: PluginTable, loaded: Loaded, lanes: Lanes, snapshot: Snapshot | None = None
) -> tuple[Lane | None, list[str]]:
    """The lane of one ``[plugins.NAME]``; or None, and what is wrong."""
    from kmetad import _config, _plugins

    log = _log.get_logger(plugin=table.name)
    try:
        found = _plugins.load(table.name, use=table.use, module=table.module, path=table.path)
        options = _config.options(found.options_type, table)
        context = _plugins.Context(name=table.name, log=log)
        instance = _plugins.make(found, table.name, options, context)
    except (ConfigError, PluginError) as error:
        return None, str(error).splitlines()
    lane = table.lane
    pace = Pace(
        debounce=lane.debounce,
        max_wait=lane.max_wait,
        splay=lane.splay,
        timeout=lane.timeout,
        retry_initial=lane.retry.initial,
        retry_max=lane.retry.max,
        retry_attempts=lane.retry.attempts,
    )
    filter_ = Filter(table.match, loaded.config.watch.ignore)
    return Lane(instance, filter_, pace, log, entered=lanes.entered), []
