"""Print the changes of the Pod's metadata as they come, until Ctrl-C.

What is there at the start is no change and isn't printed, nor is what the
configuration calls noise (`watch.ignore`). Once the first state is read, standard
error says what is watched (`kmetad: watching podinfo at /etc/podinfo`): every
change after that line is printed.

examples:
  kmetad events
  kmetad events --volume /etc/podinfo --volume settings=/etc/app
  kmetad events -o json | jq -r 'select(.type == "label") | .key'
  kmetad events --once && echo changed
"""

from __future__ import annotations

import argparse
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from kmetad._cli import choose

if TYPE_CHECKING:
    from kmetad._cli.text import Lines
    from kmetad.events import Batch


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--once", action="store_true", help="end after the first batch of changes")
    parser.add_argument(
        "-o", "--output", choices=("text", "json"), default="text", help="json: one object a line"
    )
    choose.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0, also when it is told to stop; 2 usage."""
    from kmetad._cli import text
    from kmetad._delivery.match import Filter
    from kmetad._watch import Watch

    config, sources = choose.sources(args)
    followed = {source.name: source.path for source in sources if source.path is not None}
    if not followed:
        print("kmetad: there is no volume to watch here; name one with --volume DIR", file=sys.stderr)
        return 2
    wanted = Filter(ignore=config.watch.ignore)
    lines = None if args.output == "json" else text.Lines(text.colours(sys.stdout))
    with Watch(sources, rescan=config.watch.rescan) as watch:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: watch.stop())
        for batch in watch:
            if not batch.previous.generation:
                _tell_watching(batch, followed)
                continue
            changes = wanted(batch.changes)
            if not changes:
                continue
            _print(replace(batch, changes=changes), lines)
            if args.once:
                break
    return 0


def _print(batch: Batch, lines: Lines | None) -> None:
    """A batch, at once: whoever reads the other end of a pipe waits for it."""
    out = batch.json_lines() if lines is None else "".join(line + "\n" for line in lines.of(batch))
    sys.stdout.write(out)
    sys.stdout.flush()


def _tell_watching(batch: Batch, followed: dict[str, str]) -> None:
    """What is watched, and how it is: after these lines every change is printed."""
    from kmetad._cli.text import escape

    told = ""
    for name, path in followed.items():
        error = batch.current.sources[name].error
        fault = f": {escape(error)}" if error else ""
        told += f"kmetad: watching {escape(name)} at {escape(path)}{fault}\n"
    sys.stderr.write(told)  # in one piece: whoever waits for one of them may count on all
    sys.stderr.flush()
