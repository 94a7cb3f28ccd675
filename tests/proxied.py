"""Both ends of a proxy in one test: connections that are read and written step by step, and a server made of them.

A step waits for what it needs and for nothing else, so that a test is a conversation: the client says this,
the server gets it and says that, the client gets it. Nothing has to sleep.
"""

from __future__ import annotations

import fcntl
import json
import select
import socket
import ssl
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any

from kmetad.api import Credentials, Server, Trust
from tests.apiserver.tls import Authority
from tests.cli import eventually
from tests.proxying import DEADLINE, Proxied

PODS = "/api/v1/namespaces/lab/pods"
WEB = f"{PODS}/web"
WATCH = f"{PODS}?watch=true"
FOLLOW = f"{WEB}/log?follow=true"
EXEC = f"{WEB}/exec?command=sh"
SPDY = ("Connection: Upgrade", "Upgrade: SPDY/3.1")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
ENTERED = ("create,get:pods/exec,pods/attach,pods/portforward", "*:*")
"""Rules by which containers may be entered, and all else that isn't sensitive done."""
KERNEL = 32 << 20
"""More bytes than the kernel keeps for the four sockets between a server and a client."""
Start = Callable[..., Proxied]
EVENT = b'{"type":"MODIFIED","object":{"kind":"Pod","metadata":{"name":"%d"}}}\n'

_AUTHORITY = Authority()
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Gone(Exception):
    """The other side has closed the connection, or cut it, before what was waited for had come."""


@dataclass(frozen=True)
class Head:
    """The first line of a message, and its headers."""

    first: str
    headers: tuple[tuple[str, str], ...]

    @property
    def status(self) -> int:
        """Of an answer."""
        return int(self.first.split(" ")[1])

    @property
    def method(self) -> str:
        """Of a request."""
        return self.first.split(" ")[0]

    @property
    def target(self) -> str:
        """Of a request."""
        return self.first.split(" ")[1]

    def get(self, name: str) -> str | None:
        """The value of a header, which comes once; None if it doesn't."""
        values = [value for other, value in self.headers if other.lower() == name.lower()]
        assert len(values) < 2, values
        return values[0] if values else None


@dataclass(frozen=True)
class Message:
    """A head with its body, taken out of its framing."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        """Of an answer."""
        return self.head.status


class Wire:
    """One end of a connection. Whatever doesn't come raises Gone, or TimeoutError in the end."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(DEADLINE)
        self.sock = sock
        self._read = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def both(self, data: bytes, size: int) -> bytes:
        """Write all of this and read so many bytes, each as the other side lets one."""
        self.sock.setblocking(False)
        left = memoryview(data)
        end = time.monotonic() + DEADLINE
        while left or len(self._read) < size:
            assert time.monotonic() < end
            select.select([self.sock], [self.sock] if left else [], [], 0.01)
            with suppress(*_NOT_NOW):
                left = left[self.sock.send(left[:16_384]) :]
            with suppress(*_NOT_NOW):
                self._more()
        self.sock.settimeout(DEADLINE)
        return self.exactly(size)

    def send(self, *data: bytes) -> None:
        """Each piece in a write of its own."""
        for piece in data:
            self.sock.sendall(piece)

    def until(self, end: bytes) -> bytes:
        """What comes, up to and with ``end``."""
        while end not in self._read:
            self._more()
        found, _, self._read = self._read.partition(end)
        return found + end

    def exactly(self, size: int) -> bytes:
        """So many bytes."""
        while len(self._read) < size:
            self._more()
        found, self._read = self._read[:size], self._read[size:]
        return found

    def rest(self) -> bytes:
        """All that comes until the other side ends it in order."""
        try:
            while True:
                self._more()
        except Gone as gone:
            if gone.args:
                raise
        found, self._read = self._read, b""
        return found

    def ended(self) -> bool:
        """Waits for the end of the connection, in order or not; nothing may come before it."""
        try:
            self._more()
        except Gone:
            return self._read == b""
        return False

    def head(self) -> Head:
        """The head of a message."""
        first, *lines = self.until(b"\r\n\r\n")[:-4].decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines]
        return Head(first, tuple((name, value.strip()) for name, _, value in pairs))

    def chunk(self) -> bytes:
        """A chunk's data; empty for the last one."""
        size = int(self.until(b"\r\n"), 16)
        data = self.exactly(size)
        assert self.exactly(2) == b"\r\n"
        return data

    def chunks(self) -> bytes:
        """All of them."""
        data = b""
        while piece := self.chunk():
            data += piece
        return data

    def body(self, head: Head, *, to: str = "") -> bytes:
        """A message's. ``to``: the method of the request that it answers; empty for a request."""
        answers = head.first.startswith("HTTP/")
        if answers and (to == "HEAD" or head.status in (204, 304) or head.status < 200):
            return b""
        if (head.get("Transfer-Encoding") or "").lower() == "chunked":
            return self.chunks()
        length = head.get("Content-Length")
        if length is None:
            return self.rest() if answers else b""
        return self.exactly(int(length))

    def message(self, *, to: str = "GET") -> Message:
        """A whole request, or the answer to a request of this method."""
        head = self.head()
        return Message(head, self.body(head, to=to))

    def ask(self, method: str = "GET", target: str = WEB, *lines: str, body: bytes = b"") -> None:
        """Write a request. With a body it has a Content-Length, unless a line says how it is framed."""
        self.send(asking(method, target, *lines, body=body))

    def get(self, target: str = WEB, *lines: str) -> Message:
        """A request and its answer."""
        self.ask("GET", target, *lines)
        return self.message()

    def waits(self) -> bool:
        """Whether something has come that can be read."""
        return bool(self._read) or bool(select.select([self.sock], [], [], 0)[0])

    def wait(self) -> None:
        """Until something has come."""
        if not self._read:
            assert select.select([self.sock], [], [], DEADLINE)[0]

    def shut(self) -> None:
        """Say that no more comes from this end."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close it in order, as far as that goes without waiting."""
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.fileno() >= 0:
            self.sock.setblocking(False)
            with suppress(OSError, ValueError):
                self.sock.unwrap()
        self.sock.close()

    def tear(self) -> None:
        """Close it as a crash does: without TLS's farewell."""
        self.sock.close()

    def reset(self) -> None:
        """Cut it with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def fill(self, piece: bytes, enough: Callable[[], bool]) -> int:
        """Write a piece again and again until nothing more is taken and ``enough()``: the bytes that were taken."""
        sent = 0
        self.sock.setblocking(False)
        end = time.monotonic() + DEADLINE
        try:
            view = memoryview(piece)
            while True:
                try:
                    sent += self.sock.send(view[sent % len(piece) :])
                except _NOT_NOW:
                    if enough() and not select.select([], [self.sock], [], 0)[1]:
                        return sent
                    select.select([], [self.sock], [], 0.01)
                assert time.monotonic() < end, f"{sent} bytes were taken, and more would be"
        finally:
            self.sock.settimeout(DEADLINE)

    def _more(self) -> None:
        try:
            data = self.sock.recv(65536)
        except _NOT_NOW:
            raise
        except (ConnectionError, ssl.SSLError) as error:
            raise Gone(repr(error)) from error
        if not data:
            raise Gone
        self._read += data


class Upstream:
    """In the API server's place. Connections are taken by ``accept``, one by one, or given to ``serve``'s function."""

    def __init__(self, *, tls: bool = False, authority: Authority | None = None) -> None:
        self.connections = 0
        """That were taken."""
        self._context = _context(authority or _AUTHORITY) if tls else None
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._listening.settimeout(DEADLINE)
        self.port = int(self._listening.getsockname()[1])
        self.host = f"127.0.0.1:{self.port}"
        self.server = Server(f"{'https' if tls else 'http'}://{self.host}", TRUSTING)
        self._wires: list[Wire] = []
        self._threads: list[threading.Thread] = []
        self._faults: list[BaseException] = []
        self._closing = False

    def __enter__(self) -> Upstream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._faults and error is None:
            raise self._faults[0]

    def accept(self) -> Wire:
        """The next connection."""
        wire = self.begin()
        if isinstance(wire.sock, ssl.SSLSocket):
            wire.sock.do_handshake()
        return wire

    def take(self, *, new: bool) -> Wire:
        """The next connection, or that which was taken last."""
        return self.accept() if new else self._wires[-1]

    def begin(self) -> Wire:
        """The next connection, before its handshake."""
        sock, _ = self._listening.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            sock = self._context.wrap_socket(
                sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False
            )
        wire = Wire(sock)
        self._wires.append(wire)
        self.connections += 1
        return wire

    def nobody(self) -> bool:
        """Whether no connection waits to be taken."""
        return not select.select([self._listening], [], [], 0)[0]

    def serve(self, act: Callable[[Wire], None]) -> None:
        """Give each connection to a function, in a thread; what that raises is raised at the end, but for Gone."""
        thread = threading.Thread(target=self._take, args=(act,), name="upstream")
        self._threads.append(thread)
        thread.start()

    def close(self) -> None:
        """Close all of it."""
        self._closing = True
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        if self._threads:
            self._threads.pop(0).join()  # who takes connections takes none any more
        self._listening.close()
        for wire in self._wires:
            with suppress(OSError):
                socket.socket.shutdown(wire.sock, socket.SHUT_RDWR)
        while self._threads:
            self._threads.pop().join()
        for wire in self._wires:
            wire.close()

    def _take(self, act: Callable[[Wire], None]) -> None:
        while True:
            try:
                wire = self.begin()
            except OSError:
                return
            thread = threading.Thread(target=self._act, args=(act, wire), name="upstream")
            thread.start()
            self._threads.append(thread)

    def _act(self, act: Callable[[Wire], None], wire: Wire) -> None:
        try:
            if isinstance(wire.sock, ssl.SSLSocket):
                wire.sock.do_handshake()
            act(wire)
        except (Gone, ConnectionError, ssl.SSLError):
            pass
        except BaseException as fault:
            if not self._closing:
                self._faults.append(fault)
        finally:
            wire.close()


class _Trusting(Credentials):
    """Nobody, who knows the authority."""

    def trust(self) -> Trust:
        return Trust(_AUTHORITY.pem)

    def headers(self) -> Mapping[str, str]:
        return {}


TRUSTING = _Trusting()


def _context(authority: Authority) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.server().load(context)
    return context


def echo(wire: Wire) -> None:
    """Answers each request with its body."""
    while True:
        wire.send(answering(200, wire.message().body))


def asking(method: str = "GET", target: str = WEB, *lines: str, body: bytes = b"") -> bytes:
    """A request. With a body it has a Content-Length, unless a line says how it is framed."""
    names = {line.partition(":")[0].lower() for line in lines}
    more = [] if "host" in names else ["Host: localhost"]
    if body and not names & {"content-length", "transfer-encoding"}:
        more.append(f"Content-Length: {len(body)}")
    return "\r\n".join([f"{method} {target} HTTP/1.1", *more, *lines, "", ""]).encode("latin-1") + body


def answering(status: int = 200, body: bytes = b"", *lines: str) -> bytes:
    """An answer with a Content-Length, unless a line says how it is framed."""
    names = {line.partition(":")[0].lower() for line in lines}
    more = []
    if not names & {"content-length", "transfer-encoding"} and status >= 200 and status not in (204, 304):
        more.append(f"Content-Length: {len(body)}")
    return "\r\n".join([f"HTTP/1.1 {status} Told", *more, *lines, "", ""]).encode("latin-1") + body


CHUNKED = "Transfer-Encoding: chunked"


def chunked(*pieces: bytes, last: bool = False) -> bytes:
    """Each as a chunk."""
    data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return data + b"0\r\n\r\n" if last else data


def client(proxy: Proxied, *, receive: int = 0) -> Wire:
    """A connection to a proxy. ``receive``: about how many bytes the kernel may keep for it."""
    if receive and proxy.options.unix_socket is None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
        try:
            sock.connect((proxy.host, proxy.port))
        except OSError:
            sock.close()
            raise
        return Wire(sock)
    return Wire(proxy.connect())


def _unread(sock: socket.socket) -> int:
    if sock.fileno() < 0:
        return 0
    return int(struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, b"\0" * 4))[0])


def hold_back(proxy: Proxied, server: Wire, until: int) -> bytes:
    """Send chunks of an answer to a client that reads nothing, until so many bytes and less than a piece more wait
    in the proxy: what was sent."""
    inside, count = Inside(proxy), 0
    piece = b"x" * 15_999 + b"\n"
    begun = inside.sent
    while inside.waiting < until:
        server.send(chunked(piece))
        count += 1
        eventually(lambda: inside.sent - begun == count * len(piece))  # noqa: B023 - called at once
    return piece * count


class Hold:
    """Something waits until it is freed."""

    def __init__(self) -> None:
        self._free = threading.Event()

    def wait(self) -> None:
        """Until then."""
        assert self._free.wait(DEADLINE)

    def free(self) -> None:
        """From now on nothing waits."""
        self._free.set()


class Aside:
    """Something that is done in a thread of its own, as it may wait."""

    def __init__(self, act: Callable[[], object]) -> None:
        self._act = act
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="aside", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether it is."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """When it is; raises what it raised."""
        self._thread.join(DEADLINE)
        assert self.done, "it isn't done in time"
        if self._fault is not None:
            raise self._fault

    def _run(self) -> None:
        try:
            self._act()
        except BaseException as fault:
            self._fault = fault


class Inside:
    """What a proxy holds, looked at in its own thread."""

    def __init__(self, proxy: Proxied) -> None:
        self.running = proxy.running
        self.proxy = proxy.running._proxy
        self.loop = proxy.running._thread.loop

    def look(self, at: Callable[[], Any]) -> Any:
        """What this gives there."""
        return self.begin(at).result(DEADLINE)

    def begin(self, at: Callable[[], Any]) -> Future[Any]:
        """The same, for whoever doesn't wait for it. Raises RuntimeError where its loop is closed."""
        found: Future[Any] = Future()

        def looked() -> None:
            try:
                found.set_result(at())
            except BaseException as fault:
                found.set_exception(fault)

        self.loop.call_soon_threadsafe(looked)
        return found

    def pass_time(self, seconds: float) -> None:
        """Let so much time have passed for it, all at once: what is due by then has happened."""

        def later() -> None:
            before = self.loop.time
            self.loop.time = lambda: before() + seconds  # type: ignore[method-assign]

        self.settle()  # what it has begun comes first, as a client may have its answer already
        self.look(later)
        self.settle()

    def settle(self) -> None:
        """Let it do what is to be done now, and what comes of that; it may be its end."""
        for _ in range(10):
            try:
                turn = self.begin(lambda: None)
            except RuntimeError:
                return
            while not wait([turn], 0.05).done:
                if not self.loop.is_running():
                    return

    def all_read(self) -> None:
        """Waits until it has read what clients have sent."""
        eventually(
            lambda: self.look(lambda: sum(_unread(front.line._sock) for front in self.proxy._fronts)) == 0
        )

    @property
    def clients(self) -> int:
        """Connections of clients."""
        found: int = self.look(lambda: len(self.proxy._fronts))
        return found

    @property
    def kept(self) -> int:
        """Connections to the server that wait for the next request."""
        found: int = self.look(lambda: len(self.proxy._pool._idle))
        return found

    @property
    def servers(self) -> int:
        """All connections to the server."""
        found: int = self.look(lambda: len(self.proxy._pool._all))
        return found

    @property
    def waiting(self) -> int:
        """Bytes that wait to be written, to all clients together."""
        found: int = self.look(lambda: sum(front.line.waiting for front in self.proxy._fronts))
        return found

    @property
    def sending(self) -> int:
        """Bytes that wait to be written, to the server."""
        found: int = self.look(lambda: sum(back.line.waiting for back in self.proxy._pool._all))
        return found

    @property
    def sent(self) -> int:
        """Bytes of bodies of the answers under way, as far as they have come from the server."""
        found: int = self.look(lambda: sum(each.sent for each in self.proxy._exchanges))
        return found

    @property
    def came(self) -> int:
        """Bytes of bodies of the requests under way."""
        found: int = self.look(lambda: sum(each.came for each in self.proxy._exchanges))
        return found

    @property
    def held(self) -> int:
        """Bytes of another protocol that wait for it to be agreed on."""
        found: int = self.look(lambda: sum(len(front.rest) for front in self.proxy._fronts))
        return found

    @property
    def tunnelled(self) -> int:
        """Bytes that have come from servers through tunnels."""
        found: int = self.look(
            lambda: sum(each.tunnel.sent for each in self.proxy._exchanges if each.tunnel is not None)
        )
        return found

    @property
    def closing(self) -> bool:
        """Whether it has begun to stop."""
        return self.proxy._closing

    @property
    def active(self) -> int:
        """Requests under way."""
        return self.proxy.tally.active


GET = asking()
UPGRADE = asking("POST", EXEC, *SPDY)


def told(got: Message) -> str:
    """The message of a Status that the proxy itself has written."""
    status = json.loads(got.body)
    assert got.head.get("Content-Type") == "application/json"
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert status["code"] == got.status
    message: str = status["message"]
    assert message.startswith("kmetad proxy: ")
    return message.removeprefix("kmetad proxy: ")


def lines(proxy: Proxied) -> list[dict[str, Any]]:
    """All of it, but for how long things took."""
    found = []
    for line in list(proxy.log.lines):
        assert line["seconds"] >= 0
        found.append({name: value for name, value in line.items() if name != "seconds"})
    return found


def bearer(token: str, kind: str = "Bearer") -> str:
    """The header."""
    return f"Authorization: {kind} {token}"


def nobody_left(inside: Inside) -> None:
    """An hour after the kernel has moved something for the last time, the client is cut."""
    for _ in range(2):
        inside.pass_time(3600.0)
    eventually(lambda: inside.clients == 0)


def hours(count: int) -> timedelta:
    """So long."""
    return timedelta(hours=count)
