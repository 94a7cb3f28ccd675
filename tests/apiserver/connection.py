"""HTTP/1.1 on a socket: requests in, answers out, and whatever else a test wants to put on the wire."""

from __future__ import annotations

import gzip
import json
import select
import socket
import ssl
import struct
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.apiserver.answers import JSON, Answer, Headers, dumps

if TYPE_CHECKING:
    from tests.apiserver.server import ApiServer

HANDSHAKE_SECONDS = 10.0
LARGE = 2048
"""From this many bytes on Go sends an answer in chunks; smaller ones have a Content-Length."""
COMPRESSED = 128 * 1024
"""From this many bytes on the API server compresses for clients that can take it."""

_OF_SERVER = {"X-Kubernetes-Pf-Flowschema-Uid", "X-Kubernetes-Pf-Prioritylevel-Uid"}


class Gone(Exception):
    """The client has closed the connection, or the server is being closed."""


@dataclass
class Request:
    """One request as it came."""

    method: str
    path: str  # the target as it was written, with its query
    headers: list[tuple[str, str]]
    body: bytes = b""
    user: str = ""  # empty for one who couldn't be authenticated
    connection: int = 0
    verb: str = ""  # as rules say it: get, list, watch, create, update, patch, delete
    resource: str = ""  # with its subresource: pods/status; empty for another path
    query: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""  # every byte of it, head and body, with the framing of chunks
    switched: str = ""  # the protocol, if it was switched: SPDY/3.1 or websocket
    after: bytearray = field(default_factory=bytearray)  # every byte that came after the switch

    def header(self, name: str) -> str | None:
        """The first header of a name."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def headers_of(self, name: str) -> list[str]:
        """The values of all headers of a name, also where one holds several."""
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        return [part.strip() for value in found for part in value.split(",")]

    @property
    def where(self) -> str:
        """The path without the query, unquoted."""
        return unquote(urlsplit(self.path).path)

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


class Connection:
    """One client's, from the handshake on."""

    def __init__(self, server: ApiServer, sock: socket.socket, number: int) -> None:
        self.server = server
        self.socket = sock
        self.number = number
        self._read = b""
        self._taken = bytearray()

    @property
    def certificate(self) -> Any:
        """The client's certificate, if it showed one that is good."""
        return self.socket.getpeercert() if isinstance(self.socket, ssl.SSLSocket) else None

    def run(self) -> None:
        """Answer requests until either side has enough. Called in a thread of its own."""
        try:
            if isinstance(self.socket, ssl.SSLSocket):
                self.socket.settimeout(HANDSHAKE_SECONDS)
                self.socket.do_handshake()
                self.socket.settimeout(None)
            while (request := self._request()) is not None:
                exchange = Exchange(self, request)
                self.server.handle(exchange)
                if not exchange.reusable:
                    return
        except ssl.SSLError as error:
            self.server.failed_handshakes.append(str(error))  # the client's No may come only now (TLS 1.3)
        except (OSError, Gone, ValueError):
            pass  # the client has gone, or is to notice that something is wrong
        finally:
            self.close()

    def hang_up(self) -> None:
        """Cut the connection, from any thread: who reads or writes notices."""
        try:
            socket.socket.shutdown(self.socket, socket.SHUT_RDWR)  # SSLSocket's own would drop its state
        except OSError:
            pass

    def reset(self) -> None:
        """Cut it with a RST, as a router does that has forgotten it."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def receive(self, *others: Any) -> bytes | None:
        """What comes next after a switch; b"" once nothing will, and None if another is readable.

        Raises Gone as soon as the server is being closed.
        """
        if self._read:
            data, self._read = self._read, b""
            return data
        if not (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
            found = _readable(None, self.server.closing, self.socket, *others)
            if self.server.closing.fileno() in found:
                raise Gone
            if self.socket.fileno() not in found:
                return None
        return self.socket.recv(65536)

    def finish(self) -> None:
        """Say that nothing more is sent, and wait for the client to say so, too.

        If it were closed at once, what the client still sends would make the kernel cut off what
        is on its way to it.
        """
        try:
            if isinstance(self.socket, ssl.SSLSocket):
                self.socket.setblocking(False)  # say it without waiting for an answer
                self.socket.unwrap()
        except (OSError, ValueError):
            pass
        self.socket.setblocking(True)
        socket.socket.shutdown(self.socket, socket.SHUT_WR)
        while socket.socket.recv(self.socket, 65536):
            pass

    def close(self) -> None:
        """Close it in order."""
        try:
            if isinstance(self.socket, ssl.SSLSocket):
                self.socket.setblocking(False)  # say that it ends, without waiting for an answer
                self.socket.unwrap()
        except (OSError, ValueError):
            pass
        finally:
            self.socket.close()

    def _more(self) -> bool:
        data = self.socket.recv(65536)
        self._read += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        while len(self._read) < size:
            if not self._more():
                raise Gone
        data, self._read = self._read[:size], self._read[size:]
        self._taken += data
        return data

    def _line(self) -> bytes:
        while b"\r\n" not in self._read:
            if not self._more():
                raise Gone
        line, end, self._read = self._read.partition(b"\r\n")
        self._taken += line + end
        return line

    def _request(self) -> Request | None:
        self._taken.clear()
        request = None
        try:
            request = self._next()
        finally:
            if request is not None:
                request.raw = bytes(self._taken)
            elif self._taken or self._read:
                self.server.unfinished.append(bytes(self._taken) + self._read)
        return request

    def _next(self) -> Request | None:
        while b"\r\n\r\n" not in self._read:
            if not self._more():
                return None
        method, target, _ = self._line().decode("latin-1").split(" ", 2)
        headers = []
        while line := self._line().decode("latin-1"):
            name, _, value = line.partition(":")
            headers.append((name, value.strip()))
        request = Request(method, target, headers, connection=self.number)
        request.query = dict(parse_qsl(urlsplit(target).query, keep_blank_values=True))
        if (request.header("Expect") or "").lower() == "100-continue":
            self.socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if (request.header("Transfer-Encoding") or "").lower() == "chunked":
            while size := int(self._line(), 16):
                request.body += self._take(size)
                self._take(2)
            while self._line():
                pass  # trailers
        else:
            request.body = self._take(int(request.header("Content-Length") or 0))
        return request


class Exchange:
    """A request and its answer: what a behaviour gets, to do with it as it likes."""

    def __init__(self, connection: Connection, request: Request) -> None:
        self.connection = connection
        self.server = connection.server
        self.request = request
        self.started = False
        self.ended = False
        self.reusable = (request.header("Connection") or "").lower() != "close"
        self.kind = ("v1", "Pod")  # what bookmarks of a watch are of
        self.position = 0  # the resourceVersion up to which a watch has sent everything

    def serve(self) -> None:
        """Answer as if nothing had been scripted."""
        self.server.serve(self)

    def answer(self, given: Answer) -> None:
        """Send a whole answer as the API server does."""
        body, headers = given.body, list(given.headers)
        taken = (self.request.header("Accept-Encoding") or "").replace(" ", "").split(",")
        if len(body) >= COMPRESSED and "gzip" in taken:
            body = gzip.compress(body, 1)
            headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
        if len(body) <= LARGE:
            self.start(given.status, headers, given.content_type, length=len(body))
            self.raw(body)
            self.ended = True
        else:
            self.start(given.status, headers, given.content_type)
            self.chunk(body)
            self.end()

    def start(
        self, status: int = 200, headers: Headers = (), content_type: str = JSON, *, length: int | None = None
    ) -> None:
        """Send the status and the headers, unless that was done; without a length chunks follow."""
        if self.started:
            return
        self.started = True
        self.raw(head(status, self._headers(status, headers, content_type, length)))

    def chunk(self, data: bytes) -> None:
        """Send a chunk."""
        self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, kind: str, given: Any) -> None:
        """Send an event of a watch."""
        self.start()
        self.chunk(dumps({"type": kind, "object": given}))

    def bookmark(self, version: int, *, initial: bool = False) -> None:
        """Send the event that says how far a watch has come, or that the initial events have ended."""
        api_version, kind = self.kind
        metadata: dict[str, Any] = {"resourceVersion": str(version)}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        empty = {"spec": {"containers": None}, "status": {}} if kind == "Pod" else {}
        self.event("BOOKMARK", {"kind": kind, "apiVersion": api_version, "metadata": metadata, **empty})

    def end(self) -> None:
        """Send the last chunk."""
        self.raw(b"0\r\n\r\n")
        self.ended = True

    def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.connection.socket.sendall(data)

    def close(self) -> None:
        """Close the connection in order, whatever the client expects still."""
        self.ended, self.reusable = True, False

    def reset(self) -> None:
        """Cut the connection with a RST."""
        self.ended, self.reusable = True, False
        self.connection.reset()

    def wait(self, seconds: float | None, *readable: Any) -> bool:
        """Wait until one of these is readable: whether one is.

        Raises Gone as soon as the client has closed the connection (or said something out of
        turn, which ends an answer as well), or the server is being closed.
        """
        closing, mine = self.server.closing, self.connection.socket
        found = _readable(seconds, closing, mine, *readable)
        if closing.fileno() in found or mine.fileno() in found:
            self.reusable = False
            raise Gone
        return bool(found)

    def switch(self, protocol: str, headers: Headers = (), then: bytes = b"") -> None:
        """Say that another protocol follows, of which ``then`` is the beginning.

        From now on there are ``raw``, ``receive`` and ``finish``.
        """
        self.started, self.reusable = True, False
        self.server.note_switch(self.request, protocol)
        self.raw(head(101, [("Connection", "Upgrade"), ("Upgrade", protocol), *headers]) + then)

    def receive(self, *others: Any) -> bytes | None:
        """What the client says after a switch; b"" once it has gone, and None if another is readable."""
        data = self.connection.receive(*others)
        if data:
            self.server.note_received(self.request, data)
        return data

    def finish(self) -> None:
        """End what follows a switch, and wait until the client has gone."""
        self.ended = True
        self.connection.finish()

    def hang(self) -> None:
        """Say nothing more, until the client goes or the server is closed."""
        while True:
            self.wait(None)

    def _headers(
        self, status: int, headers: Headers, content_type: str, length: int | None
    ) -> Sequence[tuple[str, str]]:
        given = {
            "Audit-Id": str(uuid.uuid4()),
            "Cache-Control": "no-cache, private",
            "Content-Type": content_type,
            **dict(headers),
        }
        if status != 401:  # which is said before the request is given its share of the server
            given |= dict.fromkeys(_OF_SERVER, self.server.uid)
        last = [("Date", formatdate(usegmt=True))]
        if length is None:
            last.append(("Transfer-Encoding", "chunked"))
        else:
            last.append(("Content-Length", str(length)))
        return [*sorted(given.items()), *last]


def _readable(seconds: float | None, *files: Any) -> set[int]:
    """Of which files something can be read, or has come to its end, as soon as there is one."""
    poll = select.poll()
    for each in files:
        poll.register(each.fileno(), select.POLLIN)
    return {descriptor for descriptor, _ in poll.poll(None if seconds is None else max(0, seconds * 1000))}


def head(status: int, headers: Headers) -> bytes:
    """An answer's first lines."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("latin-1")
