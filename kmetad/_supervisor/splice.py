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
    from typing import Any

LONGEST_HELD = 1 << 20
"""Bytes of a line that are kept until it is known what it is; reading them as JSON may take 27 times as many.

A longer line is text, and where text becomes objects, several of them.
"""

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
    """One stream. What each method answers is to be written, in this order."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._inside = False
        """The next byte belongs to a line whose beginning was passed on."""
        self.held: list[bytes] = []
        """What has come of a line of which it isn't known yet what it is; in no answer so far."""
        self._size = 0
        self._until_newline = False
        """Only the whole of what is held can tell."""

    def feed(self, data: bytes, tags: Tags | None) -> list[bytes]:
        """What was read, never nothing. The lines that begin in it get ``tags``."""
        self._counts.bytes += len(data)
        if self.held:
            self.held.append(data)
            self._size += len(data)
            if self._until_newline and self._size <= LONGEST_HELD and b"\n" not in data:
                return []
            data = self._release()
        lines = BytesIO(data).readlines()  # a quarter of what split takes, or count
        last = b"" if data.endswith(b"\n") else lines.pop()
        self._counts.lines += len(lines)
        if tags is None or (tags.leaves_text and b"{" not in data and (not last or last.strip(_BLANK))):
            self._inside = bool(last)
            return [data]
        made = []
        size = len(data) - len(last)
        if self._inside:
            if not lines:
                return [last]
            self._inside = False
            made.append(lines.pop(0))
            size -= len(made[0])
        if lines:
            made += self._splice(lines, size, tags)
        if last:
            made += self._begin(last, tags)
        return made

    def end(self, tags: Tags | None) -> list[bytes]:
        """That was all: the last line has no newline."""
        self._counts.lines += self._inside or bool(self.held)
        self._inside = False
        if not self.held:
            return []
        line = self._release()
        made = line if tags is None else self._other(line, tags)
        self._counts.tagged += made is not line
        return [made]

    def _splice(self, lines: list[bytes], size: int, tags: Tags) -> list[bytes]:
        """Whole lines with their newlines, of so many bytes together."""
        begun, prefix = tags.begun, tags.prefix
        rests = [*map(_cut, lines, repeat(_OBJECT))]  # where there is nothing to cut, the line itself
        count = len(lines)
        if rests[0] is not lines[0] and rests[-1] is not lines[-1]:
            # Of most streams every line is an object; the length tells whether it is so.
            joined = begun.join(rests)
            if len(joined) == size - count * len(_OBJECT) + (count - 1) * len(begun):
                self._counts.tagged += count
                return [begun, joined]
        made = [
            begun + rest
            if rest is not line
            else self._other(line, tags)
            if tags.wraps or line[0] in _MAY_OPEN
            else prefix + line
            for line, rest in zip(lines, rests, strict=True)
        ]
        self._counts.tagged += sum(map(is_not, made, lines))  # what is left as it is is the line itself
        return [b"".join(made)]

    def _begin(self, last: bytes, tags: Tags) -> list[bytes]:
        """The beginning of a line; its end is still to come."""
        if last.startswith(_OBJECT):
            self._counts.tagged += 1
            self._inside = True
            return [tags.begun, last[2:]]
        if (tags.wraps or _may_be_object(last)) and len(last) <= LONGEST_HELD:
            self._hold(last)
            self._until_newline |= tags.wraps and not _may_be_object(last)
            return []
        if tags.wraps:
            return [self._other(last, tags), b"\n"]
        self._inside = True
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

    def _hold(self, last: bytes) -> None:
        self.held.append(last)
        self._size = len(last)
        self._until_newline = bool(last.lstrip(_BLANK)[1:].lstrip(_BLANK))

    def _release(self) -> bytes:
        data = b"".join(self.held)
        self.held.clear()
        self._size = 0
        self._until_newline = False
        return data


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
