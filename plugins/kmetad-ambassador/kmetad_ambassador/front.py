"""A client's connection: requests come in, in order, and are answered one at a time."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Protocol

from kmetad_ambassador.deadline import Deadline
from kmetad_ambassador.incoming import Incoming
from kmetad_ambassador.line import HIGH, Line
from kmetad_ambassador.reader import Reader
from kmetad_ambassador.refusal import Refusal

HEAD_SECONDS = 10.0
"""Within which a request's head has to be whole, from its first byte on."""

LINGER = 1.0
"""Seconds for which a client may go on sending what nobody reads, after an answer that is the last."""


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
        self._loop = loop
        self._reader = Reader(max_head, max_body)
        self._idle = idle
        self._on_gone = on_gone
        self.idle_since: float | None = loop.time()
        """Since when it has asked for nothing, by the loop's clock; None while a request is under way."""
        self._busy = False
        self._late = self._leaving = self._lingers = False
        self._waiter: asyncio.Future[None] | None = None
        self._comes = Deadline(loop, self._is_late)
        self._takes = Deadline(loop, self._stalled)
        self._untaken = 0
        self._comes.within(idle)
        self.line = Line(sock, self, loop, patience=idle)

    @property
    def rest(self) -> bytes:
        """What came behind a request for another protocol."""
        return self._reader.ahead

    @property
    def goes_on(self) -> bool:
        """Whether more has come than the requests that were taken."""
        return bool(self._reader.waiting or self._reader.ahead)

    async def next(self) -> Incoming | None:
        """The next request; None when there will be none. Raises Refusal for what is no request."""
        reader = self._reader
        self.idle_since = self._loop.time()
        while self.line.waiting >= HIGH and not self.gone:
            await self._wait()  # for who doesn't read the answers
        self._busy = False
        if not self.gone:
            self._comes.within(HEAD_SECONDS if reader.in_head else self._idle)
        while not self.gone:
            reader.advance()
            if reader.waiting:
                self._busy, self.idle_since = True, None
                self._comes.off()
                self._late = False  # it has come in the last moment
                request = reader.waiting.popleft()
                reader.advance()  # to what is there of its body
                self._read_on()
                return request
            if reader.fault is not None:
                raise reader.fault
            if reader.switching:
                break
            if self._late:
                if reader.in_head:
                    raise Refusal(408, "request", "no whole request in time")
                break
            await self._wait()
        return None

    async def piece(self, of: Incoming) -> bytes:
        """The next piece of a request's body; empty at its end.

        Raises Refusal where it can't be read, or doesn't come; ConnectionError when the client has gone.
        """
        while not of.body:
            self._reader.advance()
            if of.body:
                break
            if of.fault is not None:
                raise of.fault
            if of.complete:
                return b""
            if self.gone:
                raise ConnectionError
            if self._late:
                raise Refusal(408, "request", "the request's body didn't come in time")
            self._read_on()
            self._comes.within(self._idle)
            await self._wait()
            self._comes.off()
            if of.body:
                self._late = False  # likewise
        piece = bytes(of.body)
        of.body.clear()
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
        if self.gone:
            return
        self._comes.off()
        self.idle_since = self._loop.time()
        if self._reader.arriving is not None or self._reader.fault is not None:
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
        reader, heads = self._reader, self._reader.heads
        reader.feed(data)
        if not self._busy and reader.in_head and reader.heads != heads:
            self._comes.within(HEAD_SECONDS)
        if self._busy and reader.held >= HIGH:
            self.line.pause()
        self._wake()

    def drained(self) -> None:
        """All is written."""
        self._takes.off()
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

    # -- inside --------------------------------------------------------------------------

    def _read_on(self) -> None:
        if self._reader.held < HIGH:
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
        if not self._takes.on:
            self._untaken = self.line.untaken()
            self._takes.within(self._idle)

    def _linger(self) -> None:
        if self._lingers:
            return
        self._lingers = True
        self._untaken = 0
        self._takes.within(LINGER)

    def _stalled(self) -> None:
        if self.line.untaken() < self._untaken:
            self._see_that_it_takes()
        else:
            self.line.close()
            self.lost(None)

    def _is_late(self) -> None:
        self._late = True
        self._wake()

    def _end(self) -> None:
        self.gone = True
        self._wake()
        self._comes.cancel()
        self._takes.cancel()
        on_gone, self._on_gone = self._on_gone, _nobody
        on_gone(self)


def _nobody(front: Front) -> None:
    """Has been told already."""
