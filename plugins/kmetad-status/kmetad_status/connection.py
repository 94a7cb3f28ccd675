"""One client's connection: requests come in, are answered in order, or become a stream of events.

The parsing is h11's. It says no to what is no HTTP/1.1, and knows what has to be framed how; all that is read here
is a path and a few headers, nothing is passed on to anybody, so there is nobody to disagree with about a request's end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from http import HTTPStatus
from json import dumps
from typing import Protocol

import h11

from kmetad_status.answer import EVENTS, Answer, Opening, evened, head, refusal
from kmetad_status.hosts import host_name, is_known
from kmetad_status.stream import ALIVE, Stream

MOST_HEAD = 16 << 10
"""Bytes of a request's first line and headers; up to READ more are let pass."""
READ = 4 << 10
"""Bytes that are read at once, so that a head can't come by in one go that is far too long."""
PATIENCE = 60.0
"""Seconds within which a whole request has to come, and its answer has to be taken."""
LINGER = 1.0
"""Seconds for which a client may go on sending what nobody reads, behind an answer that is the last."""


class Server(Protocol):
    """What a connection asks of its server."""

    loop: asyncio.AbstractEventLoop
    buffer: memoryview
    """Where all read to; of READ bytes."""
    hosts: frozenset[str] | None
    """Names by which it may be asked; None: any."""

    def came(self, connection: Connection) -> None:
        """One more client."""

    def asks(self, connection: Connection) -> None:
        """It has asked for something, or its answer is whole."""

    def went(self, connection: Connection) -> None:
        """One less."""

    def found(self, method: str, target: str, headers: dict[str, str]) -> Answer | Opening:
        """What a request gets, whatever happens."""

    def opened(self, asked: Opening) -> Stream | None:
        """A stream; None where there are too many."""

    def listens(self, connection: Connection, stream: Stream) -> None:
        """It is a stream from now on."""


class Connection(asyncio.BufferedProtocol):
    """For the loop's own thread."""

    stream: Stream | None = None
    """What it listens to."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEAD)
        self._request: h11.Request | None = None
        self._pieces: Iterator[bytes] | None = None
        self._paused = self._leaving = False
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Of asyncio: a client is there."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._within(PATIENCE)
        self._server.came(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Of asyncio: where to read to. One for all connections: it is looked through at once."""
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Of asyncio: so much has come."""
        if self._leaving or self.stream is not None:
            return  # nobody reads what comes behind the last request
        self._http.receive_data(bytes(self._server.buffer[:nbytes]))
        self._proceed()

    def connection_lost(self, exc: Exception | None) -> None:
        """Of asyncio: it is over."""
        if self._timer is not None:
            self._timer.cancel()
        self._pieces = None
        self._leaving = True
        self._server.went(self)

    def pause_writing(self) -> None:
        """Of asyncio: the client is slower than what it is sent."""
        self._paused = True
        if self.stream is not None:
            self._within(PATIENCE)

    def resume_writing(self) -> None:
        """Of asyncio: it has caught up."""
        self._paused = False
        if self.stream is not None:
            self._at_leisure()
            self.pump()
        elif self._pieces is not None:
            self._send_pieces()

    # -- for the server --------------------------------------------------------------------

    def pump(self) -> None:
        """Send the stream on, as far as the client takes it."""
        while self.stream is not None and not self._paused and not self._leaving:
            piece = next(self._pieces or iter(()), None)
            if piece is not None:
                self._send(h11.Data(data=piece))
            elif parts := self.stream.next():
                self._pieces = evened(parts)
            else:
                return

    def keep_alive(self) -> None:
        """Send a sign of life, if nothing else is waiting."""
        if self.stream is not None and not self._paused and not self._leaving:
            self._send(h11.Data(data=ALIVE))

    def end(self) -> None:
        """End it, in order if the client can see that at once."""
        if self.stream is not None and not self._paused and not self._leaving:
            self._send(h11.EndOfMessage())
        self._leaving = True
        self.transport.close()

    def cut(self) -> None:
        """End it now."""
        self._leaving = True
        self.transport.abort()

    # -- inside ----------------------------------------------------------------------------

    def _proceed(self) -> None:
        """Go on with what has come, up to the next answer."""
        while not self._leaving and self._pieces is None and self.stream is None:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                self._give_up(error.error_status_hint, str(error))
                return
            if event is h11.NEED_DATA or event is h11.PAUSED:
                self.transport.resume_reading()
                return
            if isinstance(event, h11.Request):
                self._request = event
                if event.http_version not in (b"1.0", b"1.1"):
                    self._give_up(505, "This is HTTP/1.1")
                elif _has_body(event):
                    self._give_up(413, "Nobody reads a body here: send none")
            elif isinstance(event, h11.EndOfMessage):
                assert self._request is not None
                self._answer(self._request)
                return
            else:
                self.end()

    def _answer(self, request: h11.Request) -> None:
        self._server.asks(self)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
        found = self._found(request, headers)
        if isinstance(found, Opening):
            if request.method == b"HEAD":
                found = Answer(200, EVENTS, (), None)
            elif (stream := self._server.opened(found)) is None:
                found = refusal(503, "Too many listen to events already", ("Retry-After", "30"))
            else:
                self._open(stream)
                return
        self._respond(found)

    def _found(self, request: h11.Request, headers: dict[str, str]) -> Answer | Opening:
        target, host = request.target.decode("latin-1"), headers.get("host")
        if target[:7].lower() == "http://":  # its host is the one that counts then (RFC 9112, 3.2.2)
            host, slash, path = target[7:].partition("/")
            target = slash + path or "/"
        if host is not None and self._server.hosts is not None and not is_known(host, self._server.hosts):
            return refusal(
                421,
                "This Host is none that may be asked here: an IP address, localhost, or a name in the option hosts. "
                f"If yours is right, add it in the TOML: hosts = [{dumps(host_name(host) or host[:100])}]",
            )
        return self._server.found(request.method.decode("latin-1"), target, headers)

    def _respond(self, answer: Answer) -> None:
        self._within(PATIENCE)
        self._head(answer.status, answer.headers())
        without = self._request is not None and self._request.method == b"HEAD"
        self._pieces = iter(()) if without else answer.pieces()
        self.transport.pause_reading()  # one at a time; it may have sent more of them
        self._send_pieces()

    def _send_pieces(self) -> None:
        assert self._pieces is not None
        while not self._paused:
            piece = next(self._pieces, None)
            if piece is None:
                self._pieces = None
                self._send(h11.EndOfMessage())
                self._next()
                return
            self._send(h11.Data(data=piece))

    def _next(self) -> None:
        """An answer is whole."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            self._leave()
        else:
            self._http.start_next_cycle()
            self._request = None
            self._within(PATIENCE)
            self._server.asks(self)
            # It may have sent a hundred more of them: all others, as probes, come in between.
            self._server.loop.call_soon(self._proceed)

    def _open(self, stream: Stream) -> None:
        """Behind a stream there is no next request."""
        self._head(200, [*head(EVENTS), ("Connection", "close")])
        self.stream = stream
        self.transport.resume_reading()  # else nobody would see that it hangs up
        self._at_leisure()
        self._server.listens(self, stream)
        self.pump()

    def _give_up(self, status: int, why: str) -> None:
        """This is the last answer: where a next request would begin can't be told."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.end()
            return
        answer = refusal(status, why, ("Connection", "close"))
        self._respond(answer)

    def _leave(self) -> None:
        """Close, but not before the client has had the time to read.

        While it is still sending, the kernel would answer that with a reset, and this could overtake the answer
        (RFC 9112, 9.6).
        """
        self._leaving = True
        self._within(PATIENCE if self.transport.get_write_buffer_size() else LINGER)
        self.transport.write_eof()
        self.transport.resume_reading()

    def _head(self, status: int, headers: list[tuple[str, str]]) -> None:
        self._send(h11.Response(status_code=status, reason=HTTPStatus(status).phrase, headers=headers))

    def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        if data and not self.transport.is_closing():
            self.transport.write(data)

    def _within(self, seconds: float) -> None:
        """Something has to happen in so many seconds; it counts anew."""
        self._at_leisure()
        self._timer = self._server.loop.call_later(seconds, self._late)

    def _at_leisure(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        waiting = self._pieces is None and self.stream is None and not self._leaving
        if waiting and self._http.trailing_data[0] and self._http.our_state is h11.IDLE:
            self._give_up(408, "No whole request came in time")
        else:
            self.cut()


def _has_body(request: h11.Request) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in request.headers
    )
