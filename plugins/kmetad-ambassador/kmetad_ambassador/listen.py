"""Where clients connect: a TCP port, or a unix socket that is for its owner alone."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

BACKLOG = 4096
"""Clients that wait in the kernel, as far as that allows (listen(2)): one that finds no place waits for a second."""
_AT_ONCE = 64
"""Clients that are taken before it is the turn of those who are connected."""
_PAUSE = 1.0
"""Seconds until the next try where no more descriptors, or no memory, can be had."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def tcp(address: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # As in Go: [::] is for both, and any other address is itself.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address == "::" else 1)
        made.bind((address, port))
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def unix(path: str) -> socket.socket:
    """A listening socket that only its owner may connect to.

    What a proxy left behind that was killed is replaced; where somebody listens, or something else is in the
    way, OSError is raised.
    """
    _remove_stale(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        # Before it has its name: nobody else may connect in between, and umask is of all threads.
        os.fchmod(made.fileno(), 0o600)
        made.bind(path)
        os.chmod(path, 0o600)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def remove(path: str, listening: os.stat_result) -> None:
    """Take a unix socket's name away, unless it is another's by now."""
    try:
        now = os.lstat(path)
        if (now.st_dev, now.st_ino) == (listening.st_dev, listening.st_ino):
            os.unlink(path)
    except OSError:
        pass  # as good as removed


def _remove_stale(path: str) -> None:
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return  # bind says that the name is taken
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return  # it is full, or not ours to connect to: somebody listens


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
