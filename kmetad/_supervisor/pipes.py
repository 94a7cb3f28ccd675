"""What the kernel says of pipes, and of what else an app's output may lead to (pipe(7), fifo(7))."""

from __future__ import annotations

import os
from fcntl import F_GETPIPE_SZ, F_SETPIPE_SZ, fcntl, ioctl
from select import PIPE_BUF
from stat import S_ISFIFO, S_ISSOCK
from sys import byteorder
from termios import FIONREAD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_BUFFER = 1 << 18
"""Bytes that a pipe is asked to hold. All pipes of a user share a limit, on the whole node."""
_OTHERS = 1 << 14
"""Bytes that others may write to the same pipe between a look at it and a write."""


def is_pipe(descriptor: int) -> bool:
    """Whether it is one, with a name or without."""
    return S_ISFIFO(os.fstat(descriptor).st_mode)


def is_for_messages(descriptor: int) -> bool:
    """Whether it is a socket where each write is a message, so that writes can't be put together."""
    if not S_ISSOCK(os.fstat(descriptor).st_mode):
        return False
    import socket

    with socket.socket(fileno=os.dup(descriptor)) as same:
        return same.type != socket.SOCK_STREAM


def tells_of_its_reader(descriptor: int) -> bool:
    """Whether it has one reader, who may go and never comes again. A pipe with a name may get another."""
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith(("pipe:", "socket:"))
    except OSError:
        return False  # no /proc: then it's the next write that tells


def capacity(pipe: int) -> int:
    """Bytes that it can hold."""
    return fcntl(pipe, F_GETPIPE_SZ)


def enlarge(descriptor: int) -> None:
    """A pipe's buffer, where it is one and the kernel doesn't mind."""
    try:
        if capacity(descriptor) < _BUFFER:
            fcntl(descriptor, F_SETPIPE_SZ, _BUFFER)
    except OSError:
        pass


def in_pieces(data: bytes, pipe: int) -> Iterator[memoryview]:
    """Whole lines, as many together as surely go into a pipe in one piece; a longer line by itself."""
    view = memoryview(data)
    begin = 0
    while begin < len(data):
        size = _room(pipe)
        end = len(data)
        if end - begin > size:
            end = data.rfind(b"\n", begin, begin + size) + 1 or data.find(b"\n", begin) + 1 or len(data)
        yield view[begin:end]
        begin = end


def _room(pipe: int) -> int:
    """Bytes that go into it in one piece: so few by definition, and more while it holds little.

    Of two pages of it that follow each other, one at least is more than half full (fs/pipe.c: what fits into
    the last one is added to it). The rest is for what others write at this moment.
    """
    held = bytearray(4)
    ioctl(pipe, FIONREAD, held)
    return max(PIPE_BUF, capacity(pipe) - 2 * int.from_bytes(held, byteorder) - _OTHERS)
