"""urllib3, as it is used here. Imported on the first call, since it brings 8 MB of modules with it."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from kmetad.api.call import Call

OPEN = 4
"""Connections that are kept open for the next call. More are made, and closed again, where more call at once."""

_KEEPALIVE = [
    *HTTPConnection.default_socket_options,
    # The kernel finds out within a minute that a server has gone without a word, and nobody wakes for that.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
]


class _UnderWay(threading.local):
    call: Call | None = None


_under_way = _UnderWay()


class _Line(HTTPConnection):
    """A connection that its call knows, so that others can cut it."""

    _made_for: Call | None = None

    def _new_conn(self) -> socket.socket:
        made = super()._new_conn()
        self._made_for = call = _under_way.call
        if call is not None:
            call.goes_over(made)
        return made

    def request(self, *arguments: Any, **named: Any) -> None:
        call = _under_way.call
        if call is not None and self.sock is not None and self._made_for is not call:
            call.goes_over(self.sock, kept=True)
        super().request(*arguments, **named)


class _TlsLine(_Line, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Line


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsLine

    def _validate_conn(self, conn: Any) -> None:
        """urllib3's own warns here of a server that isn't verified; that is said otherwise, and louder."""
        if conn.is_closed:
            conn.connect()


def pool(proxy: str | None, context: ssl.SSLContext | None, tls_name: str | None) -> urllib3.PoolManager:
    """What keeps connections: safe for several threads."""
    if context is not None and context.verify_mode == ssl.CERT_NONE:
        urllib3.disable_warnings(
            urllib3.exceptions.InsecureRequestWarning
        )  # it is said otherwise, and louder
    options: dict[str, Any] = {"num_pools": 1, "maxsize": OPEN, "socket_options": _KEEPALIVE}
    if context is not None:
        options |= {"ssl_context": context, "cert_reqs": context.verify_mode}
        if tls_name is not None:
            options["server_hostname"] = tls_name
    made = urllib3.PoolManager(**options) if proxy is None else urllib3.ProxyManager(proxy, **options)
    made.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return made


def send(
    through: urllib3.PoolManager,
    call: Call,
    method: str,
    url: str,
    *,
    body: bytes,
    headers: dict[str, str],
    otherwise: tuple[float, float],
) -> urllib3.BaseHTTPResponse:
    """Send a request; answers when the head of the answer is there. Raises what urllib3 raises.

    ``otherwise``: of a call without an end the seconds for a connection, and from one byte to the next.
    """
    connect, read = otherwise
    _under_way.call = call
    try:
        return through.urlopen(
            method,
            url,
            body=body or None,
            headers=headers,
            timeout=urllib3.Timeout(connect=call.left(connect), read=call.left(read)),
            retries=False,
            redirect=False,
            preload_content=False,
        )
    finally:
        _under_way.call = None
