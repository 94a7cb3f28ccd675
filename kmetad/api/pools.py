"""The connections to a server, made by its CA as it is now."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kmetad.api.credentials import NOBODY, Trust
from kmetad.api.errors import CredentialsError
from kmetad.api.server import Server

if TYPE_CHECKING:
    import urllib3


class Pools:
    """See the module. May be used from several threads at once."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._lock = threading.Lock()
        self._trust: Trust | None = None
        self._pool: urllib3.PoolManager | None = None

    def current(self, *, afresh: bool = False) -> urllib3.PoolManager:
        """What a request goes through. With another CA, or another certificate of this side, it is another one.

        ``afresh``: as the files are now, changed or not. Raises CredentialsError.
        """
        from kmetad.api import connections, tls

        server = self._server
        credentials = server.credentials if server.secure else NOBODY
        if afresh:
            credentials.reread()
        trust = credentials.trust()  # which may run a command: nobody else waits for that
        with self._lock:
            if not server.url.startswith("https:"):
                if self._pool is None:
                    self._pool = connections.pool(server.proxy, None, None)
                return self._pool
            if self._pool is None or trust != self._trust:
                try:
                    context = tls.context(trust, verify=server.verify)
                except CredentialsError:
                    if self._pool is None:
                        raise
                    return self._pool  # a CA that is half-written: the one before goes on
                # The one before is closed when the last call that uses it lets go.
                self._pool = connections.pool(server.proxy, context, server.tls_name)
                self._trust = trust
            return self._pool

    def close(self) -> None:
        """Close what is idle; what is in use is closed after it."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.clear()
