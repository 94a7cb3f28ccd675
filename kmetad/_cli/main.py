"""The command ``kmetad``: finds the command that is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from kmetad._cli.guard import USAGE, answer, guarded
from kmetad.errors import OWN_FAILURE

COMMANDS = {
    "run": "start an app, watch, and deliver changes to plugins",
    "events": "print changes as they come",
    "get": "print the metadata now",
    "wait": "block until a field holds a value",
    "check": "validate the configuration, and try changes on it",
    "status": "ask the running daemon how it is",
    "plugins": "list the installed plugins, or make a new one",
    "api": "explore the API server",
    "demo": "see everything in a minute, no cluster needed",
}
"""Each command, whose module has the same name, and what it does."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"kmetad: {message} (see {self.prog} --help)\n")


class _Command(_Parser):
    """A command's parser, which asks the command's module for its arguments when it is first used."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        module = _module(self.prog.split()[-1])
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        self.description = (module.__doc__ or "").strip()
        module.arguments(self)
        return super().parse_known_args(args, namespace)


class _Version(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help="print the version")

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from kmetad import __version__

        print(f"kmetad {__version__}")
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; answers its exit code. ``argv`` is without the program's name."""
    argv = list(sys.argv[1:] if argv is None else argv)
    name = argv[0] if argv else ""
    if name in COMMANDS or not name or name.startswith("-"):
        return guarded(lambda: _dispatch(name, argv), OWN_FAILURE if name == "run" else USAGE)
    return guarded(lambda: _dispatch_brought(name, argv[1:]), OWN_FAILURE)


def _dispatch(name: str, argv: list[str]) -> int:
    """Parse the arguments and call one of kmetad's own commands."""
    wrapped = None
    if name == "run":
        own, wrapped = _module("run").split(argv[1:])  # the app's command line isn't argparse's to understand
        argv = ["run", *own]
    parser = _Parser(
        prog="kmetad",
        description="Tells an app about its own Pod, and reacts when it changes.",
        epilog="example: kmetad get \"metadata.labels['app']\"   (kmetad COMMAND --help shows more)",
    )
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Command)
    for command, summary in COMMANDS.items():
        commands.add_parser(command, help=summary)
    if name in ("", "-h", "--help"):
        for command, summary in _brought().items():
            commands.add_parser(command, help=summary.replace("%", "%%"))
    if not argv:
        parser.print_help(sys.stderr)
        return USAGE
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        parser.prog += f" {args.command}"
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    args.wrapped = wrapped
    code: int = _module(args.command).run(args)
    return code


def _brought() -> dict[str, str]:
    """What plugins' commands do, by name."""
    from kmetad._cli.brought import brought

    return {command.name: command.summary() for command in brought() if command.name not in COMMANDS}


def _dispatch_brought(name: str, argv: list[str]) -> int:
    """Call a command that a plugin brings."""
    from kmetad._cli.brought import KNOWN, brought, find, known

    command = known(name)
    if command is None:
        there = brought()
        command = find(name, there)
        if command is None:
            return _no_command(name, [*COMMANDS, *KNOWN, *(other.name for other in there)])
    module = command.load()
    parser = _Parser(
        prog=f"kmetad {name}",
        description=(module.__doc__ or "").strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # or --token, with a secret behind it, would be --token-file
    )
    try:
        module.arguments(parser)
        args, unknown = parser.parse_known_args(argv)
        if unknown:
            named = [each.partition("=")[0] for each in unknown if each.startswith("-")]
            parser.error(f"unrecognized arguments: {' '.join(named or unknown)}")
        code: int = module.run(args)
        return code
    except (Exception, KeyboardInterrupt) as error:
        return answer(error, OWN_FAILURE, command.origin)


def _no_command(name: str, known: Sequence[str]) -> int:
    from difflib import get_close_matches

    from kmetad._cli.text import escape

    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    print(f"kmetad: there is no command {escape(name)}{hint} (see kmetad --help)", file=sys.stderr)
    return USAGE


def _module(command: str) -> Any:
    from importlib import import_module

    return import_module(f"kmetad._cli.{command}")
