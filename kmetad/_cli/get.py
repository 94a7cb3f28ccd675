"""Print what the Pod is now: one field, or everything that is known.

A field is named as in Kubernetes' own `fieldRef` and `resourceFieldRef`. The exit
code is 1 if there is no such field now, 2 if Kubernetes has no such field at all.

examples:
  kmetad get
  kmetad get "metadata.labels['app']"
  kmetad get status.podIP
  kmetad get app.limits.cpu
  kmetad get -o json
  eval "$(kmetad get -o env)"
  export OTEL_RESOURCE_ATTRIBUTES=$(kmetad get -o otel)
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from kmetad import podview
from kmetad._cli import choose
from kmetad.metadata import Snapshot


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("path", metavar="FIELDPATH", nargs="?", help="the field; everything without it")
    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "json", "env", "otel"),
        default="text",
        help="json mirrors a Pod; env is NAME=VALUE in the usual names, quoted for a shell; "
        "otel is a value for OTEL_RESOURCE_ATTRIBUTES",
    )
    choose.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0, 1 no such field now, 2 usage."""
    if args.path is None:
        snapshot = choose.look(choose.sources(args)[1])
        choose.tell_faults(snapshot)
        _print_all(snapshot, args.output)
        return 0
    if args.output in ("env", "otel"):
        print(f"kmetad: -o {args.output} is for everything; leave out {args.path!r}", file=sys.stderr)
        return 2
    from kmetad.fieldpath import parse

    parse(args.path)  # what can't be is told before anything is read
    snapshot = choose.look(choose.sources(args)[1])
    value = podview.value(snapshot, args.path) if args.output == "json" else snapshot.get(args.path)
    if value is None:
        print(f"kmetad: there is no {args.path} now", file=sys.stderr)
        choose.tell_faults(snapshot)
        return 1
    if args.output == "json":
        _print_json(value)
    else:
        _print_text(str(value))
    return 0


def _print_all(snapshot: Snapshot, output: str) -> None:
    if output == "json":
        _print_json(podview.pod(snapshot))
    elif output == "env":
        print("".join(line + "\n" for line in podview.environment(snapshot)), end="")
    elif output == "otel":
        print(podview.otel(snapshot))
    else:
        _print_table(snapshot)


def _print_json(value: Any) -> None:
    from json import dumps

    print(dumps(value, indent=2))


def _print_text(text: str) -> None:
    """One value for a script: exactly its bytes. On a terminal nothing in it may command the terminal."""
    if sys.stdout.isatty():
        from kmetad._cli.text import escape

        print(escape(text, keep="\n\t"))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.buffer.flush()


def _print_table(snapshot: Snapshot) -> None:
    from kmetad._cli import text

    colour = text.colours(sys.stdout)
    rows = [(text.escape(path), text.show(value)) for path, value in podview.rows(snapshot)]
    width = max((text.columns(path) for path, _ in rows), default=0)
    for path, value in rows:
        print(f"{text.paint(text.pad(path, min(width, 64)), text.BOLD, colour)}  {value}")
    if not rows:
        print("kmetad: nothing is known of a Pod here", file=sys.stderr)
