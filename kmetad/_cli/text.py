"""What a person reads: aligned, in colour on a terminal, and nothing that a value could forge.

Labels and annotations are written by whoever may patch the Pod. Their control
characters, line ends and direction marks are escaped here, so that one change is
one line whatever it holds.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from kmetad.events import AnyChange, Batch

BOLD, DIM, RED, GREEN, YELLOW, BLUE, CYAN = "1", "2", "31", "32", "33", "34", "36"
"""Select Graphic Rendition codes (ECMA-48 8.3.117) that every terminal knows."""

ARROW = " → "
LONGEST = 200
"""Characters of a value that a line shows; ``-o json`` shows them all."""
WIDEST_KEY = 48
"""Columns that keys are aligned to at most; a longer key pushes its line's rest to the right."""

_PAINT = re.compile("\033\\[[0-9]+m")
_SIGN = {"added": ("+", GREEN), "changed": ("~", YELLOW), "removed": ("-", RED)}
_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}


def colours(stream: TextIO, environ: Mapping[str, str] | None = None) -> bool:
    """Whether to colour what goes to a stream: a terminal, and nobody set NO_COLOR (no-color.org)."""
    environ = os.environ if environ is None else environ
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def paint(text: str, code: str, on: bool) -> str:
    """The text in a colour, if colours are on."""
    return f"\033[{code}m{text}\033[0m" if on and text else text


def escape(text: str, keep: str = "") -> str:
    """The text with everything that isn't printable written as Go and Python would write it.

    A byte that was no UTF-8 (a lone surrogate) becomes ``\\xff``. Characters in
    ``keep`` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escaped(c) for c in text)


def show(text: str) -> str:
    """A value as it stands in a line: plain where that can't be misread, else quoted; cut if very long."""
    cut = len(text) > LONGEST
    shown = text[:LONGEST] if cut else text
    plain = shown.isprintable() and shown == shown.strip() and shown and not set(shown) & set('"→\\')
    if not plain:
        shown = '"' + "".join(_escaped(c) if c in '"\\' or not c.isprintable() else c for c in shown) + '"'
    return f"{shown}… ({len(text)} characters)" if cut else shown


def columns(text: str) -> int:
    """How many columns of a terminal a text takes; colours take none."""
    if "\033" in text:
        text = _PAINT.sub("", text)
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(c) else 2 if east_asian_width(c) in "WF" else 1 for c in text)


def pad(text: str, width: int) -> str:
    """The text, filled with spaces up to a width in columns."""
    return text + " " * max(0, width - columns(text))


def table(rows: Iterable[Sequence[str]], gap: str = "  ") -> list[str]:
    """Rows of cells as aligned lines; the last cell of a row is never filled."""
    rows = list(rows)
    widths: dict[int, int] = {}
    for row in rows:
        for at, cell in enumerate(row[:-1]):
            widths[at] = max(widths.get(at, 0), columns(cell))
    return [
        gap.join([*(pad(cell, widths[at]) for at, cell in enumerate(row[:-1])), row[-1]]).rstrip()
        for row in rows
        if row
    ]


def key(change: AnyChange) -> str:
    """A change's key as it stands in a line."""
    shown = escape(change.key)
    return shown if shown.strip() else f'"{shown}"'


def difference(change: AnyChange, colour: bool = False) -> str:
    """What happened to a key: ``old → new``, the one of them that there is, or nothing to be shown."""
    old, new = (None if value is None else _value(value) for value in (change.old, change.new))
    if not old and not new:  # contents that stay inside: files, the CA
        return paint(change.op, DIM, colour)
    if old is None or new is None:
        return old or new or ""
    if change.type == "token":  # "until … → …"
        new = new.removeprefix("until ")
    return paint(old, DIM, colour) + ARROW + new


class Lines:
    """Changes as aligned lines. Since later keys aren't known yet, the columns only ever grow."""

    def __init__(self, colour: bool, width: int = 0) -> None:
        """``width``: how many columns the keys have at least."""
        self._colour = colour
        self._width = width

    def of(self, batch: Batch) -> list[str]:
        """A line for each change of a batch."""
        clock = _clock(batch.time_ns)
        return [f"{paint(clock, DIM, self._colour)}  {line}" for line in self.changes(batch.changes)]

    def changes(self, changes: Iterable[AnyChange]) -> list[str]:
        """A line for each change, without the time."""
        changes = list(changes)
        widest = max((columns(key(change)) for change in changes), default=0)
        self._width = max(self._width, min(widest, WIDEST_KEY))
        return [self._line(change) for change in changes]

    def _line(self, change: AnyChange) -> str:
        sign, code = _SIGN[change.op]
        return (
            f"{paint(sign, code, self._colour)} {pad(change.type, 10)}  "
            f"{paint(pad(key(change), self._width), BOLD, self._colour)}  "
            f"{difference(change, self._colour)}"
        )


def _clock(ns: int) -> str:
    """Local time of day, with milliseconds."""
    seconds, rest = divmod(ns, 10**9)
    return f"{time.strftime('%H:%M:%S', time.localtime(seconds))}.{rest // 10**6:03d}"


def _value(value: Any) -> str:
    """A value in words; empty for those that are never shown."""
    if isinstance(value, str):
        return show(value)
    from kmetad.metadata import Resource, SourceState, Token

    if isinstance(value, Resource):
        return str(value)
    if isinstance(value, Token):
        if value.expires is None:
            return "of unknown end"
        from kmetad.events import rfc3339

        return f"until {rfc3339(value.expires * 10**9, digits=0)}"
    if isinstance(value, SourceState):
        return f"{value.status}: {escape(value.error)}" if value.error else value.status
    return ""


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: a byte that was no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
