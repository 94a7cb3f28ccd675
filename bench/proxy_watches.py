"""Open watches, and how long their events are on the way."""

from __future__ import annotations

import select
import socket
import ssl
import time
from urllib.parse import urlsplit

from bench.proxy_feed import END, WATCHES, WRITTEN
from bench.proxy_upstream import PATIENCE, TOKEN, Upstream


class Watches:
    """So many watches of the same proxy, or of the server itself, each on a connection of its own."""

    def __init__(self, url: str, upstream: Upstream, first: int, count: int) -> None:
        """Open them all, one after the other, under numbers from ``first`` on. RuntimeError or OSError."""
        self._upstream, self._first, self._next = upstream, first, 0
        self._streams: dict[int, _Stream] = {}
        self._poll = select.epoll()
        try:
            for number in range(first, first + count):
                stream = _Stream(url, upstream.trust, number)
                self._streams[stream.descriptor] = stream
                self._poll.register(stream.descriptor, select.EPOLLIN)
        except BaseException:
            self.close()
            raise

    def one(self) -> float:
        """Let one watch have an event, each time the next one; microseconds from written to read."""
        number, self._next = self._next, (self._next + 1) % len(self._streams)
        self._upstream.tell(self._first + number, 1)
        return self._read(1)[0]

    def all(self) -> list[float]:
        """Let all watches have an event at once; microseconds of each."""
        self._upstream.tell(self._first, len(self._streams))
        return self._read(len(self._streams))

    def close(self) -> None:
        """End them."""
        for stream in self._streams.values():
            stream.close()
        self._poll.close()

    def _read(self, count: int) -> list[float]:
        taken: list[float] = []
        while len(taken) < count:
            ready = self._poll.poll(PATIENCE)
            if not ready:
                raise RuntimeError(f"of {count} watches {len(taken)} had their event after {PATIENCE:g} s")
            for descriptor, _ in ready:
                nanoseconds = self._streams[descriptor].read()
                if nanoseconds is not None:
                    taken.append(nanoseconds / 1e3)
        return taken


class _Stream:
    def __init__(self, url: str, trust: ssl.SSLContext, number: int) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._socket = socket.create_connection((parts.hostname, parts.port or 0), PATIENCE)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            credentials = ""
            if parts.scheme == "https":
                self._socket = trust.wrap_socket(self._socket, server_hostname=parts.hostname)
                credentials = f"Authorization: Bearer {TOKEN}\r\n"
            target = f"{WATCHES}?watch=true&resourceVersion={number}"
            head = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n{credentials}Accept: application/json\r\n\r\n"
            self._socket.sendall(head.encode())
            self._first_event()
            self._socket.setblocking(False)
        except BaseException:
            self._socket.close()
            raise
        self._unread = b""
        self.descriptor = self._socket.fileno()

    def _first_event(self) -> None:
        came = b""
        while END not in came:
            more = self._socket.recv(1 << 16)
            came += more
            if not more or not came.startswith(b"HTTP/1.1 200 "[: len(came)]):
                raise RuntimeError(f"a watch was answered with {came[:300]!r}")

    def read(self) -> int | None:
        """Nanoseconds that an event has taken; None if it isn't here as a whole."""
        try:
            while True:
                more = self._socket.recv(1 << 16)
                now = time.monotonic_ns()
                if not more:
                    raise RuntimeError("a watch has ended")
                self._unread += more
                if END in self._unread:
                    break
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        written = WRITTEN.search(self._unread)
        assert written is not None
        self._unread = b""
        return now - int(written[1])

    def close(self) -> None:
        self._socket.close()
