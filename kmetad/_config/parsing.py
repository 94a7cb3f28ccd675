"""Makes a configuration of TOML, and tells all that is wrong with it at once."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import msgspec

from kmetad._config.check import FAULT, Check
from kmetad._config.kinds import NAME
from kmetad._config.lines import Lines
from kmetad._config.loaded import Loaded, unusable
from kmetad._config.model import RESERVED_KEYS, Config, PluginKeys, PluginTable
from kmetad._config.problems import in_file_order
from kmetad._config.rules import RULES

_TOML_POSITION = re.compile(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)


def parse(text: str, file: str) -> Loaded:
    """Validate a text; ``file`` is what messages call it. Raises nothing: faults are in ``problems``."""
    text = text.removeprefix("\ufeff")  # some editors put a byte order mark before UTF-8
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        reason, line, column = str(error), 0, ""
        found = _TOML_POSITION.match(reason)
        if found:
            reason = found[1]
            line = int(found[2]) if found[2] else text.rstrip("\n").count("\n") + 1
            column = f" (column {found[3]})" if found[3] else " (at the end of the file)"
        return unusable(file, line, f"it isn't TOML: {reason}{column}")
    lines = Lines(file, text)
    check = Check(lines, RULES)
    plugins = document.pop("plugins", {})
    tables = [*Config.__struct_fields__]
    config = check.table(Config, {key: value for key, value in document.items() if key in tables})
    for key in document:
        if key not in tables:
            check.unknown((key,), tables)
    config = msgspec.structs.replace(config, plugins=_plugins(check, plugins, lines))
    return Loaded(config, in_file_order(check.problems), file)


def _plugins(check: Check, tables: Any, lines: Lines) -> dict[str, PluginTable]:
    """The instances whose reserved keys are right; their options are the plugins' own business."""
    if not isinstance(tables, dict):
        check.wrong(("plugins",), tables, "a table")
        return {}
    plugins = {}
    for name, table in tables.items():
        before, path = len(check.problems), ("plugins", name)
        check.scalar(NAME, name, path)
        if not isinstance(table, dict):
            check.wrong(path, table, "a table")
            continue
        keys = check.table(
            PluginKeys, {key: value for key, value in table.items() if key in RESERVED_KEYS}, path
        )
        if len(check.problems) > before or keys is FAULT:
            continue
        elsewhere = keys.module is not None or keys.path is not None
        plugins[name] = PluginTable(
            name=name,
            use=keys.use if keys.use is not None or elsewhere else name,
            module=keys.module,
            path=keys.path,
            match=keys.match,
            lane=keys.lane,
            options={key: value for key, value in table.items() if key not in RESERVED_KEYS},
            lines=lines,
        )
    return plugins
