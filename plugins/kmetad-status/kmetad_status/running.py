"""A server in a thread of its own, with the event loop that it needs."""

from __future__ import annotations

from kmetad.hookspecs import Context
from kmetad.loops import LoopThread
from kmetad_status.history import History
from kmetad_status.options import Options
from kmetad_status.server import Server


class Running:
    """See the module."""

    def __init__(self, options: Options, context: Context, history: History) -> None:
        self._thread = LoopThread(f"status-{context.name}")
        self._server = Server(self._thread.loop, options, context, history)

    def start(self) -> str:
        """Listen, and answers where. Once. Raises OSError, and then there is nothing to be stopped."""
        return self._thread.start(self._server.start)

    def stop(self) -> None:
        """Stop in order, within a second."""
        self._thread.stop(self._server.stop)

    def notify(self) -> None:
        """As Server's."""
        self._server.notify()
