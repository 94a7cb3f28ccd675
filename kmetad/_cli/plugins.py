"""List the plugins that are installed, and with -v their hooks and options.

A plugin that is installed does nothing before the TOML names it: [plugins.NAME].

examples:
  kmetad plugins
  kmetad plugins list -v
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import timedelta
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:
    from kmetad._plugins import Loaded


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "action", nargs="?", choices=("list",), default="list", help="list them (the default)"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="with hooks and options")


def run(args: argparse.Namespace) -> int:
    """The exit code: 0."""
    from kmetad._cli import text
    from kmetad._plugins import installed, load
    from kmetad.errors import PluginError

    found = installed()
    if not found:
        print("kmetad: no plugin is installed; try: pip install kmetad-reload", file=sys.stderr)
    rows = text.table((plugin.name, plugin.version, plugin.distribution) for plugin in found)
    for plugin, row in zip(found, rows, strict=True):
        print(row)
        if not args.verbose:
            continue
        try:
            lines = _details(load(plugin.name))
        except PluginError as error:
            lines = [str(error)]
        for line in lines:
            print(f"  {line}")
    return 0


def _details(plugin: Loaded) -> list[str]:
    """What the class does at which hook, and what its table in the TOML takes."""
    from kmetad._cli import text

    rows: list[tuple[str, ...]] = []
    for name in dir(plugin.plugin):
        if name.startswith("kmetad_"):
            rows.append(("hook", name, _first_line(getattr(plugin.plugin, name))))
    if plugin.options_type is not None:
        from msgspec import structs

        for field in structs.fields(plugin.options_type):
            default = "required" if field.required else _shown(field.default)
            rows.append(
                ("option", field.encode_name, _type(field.type) + (f", {default}" if default else ""))
            )
    return text.table(rows)


def _type(type_: Any) -> str:
    """An option's type in the TOML's terms: ``list[str]``, ``duration``, ``table``, ``"a" | "b"``."""
    origin, parts = get_origin(type_), get_args(type_)
    if origin in (Union, UnionType):
        return " | ".join(_type(part) for part in parts if part is not NoneType)
    if origin is Literal:
        return " | ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in parts)
    if origin is Annotated:
        return _type(parts[0])
    if origin is not None:
        name = "list" if origin is tuple else origin.__name__
        return f"{name}[{', '.join(_type(part) for part in parts if part is not Ellipsis)}]"
    if type_ is timedelta:
        return "duration"
    return str(type_.__name__) if type_.__module__ == "builtins" else "table"  # a Struct of the plugin's


def _shown(default: Any) -> str:
    """An option's default as the TOML has it; empty for one that may be left out and then means nothing."""
    if isinstance(default, timedelta):
        from kmetad._config import format_duration

        default = format_duration(default.total_seconds())
    if isinstance(default, (tuple, list)):
        items = [_shown(item).removeprefix("default ") for item in default]
        return f"default [{', '.join(items)}]" if items and all(items) else ""
    return f"default {json.dumps(default)}" if isinstance(default, (str, int, float)) else ""


def _first_line(documented: object) -> str:
    return (getattr(documented, "__doc__", None) or "").strip().partition("\n")[0]
