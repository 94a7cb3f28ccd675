"""The plugin: the tags of the app's lines, as the TOML names them. kmetad itself splices them in."""

from __future__ import annotations

from collections.abc import Iterable
from json import dumps
from typing import Literal

import msgspec

from kmetad import Batch, Context, LogTags, Snapshot, hookimpl
from kmetad_logtag.tags import Preset, known, paths, place

__all__ = ["Options", "Plugin"]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.logtag]``."""

    preset: Preset | None = None
    """``otel``: ``k8s.namespace.name``, ``k8s.pod.name``, ``k8s.pod.uid`` and ``k8s.node.name``."""
    tags: dict[str, str] = {}
    """By name in the line, the field path. On top of the preset's."""
    key: str | None = None
    """The object in which the tags stand: ``pod`` where neither this nor a preset is said; empty, as with a preset:
    beside the line's own members."""
    streams: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stderr")
    """Whose lines get them."""
    text: Literal["untouched", "prefix", "json"] = "untouched"
    """What becomes of a line that is no JSON object: it passes as it is, gets the tags in front, or becomes the
    ``message`` of one."""

    def __post_init__(self) -> None:
        self.paths()
        if not self.streams:
            raise ValueError("streams is empty; leave it out for both, or take the plugin out")

    def paths(self) -> dict[str, str]:
        """By name in the line, the field path."""
        return paths(self.tags, self.preset)


class Plugin:
    """One set of tags."""

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context

    @hookimpl
    def kmetad_log_tags(self, snapshot: Snapshot) -> LogTags:
        """What is known of them now; the others are absent."""
        options = self._options
        return LogTags(
            known(options.paths(), snapshot),
            key=place(options.key, options.preset),
            streams=options.streams,
            text=options.text,
        )

    def simulate(self, batch: Batch) -> Iterable[str]:
        """What the lines would carry after a batch, for ``kmetad check --simulate``."""
        before, after = self.kmetad_log_tags(batch.previous), self.kmetad_log_tags(batch.current)
        fields = dict(after.fields)
        shown = dumps({after.key: fields} if after.key else fields)
        yield "lines keep their tags" if before == after else f"lines get {shown}"

    def advice(self, snapshot: Snapshot) -> Iterable[str]:
        """Tags that there is nothing for, and tags that ``match`` or ``watch.ignore`` keep from following."""
        for name, path in self._options.paths().items():
            if snapshot.get(path) is None:
                yield f"tags: there is no {path} now, so lines go without {name}"
            elif not self._context.follows(path, snapshot):
                yield f"tags: {name} won't follow {path}, for match or watch.ignore leaves its changes out"
