"""List the plugins that are installed: name, version, and the distribution that brings each.

With -v also what each one can do: its hooks, and the options that its table in the
TOML takes, with type and default; the commands that it brings; the plugin API
that it was written for; and its role, that is what it asks of the API server, each
line as `kmetad api can-i` takes it.

examples:
  kmetad plugins list
  kmetad plugins list -v
  kmetad plugins list -v -c kmetad.toml    (those that it names by path or module, too)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

WIDTH = 100
"""Columns that a line takes at most, a word that is longer aside."""


def arguments(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """What the command takes. ``again``: also where ``kmetad plugins`` itself has taken it before."""
    default: Any = argparse.SUPPRESS
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=default if again else False,
        help="with what each one can do",
    )
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        default=default if again else None,
        help="also those that this TOML names by path or module",
    )


def run(args: argparse.Namespace) -> int:
    """The exit code: 0. Raises ConfigError for a TOML that can't be read."""
    from kmetad._cli import text

    found = [*_installed(), *_named(args)]
    if not found:
        print("kmetad: no plugin is installed; try: pip install kmetad-reload", file=sys.stderr)
    rows = text.table((one.name, one.version, one.origin) for one in found)
    for at, (one, row) in enumerate(zip(found, rows, strict=True)):
        if args.verbose and at:
            print()
        print(text.escape(row))
        if args.verbose:
            for line in _details(one):
                print(text.escape(f"  {line}"))
    return 0


@dataclass(frozen=True, slots=True)
class _Found:
    """A plugin, and what ``load`` needs to find it again."""

    name: str
    version: str
    origin: str
    """The distribution, the file or the module."""
    where: Mapping[str, str]


def _installed() -> Iterator[_Found]:
    from kmetad._plugins import installed

    for plugin in installed():
        yield _Found(plugin.name, plugin.version, plugin.distribution, {})


def _named(args: argparse.Namespace) -> Iterator[_Found]:
    """What a TOML names that isn't installed as a plugin."""
    if args.config is None:
        return
    from kmetad._cli import choose
    from kmetad.errors import ConfigError

    loaded = choose.load(args)
    if loaded.fatal:
        raise ConfigError(tuple(map(str, loaded.problems)))
    for name, table in loaded.config.plugins.items():
        if table.path is not None:
            yield _Found(name, "-", table.path, {"path": table.path})
        elif table.module is not None:
            yield _Found(name, "-", f"module {table.module}", {"module": table.module})


def _details(one: _Found) -> list[str]:
    """What it can do; or why nobody can say."""
    from kmetad._cli.plugins import details
    from kmetad._plugins import load
    from kmetad.errors import PluginError

    try:
        loaded = load(one.name, **one.where)
    except PluginError as error:
        return [line for sentence in str(error).splitlines() for line in details.wrapped(sentence, WIDTH - 2)]
    return details.of(loaded, details.commands(one.origin), WIDTH - 2)
