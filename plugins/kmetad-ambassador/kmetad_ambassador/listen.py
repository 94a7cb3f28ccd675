"""Takes clients off the socket that they connect to."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from typing import Any

BACKLOG = 4096
"""Clients that wait in the kernel, as far as that allows (listen(2)): one that finds no place waits for a second."""
_AT_ONCE = 64
"""Clients that are taken before it is the turn of those who are connected."""
_PAUSE = 1.0
"""Seconds until the next try where no more descriptors, or no memory, can be had."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener:
    """Takes clients off a listening socket, for as long as there are any, and hands them on."""

    def __init__(
        self,
        sock: socket.socket,
        loop: asyncio.AbstractEventLoop,
        taken: Callable[[socket.socket], object],
        exhausted: Callable[[], object],
        log: Any,
    ) -> None:
        """``exhausted``: called where no more descriptors, or no memory, can be had."""
        self._sock = sock
        self._loop = loop
        self._taken = taken
        self._exhausted = exhausted
        self._log = log
        self._pause: asyncio.TimerHandle | None = None
        loop.add_reader(sock.fileno(), self._accept)

    def close(self) -> None:
        """Take nobody more."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock.fileno())
        self._sock.close()

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                client, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                self._log.warning("ambassador.exhausted", reason=os.strerror(error.errno), again_in=_PAUSE)
                self._exhausted()
                self._loop.remove_reader(self._sock.fileno())
                self._pause = self._loop.call_later(_PAUSE, self._go_on)
                return
            client.setblocking(False)
            if client.family != socket.AF_UNIX:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # as Go's listeners
            self._taken(client)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._sock.fileno(), self._accept)
