"""Tags spliced into lines: a JSON object gets them behind its ``{``, without being parsed; text as it is asked for.

Bytes go in as they are read and come out as they are to be written. Of a line that hasn't ended
nothing is kept, unless its beginning leaves open whether it is an object, or text is to become one.
"""

from __future__ import annotations

from io import BytesIO
from itertools import repeat
from operator import is_not

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

Buffers = list[bytes | memoryview]
"""What writev(2) takes."""

LONGEST_HELD = 1 << 20
"""Bytes of a line that are kept until it is known what it is; reading them as JSON may take 27 times as many.

A longer line passes as it is.
"""
_MUCH = 1 << 20
"""Bytes of tags after which lines are answered, whatever else was read with them."""

_BLANK = b" \t\r"  # of JSON's white space, what a line can hold
_OBJECT = b'{"'
_MAY_OPEN = frozenset(b"{" + _BLANK)
"""What an object's line can start with."""
_cut = bytes.removeprefix


class Tags:
    """What the lines of one stream carry, ready to be spliced.

    ``members`` are JSON members without braces: ``"pod":{"name":"web-0"}``. ``text`` says what
    becomes of other lines: ``untouched``; ``prefix``: they get ``prefix`` in front; ``json``: each is
    wrapped in an object with its time and stream.
    """

    def __init__(self, stream: str, members: bytes, text: str = "untouched", prefix: bytes = b"") -> None:
        self.wraps = text == "json"
        self.prefix = prefix if text == "prefix" else b""
        self.leaves_text = not self.wraps and not self.prefix
        self.opened = b"{" + members + b"," * bool(members)  # and the object's own members follow
        self.empty = b"{" + members  # which is all there is in it
        self.begun = self.opened + b'"'
        self.envelope = b',"stream":"%b",' % stream.encode() + members + b"," * bool(members) + b'"message":'
        self.longest = max(len(self.begun), len(self.prefix), len(self.envelope))


class Counts:
    """What has gone through a stream."""

    def __init__(self) -> None:
        self.lines = 0
        self.bytes = 0
        """As they came, without tags."""
        self.tagged = 0
        """Lines with tags; the others passed untouched."""
        self.lost = 0
        """Bytes that the kernel refused, tags among them: not those for which no reader is left."""


class Splicer:
    """One stream. What each method answers, bit by bit, is to be written, in this order."""

    def __init__(self, counts: Counts) -> None:
        self.held: list[bytes] = []
        """What was given and is in no answer yet. Between two calls: the beginning of a line."""
        self._size = 0
        """Its bytes, then."""
        self._waits_for = ""
        """What tells what it is: a ``newline``, or a ``character``, which a blank isn't; empty: whatever comes."""
        self._inside = False
        """The next byte belongs to a line whose beginning was answered."""
        self._counts = counts

    def feed(self, data: bytes, tags: Tags | None, *, more: bool = False) -> Iterator[Buffers]:
        """What was read, or that there is nothing more yet. The lines that begin in it get ``tags``.

        ``more``: the end of the last line is on its way, and the line is held for it, so that what is
        answered ends with a line, and what others write comes between two.
        """
        if not data and not self.held:
            return
        self._counts.bytes += len(data)
        self.held.append(data)
        self._size += len(data)
        if data and self._size <= LONGEST_HELD and self._leaves_open(data):
            return
        lines = BytesIO(data).readlines()  # a quarter of what split takes, or count
        last = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        size = len(data) - len(last)
        self._counts.lines += len(lines)
        more &= bool(lines)
        before = b"".join(self.held[:-1])
        is_text = b"{" not in data and b"{" not in before
        if not lines:
            before, last = b"", before + last
        is_text &= not last or bool(last.strip(_BLANK))
        if tags is None or (tags.leaves_text and is_text) or (self._inside and not lines):
            self._inside = bool(last) and not more
            self._hold(last if more else b"")
            if lines:
                yield [before, memoryview(data)[:size] if more else data]
            else:
                yield [last]
            return
        if before:
            lines[0] = before + lines[0]
        yield from self._splice_all(lines, last, tags, more)

    def end(self, tags: Tags | None) -> Iterator[Buffers]:
        """That was all: the last line has no newline."""
        self._counts.lines += self._inside or bool(self.held)
        self._inside = False
        if self.held:
            line = made = b"".join(self.held)
            if tags is not None:
                made = tags.begun + line[2:] if line.startswith(_OBJECT) else self._other(line, tags)
            self._counts.tagged += made is not line
            self._hold(b"")
            yield [made]

    def _splice_all(self, lines: list[bytes], last: bytes, tags: Tags, more: bool) -> Iterator[Buffers]:
        """Lines, and the beginning of another: in several bits where tags make it much."""
        rest = [lines.pop(0)] if self._inside else []  # of a line that had begun before
        self._inside = False
        self.held = [*rest, *lines, last]
        made: Buffers = [*rest]
        step = max(1, _MUCH // tags.longest)
        for at in range(0, len(lines), step):
            if at:
                del self.held[: len(self.held) - 1 - len(lines) + at]
                yield made
                made = []
            made += self._splice(lines[at : at + step], tags)
        if more:
            self._hold(last)
        else:
            made += self._begin(last, tags)
        if made:
            yield made

    def _splice(self, lines: list[bytes], tags: Tags) -> Buffers:
        """Whole lines with their newlines."""
        begun, prefix, wraps, may_open = tags.begun, tags.prefix, tags.wraps, _MAY_OPEN
        rests = [*map(_cut, lines, repeat(_OBJECT))]  # where there is nothing to cut, the line itself
        objects = sum(map(is_not, rests, lines))
        if objects == len(lines):  # as in most streams
            self._counts.tagged += objects
            return [begun, begun.join(rests)]
        made = [
            begun + rest
            if rest is not line
            else self._other(line, tags)
            if wraps or line[0] in may_open
            else prefix + line
            if prefix
            else line
            for line, rest in zip(lines, rests, strict=True)
        ]
        self._counts.tagged += sum(map(is_not, made, lines))  # what is left as it is is the line itself
        return [b"".join(made)]

    def _begin(self, last: bytes, tags: Tags) -> Buffers:
        """The beginning of a line, whose end is still to come. Nothing where it is held."""
        self._hold(b"")
        if not last:
            return []
        if not last.startswith(_OBJECT) and len(last) <= LONGEST_HELD:
            may_be_object = _may_be_object(last)
            if tags.wraps or may_be_object:
                is_more_than_a_brace = bool(last.lstrip(_BLANK)[1:].lstrip(_BLANK))
                self._hold(last, "newline" if not may_be_object or is_more_than_a_brace else "character")
                return []
        self._inside = True
        if last.startswith(_OBJECT):
            self._counts.tagged += 1
            return [tags.begun, last[len(_OBJECT) :]]
        self._counts.tagged += bool(tags.prefix)
        return [tags.prefix, last]

    def _other(self, line: bytes, tags: Tags) -> bytes:
        """A whole line that doesn't start as objects mostly do. The same object where it is left as it is."""
        if _may_be_object(line) and _is_object(line):
            before = len(line) - len(line.lstrip(_BLANK)) + 1
            rest = line[before:]
            opened = tags.empty if rest.lstrip(_BLANK).startswith(b"}") else tags.opened
            return line[: before - 1] + opened + rest
        return _wrapped(line, tags) if tags.wraps else tags.prefix + line

    def _hold(self, line: bytes, waits_for: str = "") -> None:
        """Of all that was given this alone is in no answer."""
        self.held = [line] if line else []
        self._size = len(line)
        self._waits_for = waits_for if line else ""

    def _leaves_open(self, data: bytes) -> bool:
        """Whether it is as unknown as before what the line is that is held."""
        if not self._waits_for or b"\n" in data:
            return False
        return self._waits_for == "newline" or not data.strip(_BLANK)


def _may_be_object(line: bytes) -> bool:
    """Whether a line that begins like this can be a JSON object."""
    start = line.lstrip(_BLANK)
    if not start.startswith(b"{"):
        return not start
    inside = start[1:].lstrip(_BLANK)
    return not inside or inside.startswith((b'"', b"}"))


_decoder: Any = None


def _is_object(line: bytes) -> bool:
    """Whether a line is a JSON object (RFC 8259), and nothing else. One that is too deep or too much to read isn't."""
    global _decoder
    if _decoder is None:
        from json import JSONDecoder  # most streams never need it

        # Numbers needn't be numbers: Python's have limits that JSON's haven't.
        _decoder = JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)
    try:
        _decoder.decode(line.decode("utf-8"))
    except (ValueError, RecursionError, MemoryError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _wrapped(line: bytes, tags: Tags) -> bytes:
    """A text as a JSON object. What is no UTF-8 in it becomes ``\\xff``; how the line ends stays."""
    import time
    from json import dumps

    text = line.removesuffix(b"\n").removesuffix(b"\r")
    ns = time.time_ns()
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9))
    message = dumps(text.decode("utf-8", "backslashreplace")).encode("ascii")
    moment = f"{at}.{ns // 1000 % 10**6:06d}Z".encode()
    return b'{"time":"%b"%b%b}%b' % (moment, tags.envelope, message, line[len(text) :])
