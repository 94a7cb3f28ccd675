"""A daemon's life: start, watch and deliver, stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import MutableMapping, Sequence
from typing import Any

from kmetad import _log
from kmetad._config import Loaded, build_sources, find
from kmetad._daemon import limits
from kmetad._daemon.api_client import shared_client
from kmetad._daemon.arguments import Arguments
from kmetad._daemon.counting import Counting
from kmetad._daemon.instances import make_lanes
from kmetad._daemon.journal import PACE, Journal
from kmetad._daemon.notify import Notify
from kmetad._daemon.places import places
from kmetad._daemon.renewal import Renewal
from kmetad._daemon.service import Service
from kmetad._daemon.signals import Signals
from kmetad._daemon.status import Introspection
from kmetad._daemon.status_socket import StatusSocket
from kmetad._daemon.streams import redirect_stdout
from kmetad._daemon.supervisor import Supervisor
from kmetad._daemon.wrapped import Wrapped
from kmetad._delivery.lane import Lane
from kmetad._delivery.lanes import Lanes
from kmetad._delivery.match import Filter
from kmetad._delivery.memory import Memory
from kmetad._sources.content import NOTHING, Source
from kmetad._sources.file import File
from kmetad._watch import Watch
from kmetad.errors import OWN_FAILURE, SourceError

_DIED = 0
"""In the queue of signals: a thread of kmetad's ended by itself."""
_STOP = 255
"""Likewise: the supervisor wants the daemon to end, or has gone. No signal has such a number."""
_RENEWAL = 254
"""Likewise: there is something to do about a new configuration."""
_SERVICE = 253
"""Likewise: there may be something that the service manager isn't told yet."""


def run(
    loaded: Loaded,
    *,
    environ: MutableMapping[str, str],
    strict: bool = False,
    verbose: bool = False,
    link: int | None = None,
    memory: int | None = None,
    niceness: int | None = None,
) -> int:
    """Watch and deliver until TERM or INT. Answers the exit code: 0, or 125 for a failure of kmetad's own.

    ``loaded`` is the configuration with the problems found in it. Any fault, of a plugin
    too, is the end, unless there is an app.

    ``link`` is a descriptor: of the socket to the supervisor of an app that is wrapped.
    With one, only ``strict`` makes faults an end: a daemon that is started beside an app that
    runs goes on with what is usable, and is never ready. ``memory`` is a descriptor, too: of
    the file with the lanes' state. ``niceness`` is what this process was started with, if it has
    replaced itself since.
    """
    config = loaded.config
    redirect_stdout()
    _log.configure(config.log.format, "debug" if verbose else config.log.level)
    log = _log.get_logger()
    supervisor = None if link is None else Supervisor(link)
    # Behind an app all this is the app's own affair; before any plugin is imported, which isn't to speak for kmetad.
    notify = Notify(environ if supervisor is None else {}, log)
    niceness = os.nice(0) if niceness is None else niceness
    refused = limits.apply(
        config.daemon.memory_limit, config.daemon.nice, config.daemon.oom_score_adj, niceness
    )
    remembered = Memory(memory, log, config.state.dir)
    sources = build_sources(config, environ, remembered.digest_key)
    if remembered.pod is not None and _pod_of(sources) not in (None, remembered.pod):
        remembered.drop()
    watch = Watch(sources, rescan=config.watch.rescan, before=remembered.last)
    lanes = Lanes(lambda: service.changed())
    counting = Counting()
    wrapped = None if supervisor is None else Wrapped(supervisor, config)
    own = Introspection(
        loaded.file,
        config.volumes,
        lambda: watch.snapshot,
        lanes.status,
        counts=counting.counts,
        app=None if wrapped is None else wrapped.status,
        state=None if remembered.disk is None else remembered.disk.status,
    )
    service = Service(
        notify,
        own.status,
        lambda: signals.put(_SERVICE),
        lambda answer: watch.ask(lambda: lanes.ask(answer)),
    )
    api = shared_client(config, counted=counting.asked)
    made, instances, faults = make_lanes(
        loaded, lanes, remembered, lambda: watch.snapshot, own.status, api, wrapped, service.changed
    )

    problems = [*map(str, loaded.problems), *faults]
    own.found(problems)
    for problem in problems:
        log.error("config.fault", fault=problem)
    if problems and (strict or supervisor is None):
        service.attend()
        return OWN_FAILURE
    for limit in refused:
        log.warning("daemon.limit_refused", fault=limit)

    signals = Signals((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    threading.excepthook = lambda ended: _thread_ended(ended, signals, log)
    journal = Journal(log, loaded, instances, wrapped)
    if wrapped is not None:
        wrapped.introduce(loaded, checked=strict)
    lanes.start(
        made,
        last=Lane(journal, Filter(), PACE, log),
        begun=wrapped.readiness.begun if wrapped is not None and not problems else lambda: None,
    )
    status_socket = StatusSocket(places(config.state.dir, environ), own.document, log)
    status_socket.start()
    if wrapped is not None:
        wrapped.listen(made, lambda: signals.put(_STOP), log)
    renewal = Renewal(
        loaded,
        lambda: loaded.file or (find(None, environ) if supervisor is None else None),
        lambda: signals.put(_RENEWAL),
        own.refused,
        log,
        wrapped=supervisor is not None,
    )
    if loaded.file is not None:
        watch.beside(File(loaded.file), loaded.content, renewal.seen)
    watcher = threading.Thread(
        target=_watch, args=(watch, counting, lanes, service, wrapped), name="kmetad-watch", daemon=True
    )
    watcher.start()
    code = _wait(signals, renewal, service, log)
    seconds = config.run.drain_timeout
    if supervisor is not None and supervisor.stop_within is not None:
        seconds = supervisor.stop_within
    if code is None:
        service.reloading(seconds)
    else:
        service.stopping()
    deadline = time.monotonic() + seconds
    watch.stop()
    lanes.stop(seconds)
    watcher.join(max(0.0, deadline - time.monotonic()))
    status_socket.close()
    if code != OWN_FAILURE:  # whose lanes crashed is for the successor to count
        remembered.hand_over()
    log.info("kmetad.stopped")
    if code is None and signals.left() & {signal.SIGTERM, signal.SIGINT, _STOP}:
        service.stopping()
        code = 0  # it was told to end while it stopped for another
    if code is not None:
        return code
    if supervisor is None or supervisor.hear_no_more():
        service.hand_over()
        Arguments(
            config=renewal.file or "",
            strict=strict and supervisor is None,  # an app that runs by now isn't left without a daemon
            verbose=verbose,
            link=link,
            memory=remembered.fd,
            niceness=niceness,
            content=renewal.content,
            signals=signals.hand_over(),
        ).exec()
    return 0


def _wait(signals: Signals, renewal: Renewal, service: Service, log: Any) -> int | None:
    """Sleep until kmetad has to end: the exit code, or None where there is a new configuration to start anew with."""
    while True:
        service.attend()
        waits = [seconds for seconds in (renewal.patience(), service.patience()) if seconds is not None]
        received = signals.get(min(waits, default=None))
        if received == _DIED:
            return OWN_FAILURE
        if received == _STOP:
            log.info("kmetad.stopping", reason="the supervisor says so, or has gone")
            return 0
        if received in (signal.SIGTERM, signal.SIGINT):
            log.info("kmetad.stopping", signal=signal.Signals(received).name)
            return 0
        if received == signal.SIGHUP:
            renewal.ask()
        if renewal.proceed():
            return None


def _watch(watch: Watch, counting: Counting, lanes: Lanes, service: Service, wrapped: Wrapped | None) -> None:
    """The watching thread: wait, read, compare (all by ``Watch``), deliver."""
    with watch:
        for batch in watch:
            if wrapped is not None:
                wrapped.follow(batch.current)
            lanes.offer(batch)
            counting.saw(batch)
            service.changed()
            del batch  # while this thread waits, it holds no snapshot that nobody needs


def _thread_ended(ended: threading.ExceptHookArgs, signals: Signals, log: Any) -> None:
    """A thread has ended by an exception. One of kmetad's own must not be missed in silence: the daemon ends.

    Its successor goes on from the lanes' memory. A plugin's own thread is the plugin's business.
    """
    name = ended.thread.name if ended.thread is not None else "?"
    fault = (ended.exc_type, ended.exc_value or ended.exc_type(), ended.exc_traceback)
    if name.startswith("kmetad-"):
        signals.put(_DIED)  # first: where there is no memory left, there may be none to log with
        remedy = "this is a fault of kmetad; please report it"
        if isinstance(ended.exc_value, MemoryError):
            remedy = "find the plugin that takes so much memory, or raise daemon.memory_limit"
        log.critical("thread.died", thread=name, remedy=remedy, exc_info=fault)
    else:
        log.error("plugin.thread_died", thread=name, exc_info=fault)


def _pod_of(sources: Sequence[Source]) -> str | None:
    """The UID of the Pod, by a first look at the sources; None where none of them says."""
    for source in sources:
        try:
            uid = source.read(NOTHING).fields.get("metadata.uid")
        except SourceError:
            continue
        if uid is not None:
            return uid
    return None
