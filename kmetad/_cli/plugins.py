"""List the plugins that are installed, and with -v their hooks and options.

A plugin that is installed does nothing before the TOML names it: [plugins.NAME].

examples:
  kmetad plugins
  kmetad plugins list -v
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kmetad._plugins import Loaded


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("action", nargs="?", choices=("list",), default="list", help="list them (the default)")
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
    for name in sorted(vars(plugin.plugin)):
        if name.startswith("kmetad_"):
            rows.append(("hook", name, _first_line(getattr(plugin.plugin, name))))
    if plugin.options_type is not None:
        from msgspec import NODEFAULT, structs

        for field in structs.fields(plugin.options_type):
            what = getattr(field.type, "__name__", "") if isinstance(field.type, type) else str(field.type)
            default = "required" if field.required else ""
            if field.default is not NODEFAULT:
                default = f"default {field.default!r}"
            rows.append(("option", field.encode_name, f"{what}, {default}".strip(", ")))
    return text.table(rows)


def _first_line(documented: object) -> str:
    return (getattr(documented, "__doc__", None) or "").strip().partition("\n")[0]
