"""The plugins of this repository, of those that are installed."""

from __future__ import annotations

from pathlib import Path

from kmetad._cli.brought import Brought, brought
from kmetad._plugins import installed, load

NAMES = sorted(file.parent.name for file in Path(__file__).parents[2].glob("plugins/*/pyproject.toml"))
"""Their distributions."""


def options_types() -> dict[str, type | None]:
    """By plugin, its ``Options``."""
    return {
        plugin.name: load(plugin.name).options_type for plugin in installed() if plugin.distribution in NAMES
    }


def distributions() -> dict[str, str]:
    """By plugin, the distribution that brings it."""
    return {plugin.name: plugin.distribution for plugin in installed() if plugin.distribution in NAMES}


def commands() -> list[Brought]:
    """The commands that they bring."""
    return [command for command in brought() if command.origin.partition(" ")[0] in NAMES]
