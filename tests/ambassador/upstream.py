"""A server in the API server's place that records every byte as it came, and answers as it is told."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from types import TracebackType

from kmetad.api import Credentials, Server, Trust
from kmetad.api.credentials import bearer
from tests.ambassador.wire import Garbled, Request, request
from tests.apiserver import Authority
from tests.proxying import DEADLINE

TOKEN = "marker.of-the-token.that-nobody-may-see"


class Link:
    """A connection, in a thread of its own."""

    def __init__(self, peer: tuple[str, int], changed: threading.Condition) -> None:
        self.peer = peer
        self.got = b""
        """Every byte."""
        self.ended = False
        """Whether nothing more will come."""
        self.gone = False
        """Whether the other side takes nothing more."""
        self.sock: socket.socket | ssl.SSLSocket | None = None
        self._changed = changed
        self.rest = b""
        """What hasn't been taken as a request."""

    def request(self) -> Request | None:
        """The next request; None if there is none any more, or what came is none."""
        while True:
            try:
                found = request(self.rest)
            except Garbled:
                return None
            if found is not None:
                self.rest = found[1]
                return found[0]
            if not self.read():
                return None

    def head(self) -> None:
        """Until the head of a request has come."""
        self.until(b"\r\n\r\n")

    def until(self, data: bytes) -> None:
        """Until this has come."""
        while data not in self.got and self.read():
            pass

    def send(self, data: bytes) -> None:
        """In one write. To a proxy that has gone, nothing."""
        assert self.sock is not None
        try:
            self.sock.sendall(data)
        except OSError:
            self.gone = True

    def poll(self) -> None:
        """Record what is there already."""
        assert self.sock is not None
        self.sock.settimeout(0.001)
        self.read()
        self.sock.settimeout(DEADLINE)

    def read(self) -> bool:
        """Record more; whether there was any."""
        assert self.sock is not None
        try:
            data = self.sock.recv(65536)
        except OSError:  # also for one that was closed here
            data = b""
        self.rest += data
        with self._changed:
            self.got += data
            self._changed.notify_all()
        return bool(data)

    def close(self) -> None:
        """End it in order: with TLS, that is said."""
        if isinstance(self.sock, ssl.SSLSocket):
            try:
                self.sock.unwrap()
            except (OSError, ValueError):
                pass  # the other side doesn't say it, or it is closed already
        self.cut()

    def cut(self) -> None:
        """Close it without a word."""
        assert self.sock is not None
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


def answered(seen: Request, *lines: bytes) -> bytes:
    """A good answer to a request, which says what was understood."""
    body = says(seen)
    more = b"".join(b"%s\r\n" % line for line in lines)
    head = b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n" % (more, len(body))
    return head if seen.method == "HEAD" else head + body


def says(seen: Request) -> bytes:
    """The body of a good answer."""
    return f"{seen.method} {seen.target} {len(seen.body)}\n".encode()


def obliging(link: Link) -> None:
    """Answers every request, and hangs up on what is none."""
    while (seen := link.request()) is not None:
        link.send(answered(seen))
    link.close()


class _Marked(Credentials):
    """TOKEN, for the server of one authority."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    def trust(self) -> Trust:
        return Trust(self._authority.pem)

    def headers(self) -> Mapping[str, str]:
        return bearer(TOKEN, "the test")


class Upstream:
    """See the module. ``act`` is what it does with a connection; what comes behind that is only recorded."""

    def __init__(self, *, tls: bool = True) -> None:
        self.act: Callable[[Link], object] = obliging
        self.tls = tls
        authority = Authority()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.server("127.0.0.1").load(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.server_with_tls = Server(f"https://{self.host}", _Marked(authority))
        """As whoever expects TLS takes it for."""
        self.server = self.server_with_tls if tls else Server(f"http://{self.host}", _Marked(authority))
        self._changed = threading.Condition()
        self._links: list[Link] = []
        self._thread = threading.Thread(target=self._run, name="upstream")
        self._thread.start()

    def __enter__(self) -> Upstream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def wait(self, until: Callable[[list[bytes]], bool]) -> None:
        """Until this holds for what the connections have got."""
        with self._changed:
            there = self._changed.wait_for(lambda: until([link.got for link in self._links]), DEADLINE)
            assert there, [link.got for link in self._links]

    def wait_for_ends(self, count: int) -> None:
        """Until so many connections have ended."""
        with self._changed:
            there = self._changed.wait_for(lambda: sum(link.ended for link in self._links) == count, DEADLINE)
            assert there, [link.got for link in self._links]

    def taken(self) -> list[bytes]:
        """What each connection has got in the end; the next one begins anew. For when the proxy has stopped."""
        with socket.create_connection(self._listener.getsockname()) as mark:  # connections are taken in order
            name = mark.getsockname()
        with self._changed:
            done = self._changed.wait_for(
                lambda: (
                    self._links[-1:]
                    and self._links[-1].peer == name
                    and all(link.ended for link in self._links)
                ),
                DEADLINE,
            )
            assert done, [link.got for link in self._links if not link.ended]
            links, self._links = self._links[:-1], []
            self.act = obliging
        return [link.got for link in links]

    def _run(self) -> None:
        threads: list[threading.Thread] = []
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                break
            link = Link(peer, self._changed)
            with self._changed:
                self._links.append(link)
            threads = [thread for thread in threads if thread.is_alive()]
            threads.append(threading.Thread(target=self._serve, args=(link, sock), name="upstream's"))
            threads[-1].start()
        for thread in threads:
            thread.join()

    def _serve(self, link: Link, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.sock = self._context.wrap_socket(sock, server_side=True) if self.tls else sock
            self.act(link)
            while link.read():
                pass
        except OSError:
            pass  # no TLS: it has gone before
        finally:
            sock.close()
            if link.sock is not None:
                link.sock.close()
            with self._changed:
                link.ended = True
                self._changed.notify_all()
