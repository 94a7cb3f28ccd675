"""The plugin: an instance is a rule, and each delivery a transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable

from kmetad import Batch, Context, Snapshot, diff, hookimpl
from kmetad.errors import AppError
from kmetad_reload.options import Action, Options, Verify, names
from kmetad_reload.steps import Call, Render, Run, Step, step
from kmetad_reload.transaction import Check, Transaction, allow

__all__ = ["Options", "Plugin"]

_KEYS_SHOWN = 10


class Plugin:
    """One rule."""

    def __init__(self, options: Options, context: Context) -> None:
        self._options = options
        self._context = context
        self._log = log = context.log
        app = context.app
        actions = options.in_order()
        reaction = options.on_failure
        if isinstance(reaction, list):
            reaction = Action(exec=reaction)
        if not app.wrapped:
            _refuse_without_app([*actions, reaction] if reaction is not None else actions)
        last = len(actions) - 1
        self._transaction = Transaction(
            values=options.values,
            validate=None if options.validate is None else Run(options.validate, log),
            actions=[
                step(action, app, log, waits=number < last or options.verify is not None)
                for number, action in enumerate(actions)
            ],
            verify=None if options.verify is None else self._check(options.verify),
            on_failure=None if reaction is None else step(reaction, app, log, waits=True),
            seconds=context.timeout,
        )
        self._files = [Render(action.write) for action in actions if action.write is not None]

    @hookimpl
    def kmetad_on_start(self, snapshot: Snapshot) -> dict[str, str] | None:
        """Write the files, so that they are there; with ``at_start`` do all of it."""
        if not self._options.at_start and not self._files:
            return None
        batch = self._beginning(snapshot)
        if self._options.at_start:
            return self._run(batch) if batch.changes else None
        allow(self._options.values, batch)
        return {"did": ", ".join(file.do(batch, self._context.timeout) for file in self._files)}

    @hookimpl
    def kmetad_on_change(self, batch: Batch) -> dict[str, str]:
        """Act. What is raised leaves the batch unacknowledged, and ``lane.retry`` decides."""
        return self._run(batch)

    def simulate(self, batch: Batch) -> Iterable[str]:
        """What a batch would lead to, for ``kmetad check --simulate``."""
        return self._transaction.describe(batch)

    def advice(self, snapshot: Snapshot) -> Iterable[str]:
        """What won't work as things are now."""
        yield from self._transaction.advice()
        there = [(c.type, c.key) for c in diff(Snapshot(), snapshot)]
        for key in self._options.values:
            if not any(names(key, *at) for at in there):
                yield f"values: {key!r} is the key of no label, annotation or field that is there now"

    def _run(self, batch: Batch) -> dict[str, str]:
        begun = time.monotonic()
        detail = self._transaction.run(batch)
        keys = [f"{change.type}:{change.key}" for change in batch.changes]
        self._log.info(
            "reload.applied",
            **detail,
            changes=keys[:_KEYS_SHOWN],
            more_changes=max(0, len(keys) - _KEYS_SHOWN),
            seconds=round(time.monotonic() - begun, 3),
        )
        return detail

    def _beginning(self, snapshot: Snapshot) -> Batch:
        """All that there is and that this instance is for, as added."""
        changes = tuple(c for c in diff(Snapshot(), snapshot) if self._context.covers(c.type, c.key))
        return Batch(changes, Snapshot(), snapshot, time.time_ns())

    def _check(self, verify: str | list[str] | Verify) -> Check:
        if isinstance(verify, str):
            verify = Verify(http=verify)
        elif isinstance(verify, list):
            verify = Verify(exec=verify)
        probe: Step
        if verify.exec is not None:
            probe = Run(verify.exec, self._log)
        else:
            assert verify.http is not None
            probe = Call(verify.http, method="GET")
        return Check(probe, verify.within.total_seconds(), verify.interval.total_seconds())


def _refuse_without_app(actions: list[Action]) -> None:
    """Raises AppError for what only the app that kmetad wraps could get."""
    for action in actions:
        if action.restart:
            raise AppError(
                "restart is for the app that kmetad wraps, and it wraps none; start it with `kmetad run -- CMD`"
            )
        if action.signal is not None and action.pid_file is None:
            raise AppError(
                "signal is for the app that kmetad wraps, and it wraps none; start it with "
                "`kmetad run -- CMD`, or set pid_file, the file that holds the process's number"
            )
