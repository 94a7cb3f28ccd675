"""A proxy in a thread of its own, with the event loop that it needs."""

from __future__ import annotations

from typing import Any

from kmetad.api import Server
from kmetad.loops import LoopThread
from kmetad_ambassador.options import Options
from kmetad_ambassador.proxy import Proxy
from kmetad_ambassador.tally import Tally


class Running:
    """See the module. Raises NoServer, as Proxy."""

    def __init__(self, server: Server, options: Options, log: Any) -> None:
        self._proxy = Proxy(server, options, log)  # first: it may raise
        self._thread = LoopThread("ambassador")

    @property
    def tally(self) -> Tally:
        """Its counters."""
        return self._proxy.tally

    def start(self) -> str:
        """Listen, and answers where. Once. Raises OSError, and then there is nothing to be stopped."""
        return self._thread.start(self._proxy.start)

    def stop(self, seconds: float) -> None:
        """Stop in order, within so many seconds and a little. Once more, it does nothing."""
        self._thread.stop(lambda: self._proxy.stop(seconds))

    def look_again(self) -> None:
        """As Proxy's."""
        self._proxy.look_again()
