"""One connected socket in the event loop, with or without TLS, with flow control in both directions.

Not asyncio's transports: those of TLS hold 256 KiB a connection, too much for hundreds of watches, and take
longer over each read. OpenSSL reads and writes the socket itself here.
"""

from __future__ import annotations

import asyncio
import fcntl
import select
import socket
import ssl
import sys
import termios
from typing import Protocol

from kmetad_ambassador.deadline import Deadline

HIGH = 64 * 1024
"""Bytes that wait to be written on one side, from which on nothing more is read from the other."""

_READ = 65536
"""At most, at once. Of TLS that is more than a record: nothing of it is left where nobody looks."""
_RECORD = 16384
"""
The most that a TLS record holds. What OpenSSL is given is never more, so that it takes all of it or nothing, and
what it didn't take is given to it again (SSL_write(3)).
"""
_NOT_NOW = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Receiver(Protocol):
    """Who gets what comes over a line."""

    def received(self, data: bytes) -> None:
        """These bytes came; never none."""

    def drained(self) -> None:
        """What waited to be written has been written."""

    def lost(self, error: OSError | None) -> None:
        """Nothing will come any more: the other side has ended it (None), or it broke. Called once, and last."""


class Line:
    """See the module. The socket must be connected, non-blocking, and past its handshake; it is closed with the line.

    All methods are for the loop's own thread.
    """

    __slots__ = (
        "_closing",
        "_ending",
        "_fd",
        "_gone",
        "_loop",
        "_out",
        "_patience",
        "_paused",
        "_sock",
        "_tls",
        "closed",
        "receiver",
    )

    def __init__(
        self,
        sock: socket.socket,
        receiver: Receiver,
        loop: asyncio.AbstractEventLoop,
        *,
        patience: float | None = None,
    ) -> None:
        """``patience``: seconds after which it is looked, while nothing is read, whether the other side is there."""
        self.receiver = receiver
        self.closed = False
        self._sock = sock
        self._tls = isinstance(sock, ssl.SSLSocket)
        self._fd = sock.fileno()
        self._loop = loop
        self._out = bytearray()
        self._paused = False
        self._closing = self._ending = False
        self._patience = patience
        self._gone = Deadline(loop, self._look_whether_gone)
        loop.add_reader(self._fd, self._readable)

    @property
    def waiting(self) -> int:
        """Bytes that are still to be written."""
        return len(self._out)

    def untaken(self) -> int:
        """Those, and what the kernel holds because the other side hasn't taken it (tcp(7), unix(7): SIOCOUTQ)."""
        held = bytearray(4)
        if not self.closed:
            fcntl.ioctl(self._fd, termios.TIOCOUTQ, held)
        return len(self._out) + int.from_bytes(held, sys.byteorder)

    def look(self) -> None:
        """Read what is there now, without waiting for the loop to tell."""
        self._readable()

    def write(self, data: bytes) -> None:
        """Write, now as far as the kernel takes it. A line that is broken or closed drops it: ``lost`` tells."""
        if self.closed:
            return
        if self._out:
            self._out += data
            return
        sent = self._send(data)
        if sent < len(data) and not self.closed:
            self._out += memoryview(data)[sent:]
            self._loop.add_writer(self._fd, self._writable)

    def pause(self) -> None:
        """Read nothing for now."""
        if not self._paused and not self.closed:
            self._paused = True
            self._loop.remove_reader(self._fd)
            if self._patience is not None:
                self._gone.within(self._patience)

    def resume(self) -> None:
        """Read again."""
        if self._paused and not self.closed:
            self._paused = False
            self._loop.add_reader(self._fd, self._readable)
            self._gone.off()

    def close(self) -> None:
        """Close it, whatever is still to be written. Nobody is told."""
        if self.closed:
            return
        self.closed = True
        self._gone.cancel()
        if not self._paused:
            self._loop.remove_reader(self._fd)
        if self._out:
            self._loop.remove_writer(self._fd)
            self._out.clear()
        self._sock.close()

    def close_when_written(self) -> None:
        """Read nothing more, and close it when all is written that is to be: at once, or ``lost`` tells when."""
        if self._out:
            self._closing = True
            self.pause()
        else:
            self.close()

    def end_writing(self) -> None:
        """When all is written, say so to the other side, which may have more to say itself. Not for TLS."""
        self._ending = True
        if not self._out:
            self._shut()

    def _readable(self) -> None:
        if self.closed or self._paused:
            return
        try:
            data = self._sock.recv(_READ)
        except _NOT_NOW:
            return
        except OSError as error:
            self._lose(error)
            return
        if not data:
            self._lose(None)
            return
        try:
            self.receiver.received(data)
        except Exception:
            self._lose(ConnectionAbortedError())  # nobody waits for ever, and the loop tells what it was
            raise

    def _look_whether_gone(self) -> None:
        """poll(2): POLLRDHUP tells without reading."""
        poll = select.poll()
        poll.register(self._fd, select.POLLRDHUP)
        if poll.poll(0):
            self._lose(None)
        elif self._patience is not None:
            self._gone.within(self._patience)

    def _send(self, data: bytes | bytearray) -> int:
        """Bytes that were taken."""
        sent = 0
        with memoryview(data) as view:
            try:
                if not self._tls:
                    return self._sock.send(view)
                while sent < len(view):
                    sent += self._sock.send(view[sent : sent + _RECORD])
            except _NOT_NOW:
                pass
            except OSError:
                # What the other side said before it went is still to be read, and after it, that it went.
                self.resume()
                return len(view)
        return sent

    def _writable(self) -> None:
        sent = self._send(self._out)
        del self._out[:sent]
        if not self._out and not self.closed:
            self._loop.remove_writer(self._fd)
            if self._closing:
                self._lose(None)
                return
            if self._ending:
                self._shut()
            self.receiver.drained()

    def _shut(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other side has gone already, and reading tells

    def _lose(self, error: OSError | None) -> None:
        self.close()
        self.receiver.lost(error)
