"""Both ways, byte for byte, once client and server have switched to another protocol (SPDY/3.1, WebSocket)."""

from __future__ import annotations

import asyncio

from kmetad_ambassador.line import HIGH, Line


class Tunnel:
    """Two lines. What one side says goes to the other, no faster than that takes it.

    Who made it closes both, when one has ended.
    """

    def __init__(self, client: Line, server: Line) -> None:
        self.sent = 0
        """Bytes to the client."""
        self.came = 0
        """Bytes from the client."""
        self._lines = client, server
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        client.receiver = _End(self, client, server)
        server.receiver = _End(self, server, client)

    async def run(self, to_client: bytes, to_server: bytes) -> None:
        """Until either side has enough. The arguments have come already, behind the switch."""
        client, server = self._lines
        self.came += len(to_server)
        self.sent += len(to_client)
        if to_server:
            server.write(to_server)
        if to_client:
            client.write(to_client)
        for line in self._lines:
            if line.closed:
                self.end()
            line.resume()
        await self._ended

    def passed(self, towards: Line, size: int) -> None:
        """So many bytes went towards a line."""
        if towards is self._lines[0]:
            self.sent += size
        else:
            self.came += size

    def end(self) -> None:
        """One side has gone."""
        if not self._ended.done():
            self._ended.set_result(None)


class _End:
    """The receiver of one line."""

    def __init__(self, tunnel: Tunnel, mine: Line, other: Line) -> None:
        self._tunnel = tunnel
        self._mine = mine
        self._other = other

    def received(self, data: bytes) -> None:
        """On it goes."""
        self._tunnel.passed(self._other, len(data))
        self._other.write(data)
        if self._other.waiting >= HIGH:
            self._mine.pause()

    def drained(self) -> None:
        """This side takes more."""
        self._other.resume()

    def lost(self, error: OSError | None) -> None:
        """This side has gone."""
        self._tunnel.end()
