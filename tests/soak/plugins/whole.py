"""Told by ``on_change`` alone."""

from __future__ import annotations

from kmetad import Batch, Snapshot, hookimpl
from tests.soak.model import Model, Options

__all__ = ["Options", "Plugin"]


class Plugin(Model):
    """See the module."""

    @hookimpl
    def kmetad_on_start(self, snapshot: Snapshot) -> None:
        self.take_snapshot()

    @hookimpl
    def kmetad_on_change(self, batch: Batch) -> None:
        for change in batch.changes:
            self.take(change.type, change.key)
        self.finish()

    @hookimpl
    def kmetad_on_stop(self) -> None:
        self.finish()
