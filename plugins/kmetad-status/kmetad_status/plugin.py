"""The plugin: a server for as long as kmetad runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kmetad import Batch, Context, Fail, Outcome, Snapshot, hookimpl
from kmetad_status import advice
from kmetad_status.history import History
from kmetad_status.options import Options

if TYPE_CHECKING:
    from kmetad_status.running import Running

__all__ = ["Options", "Plugin"]


class Plugin:
    """One server. The event loop, and what speaks HTTP, are imported at its start."""

    def __init__(self, options: Options, context: Context) -> None:
        from uuid import uuid4

        self._options = options
        self._context = context
        self._history = History(options.history, uuid4().hex[:8])
        self._running: Running | None = None
        self._where = ""

    @hookimpl
    def kmetad_on_start(self) -> dict[str, str]:
        """Listen; answers where, as ``listens``."""
        if self._running is None:  # it may run, and have come too late for lane.timeout
            from kmetad import listening
            from kmetad_status.running import Running

            running = Running(self._options, self._context, self._history)
            try:
                self._where = running.start()
            except OSError as error:
                where = self._options.address, self._options.port, self._options.unix_socket
                raise Fail(listening.refused(error, *where)) from error
            self._running = running
            self._context.log.info("status.listens", at=self._where)
        return {"listens": self._where}

    @hookimpl
    def kmetad_on_change(self, batch: Batch) -> None:
        """Keep it, and tell those who listen."""
        from kmetad_status import documents

        self._keep("change", *documents.changes(batch))

    @hookimpl
    def kmetad_on_applied(self, outcome: Outcome) -> None:
        """Likewise."""
        from kmetad_status import documents

        self._keep("outcome", documents.outcome(outcome))

    @hookimpl
    def kmetad_on_stop(self) -> None:
        """End all streams; a client that comes back finds the next daemon."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    def advice(self, snapshot: Snapshot) -> Iterator[str]:
        """What isn't as safe as it could be."""
        yield from advice.of_options(self._options)

    def _keep(self, kind: str, *data: bytes) -> None:
        self._history.add(kind, *data)
        if self._running is not None:
            self._running.notify()
