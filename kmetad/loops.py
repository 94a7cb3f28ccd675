"""An event loop in a thread of its own, for a plugin that serves somebody: its hooks are on another thread.

Imports asyncio: import it when the plugin starts.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from kmetad.errors import OWN_FAILURE

T = TypeVar("T")


class LoopThread:
    """See the module. ``name`` is the thread's; that of kmetad's own begin with ``kmetad-``."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self, begin: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Start the loop, and answer what ``begin`` comes to there. Once. What it raises ends the loop, too."""
        self._thread.start()
        try:
            return asyncio.run_coroutine_threadsafe(begin(), self.loop).result()
        except BaseException:
            self._end()
            raise

    def stop(self, finish: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Wait for ``finish`` there, and end the loop whatever that raises. Once more, it does nothing."""
        if self.loop.is_closed():
            return
        try:
            asyncio.run_coroutine_threadsafe(finish(), self.loop).result()
        finally:
            self._end()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        except BaseException:
            # No memory is left, say: a daemon that starts anew is better than a server that is dead and looks alive.
            os._exit(OWN_FAILURE)

    def _end(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
