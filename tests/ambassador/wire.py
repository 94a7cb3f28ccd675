"""HTTP/1.1 read strictly: requests as the proxy has to write them, answers as a client has to be able to read them.

What it takes has one meaning to every reader; ``alike`` asks others whether that is so.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

from httptools import HttpRequestParser

_FIRST = re.compile(rb"([A-Z]+) (/[!-~]*) HTTP/1\.1")
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) ([\t -~\x80-\xff]*)")
_FIELD = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?[ \t]*)"
)
_NUMBER = re.compile(rb"0|[1-9][0-9]*")
_SIZE = re.compile(rb"[0-9a-f]+")

Fields = tuple[tuple[str, str], ...]


class Garbled(Exception):
    """What was written can be read in several ways, or in none."""


@dataclass(frozen=True)
class Request:
    """One request."""

    method: str
    target: str
    fields: Fields
    """Its headers, names in lower case."""
    body: bytes

    @property
    def line(self) -> tuple[str, str, bytes]:
        """What readers have to agree on."""
        return self.method, self.target, self.body


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int
    fields: Fields
    body: bytes
    whole: bool = True
    """Whether its end has come."""

    def field(self, name: str) -> str | None:
        """The header's value, if it is there."""
        return dict(self.fields).get(name)


def requests(data: bytes) -> tuple[list[Request], bytes]:
    """All that are whole, and what is left behind them. Raises Garbled."""
    found = []
    while (one := request(data)) is not None:
        found.append(one[0])
        data = one[1]
    return found, data


def request(data: bytes) -> tuple[Request, bytes] | None:
    """The first one and what is left; None if it isn't whole. Raises Garbled."""
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.split(b"\r\n")
    asked = _FIRST.fullmatch(first)
    if asked is None:
        raise Garbled(first)
    fields = _fields(lines)
    names = [name for name, _ in fields]
    for name in ("host", "authorization", "content-length", "transfer-encoding", "connection", "upgrade"):
        if names.count(name) > 1:
            raise Garbled(f"{name} twice")
    if "host" not in names:
        raise Garbled("no host")
    body = _body(fields, rest)
    if body is None:
        return None
    return Request(asked[1].decode(), asked[2].decode(), fields, body[0]), body[1]


def answers(
    data: bytes, *, ended: bool = False, bodiless: Collection[int] = ()
) -> tuple[list[Answer], bytes]:
    """All of them, the last perhaps not whole, and what is left. Raises Garbled.

    ``ended``: the connection was closed. ``bodiless``: which are to HEAD. Behind a 101, nothing is read.
    """
    found: list[Answer] = []
    while data and (not found or found[-1].status != 101):
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            break
        first, *lines = head.split(b"\r\n")
        status = _STATUS.fullmatch(first)
        if status is None:
            raise Garbled(first)
        code, fields = int(status[1]), _fields(lines)
        names = {name for name, _ in fields}
        finals = sum(answer.status >= 200 for answer in found)
        if code < 200 or code in (204, 304) or finals in bodiless:
            found.append(Answer(code, fields, b""))
            data = rest
        elif names & {"content-length", "transfer-encoding"}:
            body = _body(fields, rest)
            if body is None:
                found.append(Answer(code, fields, rest, whole=False))
                return found, b""
            found.append(Answer(code, fields, body[0]))
            data = body[1]
        else:
            found.append(Answer(code, fields, rest, whole=ended))
            return found, b""
    return found, data


def alike(data: bytes) -> list[Request]:
    """The requests that these bytes are, and nothing else. AssertionError where another parser reads something else."""
    found, rest = requests(data)
    assert rest == b"", rest
    lines = [one.line for one in found]
    assert _by_httptools(data) == lines
    assert _by_http_server(data) == lines
    return found


def _fields(lines: list[bytes]) -> Fields:
    fields = []
    for line in lines:
        found = _FIELD.fullmatch(line)
        if found is None:
            raise Garbled(line)
        fields.append((found[1].decode().lower(), found[2].decode("latin-1")))
    return tuple(fields)


def _body(fields: Fields, data: bytes) -> tuple[bytes, bytes] | None:
    known = dict(fields)
    length, coding = known.get("content-length"), known.get("transfer-encoding")
    if length is not None and coding is not None:
        raise Garbled("both Content-Length and Transfer-Encoding")
    if coding is not None:
        if coding != "chunked":
            raise Garbled(coding)
        return _chunks(data)
    if length is None:
        return b"", data
    if not _NUMBER.fullmatch(length.encode("latin-1")):
        raise Garbled(length)
    size = int(length)
    return (data[:size], data[size:]) if len(data) >= size else None


def _chunks(data: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        size, end, data = data.partition(b"\r\n")
        if not end:
            return None
        if not _SIZE.fullmatch(size):
            raise Garbled(size)
        length = int(size, 16)
        if len(data) < length + 2:
            return None
        if data[length : length + 2] != b"\r\n":  # behind the last one: no trailers
            raise Garbled(data[length:])
        body += data[:length]
        data = data[length + 2 :]
        if length == 0:
            return body, data


class _Heard:
    """What httptools tells."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, bytes]] = []
        self.parser = HttpRequestParser(self)
        self._target = self._body = b""

    def on_message_begin(self) -> None:
        self._target = self._body = b""

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_body(self, part: bytes) -> None:
        self._body += part

    def on_message_complete(self) -> None:
        self.lines.append((self.parser.get_method().decode(), self._target.decode(), self._body))


def _by_httptools(data: bytes) -> list[tuple[str, str, bytes]]:
    heard = _Heard()
    heard.parser.feed_data(data)
    return heard.lines


class _Lenient(BaseHTTPRequestHandler):
    """Python's own server, which takes much: bare LF, folded headers, the first of two lengths."""

    def __init__(self, file: io.BytesIO) -> None:
        self.rfile = file
        self.lines: list[tuple[str, str, bytes]] = []
        while line := file.readline():
            self.raw_requestline = line
            assert self.parse_request(), line
            chunked = self.headers.get("Transfer-Encoding") == "chunked"
            body = self._chunked() if chunked else file.read(int(self.headers.get("Content-Length", 0)))
            self.lines.append((self.command, self.path, body))

    def _chunked(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


def _by_http_server(data: bytes) -> list[tuple[str, str, bytes]]:
    return _Lenient(io.BytesIO(data)).lines
