"""An instance of a plugin: made from its options, checked against the contract, called with batches.

Each has a plugin manager of its own: pluggy stops at the first hook that raises,
and one plugin's fault is no other's.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import pluggy

from kmetad import hookspecs
from kmetad._plugins.hooks import hooks_of
from kmetad._plugins.load import Loaded
from kmetad._plugins.place import where
from kmetad.errors import PluginError
from kmetad.events import TYPES, Batch, Outcome
from kmetad.hookspecs import Context, LogTags
from kmetad.metadata import Snapshot


class Instance:
    """See the module. Not safe for use from several threads: a lane calls it from its own alone."""

    def __init__(self, name: str, plugin: object) -> None:
        self.name = name
        self.plugin = plugin
        manager = pluggy.PluginManager("kmetad")
        manager.add_hookspecs(hookspecs)
        manager.register(plugin, name)
        manager.check_pending()
        self.manager = manager
        # Looked up once: a plugin with one hook costs one call for each batch.
        called = {
            caller.name: getattr(manager.hook, caller.name)
            for caller in manager.get_hookcallers(plugin) or ()
        }
        self.hooks: tuple[str, ...] = tuple(sorted(called))
        self._start = called.get("kmetad_on_start")
        self._stop = called.get("kmetad_on_stop")
        self._change = called.get("kmetad_on_change")
        self._app_start = called.get("kmetad_on_app_start")
        self._app_exit = called.get("kmetad_on_app_exit")
        self._app_env = called.get("kmetad_app_env")
        self._log_tags = called.get("kmetad_log_tags")
        self._applied = called.get("kmetad_on_applied")
        hooks = {type_: called.get(f"kmetad_on_{type_}") for type_ in TYPES}
        self._by_type = {type_: hook for type_, hook in hooks.items() if hook is not None}

    def start(self, snapshot: Snapshot) -> Any:
        """``on_start``. Answers what it returned."""
        return None if self._start is None else _only(self._start(snapshot=snapshot))

    def deliver(self, batch: Batch) -> Any:
        """The hooks for single changes, in the batch's order, then ``on_change``. Answers what that returned."""
        if self._by_type:
            for change in batch.changes:
                hook = self._by_type.get(change.type)
                if hook is not None:
                    hook(change=change)
        return None if self._change is None else _only(self._change(batch=batch))

    def applied(self, outcome: Outcome) -> None:
        """``on_applied``."""
        if self._applied is not None:
            self._applied(outcome=outcome)

    def app_started(self, pid: int, starts: int) -> None:
        """``on_app_start``."""
        if self._app_start is not None:
            self._app_start(pid=pid, starts=starts)

    def app_exited(self, code: int, signal: int, starts: int) -> None:
        """``on_app_exit``."""
        if self._app_exit is not None:
            self._app_exit(code=code, signal=signal, starts=starts)

    def app_env(self, snapshot: Snapshot) -> Mapping[str, str]:
        """``app_env``: variables for the app; empty without the hook. Raises TypeError for anything else."""
        given = None if self._app_env is None else self._app_env(snapshot=snapshot)
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            raise TypeError(f"kmetad_app_env answered {type(given).__name__}, expected a dict of texts")
        for name, value in given.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise TypeError(
                    f"kmetad_app_env answered {name!r} with a value of type {type(value).__name__}, "
                    "expected texts: str() makes one"
                )
        return given

    def log_tags(self, snapshot: Snapshot) -> LogTags | None:
        """``log_tags``; None without the hook, too. Raises TypeError for anything else."""
        given = None if self._log_tags is None else self._log_tags(snapshot=snapshot)
        if given is not None and not isinstance(given, LogTags):
            raise TypeError(f"kmetad_log_tags answered {type(given).__name__}, expected kmetad.LogTags")
        return given

    def stop(self) -> None:
        """``on_stop``."""
        if self._stop is not None:
            self._stop()


def _only(answers: list[Any]) -> Any:
    """Of the one plugin that was called; pluggy leaves out None."""
    return answers[0] if answers else None


def make(loaded: Loaded, name: str, options: object | None, context: Context) -> Instance:
    """Construct a plugin and check its hooks. Raises PluginError."""
    check_hooks(loaded.plugin, name, loaded.origin)
    offered = {"options": options, "context": context} if options is not None else {"context": context}
    try:
        wanted = inspect.signature(loaded.plugin).parameters
    except (TypeError, ValueError):
        wanted = inspect.signature(lambda: None).parameters
    unknown = [
        parameter.name
        for parameter in wanted.values()
        if parameter.name not in offered
        and parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if unknown:
        raise PluginError(
            f"plugins.{name}: Plugin.__init__ of {loaded.origin} wants {', '.join(unknown)}; "
            f"it may take options (with a class Options beside it) and context"
        )
    try:
        plugin = loaded.plugin(**{key: value for key, value in offered.items() if key in wanted})
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise PluginError(
            f"plugins.{name}: making it raised {type(error).__name__}: {error}{where(error)}"
        ) from error
    try:
        return Instance(name, plugin)
    except pluggy.PluginValidationError as error:
        # The class was looked through before; left is what __init__ did to its object.
        raise PluginError(f"plugins.{name}: {str(error).replace(chr(10), ', ')}") from error


def check_hooks(plugin: type, name: str, origin: str) -> None:
    """Raises PluginError, a line a fault: misspelt hooks, unmarked ones, wrong arguments, or none at all."""
    _, faults = hooks_of(plugin, origin)
    if faults:
        raise PluginError("\n".join(f"plugins.{name}: {fault}" for fault in faults))
