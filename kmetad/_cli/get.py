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
    from kmetad._cli import podview

    if args.path is not None and args.output in ("env", "otel"):
        print(f"kmetad: -o {args.output} prints all that is known; leave out {args.path!r}", file=sys.stderr)
        return 2
    if args.path is not None:
        from kmetad.fieldpath import parse

        parse(args.path)  # a path that can't be is told before anything is read
    snapshot = choose.look(choose.sources(args).sources)
    if args.path is not None:
        value = podview.value(snapshot, args.path)
        if value is None:
            print(f"kmetad: there is no {args.path} now", file=sys.stderr)
            _tell_faults(snapshot)
            return 1
        _print_one(value, args.output)
        return 0
    _tell_faults(snapshot)
    if args.output == "json":
        from json import dumps

        print(dumps(podview.pod(snapshot), indent=2))
    elif args.output == "env":
        print("".join(line + "\n" for line in podview.environment(snapshot)), end="")
    elif args.output == "otel":
        print(podview.otel(snapshot))
    else:
        _print_table(snapshot)
    return 0


def _print_one(value: podview.Value, output: str) -> None:
    """One value for a script: exactly its bytes. On a terminal nothing in it may command the terminal."""
    if output == "json":
        from json import dumps

        print(dumps(value))
        return
    text = podview.plain(value)
    if sys.stdout.isatty():
        from kmetad._cli.text import escape

        print(escape(text, keep="\n\t"))
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.buffer.flush()


def _print_table(snapshot: Snapshot) -> None:
    from kmetad._cli import podview, text

    colour = text.colours(sys.stdout)
    rows = [(text.escape(path), text.show(value)) for path, value in podview.rows(snapshot)]
    width = max((text.columns(path) for path, _ in rows), default=0)
    for path, value in rows:
        print(f"{text.paint(text.pad(path, min(width, 64)), text.BOLD, colour)}  {value}")
    if not rows:
        print("kmetad: nothing is known of a Pod here", file=sys.stderr)


def _tell_faults(snapshot: Snapshot) -> None:
    """Why something may be missing."""
    from kmetad._cli.text import escape

    for name, state in snapshot.sources.items():
        if state.error:
            print(f"kmetad: {escape(name)}: {escape(state.error)}", file=sys.stderr)
