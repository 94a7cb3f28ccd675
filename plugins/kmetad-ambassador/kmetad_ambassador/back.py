"""A connection to the API server: a request goes out, its answer comes in; and the pool of those that are kept."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Protocol

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpResponseParser

from kmetad_ambassador.connect import Connector
from kmetad_ambassador.headers import Headers
from kmetad_ambassador.identity import Identity, Now
from kmetad_ambassador.line import HIGH, Line

KEPT = 64
"""Connections that wait for the next request. More are made where more is asked at once, and closed again."""

_LONGEST_HEAD = 256 * 1024
"""Bytes of an answer's head, and of trailers."""
_CHUNK = 8
"""Bytes that a byte of a body in chunks may take."""
_SWITCHED = 101


class Answering(Protocol):
    """Who gets an answer, bit by bit."""

    def head(self, status: int, reason: bytes, headers: Headers) -> None:
        """Its status and headers. 1xx isn't told, 101 aside."""

    def body(self, data: bytes) -> None:
        """A piece of its body."""

    def read(self) -> None:
        """That was all of what had come."""

    def end(self) -> None:
        """It is complete, and the connection can be given back. For 101: the protocol has been switched."""

    def server_ready(self) -> None:
        """What waited to be written to the server has been."""

    def broken(self, fault: str) -> None:
        """The connection broke, or what came is no HTTP. It is closed."""


class Back:
    """One connection. Made by ``Pool.take``; ``used`` tells whether it had a request before."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop, now: Now, pool: Pool) -> None:
        self.used = False
        self.said = False
        """Whether anything has come since the request."""
        self.rest = b""
        """What came behind a 101: the other protocol's."""
        self._pool = pool
        self._context = now.context
        self._answering: Answering | None = None
        self._parser = HttpResponseParser(self)
        self._headers: Headers = []
        self._reason = b""
        self._status = 0
        self._size = self._body = 0
        """Bytes that came for the answer; of its body."""
        self._to_head = False
        self._complete = False
        self._asked = False
        self._keep = True
        self._switched = False
        self.line = Line(sock, self, loop)

    def send(self, data: bytes, answering: Answering, *, whole: bool, to_head: bool) -> None:
        """Send a request; unless it is ``whole``, the rest follows by ``more``. ``to_head``: its answer has no body."""
        self._answering = answering
        self._to_head = to_head
        self._asked = whole
        self._complete = self.said = False
        self.line.write(data)

    def more(self, data: bytes, *, last: bool = False) -> bool:
        """More of the request; whether the connection takes more now. If not, who answers is told when it does."""
        self._asked = last
        self.line.write(data)
        return self.line.waiting < HIGH

    def close(self) -> None:
        """Close it."""
        self._answering = None
        self._pool.gone(self)
        self.line.close()

    def close_when_written(self, seconds: float) -> None:
        """Close it when all is written that is to be, or after so many seconds."""
        self._answering = None
        self.line.receiver = self
        self.line.close_when_written()
        if self.line.closed:
            self._pool.gone(self)
        else:
            asyncio.get_running_loop().call_later(seconds, self.close)

    # -- what the line tells -------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """More of an answer."""
        if self._switched:
            self.rest += data
            if len(self.rest) >= HIGH:
                self.line.pause()
            return
        answering = self._answering
        if answering is None:
            self.close()  # an answer that nobody has asked for: whose would the next be?
            return
        self.said = True
        try:
            self._size += len(data)
            self._parser.feed_data(data)
            if not self._complete and self._size > _LONGEST_HEAD + _CHUNK * self._body:
                what = "too little of its body is content" if self._status else "its head is too long"
                raise HttpParserError(what)
        except HttpParserUpgrade as switched:
            self.rest = data[switched.args[0] :]
        except HttpParserError as error:
            raised = error.__context__
            if isinstance(error, HttpParserCallbackError) and not isinstance(raised, HttpParserError):
                raise (raised or error) from None
            if not self._complete:
                self._break(f"what it answered is no HTTP ({error.__context__ or error})")
                return
            self._keep = False  # whose would be what came behind the answer?
        if self._answering is not answering:
            return  # who gave it up meanwhile
        if self._complete:
            self._finish()
        else:
            answering.read()

    def drained(self) -> None:
        """The request has gone, as far as it was given."""
        if self._answering is not None:
            self._answering.server_ready()

    def lost(self, error: OSError | None) -> None:
        """The server has closed it."""
        if self._answering is None:
            self._pool.gone(self)
        elif error is None and self._status and not self._complete and self._until_end:
            self._complete = True
            self._finish()
        else:
            self._break("the connection broke" if self.said else "the connection broke before an answer came")

    # -- what the parser tells -----------------------------------------------------------

    def on_message_begin(self) -> None:
        """A new answer."""
        if self._complete:
            raise HttpParserError("more than one answer")
        self._headers = []
        self._reason = b""

    def on_status(self, reason: bytes) -> None:
        """OK, Not Found …"""
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of them."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Its head has come."""
        status = self._parser.get_status_code()
        if status < 100:
            raise HttpParserError(f"{status} is no status")
        if status < 200 and status != _SWITCHED:
            return
        self._status = status
        assert self._answering is not None
        self._answering.head(status, self._reason, self._headers)
        if self._to_head:
            # One that would stream may be at work with it still, before it reads the next request.
            self._keep = self._keep and not self._until_end and not self._in_chunks
            self._completed()

    def on_body(self, data: bytes) -> None:
        """A piece of it."""
        if self._to_head:
            raise HttpParserError("an answer to HEAD with a body")
        self._body += len(data)
        if self._answering is not None:
            self._answering.body(data)

    def on_message_complete(self) -> None:
        """Its end has come."""
        if self._status:
            self._completed()

    def _completed(self) -> None:
        self._complete = True
        self._keep = self._keep and self._parser.should_keep_alive()  # which is known only here

    @property
    def _in_chunks(self) -> bool:
        return any(name.lower() == b"transfer-encoding" for name, _ in self._headers)

    @property
    def _until_end(self) -> bool:
        """Whether the body ends where the connection does (RFC 9112, 6.3)."""
        names = {name.lower() for name, _ in self._headers}
        return not names & {b"content-length", b"transfer-encoding"}

    def _finish(self) -> None:
        answering, status = self._answering, self._status
        assert answering is not None
        self._status = self._size = self._body = 0
        self._switched = status == _SWITCHED
        answering.end()
        if not self._switched:
            good = self._keep and self._asked and not self.line.closed
            if self._to_head:
                self._parser = HttpResponseParser(self)  # which waits for a body that doesn't come
            if good and self._context is self._pool.context:
                self._answering = None
                self.used = True
                self._pool.put(self)
            else:
                self.close()

    def _break(self, fault: str) -> None:
        answering = self._answering
        self.close()
        if answering is not None:
            answering.broken(fault)


class Pool:
    """Connections to one server."""

    def __init__(self, connector: Connector, identity: Identity) -> None:
        self.context: ssl.SSLContext | None = None
        """That of the newest connections: older ones are closed after the answer that they are in."""
        self.opened = 0
        """How many were ever made."""
        self._connector = connector
        self._identity = identity
        self._idle: list[Back] = []
        self._all: set[Back] = set()

    async def take(self, now: Now, *, new: bool = False) -> Back:
        """A connection that is kept, or a new one. Raises Refusal and CredentialsError."""
        if now.context is not self.context:
            self._closes_idle()
            self.context = now.context
        while self._idle and not new:
            back = self._idle.pop()
            back.line.look()  # what has come meanwhile, its end or an answer that nobody asked for, closes it
            if not back.line.closed:
                return back
        try:
            sock = await self._connector.connect(now.context)
        except ssl.SSLCertVerificationError as error:
            # Its certificate may be of a CA that has come since the last look.
            found = await self._identity.reread(now)
            if found is None:
                raise self._connector.untrusted(error) from None
            try:
                sock = await self._connector.connect(found.context)
            except ssl.SSLCertVerificationError as again:
                raise self._connector.untrusted(again) from None
            now = found
            self._closes_idle()
            self.context = now.context
        self.opened += 1
        back = Back(sock, asyncio.get_running_loop(), now, self)
        self._all.add(back)
        return back

    def put(self, back: Back) -> None:
        """Keep it for the next request."""
        if len(self._idle) < KEPT:
            self._idle.append(back)
        else:
            back.close()

    def gone(self, back: Back) -> None:
        """It has been closed."""
        self._all.discard(back)
        if back in self._idle:
            self._idle.remove(back)

    def close(self) -> None:
        """Close all of them, also those in use."""
        for back in list(self._all):
            back.close()

    def _closes_idle(self) -> None:
        for back in list(self._idle):
            back.close()
