"""What the daemon logs of the Pod: a line at the start, one for each batch, and one for each fault."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kmetad._delivery.match import Filter
from kmetad.events import AnyChange, Batch, SourceChange

if TYPE_CHECKING:
    from kmetad._config import Loaded

_SHOWN = 10
_LENGTH = 80


def started(log: Any, batch: Batch, loaded: Loaded, instances: list[str]) -> None:
    """What is watched, and who is told."""
    import kmetad

    now = batch.current
    log.info(
        "kmetad.started",
        version=kmetad.__version__,
        config=loaded.file or "none: found by convention",
        plugins=instances,
        labels=len(now.labels),
        annotations=len(now.annotations),
        fields=len(now.fields),
        resources=len(now.resources),
        files=len(now.files),
    )
    if not now.swapped:
        log.warning(
            "kmetad.no_volume",
            remedy="mount a downwardAPI volume at /etc/podinfo, or name its directory in [volumes.NAME] path",
        )
    for change in batch.changes:
        if isinstance(change, SourceChange):
            _source(log, change)


def changed(log: Any, batch: Batch, noise: Filter) -> None:
    """One line for a batch; noise alone is for debugging. Faults of sources have lines of their own."""
    told = noise(batch.changes)
    pod = [change for change in told if not isinstance(change, SourceChange)]
    if pod or not told:
        shown = [describe(change) for change in (pod or batch.changes)[:_SHOWN]]
        tell = log.info if pod else log.debug
        tell(
            "pod.changed",
            generation=batch.current.generation,
            changes=shown,
            **({"more": len(pod) - _SHOWN} if len(pod) > _SHOWN else {}),
        )
    for change in batch.changes:
        if isinstance(change, SourceChange):
            _source(log, change)


def describe(change: AnyChange) -> str:
    """A change as a short text: ``label:app a → b``. No content of files, no digest, no token."""
    if change.type in ("file", "trust", "token"):
        return f"{change.type}:{change.key} {change.op}"
    old, new = (None if value is None else _cut(str(value)) for value in (change.old, change.new))
    if old is None:
        return f"{change.type}:{change.key} added {new}"
    return f"{change.type}:{change.key} {old} " + ("removed" if new is None else f"→ {new}")


def _source(log: Any, change: SourceChange) -> None:
    state = change.new
    if state is None:
        return
    if state.status == "healthy" and not state.error:
        if change.old is None:
            log.info("source.watched", source=change.key)
        else:
            log.info(
                "source.recovered",
                source=change.key,
                before=change.old.status,
                faults=state.faults,
                note="notifications were lost or it was away meanwhile; everything was read again",
            )
    else:
        tell = log.warning if state.status == "polling" else log.error
        tell("source.fault", source=change.key, status=state.status, error=state.error, faults=state.faults)


def _cut(text: str) -> str:
    return text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"
