"""``kmetad check --schema``: the TOML's JSON Schema, with the options of every plugin that can be found."""

from __future__ import annotations

import argparse
import sys


def print_schema(args: argparse.Namespace) -> int:
    """Print it. Of plugins that can't be loaded standard error tells; their options may be anything. Answers 0."""
    from json import dumps

    from kmetad._cli import choose
    from kmetad._config import json_schema
    from kmetad._plugins import installed, load
    from kmetad.errors import PluginError

    named = choose.load(args).config.plugins.values()
    plugins: dict[str, type | None] = {}
    instances: dict[str, type | None] = {}
    wanted: list[tuple[str, str | None, str | None, str | None, dict[str, type | None]]] = [
        *((plugin.name, plugin.name, None, None, plugins) for plugin in installed()),
        *((table.name, None, table.module, table.path, instances) for table in named if table.use is None),
    ]
    for name, use, module, path, found in wanted:
        try:
            found[name] = load(name, use=use, module=module, path=path).options_type
        except PluginError as error:
            print(f"kmetad: {error}", file=sys.stderr)
    print(dumps(json_schema(plugins, instances), indent=2, ensure_ascii=False))
    return 0
