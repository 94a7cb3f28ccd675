"""The plugin: a proxy for as long as kmetad runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kmetad import Context, Fail, Snapshot, hookimpl
from kmetad_ambassador import advice
from kmetad_ambassador.options import Options

if TYPE_CHECKING:
    from kmetad.api import Server
    from kmetad_ambassador.running import Running

__all__ = ["Options", "Plugin"]


class Plugin:
    """One proxy. The event loop and what it needs are imported at its start."""

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context
        self._running: Running | None = None
        self._where = ""

    @hookimpl
    def kmetad_on_start(self) -> dict[str, str]:
        """Listen; answers where, as ``listens``."""
        if self._running is None:  # it may run, and have come too late for lane.timeout
            self._running = self._started()
        return {"listens": self._where}

    @hookimpl
    def kmetad_on_token(self) -> None:
        """The token was renewed: what comes now gets the new one."""
        self._look_again()

    @hookimpl
    def kmetad_on_trust(self) -> None:
        """The cluster's CA was replaced: likewise."""
        self._look_again()

    @hookimpl
    def kmetad_on_stop(self) -> None:
        """Let what is under way come to its end, for ``drain_timeout`` at most."""
        if self._running is not None:
            self._running.stop(self._options.drain_timeout.total_seconds())
            self._running = None

    def advice(self, snapshot: Snapshot) -> Iterator[str]:
        """What isn't as safe as it could be."""
        from kmetad.api import ApiError

        yield from advice.of_options(self._options, str)
        try:
            server = self._server()
        except ApiError:
            return  # there is none here, where the configuration is only checked; its start says so
        yield from advice.of_server(server, self._options, str)

    def _server(self) -> Server:
        return self._context.api().server

    def _started(self) -> Running:
        from kmetad import listening
        from kmetad.api import ApiError
        from kmetad_ambassador.running import Running

        try:
            running = Running(self._server(), self._options, self._context.log)
            self._where = running.start()
        except ApiError as error:
            raise Fail(str(error)) from error
        except OSError as error:
            where = self._options.address, self._options.port, self._options.unix_socket
            raise Fail(listening.refused(error, *where)) from error
        return running

    def _look_again(self) -> None:
        if self._running is not None:
            self._running.look_again()
