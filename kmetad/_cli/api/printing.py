"""How answers of the API server are shown: as JSON, as YAML, or as a table.

What the server says was written by whoever may write there. In JSON and YAML everything but ASCII is
escaped, in tables whatever isn't printable; nothing of it commands a terminal.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmetad.metadata import Token

GAP = "   "
"""Between columns, as kubectl has it."""


def arguments(parser: argparse.ArgumentParser, *, default: str = "table", help: str = "") -> None:
    """The option for the form."""
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "yaml"),
        default=default,
        help=help or f"{default} by default",
    )


def document(value: Any, output: str) -> None:
    """Print a value in JSON, or in YAML. Raises BadAnswer."""
    from kmetad.api import BadAnswer

    try:
        if output == "yaml":
            import yaml

            shown = yaml.safe_dump(value, sort_keys=False)
        else:
            from json import dumps

            shown = dumps(value, indent=2) + "\n"
    except RecursionError:
        raise BadAnswer("the answer is nested too deep to be shown; `curl` prints it as it is") from None
    print(shown, end="")


def table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> None:
    """Print aligned rows; the header comes first, if there is one and anything below it."""
    from kmetad._cli import text

    shown = [[text.escape(cell) for cell in row] for row in rows]
    if not shown:
        return
    lines = text.table([[text.escape(name) for name in header], *shown] if header else shown, gap=GAP)
    if header:
        lines[0] = text.paint(lines[0], text.BOLD, text.colours(sys.stdout))
    print("\n".join(lines))


def facts(rows: Iterable[tuple[str, str]]) -> None:
    """Print names and what is known of them; what isn't known is left out."""
    from kmetad._cli import text

    colour = text.colours(sys.stdout)
    known = [(text.escape(name), value) for name, value in rows if value]
    width = max((text.columns(name) for name, _ in known), default=0)
    for name, value in known:
        print(f"{text.paint(text.pad(name, width), text.BOLD, colour)}  {text.escape(value)}")


def plain(body: bytes) -> None:
    """Print what is no JSON: exactly its bytes, but for a terminal."""
    if sys.stdout.isatty():
        from kmetad._cli.text import escape

        shown = escape(body.decode("utf-8", "surrogateescape"), keep="\n\t")
        print(shown, end="" if shown.endswith("\n") else "\n")
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


def until(seconds: float) -> str:
    """A moment, and how far away it is: ``2026-01-02T03:04:05Z (in 59m)``."""
    from kmetad._cli.status.lines import span
    from kmetad.events import rfc3339

    left = seconds - time.time()
    away = f"in {span(left)}" if left > 0 else f"expired {span(-left)} ago"
    return f"{rfc3339(int(seconds) * 10**9, digits=0)} ({away})"


def token_facts(token: Token | None) -> dict[str, Any]:
    """What may be told of a token, for JSON; None where there is none."""
    if token is None:
        return {}
    from kmetad.events import rfc3339

    expires = None if token.expires is None else rfc3339(token.expires * 10**9, digits=0)
    return {"expires": expires, "audiences": list(token.audiences)}
