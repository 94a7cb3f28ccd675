"""The API server that a command asks, and how long."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from kmetad._cli import server
from kmetad._cli.durations import longer_duration

if TYPE_CHECKING:
    from kmetad.api import Client

PATIENCE = 10.0
"""Seconds that a request may take unless told."""


def arguments(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """The options that choose. ``again``: the parser before this one has them too, with their defaults."""
    server.arguments(parser, again=again).add_argument(
        "--timeout",
        metavar="DURATION",
        type=longer_duration,
        default=argparse.SUPPRESS if again else PATIENCE,
        help="give up after this long; 10s",
    )


def client(args: argparse.Namespace) -> Client:
    """The client for what the options say. Raises ConfigError, NoServer, CredentialsError."""
    from kmetad.api import Client

    return Client(server.server(args), timeout=args.timeout, warn=_pass_on)


def _pass_on(text: str) -> None:
    """A warning of the server's."""
    from kmetad._cli.text import escape

    print(f"kmetad: the server warns: {escape(text)}", file=sys.stderr)
