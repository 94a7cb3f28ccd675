"""What the daemon does for the app that its supervisor wraps.

Plugins may ask for something of it (``Control``), are told what becomes of it, and
fill its environment (``Attended``); and the app may wait until all that is ready.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from kmetad import _log
from kmetad._config.signals import signal_number
from kmetad._daemon.environment import Environment
from kmetad._daemon.fillers import Fillers
from kmetad._daemon.supervisor import Supervisor
from kmetad._daemon.tagging import Tagging
from kmetad._delivery.lane import Lane
from kmetad._plugins import Instance
from kmetad._supervisor.settings import plain
from kmetad.errors import AppError
from kmetad.events import Batch
from kmetad.hookspecs import App, Skip
from kmetad.metadata import Snapshot
from kmetad.status import AppStatus

if TYPE_CHECKING:
    from kmetad._config import Config, Loaded

_GONE = "the process of kmetad that wraps the app has gone; this one ends as well"
_LONGEST_REASON = 200


class Wrapped:
    """The app, from the daemon's side."""

    def __init__(self, supervisor: Supervisor, config: Config) -> None:
        self.environment = Environment(config.run.env, config.plugins, supervisor.say_variables)
        self.tagging = Tagging(
            config.plugins,
            lambda tags, complete: supervisor.say("tags", tags, complete),
            config.run.sync_timeout,
        )
        self.readiness = Readiness(config.volumes, lambda: supervisor.say("ready"))
        self._supervisor = supervisor
        self._attended: dict[str, Attended] = {}
        self._lanes: Sequence[Lane] = ()
        self._fillers = Fillers()
        self._patience = config.run.sync_timeout
        self._generation = 0
        self._log = _log.get_logger()

    def status(self) -> AppStatus:
        """How the app is, as far as the supervisor has said."""
        return AppStatus(self._supervisor.pid, self._supervisor.starts, self._supervisor.counts())

    def control(self, instance: str) -> Control:
        """What an instance may ask for."""
        return Control(self._supervisor, instance, lambda seconds: self._wait_for_fillers(instance, seconds))

    def attend(self, instance: Instance, control: Control) -> Attended:
        """An instance as its lane is to see it."""
        attended = Attended(
            instance, self.environment, self.tagging, control.delivering, self._fillers.came_to
        )
        if attended.fills:
            self._fillers.add(instance.name)
        if attended.tags:
            self.tagging.expect(instance.name)
        self._attended[instance.name] = attended
        return attended

    def came_to(self, instance: str) -> Callable[[int], None]:
        """What its lane calls with each generation that it is through with."""
        if not self._attended[instance].fills:
            return lambda generation: None
        return lambda generation: self._fillers.came_to(instance, generation)

    def introduce(self, loaded: Loaded, *, checked: bool) -> None:
        """Say who is here: what a daemon before this one said is void. ``checked``: that there is no fault."""
        self._supervisor.say("hello")
        if loaded.file is not None and not loaded.fatal:
            self._supervisor.say("run", plain(loaded.config))
        if checked:
            self._supervisor.say("checked")
        self.tagging.begin()

    def fillers(self) -> list[str]:
        """The instances that have something for the app's environment."""
        return [name for name, attended in self._attended.items() if attended.fills]

    def taggers(self) -> list[str]:
        """The instances that have something for the app's log lines."""
        return [name for name, attended in self._attended.items() if attended.tags]

    def follow(self, snapshot: Snapshot) -> None:
        """What the Pod is now. Before any plugin is told of it: one that restarts the app finds its variables said."""
        self.environment.follow(snapshot)
        self.readiness.saw(snapshot)
        self._generation = snapshot.generation

    def listen(self, lanes: Sequence[Lane], stop: Callable[[], None], log: Any) -> None:
        """Hear what becomes of the app and tell the lanes; ``stop`` is called when the daemon has to end."""
        self._lanes = lanes
        self._supervisor.listen(self._told, stop, log)

    def _wait_for_fillers(self, asking: str, seconds: float) -> None:
        """Before the app is started anew: other plugins may have variables for what the Pod is now."""
        patience = min(self._patience, seconds)

        def hopeless() -> set[str]:
            states = {lane.name: lane.status().state for lane in self._lanes}
            return {asking, *(name for name, state in states.items() if state == "stuck")}

        behind = self._fillers.wait(self._generation, patience, without=hopeless)
        if late := [name for name in behind if name != asking]:
            effect = "the app's next start has the variables that they gave last"
            self._log.warning(
                "environment.behind", plugins=late, waited_for="their kmetad_app_env", effect=effect
            )

    def _told(self, what: str, *values: int) -> None:
        for lane in self._lanes:
            self._attended[lane.name].tell(lane, what, values)


class Control(App):
    """The app as one instance has it."""

    def __init__(
        self,
        supervisor: Supervisor,
        instance: str,
        wait_for_others: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """``wait_for_others``: until their part of the app's next environment is said, so many seconds at most."""
        super().__init__(wrapped=True)
        self._supervisor = supervisor
        self._instance = instance
        self._wait_for_others = wait_for_others
        self._delivering_on = 0
        self._asked: list[str] = []

    @property
    def pid(self) -> int:
        return self._supervisor.pid

    @property
    def starts(self) -> int:
        return self._supervisor.starts

    def signal(self, signal: int | str) -> None:
        if not self._supervisor.say("signal", int(signal_number(signal))):
            raise AppError(_GONE)

    def restart(self, reason: str = "", *, wait: float | None = None) -> None:
        reason = "".join(c if c.isprintable() else " " for c in reason[:_LONGEST_REASON])
        if wait is not None:
            self._restart_and_wait(reason, wait)
        elif threading.get_ident() == self._delivering_on:
            self._asked.append(reason)
        else:
            self._restart(reason)

    @contextmanager
    def delivering(self) -> Iterator[None]:
        """A restart that is asked for within, on this thread, is asked for at its end; not at all if it raises.

        So the next start has the variables that the instance gives by then, and a delivery
        that is tried again restarts the app once.
        """
        self._delivering_on = threading.get_ident()
        try:
            try:
                yield
            except Skip:  # that acknowledges it as well
                self._pass_on()
                raise
            self._pass_on()
        finally:
            self._delivering_on = 0
            self._asked.clear()

    def _pass_on(self) -> None:
        if self._asked:
            self._restart(self._asked[0])

    def _restart_and_wait(self, reason: str, wait: float) -> None:
        end = time.monotonic() + min(wait, threading.TIMEOUT_MAX)

        def left() -> float:
            return max(0.0, end - time.monotonic())

        self._wait_for_others(left())
        self._supervisor.wait_for_news(left())
        starts = self._supervisor.starts  # only now: it may have been started meanwhile, for another reason
        self._say_restart(reason)
        if not self._supervisor.wait_for_start(starts, left()):
            if self._supervisor.ends:
                raise AppError("kmetad stops, so the app is not started anew")
            raise AppError(
                f"the app has not started anew within {wait:.3g} s; stopping it may take run.stop_timeout"
            )

    def _restart(self, reason: str) -> None:
        self._wait_for_others(threading.TIMEOUT_MAX)
        self._say_restart(reason)

    def _say_restart(self, reason: str) -> None:
        if not self._supervisor.say("restart", f"{self._instance}: {reason}" if reason else self._instance):
            raise AppError(_GONE)


class Attended:
    """An instance as its lane sees it: what it has for the app's environment and lines is a part of each delivery."""

    def __init__(
        self,
        instance: Instance,
        environment: Environment,
        tagging: Tagging | None = None,
        delivering: Callable[[], AbstractContextManager[None]] = nullcontext,
        filled: Callable[[str, int], None] = lambda instance, generation: None,
    ) -> None:
        """``filled`` is called with the name, and the generation for which it has given its variables."""
        self.name = instance.name
        self._instance = instance
        self._environment = environment
        self._tagging = tagging
        self._delivering = delivering
        self._filled = filled
        self._log = _log.get_logger(plugin=instance.name)
        self._refused: dict[str, str] = {}
        self.fills = "kmetad_app_env" in instance.hooks
        """Whether it has something for the app's environment."""
        self.tags = tagging is not None and "kmetad_log_tags" in instance.hooks
        """Whether it has something for the app's log lines."""
        self._too_much = ""

    def start(self, snapshot: Snapshot) -> Any:
        with self._delivering(), self._filling(snapshot):
            return self._instance.start(snapshot)

    def deliver(self, batch: Batch) -> Any:
        with self._delivering(), self._filling(batch.current):
            return self._instance.deliver(batch)

    def stop(self) -> None:
        self._instance.stop()

    def tell(self, lane: Lane, what: str, values: tuple[int, ...]) -> None:
        """Have its lane tell it what the app did, if it has a hook for that."""
        instance = self._instance
        if what == "started" and "kmetad_on_app_start" in instance.hooks:
            lane.tell("on_app_start", lambda: instance.app_started(*values))
        elif what == "exited" and "kmetad_on_app_exit" in instance.hooks:
            lane.tell("on_app_exit", lambda: instance.app_exited(*values))

    @contextmanager
    def _filling(self, snapshot: Snapshot) -> Iterator[None]:
        """Ask for its variables and tags at the end, also where it skips; not where it fails."""
        try:
            yield
        except Skip:
            self._fill(snapshot)
            raise
        self._fill(snapshot)

    def _fill(self, snapshot: Snapshot) -> None:
        if self._tagging is not None and self.tags:
            refused = self._tagging.take(self.name, self._instance.log_tags(snapshot))
            if refused and refused != self._too_much:
                effect = "lines go on with the tags of before"
                self._log.error("log_tags.refused", fault=refused, effect=effect)
            self._too_much = refused
        if self.fills:
            self._fill_environment(snapshot)

    def _fill_environment(self, snapshot: Snapshot) -> None:
        refused = self._environment.take(self.name, self._instance.app_env(snapshot))
        for variable, why in refused.items():
            if self._refused.get(variable) != why:
                self._log.error("environment.variable", variable=variable, fault=why)
        self._refused = refused
        self._filled(self.name, snapshot.generation)


class Readiness:
    """Calls ``ready`` once: when the declared volumes can be read, and each plugin's ``on_start`` returned."""

    def __init__(self, volumes: Iterable[str], ready: Callable[[], object]) -> None:
        self._volumes = tuple(volumes)
        self._ready = ready
        self._lock = threading.Lock()
        self._volumes_speak = self._plugins_begun = self._told = False

    def saw(self, snapshot: Snapshot) -> None:
        """What the Pod is now."""
        sources = snapshot.sources
        self._volumes_speak = all(name in sources and sources[name].speaks for name in self._volumes)
        self._look()

    def begun(self) -> None:
        """Each ``on_start`` has returned."""
        self._plugins_begun = True
        self._look()

    def _look(self) -> None:
        with self._lock:
            if self._told or not (self._volumes_speak and self._plugins_begun):
                return
            self._told = True
        self._ready()
