"""A daemon's life: start, watch and deliver, stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from io import TextIOWrapper
from typing import Any

from kmetad import _log
from kmetad._config import Loaded, build_sources, load, pending
from kmetad._daemon import limits
from kmetad._daemon.instances import make_lanes
from kmetad._daemon.journal import PACE, Journal
from kmetad._delivery.lane import Lane
from kmetad._delivery.lanes import Lanes
from kmetad._delivery.match import Filter
from kmetad._watch import Watch
from kmetad.errors import OWN_FAILURE

_DIED = 0
"""In the queue of signals: the watching thread ended by itself, which is a fault of kmetad."""


def run(loaded: Loaded, *, environ: Mapping[str, str], strict: bool = False, verbose: bool = False) -> int:
    """Watch and deliver until TERM or INT. Answers the exit code: 0, or 125 for a failure of kmetad's own.

    ``loaded`` is the configuration with the problems found in it. A fault that isn't
    fatal (a broken plugin) leaves the rest running, unless ``strict``.
    """
    config = loaded.config
    _redirect_stdout()
    _log.configure(config.log.format, "debug" if verbose else config.log.level)
    log = _log.get_logger()
    refused = limits.apply(config.daemon.memory_limit, config.daemon.nice, config.daemon.oom_score_adj)
    watch = Watch(build_sources(config, environ, os.urandom(32)), rescan=config.watch.rescan)
    lanes = Lanes(lambda name: _log.get_logger(plugin=name))
    made, faults = make_lanes(loaded, lanes, lambda: watch.snapshot)

    problems = [*map(str, loaded.problems), *faults]
    for problem in problems:
        log.error("config.fault", fault=problem)
    if problems and (strict or loaded.fatal):
        return OWN_FAILURE
    for limit in refused:
        log.warning("daemon.limit_refused", fault=limit)
    for sentence in pending(config):
        log.warning("config.not_in_this_version", what=sentence)

    signals = _Signals()
    journal = Journal(log, loaded, [lane.name for lane in made])
    lanes.start(made, last=Lane(journal, Filter(), PACE, log))
    watcher = threading.Thread(
        target=_watch, args=(watch, lanes, signals, log), name="kmetad-watch", daemon=True
    )
    watcher.start()
    code = _wait(signals, loaded, log)
    watch.stop()
    lanes.stop(config.run.drain_timeout)
    watcher.join(config.run.drain_timeout)
    log.info("kmetad.stopped")
    if code is None:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # the same process, configured anew
    return code


def _redirect_stdout() -> None:
    """Standard output is the app's: what a plugin prints goes where the log goes, line by line."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)


class _Signals:
    """TERM, INT and HUP, in the order in which they came.

    The interpreter's C handler writes each into a pipe (``set_wakeup_fd``). A queue filled
    by a Python handler would lose one that comes just before the main thread falls asleep.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._write, False)  # as set_wakeup_fd asks for
        signal.set_wakeup_fd(self._write)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: None)

    def get(self) -> int:
        """Sleep until there is one."""
        return os.read(self._read, 1)[0]

    def put(self, number: int) -> None:
        """As if it had come. From any thread."""
        os.write(self._write, bytes((number,)))


def _wait(signals: _Signals, loaded: Loaded, log: Any) -> int | None:
    """Sleep until kmetad has to end. The exit code; None if it is to start anew with a new configuration."""
    while True:
        received = signals.get()
        if received == _DIED:
            return OWN_FAILURE
        if received in (signal.SIGTERM, signal.SIGINT):
            log.info("kmetad.stopping", signal=signal.Signals(received).name)
            return 0
        if received != signal.SIGHUP:
            continue  # of a handler that a plugin has set up
        again = load(loaded.file)
        if not again.problems:
            log.info("config.reloading", file=again.file)
            return None
        for problem in again.problems:
            log.error("config.fault", fault=str(problem))
        log.error("config.kept", reason="the new configuration has faults; the one before stays in force")


def _watch(watch: Watch, lanes: Lanes, signals: _Signals, log: Any) -> None:
    """The watching thread: wait, read, compare (all by ``Watch``), deliver."""
    try:
        with watch:
            for batch in watch:
                lanes.offer(batch)
    except BaseException:
        log.critical("watch.died", remedy="this is a fault of kmetad; please report it", exc_info=True)
        signals.put(_DIED)
