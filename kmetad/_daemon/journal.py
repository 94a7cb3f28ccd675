"""The journal: what the daemon logs of the Pod, told to it as to any plugin.

It has a lane of its own, so that whoever reads the log slowly, or not at all, delays
neither the watching nor a plugin. Its short debounce keeps it off the processor
while plugins are being told.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import kmetad
from kmetad._config import Loaded
from kmetad._daemon import advice
from kmetad._delivery.match import Filter
from kmetad._delivery.pace import Pace
from kmetad._diff import diff
from kmetad.events import AnyChange, Batch, SourceChange
from kmetad.metadata import Snapshot

if TYPE_CHECKING:
    from kmetad._daemon.wrapped import Wrapped
    from kmetad._plugins import Instance

PACE = Pace(debounce=0.02, max_wait=0.2)

_SHOWN = 10
_LENGTH = 80


class Journal:
    """An instance, as lanes call it. A line at the start, one for each batch, and one for each fault."""

    name = "kmetad"

    def __init__(
        self, log: Any, loaded: Loaded, plugins: Sequence[Instance], wrapped: Wrapped | None = None
    ) -> None:
        self._log = log
        self._loaded = loaded
        self._plugins = plugins
        self._wrapped = wrapped
        self._noise = Filter(ignore=loaded.config.watch.ignore)

    def start(self, snapshot: Snapshot) -> None:
        """What is watched, who is told, and what will never work."""
        self._log.info(
            "kmetad.started",
            version=kmetad.__version__,
            pid=os.getpid(),  # HUP to it has the configuration read again
            config=self._loaded.file or "none: found by convention",
            plugins=[plugin.name for plugin in self._plugins],
            sources=list(snapshot.sources),
            labels=len(snapshot.labels),
            annotations=len(snapshot.annotations),
            fields=len(snapshot.fields),
            resources=len(snapshot.resources),
            files=len(snapshot.files),
        )
        for change in diff(Snapshot(), snapshot):
            if isinstance(change, SourceChange):
                self._source(change)
        if not self._loaded.config.volumes and not snapshot.swapped:
            self._log.warning(
                "kmetad.no_volume",
                remedy="mount a downwardAPI volume at /etc/podinfo, or name its directory in [volumes.NAME] path",
            )
        config = self._loaded.config
        sentences = advice.of_all(config, snapshot)
        if self._wrapped is None:
            sentences += advice.of_no_app(config, self._plugins)
        else:
            sentences += advice.of_app_env(config, self._wrapped.fillers())
            sentences += advice.of_log_tags(config, self._wrapped.taggers())
        for plugin in self._plugins:
            sentences += advice.of_plugin(plugin, snapshot)
        for sentence in sentences:
            self._log.warning("config.advice", advice=sentence)
        self._environment()

    def deliver(self, batch: Batch) -> None:
        """One line for a batch; noise alone is for debugging. Faults of sources have lines of their own."""
        pod = [change for change in batch.changes if not isinstance(change, SourceChange)]
        told = self._noise(tuple(pod))
        if pod:
            shown = told or pod
            more = {"more": len(shown) - _SHOWN} if len(shown) > _SHOWN else {}
            tell = self._log.info if told else self._log.debug
            changes = [describe(change) for change in shown[:_SHOWN]]
            tell("pod.changed", generation=batch.current.generation, changes=changes, **more)
        for change in batch.changes:
            if isinstance(change, SourceChange):
                self._source(change)

        self._environment()

    def stop(self) -> None:
        """Nothing is left to say."""

    def _environment(self) -> None:
        """What of ``[run.env]`` the app's next start won't have, or not as the Pod is now."""
        if self._wrapped is not None:
            for variable, why in self._wrapped.environment.news().items():
                self._log.warning("environment.variable", variable=variable, fault=why)

    def _source(self, change: SourceChange) -> None:
        state = change.new
        if state is None:
            return
        if state.status != "healthy" or state.error:
            tell = self._log.warning if state.status == "polling" else self._log.error
            tell(
                "source.fault", source=change.key, status=state.status, error=state.error, faults=state.faults
            )
        elif change.old is None:
            self._log.info("source.watched", source=change.key)
        else:
            self._log.info(
                "source.recovered",
                source=change.key,
                before=change.old.status,
                faults=state.faults,
                note="it was away, or notifications were lost; everything was read again",
            )


def describe(change: AnyChange) -> str:
    """A change as a short text: ``label:app a → b``. No content of files, no digest, no token."""
    if change.type in ("file", "trust", "token"):
        return f"{change.type}:{change.key} {change.op}"
    old, new = (None if value is None else _cut(str(value)) for value in (change.old, change.new))
    if old is None:
        return f"{change.type}:{change.key} added {new}"
    return f"{change.type}:{change.key} {old} " + ("removed" if new is None else f"→ {new}")


def _cut(text: str) -> str:
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"
