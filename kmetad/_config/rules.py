"""What is wrong only when two keys of a table are seen together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from kmetad._config.check import Check, Rule
from kmetad._config.fields import divisor_problem
from kmetad._config.model import Api, EnvItem, Item, Lane, PluginKeys, Retry, Run, Volume, VolumeItem
from kmetad._config.problems import Path, quoted, shown
from kmetad._config.units import format_duration

Table = Mapping[str, Any]


def run(check: Check, path: Path, value: Run, table: Table) -> Run:
    """Variables for the app can only be filled after the first snapshot."""
    return msgspec.structs.replace(value, start="after-sync") if value.env else value


def item(check: Check, path: Path, value: Item, table: Table) -> Item:
    """Either a field or a resource; only a resource has a container and a divisor."""
    if value.field is not None and value.resource is not None:
        check.problem(path, "both field and resource", "one of them")
    elif value.field is None and value.resource is None:
        check.problem(path, "neither field nor resource", "one of them")
    elif value.resource is None:
        for key in ("container", "divisor"):
            if key in table:
                check.problem((*path, key), f"a {key} beside a field", f"{key} only beside a resource")
    elif value.divisor is not None:
        wrong = divisor_problem(value.resource, value.divisor)
        if wrong is not None:
            check.wrong((*path, "divisor"), table["divisor"], wrong.expected, wrong.suggestion)
    return value


def volume(check: Check, path: Path, value: Volume, table: Table) -> Volume:
    """Items say what files mean, and ``files`` says that they mean nothing."""
    if value.kind == "files" and value.items:
        check.problem(
            (*path, "items"), 'items beside kind = "files"', 'kind "downward" or "auto", or no items'
        )
    return value


def api(check: Check, path: Path, value: Api, table: Table) -> Api:
    """One way to the API server."""
    if value.url is not None and value.kubeconfig is not None:
        check.problem((*path, "kubeconfig"), "a kubeconfig beside a url", "one of them")
    return value


def retry(check: Check, path: Path, value: Retry, table: Table) -> Retry:
    """Waits grow from ``initial`` to ``max``."""
    if value.max < value.initial:
        key = "max" if "max" in table else "initial"
        limit = f"at least initial ({format_duration(value.initial)})"
        if key == "initial":
            limit = f"at most max ({format_duration(value.max)})"
        check.problem((*path, key), shown((*path, key), table[key]), limit)
    return value


def lane(check: Check, path: Path, value: Lane, table: Table) -> Lane:
    """``max_wait`` is 10 × ``debounce`` unless it is given."""
    return value if "max_wait" in table else msgspec.structs.replace(value, max_wait=10 * value.debounce)


def plugin(check: Check, path: Path, value: PluginKeys, table: Table) -> PluginKeys:
    """A plugin comes from one place."""
    given = [key for key in ("use", "module", "path") if key in table]
    if len(given) > 1:
        check.problem(
            (*path, given[1]), " and ".join(given), "only one of them: each says where the plugin is"
        )
    elif value.module is not None and not all(part.isidentifier() for part in value.module.split(".")):
        check.wrong((*path, "module"), value.module, f"a module's name such as {quoted('package.module')}")
    return value


RULES: Mapping[type, Rule] = {
    Run: run,
    VolumeItem: item,
    EnvItem: item,
    Volume: volume,
    Api: api,
    Retry: retry,
    Lane: lane,
    PluginKeys: plugin,
}
"""By the Struct that they look at."""
