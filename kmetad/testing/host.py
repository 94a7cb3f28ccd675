"""A host for one plugin: feeds it changes as kmetad does, in the caller's own thread.

What a hook raises reaches the test. For the whole daemon, with retries and threads,
run ``kmetad run`` on a ``Volume``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from kmetad._config.signals import signal_number
from kmetad._delivery.cursor import Cursor
from kmetad._plugins import Instance, Loaded, load, make
from kmetad.errors import PluginError
from kmetad.events import Batch, Outcome
from kmetad.hookspecs import App, Context, Fail, LogTags, Retry, Skip
from kmetad.metadata import Digest, Resource, Snapshot
from kmetad.quantity import Quantity
from kmetad.status import NOT_RUNNING

if TYPE_CHECKING:
    from kmetad.api import Client

SOURCE = "podinfo"
"""What the host's changes name as their source."""


class RecordedApp(App):
    """The app of a host: no process, but a record of what was asked for."""

    def __init__(self, *, wrapped: bool = True) -> None:
        super().__init__(wrapped=wrapped)
        self.signals: list[int] = []
        """The signals that it was to be sent, by number."""
        self.restarts: list[str] = []
        """The reasons of the restarts that were asked for, also where the hook raised afterwards."""
        self._pid = self._starts = 0

    @property
    def pid(self) -> int:
        """As ``Host.app_started`` said."""
        return self._pid

    @property
    def starts(self) -> int:
        """How often ``Host.app_started`` was called."""
        return self._starts

    def became(self, pid: int, starts: int) -> None:
        """It runs as this process (0: it doesn't) after so many starts."""
        self._pid, self._starts = pid, starts

    def signal(self, signal: int | str) -> None:
        """Recorded in ``signals``."""
        if not self.wrapped:
            super().signal(signal)
        self.signals.append(signal_number(signal))

    def restart(self, reason: str = "", *, wait: float | None = None) -> None:
        """Recorded in ``restarts``; with ``wait`` it starts anew at once."""
        if not self.wrapped:
            super().restart(reason, wait=wait)
        self.restarts.append(reason)
        if wait is not None and self._pid:
            self.became(self._pid + 1, self._starts + 1)


class Host:
    """One plugin, and a Pod that does what the test says.

    It is told what kmetad would tell it: after a delivery that raised, every key in which the
    Pod differs from what the plugin may hold. ``Skip`` acknowledges, as it does in kmetad.

    ``plugin`` is its class, or a file's path. The other arguments are the plugin's
    options, checked as the TOML's would be. Raises PluginError and ConfigError where
    kmetad would refuse it.

    >>> host = Host(Plugin, greeting="hi")  # doctest: +SKIP
    >>> host.start(labels={"app": "web"})  # doctest: +SKIP
    >>> host.set(labels={"app": "api"})  # doctest: +SKIP

    The plugin finds an app that kmetad wraps; ``Host.without_app(Plugin, …)`` is one where there is none.
    """

    def __init__(self, plugin: type | str, /, **options: Any) -> None:
        self._make(plugin, options, wrapped=True)

    @classmethod
    def without_app(cls, plugin: type | str, /, **options: Any) -> Self:
        """The same where kmetad wraps no app, as in a sidecar: asking for anything of it raises AppError."""
        host = cls.__new__(cls)
        host._make(plugin, options, wrapped=False)
        return host

    def _make(self, plugin: type | str, options: dict[str, Any], *, wrapped: bool) -> None:
        from kmetad import _log
        from kmetad._config import options as make_options

        if isinstance(plugin, str):
            loaded = load("test", path=plugin)
        else:
            import sys

            module = sys.modules.get(plugin.__module__)
            loaded = Loaded(plugin, getattr(module, "Options", None), plugin.__module__)
        own: object | None = None
        if loaded.options_type is not None:
            own = make_options(loaded.options_type, options, "test")
        elif options:
            raise PluginError(
                f"{loaded.origin} has no class Options, so it takes none of {', '.join(options)}"
            )
        self.snapshot = Snapshot()
        """What the Pod is now."""
        self._cursor = Cursor(self.snapshot)
        self._failed = 0
        self.batches: list[Batch] = []
        """What was delivered."""
        self.outcomes: list[Outcome] = []
        """What others would be told of each try, ``on_start`` included (``kmetad_on_applied``)."""
        self.app = RecordedApp(wrapped=wrapped)
        """The app: what the plugin asked of it, and what it does as the test says."""
        self.environment: dict[str, str] = {}
        """What the plugin has for the app's next start (``kmetad_app_env``), as it said last."""
        self.log_tags: LogTags | None = None
        """What it has for the app's log lines (``kmetad_log_tags``), as it said last."""
        self.status = NOT_RUNNING
        """How kmetad is, as the plugin is told (``context.status()``)."""
        self.api: Client | None = None
        """The client of an API server that the plugin is given (``context.api()``); None: there is no server."""
        context = Context(
            "test",
            _log.get_logger(plugin="test"),
            lambda: self.snapshot,
            self.app,
            lambda: self.status,
            api=self._client,
        )
        self.instance: Instance = make(loaded, "test", own, context)

    @property
    def plugin(self) -> Any:
        """The plugin's object."""
        return self.instance.plugin

    def start(self, **pod: Mapping[str, Any]) -> None:
        """``on_start``, with what ``set`` takes; then ``app_env``."""
        self.snapshot = self._changed(pod)
        with self._acknowledging() as returned:
            returned.append(self.instance.start(self.snapshot))
            self._fill()

    def set(self, **pod: Mapping[str, Any]) -> Batch | None:
        """Change the Pod and deliver, ``app_env`` included. Answers the batch, or None where nothing differs.

        By part of a snapshot, what is to be there; what isn't named stays as it was:
        ``labels``, ``annotations``, ``fields``: texts; ``files``: contents, as text or
        bytes; ``resources``: quantities (``{"app.limits.cpu": "250m"}``).
        """
        self.snapshot = self._changed(pod)
        changes = self._cursor.pending(self.snapshot)
        if not changes:
            return None
        batch = Batch(
            changes, self._cursor.acknowledged, self.snapshot, time.time_ns(), attempt=self._failed + 1
        )
        self._deliver(batch)
        return batch

    def again(self, attempt: int = 2) -> None:
        """Deliver the last batch once more, as after a failure."""
        self._deliver(replace(self.batches[-1], attempt=attempt))

    def app_started(self, pid: int = 4242) -> None:
        """The app starts, once more than before: ``on_app_start``."""
        self.app.became(pid, self.app.starts + 1)
        self.instance.app_started(pid, self.app.starts)

    def app_exited(self, code: int = 0, signal: int | str = 0) -> None:
        """The app ends by itself with a code, or by a signal: ``on_app_exit``."""
        number = signal_number(signal) if signal else 0
        self.app.became(0, self.app.starts)
        self.instance.app_exited(128 + number if number else code, number, self.app.starts)

    def stop(self) -> None:
        """``on_stop``."""
        self.instance.stop()

    def _deliver(self, batch: Batch) -> None:
        self.batches.append(batch)
        with self._acknowledging(batch) as returned:
            returned.append(self.instance.deliver(batch))
            self._fill()

    @contextmanager
    def _acknowledging(self, batch: Batch | None = None) -> Iterator[list[Any]]:
        """Remember, as a lane does, what the plugin knows by the end of this."""
        changes = batch.changes if batch is not None else ()
        attempt = batch.attempt if batch is not None else 1
        returned: list[Any] = []
        started_ns = time.time_ns()

        def came_out(result: Any, error: str = "", detail: Any = None) -> None:
            seconds = (time.time_ns() - started_ns) / 1e9
            plain = detail if isinstance(detail, Mapping) else {}
            when = attempt, started_ns, seconds
            self.outcomes.append(Outcome("test", result, changes, self.snapshot, *when, error, plain))

        try:
            yield returned
        except Skip as skip:
            self._acknowledge()
            came_out("skipped", skip.reason)
            raise
        except BaseException as error:
            self._failed += 1
            self._cursor.show(changes)
            said = str(error) if isinstance(error, (Fail, Retry)) else f"{type(error).__name__}: {error}"
            came_out("postponed" if isinstance(error, Retry) else "failed", said)
            raise
        self._acknowledge()
        came_out("applied", detail=returned[0])

    def applied(self, outcome: Outcome) -> None:
        """Another instance did this: ``on_applied``."""
        self.instance.applied(outcome)

    def _client(self) -> Client:
        if self.api is None:
            from kmetad.api import NoServer

            raise NoServer("no API server: the test has set none (Host.api)")
        return self.api

    def _acknowledge(self) -> None:
        self._failed = 0
        self._cursor.acknowledge(self.snapshot)

    def _fill(self) -> None:
        self.environment = dict(self.instance.app_env(self.snapshot))
        self.log_tags = self.instance.log_tags(self.snapshot)

    def _changed(self, pod: Mapping[str, Mapping[str, Any]]) -> Snapshot:
        made = {"files": _digest, "resources": _resource}
        parts: dict[str, Any] = {}
        for part, values in pod.items():
            convert = made.get(part, str)
            parts[part] = MappingProxyType({key: convert(value) for key, value in values.items()})
        types = ("label", "annotation", "field", "resource", "file", "token", "trust")
        origins = MappingProxyType(dict.fromkeys(types, SOURCE))
        return replace(self.snapshot, **parts, generation=self.snapshot.generation + 1, origins=origins)


def _digest(content: Any) -> Digest:
    return (
        content
        if isinstance(content, Digest)
        else Digest(content if isinstance(content, bytes) else content.encode())
    )


def _resource(value: Any) -> Resource:
    if isinstance(value, Resource):
        return value
    # As the kubelet writes it, with the finest divisor that gives a whole number.
    quantity, divisor = Quantity(str(value)), Quantity("1m")
    return Resource(quantity.milli, divisor)
