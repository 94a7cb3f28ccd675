"""Listens, limits, and stops in order; asleep while nobody is connected: there is no timer then."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

from kmetad import listening
from kmetad.hookspecs import Context
from kmetad_status.answer import Answer, Opening, refusal
from kmetad_status.audience import Audience
from kmetad_status.connection import READ, Connection
from kmetad_status.documents import Metadata
from kmetad_status.history import History
from kmetad_status.options import Options
from kmetad_status.site import Site
from kmetad_status.stream import Stream

MOST = 64
"""Connections at once. One more, and whoever has asked for nothing for the longest has to go."""
MOST_STREAMS = 32
"""Of them, so that the others always find a place."""
_SILENT = 60_000
"""Milliseconds in which a client has to acknowledge what it was sent (tcp(7): TCP_USER_TIMEOUT), or it has gone."""
_SENDING = 128 << 10
"""Bytes for one client that the kernel may hold (twice as many: socket(7)); left alone, it would take 4 MiB."""
_STOPPING = 0.5
"""Seconds in which clients may take what they are still sent at the end."""


class Server:
    """For its loop's thread, but for ``notify``."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, options: Options, context: Context, history: History
    ) -> None:
        self.loop = loop
        self.buffer = memoryview(bytearray(READ))
        self.hosts: frozenset[str] | None = None
        self._options = options
        self._log = context.log
        self._history = history
        metadata = Metadata()
        self._site = Site(context, history, metadata, options.lag_limit)
        self._audience = Audience(loop, context, metadata)
        self._connections: dict[Connection, None] = {}
        """Those that asked for something last come last."""
        self._woken = False
        self._last_fault: tuple[str, float] | None = None
        self._server: asyncio.Server | None = None
        self._socket: os.stat_result | None = None
        self._gone: asyncio.Future[None] | None = None
        loop.set_exception_handler(self._failed)

    async def start(self) -> str:
        """Listen, and answers where. Raises OSError."""
        options = self._options
        if options.unix_socket is not None:
            sock = listening.unix(options.unix_socket)
            self._socket = os.stat(options.unix_socket)
            where = f"unix:{options.unix_socket}"
        else:
            sock = listening.tcp(options.address, options.port)
            self.hosts = frozenset(name.lower().rstrip(".") for name in options.hosts)
            address = f"[{options.address}]" if ":" in options.address else options.address
            where = f"http://{address}:{sock.getsockname()[1]}"
        self._server = await self.loop.create_server(
            lambda: Connection(self), sock=sock, backlog=listening.BACKLOG
        )
        return where

    async def stop(self) -> None:
        """Take nobody more, and end all streams."""
        if self._socket is not None and self._options.unix_socket is not None:
            listening.remove(self._options.unix_socket, self._socket)
        if self._server is not None:
            for sock in self._server.sockets:
                self.loop.remove_reader(sock.fileno())
            # Who was accepted in this moment becomes a connection by a task of asyncio's own (there are no others
            # here), which fails, and leaves the client's socket open, once the server is closed.
            await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
            self._server.close()
        for one in tuple(self._connections):
            one.end()
        if self._connections:
            self._gone = self.loop.create_future()
            self.loop.call_later(_STOPPING, self._cut)
            await self._gone

    def notify(self) -> None:
        """The history has something new. From any thread; where nobody listens, nobody is woken."""
        if len(self._audience) and not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._tell)
            except RuntimeError:
                pass  # the loop has been closed meanwhile

    # -- for connections -------------------------------------------------------------------

    def came(self, connection: Connection) -> None:
        """One more client."""
        sock = connection.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SENDING)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _SILENT)
        if len(self._connections) >= MOST:
            oldest = next(one for one in self._connections if one.stream is None)
            del self._connections[oldest]
            oldest.cut()
        self._connections[connection] = None

    def asks(self, connection: Connection) -> None:
        """It has asked for something, or its answer is whole: of all it was silent for the shortest time."""
        if connection in self._connections:
            del self._connections[connection]
            self._connections[connection] = None

    def went(self, connection: Connection) -> None:
        """One less."""
        self._connections.pop(connection, None)
        self._audience.discard(connection)
        if not self._connections and self._gone is not None and not self._gone.done():
            self._gone.set_result(None)

    def found(self, method: str, target: str, headers: dict[str, str]) -> Answer | Opening:
        """What a request gets, whatever happens."""
        try:
            return self._site.answer(method, target, headers)
        except Exception:
            self._log.exception("status.failed", target=target[:200])
            return refusal(500, "kmetad-status failed to answer; kmetad's log says why")

    def opened(self, asked: Opening) -> Stream | None:
        """A stream; None where there are too many."""
        if len(self._audience) >= MOST_STREAMS:
            return None
        return Stream(self._history, asked.kinds, asked.last)

    def listens(self, connection: Connection, stream: Stream) -> None:
        """It is a stream from now on."""
        self._audience.add(connection, stream)

    # -- inside ----------------------------------------------------------------------------

    def _tell(self) -> None:
        self._woken = False
        self._audience.tell()

    def _cut(self) -> None:
        for one in tuple(self._connections):
            one.cut()

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Of asyncio: something was raised where nobody waits for it, or there are no descriptors left.

        The latter comes for each client that waits, so the same is logged once a second at most.
        """
        if (context["message"], self.loop.time() // 1) == self._last_fault:
            return
        self._last_fault = context["message"], self.loop.time() // 1
        self._log.error("status.fault", fault=context["message"], exc_info=context.get("exception"))
