"""What a transaction is made of: a command, a request, a signal, a restart, a file, or nothing.

A step is done for a batch, within some seconds, and says in a few words what it did. What can't
be done is ``kmetad.Fail``.
"""

from __future__ import annotations

import os
import shutil
import signal as signals
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Protocol

from kmetad import App, Batch, Fail
from kmetad.errors import AppError
from kmetad_reload import command, http, pidfile, write
from kmetad_reload.options import Action, Exec, signal_of

_KEYS_SHOWN = 3


class Step(Protocol):
    """See the module."""

    def do(self, batch: Batch, seconds: float) -> str:
        """Do it, within so many seconds. Answers what was done; raises Fail."""
        ...

    def describe(self, batch: Batch) -> str:
        """What it would do."""
        ...

    def advice(self) -> Iterable[str]:
        """Why it can't be done here as things are now."""
        ...


class Run:
    """A command."""

    def __init__(self, options: Sequence[str] | Exec, log: Any) -> None:
        self._options = options if isinstance(options, Exec) else Exec(list(options))
        self._log = log

    def do(self, batch: Batch, seconds: float) -> str:
        """Run it to its end."""
        argv = self._options.command
        command.run(argv, batch, _least(self._options.timeout, seconds), self._log)
        return f"ran {os.path.basename(argv[0])}"

    def describe(self, batch: Batch) -> str:
        """With its arguments: they are the configuration's, never the Pod's."""
        limit = "" if self._options.timeout is None else f", for {_shown(self._options.timeout)} at most"
        count = len(batch.changes)
        told = "the change" if count == 1 else f"{count} changes"
        return f"run {self._options.command} with {told} on standard input{limit}"

    def advice(self) -> Iterable[str]:
        """A program that isn't there."""
        program = self._options.command[0]
        if shutil.which(program) is None:
            there = os.path.exists(program) if "/" in program else False
            yield f"{program} {'is not executable by this user' if there else 'is not there'}"


class Call:
    """An HTTP request."""

    def __init__(self, options: str | http.Http, method: str = "POST") -> None:
        """``method``: where the options have none."""
        self._options = options if isinstance(options, http.Http) else http.Http(options)
        self._method = method

    def do(self, batch: Batch, seconds: float) -> str:
        """Send it, and take the answer."""
        return http.call(self._options, batch.current, seconds, method=self._method)

    def describe(self, batch: Batch) -> str:
        """Method, URL, body; no values of headers."""
        return http.describe(self._options, batch.current, method=self._method)

    def advice(self) -> Iterable[str]:
        """Nothing that could be known without sending it."""
        return ()


class Send:
    """A signal, to the app that kmetad wraps or to the process of a pid file."""

    def __init__(self, signal: signals.Signals, pid_file: str | None, app: App) -> None:
        self._signal = signal
        self._pid_file = pid_file
        self._app = app

    def do(self, batch: Batch, seconds: float) -> str:
        """Send it. While the app that kmetad wraps doesn't run, nothing happens."""
        if self._pid_file is not None:
            return f"{self._signal.name} to process {pidfile.send(self._signal, self._pid_file)}"
        try:
            self._app.signal(self._signal)
        except AppError as error:
            raise Fail(str(error)) from None
        return f"{self._signal.name} to the app" + (f" ({self._app.pid})" if self._app.pid else "")

    def describe(self, batch: Batch) -> str:
        """Which, and to whom."""
        whom = "the app" if self._pid_file is None else f"the process in {self._pid_file}"
        return f"send {self._signal.name} to {whom}"

    def advice(self) -> Iterable[str]:
        """A pid file may well come later."""
        return ()


class Restart:
    """The app that kmetad wraps, stopped and started. ``waits``: until it runs again."""

    def __init__(self, app: App, *, waits: bool) -> None:
        self._app = app
        self._waits = waits

    def do(self, batch: Batch, seconds: float) -> str:
        """Restart it; without waiting, as soon as all is done and acknowledged."""
        try:
            self._app.restart(_reason(batch), wait=seconds if self._waits else None)
        except AppError as error:
            raise Fail(f"restart: {error}") from None
        return "restarted the app"

    def describe(self, batch: Batch) -> str:
        """The same."""
        return "restart the app" + (", and wait until it runs again" if self._waits else "")

    def advice(self) -> Iterable[str]:
        """Nothing."""
        return ()


class Render:
    """Metadata, written into a file."""

    def __init__(self, options: write.Write) -> None:
        self._options = options

    def do(self, batch: Batch, seconds: float) -> str:
        """Write it, if that makes a difference."""
        changed = write.write(self._options, batch.current)
        return f"{'wrote' if changed else 'kept'} {self._options.file}"

    def describe(self, batch: Batch) -> str:
        """Which file, and whether it would change."""
        return write.describe(self._options, batch.current)

    def advice(self) -> Iterable[str]:
        """A directory that isn't there, or can't be written."""
        return write.advice(self._options)


class Nothing:
    """The outcome alone counts."""

    def do(self, batch: Batch, seconds: float) -> str:
        """Nothing."""
        return "nothing"

    def describe(self, batch: Batch) -> str:
        """The same."""
        return "do nothing but report it"

    def advice(self) -> Iterable[str]:
        """Nothing."""
        return ()


def step(action: Action, app: App, log: Any, *, waits: bool) -> Step:
    """The step that an action asks for. ``waits``: there is something to do after it, for which it has to be done."""
    if action.exec is not None:
        return Run(action.exec, log)
    if action.http is not None:
        return Call(action.http)
    if action.write is not None:
        return Render(action.write)
    if action.signal is not None:
        return Send(signal_of(action.signal), action.pid_file, app)
    return Restart(app, waits=waits) if action.restart else Nothing()


def _reason(batch: Batch) -> str:
    """What changed, in a few words; no values."""
    keys = [f"{change.type}:{change.key}" for change in batch.changes]
    more = f" and {len(keys) - _KEYS_SHOWN} more" if len(keys) > _KEYS_SHOWN else ""
    return ", ".join(keys[:_KEYS_SHOWN]) + more


def _least(timeout: timedelta | None, seconds: float) -> float:
    return seconds if timeout is None else min(timeout.total_seconds(), seconds)


def _shown(time: timedelta) -> str:
    return f"{time.total_seconds():g} s"
