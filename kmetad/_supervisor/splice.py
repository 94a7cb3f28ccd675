"""Tags spliced into lines: a JSON object gets them behind its ``{``, without being parsed; text as it is asked for.

Bytes go in as they are read and come out as they are to be written. Nothing of a line is
kept but where its beginning leaves open whether it is an object.
"""

from __future__ import annotations

from itertools import repeat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LONGEST_HELD = 1 << 24
"""Bytes that are kept of a line until it is known what it is; a longer one is text."""

_BLANK = b" \t\r"  # of JSON's white space, what a line can hold
_OBJECT = b'{"'
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
        self.opened = b"{" + members + b"," * bool(members)  # and the object's own members follow
        self.empty = b"{" + members  # which is all there is in it
        self.begun = self.opened + b'"'
        self.between = b"\n" + self.begun
        self.stream = b',"stream":"%b",' % stream.encode() + members + b"," * bool(members) + b'"message":'


class Counts:
    """What has gone through a stream."""

    def __init__(self) -> None:
        self.lines = 0
        self.bytes = 0
        """As they came, without tags."""
        self.tagged = 0
        """Lines with tags; the others passed untouched."""
        self.lost = 0
        """Bytes that could not be written, tags among them."""


class Splicer:
    """One stream. What each method answers is to be written, in this order."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._inside = False
        """The next byte belongs to a line whose beginning was passed on."""
        self._held: list[bytes] = []
        """The beginning of a line of which it isn't known what it is."""
        self._held_size = 0
        self._until_newline = False
        """Only the whole of what is held can tell."""

    def feed(self, data: bytes, tags: Tags | None) -> list[bytes]:
        """What was read. The lines that begin in it get ``tags``."""
        self._counts.bytes += len(data)
        if self._held:
            self._held.append(data)
            self._held_size += len(data)
            if self._until_newline and self._held_size <= LONGEST_HELD and b"\n" not in data:
                return []
            data = self._release()
        if tags is None or (not tags.prefix and not tags.wraps and b"{" not in data):
            return self._pass(data, tags)
        lines = data.split(b"\n")
        last = lines.pop()
        size = len(data) - len(last)  # of the others, each with its newline
        self._counts.lines += len(lines)
        made = []
        if self._inside:
            if not lines:
                return [last]
            first = lines.pop(0)
            size -= len(first) + 1
            made += [first, b"\n"]
            self._inside = False
        if lines:
            made += self._splice(lines, size, tags)
        if last:
            made += self._begin(last, tags)
        return made

    def end(self, tags: Tags | None) -> list[bytes]:
        """That was all: the last line has no newline."""
        self._counts.lines += self._inside or bool(self._held)
        self._inside = False
        if not self._held:
            return []
        return [self._other(self._release(), tags) if tags is not None else self._release()]

    def _pass(self, data: bytes, tags: Tags | None) -> list[bytes]:
        """No line that begins here gets anything; but the last may go on to be an object."""
        self._counts.lines += data.count(b"\n")
        begins = data.rfind(b"\n") + 1
        if begins:
            self._inside = False
        if begins == len(data) or self._inside:
            return [data]
        last = data[begins:]
        if tags is not None and _may_be_object(last) and len(last) <= LONGEST_HELD:
            self._hold(last)
            return [data[:begins]] if begins else []
        self._inside = True
        return [data]

    def _splice(self, lines: list[bytes], size: int, tags: Tags) -> list[bytes]:
        """Whole lines, of so many bytes together with their newlines."""
        if lines[0].startswith(_OBJECT):
            # Of most streams every line is an object. Then all is done by three calls, and the
            # length tells whether it was so.
            joined = tags.between.join(map(_cut, lines, repeat(_OBJECT)))
            count = len(lines)
            if len(joined) == size - count - count * len(_OBJECT) + (count - 1) * len(tags.between):
                self._counts.tagged += count
                return [tags.begun, joined, b"\n"]
        made = [
            tags.begun + line[2:] if line.startswith(_OBJECT) else self._other(line, tags) for line in lines
        ]
        self._counts.tagged += sum(line.startswith(_OBJECT) for line in lines)
        return [b"\n".join(made), b"\n"]

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
        """A whole line that doesn't start as objects mostly do."""
        if line.startswith(b"{") or line[:1] in (b" ", b"\t", b"\r"):
            before = len(line) - len(line.lstrip(_BLANK)) + 1
            if _may_be_object(line) and _is_object(line):
                self._counts.tagged += 1
                rest = line[before:]
                opened = tags.empty if rest.lstrip(_BLANK).startswith(b"}") else tags.opened
                return line[: before - 1] + opened + rest
        if tags.wraps:
            self._counts.tagged += 1
            return _wrapped(line, tags)
        self._counts.tagged += bool(tags.prefix)
        return tags.prefix + line

    def _hold(self, last: bytes) -> None:
        self._held.append(last)
        self._held_size = len(last)
        self._until_newline = bool(last.lstrip(_BLANK)[1:].lstrip(_BLANK))

    def _release(self) -> bytes:
        data = b"".join(self._held)
        self._held.clear()
        self._held_size = 0
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
    """Whether a line is a JSON object (RFC 8259), and nothing else. One that is nested a thousand deep isn't."""
    global _decoder
    if _decoder is None:
        from json import JSONDecoder  # most streams never need it

        # Numbers needn't be numbers: Python's have limits that JSON's haven't.
        _decoder = JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)
    try:
        _decoder.decode(line.decode("utf-8"))
    except (ValueError, RecursionError):
        return False
    return True


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _wrapped(line: bytes, tags: Tags) -> bytes:
    """A text as a JSON object. What is no UTF-8 in it becomes ``\\xff``; a carriage return stays at the end."""
    import time
    from json import dumps

    text, ending = (line[:-1], b"\r") if line.endswith(b"\r") else (line, b"")
    ns = time.time_ns()
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ns // 10**9))
    message = dumps(text.decode("utf-8", "backslashreplace")).encode("ascii")
    moment = f"{at}.{ns // 1000 % 10**6:06d}Z".encode()
    return b'{"time":"%b"%b%b}%b' % (moment, tags.stream, message, ending)
