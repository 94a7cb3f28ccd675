"""A server in a thread of its own, with the event loop that it needs."""

from __future__ import annotations

import asyncio
import os
import threading

from kmetad.errors import OWN_FAILURE
from kmetad.hookspecs import Context
from kmetad_status.history import History
from kmetad_status.options import Options
from kmetad_status.server import Server


class Running:
    """See the module."""

    def __init__(self, options: Options, context: Context, history: History) -> None:
        self._loop = asyncio.new_event_loop()
        self._server = Server(self._loop, options, context, history)
        self._thread = threading.Thread(target=self._run, name=f"status-{context.name}", daemon=True)

    def start(self) -> str:
        """Listen, and answers where. Once. Raises OSError, and then there is nothing to be stopped."""
        self._thread.start()
        try:
            return asyncio.run_coroutine_threadsafe(self._server.start(), self._loop).result()
        except BaseException:
            self._end()
            raise

    def stop(self) -> None:
        """Stop in order, within a second."""
        try:
            asyncio.run_coroutine_threadsafe(self._server.stop(), self._loop).result()
        finally:
            self._end()

    def notify(self) -> None:
        """As Server's."""
        self._server.notify()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        except BaseException:
            # No memory is left, say: a daemon that starts anew is better than probes that nobody answers any more.
            os._exit(OWN_FAILURE)

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
