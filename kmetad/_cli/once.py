"""``kmetad run --once``: wait for a first snapshot, fill the environment, and become the command.

Plugins with ``kmetad_app_env`` are called as in a daemon: ``on_start``, ``app_env``, ``on_stop``. All
others are made, so that their faults are told, and not called: nobody is left who could tell
them of a change.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from kmetad._daemon.api_client import shared_client
from kmetad._daemon.environment import Environment, encode
from kmetad._daemon.instances import make_instance
from kmetad._daemon.signals import Signals
from kmetad._daemon.wrapped import Attended, Readiness
from kmetad._delivery.lane import Lane
from kmetad._delivery.lanes import Lanes
from kmetad._delivery.match import Filter
from kmetad._delivery.pace import Pace
from kmetad._supervisor import command as commands
from kmetad._supervisor.messages import say
from kmetad._supervisor.signals import CHANGED_BY_PYTHON
from kmetad._watch import Watch
from kmetad.errors import OWN_FAILURE, ConfigError, PluginError
from kmetad.hookspecs import App

if TYPE_CHECKING:
    from kmetad._config import Config, Loaded

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_READY, _DIED = 0, 255
"""In the queue of signals, where no signal has such a number."""
_NOBODY = "`kmetad run --once` leaves nobody behind who could signal the app, or restart it"


def run(loaded: Loaded, command: Sequence[str], environ: Mapping[str, str], *, strict: bool) -> int:
    """Become the command. Answers an exit code where that can't be.

    125 for faults of the configuration, as ``kmetad run`` has it with ``strict`` and without;
    126 or 127 for a command that can't be run, 128 + n where signal n came first. The
    volumes that aren't there within ``run.sync_timeout`` are told of, and done without.
    """
    from kmetad import _log
    from kmetad._config import build_sources

    config = loaded.config
    _log.configure(config.log.format, config.log.level)
    watch = Watch(build_sources(config, environ, os.urandom(32)), rescan=config.watch.rescan)
    lanes = Lanes()
    variables: dict[str, str] = {}
    environment = Environment(config.run.env, config.plugins, lambda differ: _merge(variables, differ))
    fillers, faults = _fillers(config, watch, lanes, environment)
    problems = [*map(str, loaded.problems), *faults]
    for problem in problems:
        say(problem)
    if problems and (strict or loaded.fatal):
        return OWN_FAILURE

    signals = Signals(number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN)
    readiness = Readiness(config.volumes, lambda: signals.put(_READY))
    watcher = threading.Thread(
        target=_look, args=(watch, lanes, environment, readiness, signals), name="kmetad-watch", daemon=True
    )
    lanes.start(fillers, begun=readiness.begun)
    watcher.start()
    came = signals.get(config.run.sync_timeout)
    if came is None:
        _tell_why(config, watch)
    deadline = time.monotonic() + config.run.drain_timeout
    watch.stop()
    lanes.stop(config.run.drain_timeout)
    watcher.join(max(0.0, deadline - time.monotonic()))
    for variable, why in environment.news().items():
        say(f"run.env.{variable}: {why}")
    while came in (None, _READY, _DIED):
        came = signals.get(0)
        if came is None:
            signals.restore()
            return become(command, {**commands.environment(), **variables})
    assert came is not None
    say(f"{signal.Signals(came).name} came before the command was started")
    return 128 + came


def become(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """Replace this process by the command. Answers an exit code if that can't be, and says why."""
    for number in CHANGED_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)

    def replace(path: str, argv: Sequence[str]) -> NoReturn:
        os.execve(path, [*argv], environ)

    try:
        commands.launch(command, environ, replace)
    except commands.CommandError as error:
        say(str(error))
        return error.code


def _merge(variables: dict[str, str], differ: Mapping[str, str | None]) -> None:
    for name, value in differ.items():
        if value is None:
            variables.pop(name, None)
        else:
            variables[name] = os.fsdecode(encode(value))  # as os.environ has it, whatever the locale is


def _fillers(
    config: Config, watch: Watch, lanes: Lanes, environment: Environment
) -> tuple[list[Lane], list[str]]:
    """A lane for each instance that has variables, and what is wrong with instances of any kind."""
    from kmetad import _log

    app = App(wrapped=True, why=_NOBODY)
    api = shared_client(config)
    made: list[Lane] = []
    faults: list[str] = []
    for table in config.plugins.values():
        try:
            instance = make_instance(table, lambda: watch.snapshot, app, api=api)
        except (ConfigError, PluginError) as error:
            faults += str(error).splitlines()
            continue
        if "kmetad_log_tags" in instance.hooks:
            say(
                f"plugins.{table.name}: the app's lines get no tags: `kmetad run --once` leaves nobody behind for that"
            )
        attended = Attended(instance, environment)
        if attended.fills:
            retry = table.lane.retry
            pace = Pace(
                timeout=table.lane.timeout,
                retry_initial=retry.initial,
                retry_max=retry.max,
                retry_attempts=retry.attempts,
            )
            log = _log.get_logger(plugin=table.name)
            made.append(Lane(attended, Filter(table.match), pace, log, entered=lanes.entered))
    return made, faults


def _look(
    watch: Watch, lanes: Lanes, environment: Environment, readiness: Readiness, signals: Signals
) -> None:
    """The watching thread, as the daemon's."""
    try:
        with watch:
            for batch in watch:
                environment.follow(batch.current)
                readiness.saw(batch.current)
                lanes.offer(batch)
    except BaseException:
        import traceback

        say(f"watching failed; this is a fault of kmetad, please report it:\n{traceback.format_exc()}")
        signals.put(_DIED)


def _tell_why(config: Config, watch: Watch) -> None:
    """What the command has to do without."""
    from kmetad._config import format_duration

    say(
        f"the command is started without waiting any longer: the volumes and plugins were not ready "
        f"within {format_duration(config.run.sync_timeout)} (run.sync_timeout)"
    )
    for name, state in watch.snapshot.sources.items():
        if name in config.volumes and not state.speaks:
            say(f"{name}: {state.error}")
