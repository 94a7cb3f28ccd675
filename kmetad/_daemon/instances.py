"""From a plugin's table to its lane."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kmetad import _log
from kmetad._config import Loaded, PluginTable, options
from kmetad._delivery.lane import Instance as Told
from kmetad._delivery.lane import Lane
from kmetad._delivery.lanes import Lanes
from kmetad._delivery.match import Filter
from kmetad._delivery.memory import CRASHES, Memory
from kmetad._delivery.pace import Pace
from kmetad._plugins import Instance, load, make
from kmetad.errors import ConfigError, PluginError
from kmetad.hookspecs import App, Context, own_client
from kmetad.metadata import Snapshot
from kmetad.status import NOT_RUNNING, Status

if TYPE_CHECKING:
    from kmetad._daemon.wrapped import Wrapped
    from kmetad.api import Client


def make_instance(
    table: PluginTable,
    snapshot: Callable[[], Snapshot],
    app: App,
    status: Callable[[], Status] = lambda: NOT_RUNNING,
    filter_: Filter | None = None,
    api: Callable[[], Client] = own_client,
) -> Instance:
    """The plugin of one ``[plugins.NAME]``, found, given its options, and made.

    ``snapshot`` answers what the Pod is now, ``status`` how kmetad is, ``api`` the client of the API server;
    ``app`` is what the plugin may ask of the app. Raises ConfigError and PluginError.
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
    context = Context(
        table.name,
        _log.get_logger(plugin=table.name),
        snapshot,
        app,
        status,
        (filter_ or Filter(table.match)).covers,
        table.lane.timeout,
        api,
    )
    return make(found, table.name, own, context)


def make_lanes(
    loaded: Loaded,
    lanes: Lanes,
    memory: Memory,
    snapshot: Callable[[], Snapshot],
    status: Callable[[], Status],
    api: Callable[[], Client],
    wrapped: Wrapped | None = None,
    came_on: Callable[[], None] = lambda: None,
) -> tuple[list[Lane], list[Instance], list[str]]:
    """A lane for each instance that can be made, these instances, and what is wrong with the others.

    An instance that ``memory`` knows to have brought the daemon down too often gets none. ``api`` is for all.
    ``wrapped`` is the app, where there is one; where there is none, ``came_on`` is called whenever a plugin
    acknowledged something, or failed to.
    """
    made: list[Lane] = []
    instances: list[Instance] = []
    faults: list[str] = []
    tables = loaded.config.plugins
    filters = {name: Filter(table.match, loaded.config.watch.ignore) for name, table in tables.items()}
    # A plugin that the configuration's faults hide may be back when they are mended.
    for name, remembered in memory.lanes(filters, keep=bool(loaded.problems)).items():
        log = _log.get_logger(plugin=name)
        if _is_set_aside(remembered.crashes, log):
            lanes.set_aside(name, remembered.crashes)
            continue
        remembered.enter()  # importing it may end the process, too
        try:
            control = None if wrapped is None else wrapped.control(name)
            instance = make_instance(tables[name], snapshot, control or App(), status, filters[name], api)
            told: Told = instance
            if wrapped is not None and control is not None:
                told = wrapped.attend(instance, control)
        except (ConfigError, PluginError) as error:
            faults += str(error).splitlines()
            continue
        finally:
            remembered.leave()
        lane = Lane(
            told,
            filters[name],
            _pace(tables[name]),
            log,
            remembered=remembered,
            on_applied=instance.applied if "kmetad_on_applied" in instance.hooks else None,
            entered=lanes.entered,
            came_to=(lambda generation: came_on()) if wrapped is None else wrapped.came_to(name),
        )
        made.append(lane)
        instances.append(instance)
    return made, instances, faults


def _is_set_aside(crashes: int, log: Any) -> bool:
    """Whether the daemon died in its hooks too often; says so, and how often it did."""
    if crashes >= CRASHES:
        log.error(
            "plugin.set_aside",
            crashes=crashes,
            reason="the daemon died each time while it loaded this plugin, or while one of its hooks ran",
            remedy="mend the plugin; restart the container, or have the configuration read again (HUP to the daemon)",
        )
        return True
    if crashes:
        log.warning("plugin.suspected", crashes=crashes, set_aside_at=CRASHES)
    return False


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
