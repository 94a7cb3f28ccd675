"""Requests and their answers: over which connection, with which token, and what becomes of it if that fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from kmetad.api import status
from kmetad.api.call import Call, Deadlines
from kmetad.api.credentials import NO_HEADERS, NOBODY, Trust
from kmetad.api.errors import ApiError, BadAnswer, StatusError, TimedOut, Unauthorized, Unreachable, Untrusted
from kmetad.api.faults import explain
from kmetad.api.objects import LONGEST, Object, parse
from kmetad.api.server import Server

if TYPE_CHECKING:
    import urllib3

PATCHES: Mapping[str, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
"""How an object may be changed in part, and the content type that says so."""

CONNECT = 5.0
"""Seconds for a connection and its TLS, at most."""
_PATIENCE = 60.0
"""Seconds without a byte, at most; where a call has less time than that, its own are what counts."""
_CHUNK = 64 << 10


class Answer(NamedTuple):
    """What the server answered, whole."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes

    def json(self) -> Object:
        """The body as an object of JSON. Raises BadAnswer."""
        return parse(self.body, "the answer")


class Stream:
    """An answer that comes bit by bit. A context manager."""

    def __init__(self, response: urllib3.BaseHTTPResponse, request: str, call: Call, server: Server) -> None:
        self._response = response
        self._request = request
        self._call = call
        self._server = server

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()

    def read(self) -> bytes:
        """What has come, as soon as something has; empty at the end. Raises Unreachable."""
        try:
            while True:
                data = self._response.read1(_CHUNK, decode_content=True)
                if data or self._response.closed:  # else what came was not enough to unpack anything
                    return data
        except Exception as error:
            explain(error, self._request, self._call, self._server)


class Transport:
    """A server, as requests see it. May be used from several threads at once."""

    def __init__(self, server: Server, agent: str) -> None:
        self.server = server
        self._agent = agent
        self._lock = threading.Lock()
        self._trust: Trust | None = None
        self._through: urllib3.PoolManager | None = None
        self._deadlines = Deadlines()

    def call(self, seconds: float | None = None) -> Call:
        """What the other methods take: a request that has so many seconds from now on, or all the time."""
        until = None if seconds is None else time.monotonic() + seconds
        return Call(until, self._deadlines)

    def close(self) -> None:
        """Close what is idle; calls that are under way go on."""
        with self._lock:
            through, self._through = self._through, None
        if through is not None:
            through.clear()

    def get(self, call: Call, path: str) -> Object:
        """An object. Raises as ``whole``."""
        return parse(self.whole(call, "GET", path).body, named("GET", path))

    def whole(
        self,
        call: Call,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        limit: int = LONGEST,
    ) -> Answer:
        """One request and its whole answer, of ``limit`` bytes at most.

        Raises what ApiError has below it, StatusError for an answer of 400 and above.
        """
        repeatable = _may_repeat(method, headers)
        while True:
            try:
                return self._whole(call, method, path, body, headers, limit)
            except (TimedOut, Untrusted):
                raise
            except Unreachable:
                # A server may close a connection that was kept open just as it is taken again.
                if not repeatable or not call.connected or call.ended:
                    raise
                repeatable = False

    def _whole(
        self, call: Call, method: str, path: str, body: bytes, headers: Mapping[str, str], limit: int
    ) -> Answer:
        request = named(method, path)
        response = self._begin(call, method, path, body, headers)
        try:
            body = _read(response, limit, request)
            if call.ended:  # to http.client that is the end of an answer like any other
                raise ConnectionError
            return Answer(response.status, _headers(response), body)
        except ApiError:
            raise
        except Exception as error:
            explain(error, request, call, self.server)
        finally:
            response.close()

    def stream(self, call: Call, path: str, *, patience: float) -> Stream:
        """A GET whose answer comes bit by bit; ``patience``: after so many seconds without a byte it has broken.

        Raises as ``whole``.
        """
        response = self._begin(call, "GET", path, b"", NO_HEADERS, read=patience)
        return Stream(response, named("GET", path), call, self.server)

    def _begin(
        self,
        call: Call,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        read: float = _PATIENCE,
    ) -> urllib3.BaseHTTPResponse:
        """Send a request, once more with other credentials. Answers with the head of what came, below 300."""
        request = named(method, path)
        renewed = False
        while True:
            through = self._connections()
            sent = self.server.credentials.headers() if self.server.secure else NO_HEADERS
            try:
                response = self._send(through, call, method, path, body, {**headers, **sent}, read)
            except Untrusted:
                # Its certificate may be of a CA that has come since the last look.
                if renewed or self._connections(afresh=True) is through:
                    raise
                renewed = True
                continue
            if response.status < 300:
                return response
            error = self._refusal(call, request, response, bool(sent))
            if isinstance(error, Unauthorized) and not renewed and self.server.secure:
                renewed = True
                if self.server.credentials.renew(sent):
                    continue
            raise error

    def _send(
        self,
        through: urllib3.PoolManager,
        call: Call,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        read: float,
    ) -> urllib3.BaseHTTPResponse:
        from kmetad.api import connections

        url = self.server.url + path
        head = {
            "User-Agent": self._agent,
            "Accept-Encoding": "identity",
            "Accept": "application/json",
            **headers,
        }
        try:
            response = connections.send(
                through, call, method, url, body=body, headers=head, connect=CONNECT, read=read
            )
            if call.ended:  # to http.client the head ends where the connection does
                response.close()
                raise ConnectionError
            return response
        except Exception as error:
            explain(error, named(method, path), call, self.server)

    def _refusal(
        self, call: Call, request: str, response: urllib3.BaseHTTPResponse, sent: bool
    ) -> StatusError | BadAnswer:
        """What an answer that isn't one says."""
        headers = _headers(response)
        try:
            if response.status < 400:
                return BadAnswer(
                    f"{request}: {response.status}, which leads {_elsewhere(headers)}; redirects aren't followed, "
                    "since a token is for one server alone"
                )
            body = response.read(status.LONGEST, decode_content=True)
        except Exception as error:
            explain(error, request, call, self.server)
        finally:
            response.close()
        about = self.server.credentials.about()
        return status.refused(request, response.status, headers, body, as_whom=about, sent=sent)

    def _connections(self, *, afresh: bool = False) -> urllib3.PoolManager:
        """Made by the CA as it is now: another one, other connections."""
        from kmetad.api import connections, tls

        server = self.server
        with self._lock:
            if not server.url.startswith("https:"):
                if self._through is None:
                    self._through = connections.manager(server.proxy, None, None)
                return self._through
            credentials = server.credentials if server.verify else NOBODY
            if afresh:
                credentials.renew(NO_HEADERS)
            trust = credentials.trust()
            if self._through is None or trust != self._trust:
                try:
                    context = tls.context(trust, verify=server.verify)
                except ApiError:
                    if self._through is None:
                        raise
                    return self._through  # a CA that is half-written: the one before goes on
                # The ones before are closed when the last call that uses them lets go.
                self._through = connections.manager(server.proxy, context, server.tls_name)
                self._trust = trust
            return self._through


def _may_repeat(method: str, headers: Mapping[str, str]) -> bool:
    """Whether doing it twice comes to the same as once, as far as anybody can tell (RFC 9110 9.2.2)."""
    if method == "PATCH":  # of a JSON patch nobody can
        return headers.get("Content-Type") != PATCHES["json"]
    return method != "POST"


def _read(response: urllib3.BaseHTTPResponse, limit: int, request: str) -> bytes:
    """The whole body. Raises BadAnswer for one that is too long, also if that shows only when it is unpacked."""
    parts: list[bytes] = []
    size = 0
    while data := response.read(_CHUNK, decode_content=True):
        size += len(data)
        if size > limit:
            raise BadAnswer(f"{request}: the answer is longer than {limit >> 20} MiB; ask for less of it")
        parts.append(data)
    return b"".join(parts)


def _headers(response: urllib3.BaseHTTPResponse) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def named(method: str, path: str) -> str:
    """A request in a message: without its query, which may hold anything."""
    return f"{method} {path.partition('?')[0]}"


def _elsewhere(headers: Mapping[str, str]) -> str:
    try:
        place = urlsplit(headers.get("location", ""))
    except ValueError:
        return "elsewhere"
    shown = "".join(c for c in place.netloc.rpartition("@")[2][:200] if c.isprintable())
    return f"to {shown}" if shown else "elsewhere"
