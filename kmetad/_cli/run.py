"""Watch the Pod's metadata and deliver every change to the plugins that the TOML names.

Runs until TERM or INT; HUP reads the configuration again. The log goes to standard
error.

This version is the daemon alone, as for a sidecar or under systemd: it doesn't wrap
the app's command yet.

examples:
  kmetad run
  kmetad run -c kmetad.toml -v
  kmetad run --strict
"""

from __future__ import annotations

import argparse
import os
import sys

from kmetad._cli import choose
from kmetad.errors import OWN_FAILURE


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "--strict", action="store_true", help="end with 125 on any fault of the configuration"
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    choose.configuration(parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0, or 125 for a failure of kmetad itself."""
    loaded = choose.load(args)
    if args.wrapped is not None or (loaded.config.run.command and not loaded.fatal):
        named = "behind `--`" if args.wrapped is not None else "named by [run] command"
        print(
            f"kmetad: this version can't run the command {named} yet; start the app beside "
            "`kmetad run` and leave its command out",
            file=sys.stderr,
        )
        return OWN_FAILURE
    from kmetad import _daemon

    return _daemon.run(loaded, environ=os.environ, strict=args.strict, verbose=args.verbose)
