"""Commands of plugins: ``kmetad NAME``, from whatever distribution brings one. What they are made of, and may use.

A command is a module, named by an entry point in the group ``kmetad.commands``::

    [project.entry-points."kmetad.commands"]
    greet = "kmetad_greeter.command"

No TOML has to name it. It is imported when somebody asks for it, and for ``kmetad --help``, so what is heavy is
better imported within ``run``. It holds

- a docstring: what ``kmetad greet --help`` says above the options, examples included;
- ``SUMMARY``, one line for ``kmetad --help``; without it the docstring's first line stands there;
- ``arguments(parser)``: adds its options to an ``argparse.ArgumentParser``;
- ``run(args)``: does it, and answers the exit code.

::

    \"\"\"Greet whoever asks.

    example: kmetad greet --name world
    \"\"\"

    def arguments(parser):
        parser.add_argument("--name", default="you")

    def run(args):
        print(f"hello, {args.name}")
        return 0

Wrong usage, and whatever ``run`` raises, is the exit code 125: a ``KmetadError`` with its sentence alone, anything
else with a traceback that names the distribution. Of kmetad's own commands none can be replaced.
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmetad.api import Server


def server_arguments(parser: argparse.ArgumentParser) -> Any:
    """Add the options that say which API server is meant, and as whom it is asked: those of ``kmetad api``.

    Answers their group, for others that belong there.
    """
    from kmetad._cli import server

    return server.arguments(parser)


def server(args: argparse.Namespace) -> Server:
    """The API server that they say, or the configuration, or what is found.

    Tells on standard error if its certificate is not to be verified. Raises ConfigError, and of ``kmetad.api``
    NoServer and CredentialsError.
    """
    from kmetad._cli import server

    return server.server(args)


def log_arguments(parser: argparse.ArgumentParser) -> Any:
    """Add the options that say how a command that runs on logs. Answers their group."""
    group = parser.add_argument_group("log", "on standard error")
    much = group.add_mutually_exclusive_group()
    much.add_argument("-v", "--verbose", action="store_true", help="log more")
    much.add_argument("-q", "--quiet", action="store_true", help="log warnings and errors alone")
    group.add_argument(
        "--log-format",
        choices=("auto", "console", "json"),
        default="auto",
        help="auto: console on a terminal, else json, one object a line",
    )
    return group


def log(args: argparse.Namespace) -> Any:
    """Set up the log of this process as they say. Answers a structlog logger."""
    from kmetad import _log

    _log.configure(args.log_format, "debug" if args.verbose else "warning" if args.quiet else "info")
    return _log.get_logger().bind()  # once, and not for each line


def duration(text: str) -> timedelta:
    """A type for options: ``200ms``, ``1m30s``, ``0``, as Kubernetes writes durations and the TOML does."""
    from kmetad._cli.durations import duration

    return timedelta(seconds=duration(text))
