"""The TOML: its types and defaults, its faults in words, and the sources that it names.

``find`` names the file, ``load`` reads it, ``options`` makes a plugin's own table into
its Options, ``build_sources`` makes the sources. Imported when first asked for: who
only wants defaults pays for neither tomllib nor the sources.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kmetad._config.finding import find as find
    from kmetad._config.lines import Lines as Lines
    from kmetad._config.loaded import Loaded as Loaded
    from kmetad._config.loading import load as load
    from kmetad._config.model import Config as Config
    from kmetad._config.model import Lane as Lane
    from kmetad._config.model import PluginTable as PluginTable
    from kmetad._config.model import Volume as Volume
    from kmetad._config.parsing import parse as parse
    from kmetad._config.plugin_options import OptionsError as OptionsError
    from kmetad._config.plugin_options import options as options
    from kmetad._config.problems import Problem as Problem
    from kmetad._config.schema import json_schema as json_schema
    from kmetad._config.signals import signal_name as signal_name
    from kmetad._config.signals import signal_number as signal_number
    from kmetad._config.sources import build_sources as build_sources
    from kmetad._config.sources import volume_option as volume_option
    from kmetad._config.units import format_duration as format_duration
    from kmetad._config.units import parse_duration as parse_duration

_MODULES = {
    "Lines": "lines",
    "Loaded": "loaded",
    "find": "finding",
    "load": "loading",
    "parse": "parsing",
    "Config": "model",
    "Lane": "model",
    "PluginTable": "model",
    "Volume": "model",
    "OptionsError": "plugin_options",
    "options": "plugin_options",
    "Problem": "problems",
    "json_schema": "schema",
    "signal_name": "signals",
    "signal_number": "signals",
    "build_sources": "sources",
    "volume_option": "sources",
    "format_duration": "units",
    "parse_duration": "units",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
