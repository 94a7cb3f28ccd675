"""Finds, parses and validates the TOML, and tells all that is wrong with it at once."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from kmetad._config.check import FAULT, Check
from kmetad._config.kinds import NAME
from kmetad._config.lines import Lines
from kmetad._config.model import RESERVED_KEYS, Config, PluginKeys, PluginTable
from kmetad._config.problems import Problem, in_file_order
from kmetad._config.rules import RULES

DEFAULT_FILE = "/etc/kmetad/kmetad.toml"
_TOML_POSITION = re.compile(r"^(.*) \(at (?:line (\d+), column (\d+)|end of document)\)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, as far as it is usable, and everything that is wrong with it."""

    config: Config
    """Without what is faulty: faulty keys have their defaults, what has a name is left out."""
    problems: tuple[Problem, ...] = ()
    """In file order."""
    file: str | None = None
    """None where there is no file."""

    @property
    def fatal(self) -> bool:
        """True where not even the app may be started."""
        return any(problem.fatal for problem in self.problems)


def find(option: str | None, environ: Mapping[str, str], default: str = DEFAULT_FILE) -> str | None:
    """The file to load: ``-c``, else ``$KMETAD_CONFIG``, else the default if it is there. Empty: none."""
    named = environ.get("KMETAD_CONFIG") if option is None else option
    if named is not None:
        return named or None
    try:
        os.lstat(default)  # a link that leads nowhere is there, and is a fault
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # loading it will tell why
    return default


def load(path: str | None) -> Loaded:
    """Read a file; without one everything has its default. Nothing is raised: faults are in ``problems``."""
    if path is None:
        return Loaded(Config())
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return _unusable(
            path, 0, f"it can't be read: {reason}", "name another file with -c or $KMETAD_CONFIG"
        )
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _unusable(path, line, "it isn't UTF-8, as TOML must be", "save it as UTF-8")
    return parse(text, path)


def parse(text: str, file: str) -> Loaded:
    """Validate a text; ``file`` is what messages call it. Raises nothing: faults are in ``problems``."""
    import tomllib

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
        return _unusable(file, line, f"it isn't TOML: {reason}{column}", "")
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


def _unusable(file: str, line: int, found: str, suggestion: str) -> Loaded:
    return Loaded(Config(), (Problem(file, line, "", found, "", suggestion, fatal=True),), file)
