"""urllib3, as it is used here. Imported on the first call, since it brings 5 MB with it."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from kmetad.api.call import Call

OPEN = 4
"""Connections that are kept open for the next call. More are made, and closed again, where more call at once."""

CONNECT = 5.0
"""Seconds for a connection and its TLS, of a call that has no time of its own: a watch."""

_OPTIONS = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
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
    """A connection that the call knows which it serves, so that others can cut it."""

    _serves: Call | None = None

    def _new_conn(self) -> socket.socket:
        """As urllib3's, but the call can be cut while it connects, and its time is for all addresses together."""
        self._serves = call = _under_way.call
        if call is None:
            return super()._new_conn()
        try:
            found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        fault: Exception | None = None
        for number, (family, kind, protocol, _, address) in enumerate(found):
            if call.ended:
                break
            try:
                return _connected(call, family, kind, protocol, address, len(found) - number)
            except OSError as error:
                fault = error
        if isinstance(fault, TimeoutError):
            raise ConnectTimeoutError(self, "no connection in time") from fault
        raise NewConnectionError(self, f"no connection: {fault}") from fault

    def request(self, *arguments: Any, **named: Any) -> None:
        call = _under_way.call
        if call is not None and self.sock is not None and self._serves is not call:
            self._serves = call
            call.goes_over(self.sock, connected=True, kept=True)
        super().request(*arguments, **named)

    def is_kept(self) -> None:
        """It goes back to where the next call finds it, and is no longer the last one's to cut."""
        call, self._serves = self._serves, None
        if call is not None:
            call.lets_go()


def _connected(
    call: Call, family: int, kind: int, protocol: int, address: Any, addresses: int
) -> socket.socket:
    """A connection to this address, in its share of the time that there is for so many."""
    made = socket.socket(family, kind, protocol)
    try:
        for option in _OPTIONS:
            made.setsockopt(*option)
        made.settimeout(call.left(CONNECT) / addresses)
        call.goes_over(made, connected=False)
        if call.ended:  # to connect would make another connection of what was shut
            raise ConnectionError
        made.connect(address)
        call.connected = True
        return made
    except BaseException:
        made.close()
        raise


class _TlsLine(_Line, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Line

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.is_kept()
        super()._put_conn(conn)


class _TlsPool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _TlsLine

    def _validate_conn(self, conn: Any) -> None:
        """urllib3's own warns here of a server that isn't verified; that is said otherwise, and louder."""
        if conn.is_closed:
            conn.connect()


def pool(proxy: str | None, context: ssl.SSLContext | None, tls_name: str | None) -> urllib3.PoolManager:
    """What keeps connections: safe for several threads."""
    options: dict[str, Any] = {"num_pools": 1, "maxsize": OPEN}
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
    patience: float,
) -> urllib3.BaseHTTPResponse:
    """Send a request; answers when the head of the answer is there. Raises what urllib3 raises.

    ``patience``: of a call without an end, the seconds from one byte to the next.
    """
    _under_way.call = call
    try:
        return through.urlopen(
            method,
            url,
            body=body or None,
            headers=headers,
            timeout=urllib3.Timeout(connect=call.left(CONNECT), read=call.left(patience)),
            retries=False,
            redirect=False,
            preload_content=False,
        )
    finally:
        _under_way.call = None
