"""Told of labels one by one, then of all else by ``on_change``."""

from __future__ import annotations

from kmetad import Batch, LabelChange, Snapshot, hookimpl
from tests.soak.model import Model, Options

__all__ = ["Options", "Plugin"]


class Plugin(Model):
    """See the module."""

    @hookimpl
    def kmetad_on_start(self, snapshot: Snapshot) -> None:
        self.take_snapshot()

    @hookimpl
    def kmetad_on_label(self, change: LabelChange) -> None:
        self.take("label", change.key)

    @hookimpl
    def kmetad_on_change(self, batch: Batch) -> None:
        for change in batch.changes:
            if change.type != "label":
                self.take(change.type, change.key)
        self.finish()
