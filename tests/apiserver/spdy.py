"""SPDY/3.1, as far as exec, attach and port-forward go: many streams both ways on one connection.

Bytes in, events out; nothing here knows a socket. There is no flow control, as neither kubectl nor
the kubelet has any: the library of both takes no notice of windows.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
"""The types of control frames."""

PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, UNSUPPORTED_VERSION, CANCEL = 1, 2, 3, 4, 5
"""Why a stream is reset."""

MAX_DATA = 32 * 1024
"""As many bytes go into a frame; that many Go copies at a time."""

_VERSION = 3
_FIN = 0x01
_PREFIX = struct.Struct("!II")  # control bit, version and type, or the stream; flags and length
_STREAM = 0x7FFF_FFFF
_CONTROL = 0x8000_0000
_MAX_HEADERS = 64 * 1024


_WORDS = """
    options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age
    allow authorization cache-control connection content-base content-encoding content-language content-length
    content-location content-md5 content-range content-type date etag expect expires from host if-match
    if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma
    proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade
    user-agent vary via warning www-authenticate method get status
"""
_PHRASES = ("200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin")
_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _with_length(word: bytes) -> bytes:
    return struct.pack("!I", len(word)) + word


DICTIONARY = b"".join(_with_length(word.encode()) for word in (*_WORDS.split(), *_PHRASES)) + _REST.encode()
"""What headers are compressed with: what is expected in them, in their own form."""


class Opened(NamedTuple):
    """The other side has opened a stream."""

    stream: int
    headers: dict[str, str]


class Replied(NamedTuple):
    """The other side has taken a stream, or says more about one."""

    stream: int
    headers: dict[str, str]


class Data(NamedTuple):
    """Something came."""

    stream: int
    data: bytes


class Ended(NamedTuple):
    """Nothing more comes on a stream; the way back is open still."""

    stream: int


class Reset(NamedTuple):
    """A stream is over, both ways."""

    stream: int
    status: int


class Pong(NamedTuple):
    """A ping of ours has come back."""

    number: int


class GoneAway(NamedTuple):
    """The other side takes no more streams."""

    last: int
    status: int


Event = Opened | Replied | Data | Ended | Reset | Pong | GoneAway


class Session:
    """One side of a connection. ``send`` gets what is to be sent, frame by frame."""

    def __init__(self, send: Callable[[bytes], object], *, client: bool = False) -> None:
        self._send = send
        self._received = bytearray()
        self._next = 1 if client else 2  # odd streams and pings are the client's
        self._next_ping = self._next
        self._last = 0
        self._over: set[int] = set()  # on which nothing may be sent any more
        self._compress = zlib.compressobj(9, zdict=DICTIONARY)
        self._decompress = zlib.decompressobj(zdict=DICTIONARY)

    # What is sent.

    def open(self, headers: Mapping[str, str], *, end: bool = False) -> int:
        """Open a stream: its number. With ``end`` nothing will be sent on it."""
        stream, self._next = self._next, self._next + 2
        block = struct.pack("!IIBB", stream, 0, 0, 0) + self._packed(headers)
        self._control(SYN_STREAM, block, _FIN if end else 0)
        if end:
            self._over.add(stream)
        return stream

    def reply(self, stream: int, headers: Mapping[str, str] | None = None) -> None:
        """Take a stream that the other side has opened."""
        self._control(SYN_REPLY, struct.pack("!I", stream) + self._packed(headers or {}))

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send something on a stream, and perhaps its end; dropped if the stream is over."""
        if stream in self._over:
            return
        pieces = [data[at : at + MAX_DATA] for at in range(0, len(data), MAX_DATA)] or ([b""] if end else [])
        for number, piece in enumerate(pieces, start=1):
            flags = _FIN if end and number == len(pieces) else 0
            self._send(_PREFIX.pack(stream, flags << 24 | len(piece)) + piece)
        if end:
            self._over.add(stream)

    def reset(self, stream: int, status: int = CANCEL) -> None:
        """Give a stream up."""
        self._over.add(stream)
        self._control(RST_STREAM, struct.pack("!II", stream, status))

    def ping(self) -> int:
        """Ask for a sign of life: the number that comes back."""
        number, self._next_ping = self._next_ping, self._next_ping + 2
        self._control(PING, struct.pack("!I", number))
        return number

    def go_away(self, status: int = 0) -> None:
        """Say that no more streams are taken."""
        self._control(GOAWAY, struct.pack("!II", self._last, status))

    # What is received.

    def receive(self, data: bytes) -> list[Event]:
        """What these bytes, with those before, amount to; pings are answered.

        Raises ValueError for what isn't SPDY/3.1.
        """
        self._received += data
        events: list[Event] = []
        while len(self._received) >= _PREFIX.size:
            first, second = _PREFIX.unpack_from(self._received)
            flags, size = second >> 24, second & 0xFF_FFFF
            if first & _CONTROL and (first >> 16) & 0x7FFF != _VERSION:
                raise ValueError(f"a control frame that isn't of SPDY/3: {first:#x}")
            if len(self._received) < _PREFIX.size + size:
                break
            payload = bytes(self._received[_PREFIX.size : _PREFIX.size + size])
            del self._received[: _PREFIX.size + size]
            if first & _CONTROL:
                events += self._controlled(first & 0xFFFF, flags, payload)
            else:
                if payload:
                    events.append(Data(first, payload))
                if flags & _FIN:
                    events.append(Ended(first))
        return events

    def _controlled(self, kind: int, flags: int, payload: bytes) -> Iterator[Event]:
        if kind in (SYN_STREAM, SYN_REPLY, HEADERS):
            (stream,) = _numbers(payload, 1)
            stream &= _STREAM
            if kind == SYN_STREAM:
                self._last = max(self._last, stream)
                yield Opened(stream, self._unpacked(payload[10:]))
            else:
                yield Replied(stream, self._unpacked(payload[4:]))
            if flags & _FIN:
                yield Ended(stream)
        elif kind == RST_STREAM:
            stream, status = _numbers(payload, 2)
            self._over.add(stream)
            yield Reset(stream, status)
        elif kind == PING:
            (number,) = _numbers(payload, 1)
            if number % 2 == self._next_ping % 2:
                yield Pong(number)
            else:
                self._control(PING, payload)
        elif kind == GOAWAY:
            last, status = _numbers(payload, 2)
            yield GoneAway(last, status)
        elif kind not in (SETTINGS, WINDOW_UPDATE):
            raise ValueError(f"a control frame of type {kind}")

    def _control(self, kind: int, payload: bytes, flags: int = 0) -> None:
        self._send(_PREFIX.pack(_CONTROL | _VERSION << 16 | kind, flags << 24 | len(payload)) + payload)

    def _packed(self, headers: Mapping[str, str]) -> bytes:
        """All headers of a session are one compressed text; names are in lower case."""
        plain = struct.pack("!I", len(headers))
        for name, value in headers.items():
            plain += _with_length(name.lower().encode("latin-1")) + _with_length(value.encode("latin-1"))
        return self._compress.compress(plain) + self._compress.flush(zlib.Z_SYNC_FLUSH)

    def _unpacked(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._decompress.decompress(block, _MAX_HEADERS)
        except zlib.error as error:
            raise ValueError(f"headers that can't be read: {error}") from None
        if self._decompress.unconsumed_tail:
            raise ValueError(f"headers of more than {_MAX_HEADERS} bytes")
        (count,) = _numbers(plain, 1)
        at, words = 4, []
        for _ in range(2 * count):
            (size,) = _numbers(plain[at:], 1)
            if len(plain) < at + 4 + size:
                raise ValueError("headers that end too soon")
            words.append(plain[at + 4 : at + 4 + size].decode("latin-1"))
            at += 4 + size
        return dict(zip(words[::2], words[1::2], strict=True))


def _numbers(payload: bytes, count: int) -> tuple[int, ...]:
    if len(payload) < 4 * count:
        raise ValueError("a frame that ends too soon")
    return struct.unpack_from(f"!{count}I", payload)
