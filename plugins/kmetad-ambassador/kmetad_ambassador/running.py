"""A proxy in a thread of its own, with the event loop that it needs."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Any

from kmetad.api import Server
from kmetad.errors import OWN_FAILURE
from kmetad_ambassador.options import Options
from kmetad_ambassador.proxy import Proxy
from kmetad_ambassador.tally import Tally


class Running:
    """See the module. Raises NoServer, as Proxy."""

    def __init__(self, server: Server, options: Options, log: Any) -> None:
        self._proxy = Proxy(server, options, log)  # first: it may raise
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="ambassador", daemon=True)

    @property
    def tally(self) -> Tally:
        """Its counters."""
        return self._proxy.tally

    def start(self) -> str:
        """Listen, and answers where. Once. Raises OSError, and then there is nothing to be stopped."""
        self._thread.start()
        try:
            return asyncio.run_coroutine_threadsafe(self._proxy.start(), self._loop).result()
        except BaseException:
            self._end()
            raise

    def stop(self, seconds: float) -> None:
        """Stop in order, within so many seconds and a little. Once more, it does nothing."""
        if self._loop.is_closed():
            return
        try:
            asyncio.run_coroutine_threadsafe(self._proxy.stop(seconds), self._loop).result()
        finally:
            self._end()

    def look_again(self) -> None:
        """As Proxy's."""
        self._proxy.look_again()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        except BaseException:
            # No memory is left, say: a daemon that starts anew is better than a proxy that is dead and looks alive.
            os._exit(OWN_FAILURE)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
