"""Where a plugin that serves somebody listens: a TCP port, or a unix socket that is for its owner alone."""

from __future__ import annotations

import os
import socket
import stat
from ipaddress import ip_address

BACKLOG = 128
"""Clients that wait in the kernel until it is their turn, as far as that allows (listen(2))."""


def tcp(address: str, port: int, backlog: int = BACKLOG) -> socket.socket:
    """A socket that listens at an IP address, without blocking. Port 0: any that is free. Raises OSError.

    ``::`` is for IPv4 as well, as in Go; any other address is itself alone.
    """
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    # asyncio sets TCP_NODELAY only where it is told that this is TCP.
    made = socket.socket(family, _STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address == "::" else 1)
        made.bind((address, port))
        made.listen(backlog)
    except BaseException:
        made.close()
        raise
    return made


def unix(path: str, backlog: int = BACKLOG) -> socket.socket:
    """A socket that listens at a path, without blocking, and that only its owner, and root, may connect to.

    What somebody left behind who was killed is replaced; where somebody listens, or something else is in the
    way, OSError is raised.
    """
    _remove_stale(path)
    made = socket.socket(socket.AF_UNIX, _STREAM)
    try:
        # Before it has its name: nobody else may connect in between, and the umask is all threads'.
        os.fchmod(made.fileno(), 0o600)
        made.bind(path)
        os.chmod(path, 0o600)
        made.listen(backlog)
    except BaseException:
        made.close()
        raise
    return made


def remove(path: str, own: os.stat_result) -> None:
    """Take a unix socket's name away, unless it is another's by now: ``own`` is ``os.stat(path)`` of its beginning."""
    try:
        now = os.lstat(path)
        if (now.st_dev, now.st_ino) == (own.st_dev, own.st_ino):
            os.unlink(path)
    except OSError:
        pass  # as good as removed


_STREAM = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC


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
