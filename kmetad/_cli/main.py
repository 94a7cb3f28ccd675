"""The command ``kmetad``: finds the command that is asked for, and turns what it raises into an exit code."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

from kmetad.errors import OWN_FAILURE, KmetadError

COMMANDS = {
    "run": "start an app, watch, and deliver changes to plugins",
    "events": "print changes as they come",
    "get": "print the metadata now",
    "wait": "block until a field holds a value",
    "check": "validate the configuration, and try changes on it",
    "plugins": "list the installed plugins",
    "demo": "see everything in a minute, no cluster needed",
}
"""Each command, whose module has the same name, and what it does."""

USAGE = 2


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
    failure = OWN_FAILURE if name == "run" else USAGE
    try:
        # What a terminal can't encode is escaped, never a crash.
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        # As process 1 of a container, TERM without a handler would be ignored by the kernel.
        signal.signal(signal.SIGTERM, _terminate)
        try:
            code = _dispatch(name, argv)
        except SystemExit as ended:  # argparse: help, version, usage; or TERM
            code = ended.code if isinstance(ended.code, int) else 0
            code = failure if code == USAGE else code
        sys.stdout.flush()
        return code
    except KmetadError as error:
        for line in str(error).splitlines():
            print(f"kmetad: {line}", file=sys.stderr)
        return failure
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:  # whoever read has gone
        _drop_output()
        return 128 + signal.SIGPIPE
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            _drop_output()
            print(f"kmetad: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
            return failure
        import traceback

        print("kmetad: this is a fault of kmetad itself; please report it:", file=sys.stderr)
        traceback.print_exc()
        return failure


def _drop_output() -> None:
    """Whatever wasn't written can't be; the interpreter flushes at its end, which must not raise again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _dispatch(name: str, argv: list[str]) -> int:
    """Parse the arguments and call the command."""
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


def _module(command: str) -> Any:
    from importlib import import_module

    return import_module(f"kmetad._cli.{command}")


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
