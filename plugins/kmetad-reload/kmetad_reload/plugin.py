"""The plugin: options, and which action they ask for."""

from __future__ import annotations

import signal as signals
from collections.abc import Iterable
from datetime import timedelta

import msgspec

from kmetad import Batch, Context, hookimpl
from kmetad.errors import AppError
from kmetad_reload.command import run
from kmetad_reload.pidfile import send

_KEYS_SHOWN = 3


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.NAME]`` with ``use = "reload"``: exactly one of ``command``, ``signal`` and ``restart``."""

    command: list[str] | None = None
    timeout: timedelta = timedelta(seconds=25)
    signal: str | int | None = None
    pid_file: str | None = None
    restart: bool = False


class Plugin:
    """One rule."""

    def __init__(self, options: Options, context: Context) -> None:
        if (options.command is not None) + (options.signal is not None) + options.restart != 1:
            raise ValueError("set exactly one of command (a list), signal, and restart = true")
        if options.command is not None and not any(options.command[:1]):
            raise ValueError("command is empty; set a program and its arguments")
        if any("\0" in argument for argument in options.command or ()):
            raise ValueError("command holds a NUL, which no argument can")
        if options.timeout <= timedelta():
            raise ValueError("timeout has to be more than nothing")
        if options.signal is None and options.pid_file is not None:
            raise ValueError("pid_file is for signal only; remove it")
        if options.pid_file is not None and not options.pid_file:
            raise ValueError("pid_file is empty; name the file, or leave it out to signal the app")
        self._command = options.command
        self._timeout = options.timeout.total_seconds()
        self._signal = None if options.signal is None else signal_of(options.signal)
        self._pid_file = options.pid_file
        self._app = context.app
        self._log = context.log
        if self._command is None and self._pid_file is None and not self._app.wrapped:
            raise AppError(
                "restart is for the app that kmetad wraps, and it wraps none; start it with `kmetad run -- CMD`"
                if options.restart
                else "signal is for the app that kmetad wraps, and it wraps none; start it with "
                "`kmetad run -- CMD`, or set pid_file, the file that holds the process's number"
            )

    @hookimpl
    def kmetad_on_change(self, batch: Batch) -> None:
        """Act. What is raised leaves the batch unacknowledged, and it is tried again."""
        if self._command is not None:
            run(self._command, batch, self._timeout, self._log)
        elif self._signal is None:
            self._app.restart(_reason(batch))
        elif self._pid_file is None:
            self._app.signal(self._signal)
            self._log.info("reload.signalled", signal=self._signal.name, pid=self._app.pid)
        else:
            pid = send(self._signal, self._pid_file)
            self._log.info("reload.signalled", signal=self._signal.name, pid=pid)

    def simulate(self, batch: Batch) -> Iterable[str]:
        """What a batch would lead to, for ``kmetad check --simulate``."""
        if self._command is not None:
            told = f"{len(batch.changes)} change(s) on standard input"
            yield f"run {self._command} with {told}, {self._timeout:g} s at most"
        elif self._signal is None:
            yield "restart the app"
        else:
            whom = "the app" if self._pid_file is None else f"the process in {self._pid_file}"
            yield f"send {self._signal.name} to {whom}"


def _reason(batch: Batch) -> str:
    """What changed, in a few words; no values."""
    keys = [f"{change.type}:{change.key}" for change in batch.changes]
    more = f" and {len(keys) - _KEYS_SHOWN} more" if len(keys) > _KEYS_SHOWN else ""
    return ", ".join(keys[:_KEYS_SHOWN]) + more


def signal_of(value: str | int) -> signals.Signals:
    """A signal by name, with or without SIG, or by number. Raises ValueError."""
    try:
        if isinstance(value, int):
            return signals.Signals(value)
        return signals.Signals["SIG" + value.upper().removeprefix("SIG")]
    except (KeyError, ValueError):
        raise ValueError(
            f"signal: found {value!r}, expected a name such as HUP or a number such as 1"
        ) from None
