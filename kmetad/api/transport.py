"""Requests on their way: with which token, over which connection, and what becomes of them if that fails."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kmetad.api import status
from kmetad.api.call import Call, Deadlines
from kmetad.api.credentials import NO_HEADERS
from kmetad.api.errors import ApiError, BadAnswer, StatusError, TimedOut, Unauthorized, Unreachable, Untrusted
from kmetad.api.exchange import Answer, Request, warnings
from kmetad.api.faults import explain
from kmetad.api.objects import LONGEST, Object, parse
from kmetad.api.paths import target
from kmetad.api.pools import Pools
from kmetad.api.server import Server

if TYPE_CHECKING:
    import urllib3

_SILENCE = 60.0
"""Seconds without a byte, of a call that has no time of its own."""
_CHUNK = 64 << 10


class Stream:
    """An answer that comes bit by bit. A context manager."""

    def __init__(
        self, response: urllib3.BaseHTTPResponse, request: Request, call: Call, server: Server
    ) -> None:
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

    def __init__(
        self,
        server: Server,
        agent: str,
        warn: Callable[[str], object],
        counted: Callable[[str, int | None], object],
    ) -> None:
        """``warn`` is told what the server warns of, in answers that are none the worse for it.

        ``counted`` is told of each request that was sent, or should have been.
        """
        self.server = server
        self._agent = agent
        self._warn = warn
        self._counted = counted
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pools = Pools(self.server)
        self._deadlines = Deadlines()
        self._pid = os.getpid()  # last: who finds it finds the others

    def call(self, seconds: float | None = None) -> Call:
        """What the other methods take: a request that has so many seconds from now on, or all the time.

        Raises ValueError for seconds that can't be waited for.
        """
        if seconds is not None and not 0 < seconds <= threading.TIMEOUT_MAX:
            raise ValueError(f"a time-out of {seconds} s: expected seconds, more than 0")
        if self._pid != os.getpid():  # forked: the parent's connections aren't ours to write to
            self.server.credentials.forked()
            self._begin_anew()
        until = None if seconds is None else time.monotonic() + seconds
        return Call(until, self._deadlines)

    def close(self) -> None:
        """Close what is idle; calls that are under way go on."""
        self._pools.close()

    def get(self, call: Call, path: str, query: Mapping[str, object] = NO_HEADERS) -> Object:
        """An object. Raises as ``whole``, and ValueError for what is no path."""
        request = Request("GET", target(path, query))
        return parse(self.whole(call, request).body, str(request))

    def whole(self, call: Call, request: Request, *, max_bytes: int = LONGEST) -> Answer:
        """One request and its whole answer, of ``max_bytes`` at most.

        Raises what ApiError has below it, StatusError for an answer of 400 and above.
        """
        repeated = False
        while True:
            try:
                return self._whole(call, request, max_bytes)
            except (TimedOut, Untrusted):
                raise
            except Unreachable:
                if not request.repeatable or not call.connected or call.ended:
                    raise
                # A server may close what was kept open just as it is taken again: that may be so for each
                # connection that is kept. A new one breaks for another reason, as when a server restarts.
                if not call.kept and repeated:
                    raise
                repeated = repeated or not call.kept

    def _whole(self, call: Call, request: Request, max_bytes: int) -> Answer:
        response = self._begin(call, request)
        try:
            body = _read(response, max_bytes, request)
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
        request = Request("GET", path)
        return Stream(self._begin(call, request, patience=patience), request, call, self.server)

    def _begin(self, call: Call, request: Request, *, patience: float = _SILENCE) -> urllib3.BaseHTTPResponse:
        """Send a request, once more with other credentials. Answers with the head of what came, below 300."""
        credentials = self.server.credentials
        reread = renewed = False
        while True:
            with call.paused():
                pool = self._pools.current()
                sent = credentials.headers() if self.server.secure else NO_HEADERS
            try:
                response = self._send(pool, call, request, sent, patience)
            except Untrusted:
                # Its certificate may be of a CA that has come since the last look.
                if reread or self._pools.current(afresh=True) is pool:
                    raise
                reread = True
                continue
            if response.status < 300:
                for warning in warnings(response.headers.getlist("Warning")):
                    self._warn(warning)
                return response
            error = self._refusal(call, request, response, bool(sent))
            if isinstance(error, Unauthorized) and self.server.secure and not renewed:
                renewed = True
                if credentials.renew(sent):
                    continue
            raise error

    def _send(
        self,
        pool: urllib3.PoolManager,
        call: Call,
        request: Request,
        sent: Mapping[str, str],
        patience: float,
    ) -> urllib3.BaseHTTPResponse:
        from kmetad.api import connections

        head = {
            "User-Agent": self._agent,
            "Accept-Encoding": "identity",
            "Accept": "application/json",
            **request.headers,
            **sent,
        }
        try:
            response = connections.send(
                pool,
                call,
                request.method,
                self.server.url + request.path,
                body=request.body,
                headers=head,
                patience=patience,
            )
            if call.ended:  # to http.client the head ends where the connection does
                response.close()
                raise ConnectionError
        except Exception as error:
            self._counted(request.method, None)
            explain(error, request, call, self.server)
        self._counted(request.method, response.status)
        return response

    def _refusal(
        self, call: Call, request: Request, response: urllib3.BaseHTTPResponse, sent: bool
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
            if call.ended:
                raise ConnectionError
        except Exception as error:
            explain(error, request, call, self.server)
        finally:
            response.close()
        about = self.server.credentials.about()
        return status.refused(str(request), response.status, headers, body, as_whom=about, sent=sent)


def _read(response: urllib3.BaseHTTPResponse, max_bytes: int, request: Request) -> bytes:
    """The whole body. Raises BadAnswer for one that is too long, also if that shows only when it is unpacked."""
    parts: list[bytes] = []
    size = 0
    while data := response.read(_CHUNK, decode_content=True):
        size += len(data)
        if size > max_bytes:
            raise BadAnswer(f"{request}: the answer is longer than {max_bytes >> 20} MiB; ask for less of it")
        parts.append(data)
    return b"".join(parts)


def _headers(response: urllib3.BaseHTTPResponse) -> Mapping[str, str]:
    return {name.lower(): value for name, value in response.headers.itermerged()}


def _elsewhere(headers: Mapping[str, str]) -> str:
    try:
        place = urlsplit(headers.get("location", ""))
    except ValueError:
        return "elsewhere"
    shown = "".join(c for c in place.netloc.rpartition("@")[2][:200] if c.isprintable())
    return f"to {shown}" if shown else "elsewhere"
