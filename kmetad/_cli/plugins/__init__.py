"""List the plugins that are installed, or make a new one.

A plugin that is installed does nothing before the TOML names it: [plugins.NAME].

examples:
  kmetad plugins
  kmetad plugins list -v
  kmetad plugins new greeter
"""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from kmetad._cli.guard import USAGE

COMMANDS = {
    "list": "list them (the default); with -v what each one can do",
    "new": "make a distribution with a plugin and its test",
}
"""Each command, whose module has the same name, and what it does."""


class _Command(argparse.ArgumentParser):
    """A command's parser, which asks the command's module for its arguments when it is first used."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        module = _module(self.prog.split()[-1])
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        self.description = (module.__doc__ or "").strip()
        module.arguments(self, again=True)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"kmetad: {message} (see {self.prog} --help)\n")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes: without another word what ``list`` does."""
    commands = parser.add_subparsers(dest="action", metavar="COMMAND", parser_class=_Command)
    for command, summary in COMMANDS.items():
        commands.add_parser(command, help=summary)
    _module("list").arguments(parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0; 2 wrong usage, or nothing could be made."""
    code: int = _module(args.action or "list").run(args)
    return code


def _module(command: str) -> Any:
    from importlib import import_module

    return import_module(f"kmetad._cli.plugins.{command}")
