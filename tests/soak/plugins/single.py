"""Told by the hooks for single subjects alone."""

from __future__ import annotations

from kmetad import (
    AnnotationChange,
    FieldChange,
    FileChange,
    LabelChange,
    Snapshot,
    SourceChange,
    hookimpl,
)
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
    def kmetad_on_annotation(self, change: AnnotationChange) -> None:
        self.take("annotation", change.key)

    @hookimpl
    def kmetad_on_field(self, change: FieldChange) -> None:
        self.take("field", change.key)

    @hookimpl
    def kmetad_on_file(self, change: FileChange) -> None:
        self.take("file", change.key)

    @hookimpl
    def kmetad_on_source(self, change: SourceChange) -> None:
        self.take("source", change.key)
