"""A plugin's own table, made into its ``Options``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from kmetad._config.check import FAULT, Check
from kmetad._config.lines import Lines
from kmetad._config.model import RESERVED_KEYS
from kmetad._config.problems import Problem, in_file_order
from kmetad.errors import ConfigError

S = TypeVar("S")


class OptionsError(ConfigError):
    """A plugin's own options have faults; ``found`` holds them as values, ``problems`` as texts."""

    def __init__(self, found: tuple[Problem, ...]) -> None:
        super().__init__(tuple(map(str, found)))
        self.found = found


def options(struct_type: type[S], table: Mapping[str, Any], name: str, lines: Lines | None = None) -> S:
    """The plugin's options from the table of the instance NAME, as ``PluginTable`` has them.

    Unknown keys and wrong types are faults whatever the Struct says; durations may
    be typed ``datetime.timedelta`` (``"30s"`` in the TOML), quantities
    ``kmetad.Quantity``. Raises OptionsError with every fault. Values of options that
    are named like secrets are never shown.
    """
    path = ("plugins", name)
    check = Check(lines, also={path: RESERVED_KEYS})  # somebody may have meant one of these
    made = check.table(struct_type, dict(table), path)
    if made is FAULT or check.problems:
        raise OptionsError(in_file_order(check.problems))
    return made  # type: ignore[no-any-return]
