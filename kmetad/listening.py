"""Where a plugin that serves somebody listens: a TCP port, or a unix socket that is for its owner alone."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
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


def refused(
    error: OSError, address: str, port: int, unix_socket: str | None, *, shown: Callable[[str], str] = str
) -> str:
    """Why nothing listens there, and what to do, in a sentence.

    ``shown`` writes the names of the options ``address``, ``port`` and ``unix_socket`` as their user does.
    """
    why = os.strerror(error.errno) if error.errno else str(error)
    if unix_socket is not None:
        hints = {
            errno.EADDRINUSE: "something is there already: remove it, or choose another path",
            errno.ENOENT: "its directory isn't there: make it",
            errno.EACCES: "this user may not write there: choose another path",
            errno.EROFS: "that file system is read-only: choose a path on an emptyDir",
        }
        return (
            f"{shown('unix_socket')} {unix_socket} can't be listened at: {hints.get(error.errno or 0, why)}"
        )
    hints = {
        errno.EADDRINUSE: f"another process has that port: choose another by {shown('port')}; 0 takes any that is free",
        errno.EACCES: f"this user may not have that port: choose one from 1024 on by {shown('port')}",
        errno.EADDRNOTAVAIL: f"this machine has no such address: set {shown('address')} to one of its own",
    }
    where = f"[{address}]" if ":" in address else address
    return f"{where}:{port} can't be listened at: {hints.get(error.errno or 0, why)}"


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
