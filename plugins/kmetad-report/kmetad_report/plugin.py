"""The plugin: its hooks only say that something may be different, and never wait for the API server."""

from __future__ import annotations

from collections.abc import Iterable
from json import dumps

from kmetad import Batch, Context, Outcome, Snapshot, hookimpl
from kmetad_report import wanted
from kmetad_report.force import LONGEST, History, Standing, standing, values_of
from kmetad_report.options import PREFIX, Options
from kmetad_report.publish import Apply, Events, Shown, Subject
from kmetad_report.tally import Tally
from kmetad_report.worker import NAMELESS, Worker

__all__ = ["Options", "Plugin"]

_PACE = 1.0
"""Seconds between two patches of the same: the kubelet takes about as long to show them."""
_LAST_WORDS = 1.0
"""Seconds that a call under way has when kmetad stops."""


class Plugin:
    """One report. ``scale`` stretches all its waits."""

    def __init__(self, options: Options, context: Context, *, scale: float = 1.0) -> None:
        if context.name in (options.after or ()):
            raise ValueError(f"after names {context.name}, which is the report itself; name others")
        self._options = options
        self._context = context
        self._history = History(options.applied)
        manager = wanted.manager(context.name, options.container)
        apply = Apply(manager, context.log)
        self._events: Events | None = None
        subjects: list[Subject] = []
        if options.applied or options.condition is not None:
            subjects.append(
                Shown(self._history, options.condition, apply, context.snapshot, pace=_PACE * scale)
            )
        if options.events != "none":
            self._events = Events(Tally(options.events), manager, options.container, context.log)
            subjects.append(self._events)
        self._worker = Worker(
            context.name,
            subjects,
            context.log,
            standing=self._standing,
            snapshot=context.snapshot,
            client=context.api,
            scale=scale,
        )

    @hookimpl
    def kmetad_on_start(self, snapshot: Snapshot) -> None:
        """Begin to look at what is in force."""
        self._history.add(snapshot)
        self._worker.start()

    @hookimpl
    def kmetad_on_change(self, batch: Batch) -> None:
        """The Pod has changed: look who has come to it."""
        self._history.add(batch.current)
        self._worker.nudge()

    @hookimpl
    def kmetad_on_applied(self, outcome: Outcome) -> None:
        """Another instance did something: look again, and say it, unless it was said before a restart."""
        counts = self._options.after is None or outcome.instance in self._options.after
        if self._events is not None and counts and outcome.started_ns >= self._context.status().started_ns:
            self._events.add(outcome)
        self._worker.nudge()

    @hookimpl
    def kmetad_on_stop(self) -> None:
        """End the thread that reports."""
        self._worker.stop(_LAST_WORDS)

    def simulate(self, batch: Batch) -> Iterable[str]:
        """What would become visible, for ``kmetad check --simulate``."""
        applied = self._options.applied
        before, after = values_of(applied, batch.previous), values_of(applied, batch.current)
        who = ", ".join(self._options.after or ()) or "all others"
        changed = [name for name in applied if before.get(name) != after.get(name)]
        for name in changed:
            what = dumps(after[name]) if name in after else "is removed"
            yield f"annotation {PREFIX}{name} {'= ' if name in after else ''}{what}, after {who}"
        if not changed:
            yield "annotations stay as they are"

    def advice(self, snapshot: Snapshot) -> Iterable[str]:
        """What is missing, in the Pod or among the instances."""
        yield from self._about_pod(snapshot)
        for name, path in self._options.applied.items():
            value = snapshot.get(path)
            if value is not None and len(value) > LONGEST:
                yield f"applied: {name} has {len(value)} characters, and more than {LONGEST} aren't reported"
            elif value is None:
                yield f"applied: there is no {path} now, so there is no {PREFIX}{name}"
            elif not self._context.follows(path, snapshot):
                yield f"applied: {name} won't follow {path}, for match or watch.ignore leaves its changes out"
        status = self._context.status()
        if not status.lanes:
            return  # nobody knows of the others here
        others = [lane.name for lane in status.lanes if lane.name != self._context.name]
        for name in self._options.after or ():
            if name not in others:
                yield f"after: there is no instance {name}; there are {', '.join(others) or 'no others'}"
        if not others and self._options.after is None:
            yield "there is no other instance, so a value is in force as soon as kmetad has seen it"

    def _about_pod(self, snapshot: Snapshot) -> Iterable[str]:
        pod = wanted.pod_of(snapshot)
        if pod is None:
            yield NAMELESS
        elif not pod.uid:
            shown = "; kubectl describe shows no Event without it" if self._events is not None else ""
            yield (
                f"the Pod's uid isn't known, so a later Pod of its name could be taken for it{shown}: project "
                "metadata.uid, too"
            )

    def _standing(self) -> Standing:
        """How things stand. What the Pod is now is remembered: all may have come to it before anybody told."""
        now = standing(self._context.status(), self._context.name, self._options.after)
        self._history.add(self._context.snapshot())
        return now
