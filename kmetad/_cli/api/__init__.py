"""Explore the API server: where it is, what it has, and what you may do there.

In a Pod it is found by itself, with the Pod's own token. Elsewhere $KUBECONFIG or
~/.kube/config says where it is and who you are.
The exit code is 0, 1 if it is denied or an error of the API, 2 for wrong usage.

examples:
  kmetad api cluster-info
  kmetad api whoami
  kmetad api resources
  kmetad api get /api/v1/namespaces/default/pods -o table
  kmetad api can-i list deployments.apps -n default
  kmetad api paths --server http://127.0.0.1:8001    (where kubectl proxy listens)
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, NoReturn

from kmetad._cli.guard import USAGE

COMMANDS = {
    "cluster-info": "where the server is, its version, and whether it is ready",
    "paths": "list the paths that it serves",
    "resources": "list the resources that it has",
    "get": "print what a path holds",
    "whoami": "as whom it knows you, and until when",
    "can-i": "ask whether you may do something, or list what you may",
}
"""Each command, whose module has the same name, and what it does."""


class _Command(argparse.ArgumentParser):
    """A command's parser, which asks the command's module for its arguments when it is first used."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        from kmetad._cli.api import asking

        module = _module(self.prog.split()[-1])
        self.formatter_class = argparse.RawDescriptionHelpFormatter
        self.description = (module.__doc__ or "").strip()
        module.arguments(self)
        asking.arguments(self, again=True)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(USAGE, f"kmetad: {message} (see {self.prog} --help)\n")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    from kmetad._cli.api import asking

    commands = parser.add_subparsers(dest="asked", metavar="COMMAND", parser_class=_Command)
    for command, summary in COMMANDS.items():
        commands.add_parser(command, help=summary)
    asking.arguments(parser)
    parser.set_defaults(parser=parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0, 1 denied or an error of the API, 2 usage."""
    from kmetad.api.errors import ApiError

    if args.asked is None:
        args.parser.print_help(sys.stderr)
        return USAGE
    try:
        code: int = _module(args.asked).run(args)
        return code
    except ApiError as error:
        from kmetad._cli.text import escape

        sys.stdout.flush()
        for line in str(error).splitlines():
            print(f"kmetad: {escape(line)}", file=sys.stderr)
        return 1


def _module(command: str) -> Any:
    from importlib import import_module

    return import_module(f"kmetad._cli.api.{command.replace('-', '_')}")
