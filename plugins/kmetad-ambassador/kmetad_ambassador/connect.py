"""Makes connections to the API server: addresses, a proxy on the way, TLS."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import Any
from urllib.parse import SplitResult, urlsplit

from kmetad.api import NoServer, Server
from kmetad.api.faults import untrusted
from kmetad_ambassador.aside import aside
from kmetad_ambassador.refusal import Refusal

SECONDS = 5.0
"""For a connection with its TLS, over all addresses."""

_PROBES = 3
"""Keep-alive probes that may stay without an answer."""
_LONGEST = 16384
"""Bytes of what an HTTP proxy may answer."""


class Connector:
    """Connects to one server. ``keepalive``: seconds after which a silent connection is probed; 0 for never.

    Raises NoServer for a proxy that it can't go through.
    """

    def __init__(self, server: Server, keepalive: float) -> None:
        self._server = server
        self._keepalive = keepalive
        self._at = urlsplit(server.url)
        self._proxy = None if server.proxy is None else urlsplit(server.proxy)
        if self._proxy is not None and self._proxy.scheme != "http":
            raise NoServer(f"the proxy {server.proxy}: only proxies over http:// are supported here")
        if self._proxy is not None and self._at.scheme != "https":
            raise NoServer(f"{server.url} through the proxy {server.proxy}: only https goes through one here")
        for name in (self._at.hostname, server.tls_name, self._proxy and self._proxy.hostname):
            _check_name(name or "localhost")

    @property
    def host(self) -> str:
        """The server's name and port, for the header Host."""
        return self._at.netloc

    async def connect(self, context: ssl.SSLContext | None) -> socket.socket:
        """A connection past its handshake. Raises Refusal: 502, or 504 where nobody answers in time.

        ssl.SSLCertVerificationError is raised as it is: another CA may help.
        """
        at = self._proxy or self._at
        try:
            async with asyncio.timeout(SECONDS):
                sock = await self._reach(at)
                try:
                    if self._proxy is not None:
                        await self._tunnel(sock)
                    if context is not None:
                        sock = await self._secure(sock, context)
                except BaseException:
                    sock.close()
                    raise
                return sock
        except TimeoutError:
            raise self._refused(504, "no connection in time; is it up, and may this Pod reach it?") from None
        except ssl.SSLCertVerificationError:
            raise
        except ssl.SSLError as error:
            why = f"no TLS ({error.reason or type(error).__name__}); is it plain http, or another port?"
            raise self._refused(502, why) from None
        except socket.gaierror:
            why = f"the name {at.hostname} can't be resolved; is it right, and does DNS work here?"
            raise self._refused(502, why) from None
        except ConnectionRefusedError:
            raise self._refused(502, "nobody listens there; is it up, and is this its port?") from None
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else "the connection broke while it was made"
            raise self._refused(502, why) from None

    def untrusted(self, error: ssl.SSLCertVerificationError) -> Refusal:
        """Its certificate can't be verified, and no other CA is known."""
        why = f"its certificate can't be verified ({error.verify_message}), so nothing was sent"
        return self._refused(502, f"{why}; {untrusted(error, self._server)}")

    def _refused(self, status: int, why: str) -> Refusal:
        through = "" if self._proxy is None else f", through the proxy {self._server.proxy}"
        return Refusal(status, "server", f"the API server at {self._server.url}{through}: {why}")

    async def _reach(self, at: SplitResult) -> socket.socket:
        loop = asyncio.get_running_loop()
        host, port = at.hostname or "", at.port or (443 if at.scheme == "https" else 80)
        end = loop.time() + SECONDS
        fault: OSError | None = None
        found = await _resolve(host, port)
        for number, (family, kind, protocol, _, address) in enumerate(found):
            sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
            try:
                self._set(sock)
                # Each has its share of the time: the first may lead nowhere.
                async with asyncio.timeout((end - loop.time()) / (len(found) - number)):
                    await loop.sock_connect(sock, address)
                return sock
            except OSError as error:
                sock.close()
                fault = error
            except BaseException:
                sock.close()
                raise
        raise fault or socket.gaierror(socket.EAI_NONAME, "no address")

    def _set(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._keepalive > 0:
            # The kernel finds out that a server has gone without a word, and nobody wakes for that.
            seconds = max(1, round(self._keepalive))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 3))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _PROBES)

    async def _tunnel(self, sock: socket.socket) -> None:
        """Have the proxy connect to the server (RFC 9110, 9.3.6)."""
        loop = asyncio.get_running_loop()
        to = f"{self._at.hostname}:{self._at.port or 443}"
        if ":" in (self._at.hostname or ""):
            to = f"[{self._at.hostname}]:{self._at.port or 443}"
        await loop.sock_sendall(sock, f"CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n".encode("ascii"))
        answer = b""
        while b"\r\n\r\n" not in answer:
            # One byte at a time: what comes behind is the server's, and OpenSSL's to read.
            byte = await loop.sock_recv(sock, 1)
            answer += byte
            if not byte or len(answer) > _LONGEST:
                raise self._refused(502, "the proxy doesn't answer as one does")
        status = answer.split(b"\r\n", 1)[0].split(b" ")[1:2]
        if status != [b"200"]:
            said = b"".join(status)[:3].decode("ascii", "replace")
            raise self._refused(502, f"the proxy doesn't let it through ({said})")

    async def _secure(self, sock: socket.socket, context: ssl.SSLContext) -> socket.socket:
        tls = context.wrap_socket(
            sock,
            server_hostname=self._server.tls_name or self._at.hostname,
            do_handshake_on_connect=False,
            suppress_ragged_eofs=False,  # an answer may end with its connection, but not by anybody's hand
        )
        try:
            while True:
                try:
                    tls.do_handshake()
                    return tls
                except ssl.SSLWantReadError:
                    await _ready(tls, to_write=False)
                except ssl.SSLWantWriteError:
                    await _ready(tls, to_write=True)
        except BaseException:
            tls.close()
            raise


def _check_name(name: str) -> None:
    """Raises NoServer for what neither DNS nor TLS takes for one."""
    try:
        name.encode("idna")
    except UnicodeError as error:
        raise NoServer(f"{name!r}, the name of the API server or of what leads there: {error}") from None


_Addresses = list[tuple[int, int, int, str, tuple[Any, ...]]]


async def _resolve(host: str, port: int) -> _Addresses:
    try:  # an address is its own, and needs no thread
        return [*socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)]
    except socket.gaierror:
        return [*await aside(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)]


async def _ready(sock: socket.socket, *, to_write: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def is_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    fd = sock.fileno()
    (loop.add_writer if to_write else loop.add_reader)(fd, is_ready)
    try:
        await ready
    finally:
        (loop.remove_writer if to_write else loop.remove_reader)(fd)
