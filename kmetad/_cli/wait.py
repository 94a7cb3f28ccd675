"""Wait until a field of the Pod holds a value, or, without =VALUE, until it is there.

Exits with 0 as soon as that is so, and with 1 if it isn't before the timeout. A
volume that isn't there yet is waited for. Quantities are compared as such:
limits.cpu=1 holds for 1000m.

examples:
  kmetad wait "metadata.labels['ready']" --timeout 1m
  kmetad wait "metadata.labels['role']=leader" && exec ./lead
  kmetad wait app.limits.cpu=2
"""

from __future__ import annotations

import argparse
import sys

from kmetad._cli import choose
from kmetad._cli.durations import duration
from kmetad.metadata import Snapshot


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "condition", metavar="FIELDPATH[=VALUE]", help="the field, and the text that it has to hold"
    )
    parser.add_argument(
        "--timeout",
        type=duration,
        metavar="DURATION",
        help="how long to wait at most (30s, 1m30s); for ever without it",
    )
    choose.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0, 1 timeout, 2 usage."""
    from kmetad.fieldpath import parse

    path, wanted = split(args.condition)
    parse(path)
    config, sources = choose.sources(args)
    snapshot = choose.look(sources)
    if holds(snapshot, path, wanted):
        return 0

    import threading

    from kmetad._watch import Watch

    with Watch(sources, rescan=config.watch.rescan) as watch:
        timer = threading.Timer(args.timeout, watch.stop) if args.timeout is not None else None
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            for batch in watch:
                snapshot = batch.current
                if holds(snapshot, path, wanted):
                    return 0
        finally:
            if timer is not None:
                timer.cancel()
    _tell_why(snapshot, path, wanted)
    return 1


def split(condition: str) -> tuple[str, str | None]:
    """The field path, and the value behind the first ``=`` outside of quotes; None if there is none."""
    quote = ""
    for at, character in enumerate(condition):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "=":
            return condition[:at], condition[at + 1 :]
    return condition, None


def holds(snapshot: Snapshot, path: str, wanted: str | None) -> bool:
    """Whether the field is there, and has the wanted text or is the wanted quantity."""
    text = snapshot.get(path)
    if text is None or wanted is None:
        return text is not None
    return text == wanted or _same_quantity(path, text, wanted)


def _same_quantity(path: str, text: str, wanted: str) -> bool:
    from kmetad.errors import QuantityError
    from kmetad.fieldpath import parse
    from kmetad.quantity import Quantity

    if parse(path).type != "resource":
        return False
    try:
        return Quantity(text) == Quantity(wanted)
    except QuantityError:
        return False


def _tell_why(snapshot: Snapshot, path: str, wanted: str | None) -> None:
    from kmetad._cli.text import show

    text = snapshot.get(path)
    state = "isn't there" if text is None else f"is {show(text)}"
    waited = "" if wanted is None else f", not {show(wanted)}"
    print(f"kmetad: timeout: {path} {state}{waited}", file=sys.stderr)
    choose.tell_faults(snapshot)
