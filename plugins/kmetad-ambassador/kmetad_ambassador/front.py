"""A client's connection: requests come in, in order, and are answered one at a time."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from kmetad_ambassador.headers import Headers, noted, tokens
from kmetad_ambassador.line import HIGH, Line
from kmetad_ambassador.refusal import Refusal

HEAD_SECONDS = 10.0
"""Within which a request's head has to be whole, from its first byte on."""

LINGER = 1.0
"""Seconds for which a client may go on sending what nobody reads, after an answer that is the last."""

_LINE = 32
"""What a request's first line has beside the target, at most, and the line that ends a head."""
_CHUNK = 8
"""Bytes that a byte of a body in chunks may take."""

PROTOCOLS = {b"spdy/3.1": b"SPDY/3.1", b"websocket": b"websocket"}
"""What the API server switches to for exec, attach, port-forward, logs and watches, as the header Upgrade has it."""

_NOTED = frozenset(
    {
        b"authorization",
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that are looked at; all others are only passed on."""


class Incoming:
    """A request as it came. Its head is whole; of the body more may follow."""

    __slots__ = (
        "complete",
        "fault",
        "headers",
        "keep_alive",
        "method",
        "noted",
        "pieces",
        "protocol",
        "size",
        "target",
        "version",
    )

    def __init__(self, method: str, target: bytes, version: str, headers: Headers, *, switches: bool) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.noted = noted(headers, _NOTED)
        switches = switches and version == "1.1"  # RFC 9110, 7.8
        self.protocol = PROTOCOLS.get(self.noted.get(b"upgrade", b"").lower()) if switches else None
        """Which other protocol is asked for; nothing behind the head has been read as HTTP then."""
        self.keep_alive = True
        self.pieces: deque[bytes] = deque()
        """What has come of the body, and nobody has taken yet."""
        self.size = 0
        """Bytes of the body so far."""
        self.complete = False
        self.fault: Refusal | None = None
        """Why the rest of the body can't be read."""

    @property
    def length(self) -> int | None:
        """Of its body; None for one in chunks."""
        if b"transfer-encoding" in self.noted:
            return None
        return int(self.noted.get(b"content-length", b"0"))  # whose form the parser has checked

    def header(self, name: bytes) -> str | None:
        """One of those that are looked at."""
        value = self.noted.get(name)
        return None if value is None else value.decode("latin-1")


class Watcher(Protocol):
    """Who answers, and has to know how the client's connection is."""

    def client_ready(self) -> None:
        """What waited to be written to the client has been."""

    def client_gone(self) -> None:
        """The client has closed the connection, or it broke."""


class Front:
    """One client. ``max_head``: bytes of a request's first line and headers. ``idle``: seconds without anything.

    For the loop's own thread.
    """

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        *,
        max_head: int,
        max_body: int,
        idle: float,
        on_gone: Callable[[Front], object],
    ) -> None:
        self.gone = False
        self.watcher: Watcher | None = None
        self.rest = b""
        """What came behind a request for another protocol."""
        self._loop = loop
        self._max_head = max_head
        self._max_body = max_body
        self._idle = idle
        self._on_gone = on_gone
        self._parser = HttpRequestParser(self)
        self._waiting: deque[Incoming] = deque()
        self._arriving: Incoming | None = None
        """The request whose body hasn't come whole."""
        self._fault: Refusal | None = None
        """Why no further request can be read."""
        self._busy = False
        self._in_head = False
        self._heads = 0
        """How many have begun."""
        self._raw = 0
        self._target = b""
        self._headers: Headers = []
        self._size = 0
        self._switching = False
        self._waiter: asyncio.Future[None] | None = None
        self._since = loop.time()
        self._expires = self._since + idle
        self._timer: asyncio.TimerHandle | None = loop.call_later(idle, self._check)
        self._late = self._leaving = False
        self._stall: asyncio.TimerHandle | None = None
        self.line = Line(sock, self, loop, tls=False)

    @property
    def idle_since(self) -> float | None:
        """Since when it has asked for nothing, by the loop's clock; None while a request is under way."""
        return None if self._busy else self._since

    async def next(self) -> Incoming | None:
        """The next request; None when there will be none. Raises Refusal for what is no request."""
        while self.line.waiting >= HIGH and not self.gone:
            await self._wait()  # who asks and doesn't read the answers
        self._busy = False
        self._since = self._loop.time()
        self._expect(HEAD_SECONDS if self._in_head else self._idle)
        while not self._waiting:
            if self._fault is not None:
                raise self._fault
            if self.gone or self._switching:
                return None
            if self._late:
                if self._in_head:
                    raise Refusal(408, "request", "no whole request in time")
                return None
            await self._wait()
        self._busy = True
        self._calm()
        self._late = False  # it has come in the last moment
        request = self._waiting.popleft()
        self._read_on()
        return request

    async def piece(self, of: Incoming) -> bytes:
        """The next piece of a request's body; empty at its end.

        Raises Refusal where it can't be read, or doesn't come; ConnectionError when the client has gone.
        """
        while not of.pieces:
            if of.fault is not None:
                raise of.fault
            if of.complete:
                return b""
            if self.gone:
                raise ConnectionError
            if self._late:
                raise Refusal(408, "request", "the request's body didn't come in time")
            self._read_on()
            self._expect(self._idle)
            await self._wait()
            self._calm()
            if of.pieces:
                self._late = False  # likewise
        if len(of.pieces) == 1:
            piece = of.pieces.popleft()
        else:
            piece = b"".join(of.pieces)
            of.pieces.clear()
        self._read_on()
        return piece

    def write(self, data: bytes) -> bool:
        """To the client; whether it takes more now. If not, the watcher is told when it does."""
        self.line.write(data)
        if self.line.waiting < HIGH:
            return True
        self._see_that_it_takes()
        return False

    def close(self) -> None:
        """When all is written that is to be.

        A client that is still sending is let to, for a moment, and nothing of it is looked at: the kernel would
        answer it with a reset, and that could overtake the answer (RFC 9112, 9.6).
        """
        self._calm()
        if self._arriving is not None or self._fault is not None:
            self._leaving = True
            self.line.end_writing()
            self.line.resume()
            if not self.line.waiting:
                self._linger()
                return
        else:
            self.line.close_when_written()
            if self.line.closed:
                self._end()
                return
        self._see_that_it_takes()

    def cut(self) -> None:
        """At once, so that the client notices that something is missing."""
        self.line.close()
        self._end()

    # -- what the line tells -------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """More of a request."""
        if self._leaving:
            return
        if self._switching:
            self.rest += data
        elif self._fault is None:
            self._feed(data)
        if self._busy and (self._waiting or len(self.rest) >= HIGH or self._buffered >= HIGH):
            self.line.pause()
        self._wake()

    def drained(self) -> None:
        """All is written."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if self._leaving:
            self._linger()
        self._wake()
        if self.watcher is not None:
            self.watcher.client_ready()

    def lost(self, error: OSError | None) -> None:
        """The client has gone. That it may still want to read, having said all, can't be told from that (as in Go)."""
        self._end()
        if self.watcher is not None:
            self.watcher.client_gone()

    # -- what the parser tells -----------------------------------------------------------

    def on_message_begin(self) -> None:
        """A new request."""
        self._target = b""
        self._headers = []
        self._size = self._raw = 0
        self._heads += 1
        self._in_head = True

    def on_url(self, part: bytes) -> None:
        """Its target, or a part of it."""
        self._target += part
        self._measure(len(part))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        if self._arriving is not None:
            return  # a trailer, which is nobody's to rely on
        self._headers.append((name.lower(), value))
        self._measure(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """Its head has come."""
        parser = self._parser
        self._in_head = False
        self._raw = 0
        self._arriving = made = Incoming(
            parser.get_method().decode("ascii"),
            self._target,
            parser.get_http_version(),
            self._headers,
            switches=parser.should_upgrade(),
        )
        # One that speaks HTTP/1.0 would have to be told that it is kept (RFC 9112, 9.3).
        made.keep_alive = parser.should_keep_alive() and made.version == "1.1" and made.protocol is None
        if made.version == "1.0":
            made.noted.pop(b"expect", None)  # RFC 9110, 10.1.1
        made.fault = _fault_of(made)
        if made.fault is None and (made.length or 0) > self._max_body:
            made.fault = self._body_too_long()
        self._waiting.append(made)

    def on_body(self, data: bytes) -> None:
        """A piece of its body."""
        request = self._arriving
        assert request is not None
        request.size += len(data)
        if request.size <= self._max_body:
            request.pieces.append(data)
        elif request.fault is None:
            request.fault = self._body_too_long()

    def on_message_complete(self) -> None:
        """Its end has come."""
        if self._arriving is not None:
            self._arriving.complete = True
            self._arriving = None

    # -- inside --------------------------------------------------------------------------

    @property
    def _buffered(self) -> int:
        return sum(map(len, self._arriving.pieces)) if self._arriving is not None else 0

    def _feed(self, data: bytes) -> None:
        while data:
            data = self._parse(data)

    def _parse(self, data: bytes) -> bytes:
        """Answers what is to be parsed anew."""
        heads, in_body = self._heads if self._in_head else 0, self._arriving
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as switch:
            return self._switch(data[switch.args[0] :])
        except HttpParserError as error:
            self._refuse(error)
            return b""
        if self._in_head:
            if heads == self._heads:
                # Of a header that doesn't end the parser tells nothing.
                self._raw += len(data)
                if self._raw > self._max_head + _LINE:
                    self._fault = self._too_long()
            elif not self._busy:
                self._expect(HEAD_SECONDS)
        elif in_body is not None and in_body is self._arriving:
            # Nor of chunks and trailers that don't end. The smallest chunk takes six bytes for one.
            self._raw += len(data)
            if self._raw > self._max_head + _CHUNK * in_body.size:
                self._fault = in_body.fault = Refusal(400, "request", "too little of the body is content")
        return b""

    def _switch(self, rest: bytes) -> bytes:
        """The parser stops behind a request for another protocol. One that isn't known is ignored (RFC 9110, 7.8)."""
        request = self._waiting[-1]
        if request.protocol is not None or b"upgrade" not in request.noted:  # which is CONNECT
            self._switching = True
            self.rest = rest
            return b""
        self._waiting.pop()
        self._parser = HttpRequestParser(self)
        lines = [b"%s: %s\r\n" % each for each in request.headers if each[0] != b"upgrade"]
        first = f"{request.method} ".encode() + request.target + f" HTTP/{request.version}\r\n".encode()
        return b"".join((first, *lines, b"\r\n", rest))

    def _refuse(self, error: HttpParserError) -> None:
        fault = error.__context__
        if isinstance(error, HttpParserCallbackError) and not isinstance(fault, Refusal):
            raise fault or error
        if not isinstance(fault, Refusal):
            fault = Refusal(400, "request", f"this is no HTTP/1.1 as RFC 9112 has it: {error}")
        if self._arriving is not None:
            self._arriving.fault = fault
        self._fault = fault

    def _measure(self, size: int) -> None:
        self._size += size
        if self._size > self._max_head:
            raise self._too_long()

    def _too_long(self) -> Refusal:
        return Refusal(
            431,
            "limit",
            f"the request's first line and headers have more than {self._max_head} bytes (--max-head)",
        )

    def _body_too_long(self) -> Refusal:
        return Refusal(413, "limit", f"the request's body has more than {self._max_body} bytes (--max-body)")

    def _read_on(self) -> None:
        if not self._waiting and len(self.rest) < HIGH and self._buffered < HIGH:
            self.line.resume()

    async def _wait(self) -> None:
        self._read_on()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _see_that_it_takes(self) -> None:
        """A client that takes nothing for too long of what waits for it is cut off."""
        if self._stall is None:
            self._stall = self._loop.call_later(self._idle, self._stalled, self.line.untaken())

    def _linger(self) -> None:
        self._stall = self._loop.call_later(LINGER, self.cut)

    def _stalled(self, before: int) -> None:
        self._stall = None
        if self.line.untaken() < before:
            self._see_that_it_takes()
        else:
            self.line.close()
            self.lost(None)

    def _end(self) -> None:
        self.gone = True
        self._wake()
        for timer in (self._timer, self._stall):
            if timer is not None:
                timer.cancel()
        self._timer = self._stall = None
        self._expires = float("inf")
        on_gone, self._on_gone = self._on_gone, _nobody
        on_gone(self)

    def _expect(self, seconds: float) -> None:
        """Something has to come within so many seconds. There is one timer, which is set anew when it is due."""
        self._expires = self._loop.time() + seconds
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._check)
        elif self._timer.when() > self._expires:
            self._timer.cancel()
            self._timer = self._loop.call_at(self._expires, self._check)

    def _calm(self) -> None:
        self._expires = float("inf")

    def _check(self) -> None:
        self._timer = None
        if self._expires == float("inf"):
            return
        if self._loop.time() < self._expires:
            self._timer = self._loop.call_at(self._expires, self._check)
            return
        self._late = True
        self._wake()


def _nobody(front: Front) -> None:
    """Has been told already."""


def _fault_of(request: Incoming) -> Refusal | None:
    """What a parser takes, and nobody should send."""
    coding = request.noted.get(b"transfer-encoding")
    if coding is not None and coding.lower() != b"chunked":
        return Refusal(501, "request", "the only Transfer-Encoding that is understood is chunked")
    if request.version not in ("1.1", "1.0"):
        return Refusal(505, "request", f"HTTP/{request.version} isn't spoken here; use HTTP/1.1")
    if coding is not None and request.version == "1.0":
        return Refusal(400, "request", "HTTP/1.0 has no Transfer-Encoding; use HTTP/1.1")
    if request.protocol is not None and (coding is not None or request.length):
        return Refusal(400, "request", "a request to switch the protocol can't have a body")
    expect = request.noted.get(b"expect")
    if expect is not None and tokens(expect) != [b"100-continue"]:
        return Refusal(417, "request", "the only Expect that is understood is 100-continue")
    return None
