"""The supervisor: one loop that takes signals, waits for children, and hears the daemon.

The app's life, phase by phase; each but RUNNING has a deadline of its own::

    WAITING ───> RUNNING ─────────────> DRAINING ──> the end
    (for the      │   ^ └─> STOPPING ──> │   │
     daemon)      │   └──────────────────┘   └──> PAUSED ──> RUNNING
"""

from __future__ import annotations

import os
import time

from kmetad._supervisor import processes, signals
from kmetad._supervisor.command import CommandError
from kmetad._supervisor.daemon import Daemon
from kmetad._supervisor.leftovers import Leftovers
from kmetad._supervisor.messages import say
from kmetad._supervisor.policy import Policy
from kmetad._supervisor.settings import Settings
from kmetad._supervisor.variables import Variables
from kmetad.errors import OWN_FAILURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping
    from typing import Any

    from kmetad._supervisor.app import App

WAITING, RUNNING, STOPPING, DRAINING, PAUSED = "waiting", "running", "stopping", "draining", "paused"

_LAST_MOMENT = 1.0
"""Seconds until what was killed is gone. It takes none, unless the kernel is busy on its behalf."""


class Supervisor:
    """See the module. All signals are blocked, and the app runs already unless it is to wait for the daemon.

    ``settings`` is ``[run]``, in which ``overrides`` of the command line win over every
    configuration to come. ``options`` are the daemon's, ``environ`` is what kmetad was
    started with. ``strict``: no app before the daemon has found everything free of faults.
    """

    def __init__(
        self,
        app: App,
        settings: Settings,
        overrides: Mapping[str, Any],
        options: list[str],
        environ: Mapping[str, str],
        *,
        strict: bool,
    ) -> None:
        self._app = app
        self._settings = settings
        self._next_settings = settings
        self._overrides = overrides
        self._strict = strict
        self._variables = Variables(environ)
        self._policy = Policy()
        self._policy.started()
        self._daemon = Daemon(options, environ, self._hear)
        self._leftovers = Leftovers()
        self._phase = RUNNING
        self._deadline: float | None = None
        self._pause: float | None = None
        """Before the app is started again once nothing of it is left; None: that is the end."""
        self._asked_to_end = False
        """A signal from outside, so no policy starts the app again."""
        self._killed = False
        self._code = 0
        """What the end will answer."""
        self._ended = False

    def run(self) -> int:
        """Supervise until the app is done. Answers the exit code."""
        if not self._app.pid:
            self._enter(WAITING, self._settings.sync_timeout)
        info: signal.struct_siginfo | None = None
        self._daemon.due = time.monotonic()
        while not self._ended:
            try:
                self._step(info)
            except Exception as error:  # whatever it is, the app is not to end for it
                say(f"this is a fault of kmetad, please report it; the app is left alone\n{_told(error)}")
            info = signals.wait(self._patience())
        # Whatever the daemon's plugins have started is all that can be left.
        processes.signal_all(processes.descendants(), signals.KILL)
        self._reap()
        return self._code

    # -- the loop ---------------------------------------------------------------------

    def _patience(self) -> float | None:
        """Seconds until something is due; None if nothing is."""
        if self._ended:
            return 0.0
        all_dues = (self._deadline, self._daemon.due, self._app.output.held_until())
        dues = [due for due in all_dues if due is not None]
        return min(dues) - time.monotonic() if dues else None

    def _step(self, info: signal.struct_siginfo | None) -> None:
        if info is not None and (info.si_signo != signals.CHLD or signals.was_sent(info)):
            self._take(info.si_signo, from_terminal=not signals.was_sent(info))
        if info is not None and info.si_signo == signals.CHLD:
            try:
                self._daemon.listen()
            finally:
                self._reap()  # one SIGCHLD may stand for the app's end too, and no other comes
            self._app.output.listen()
        self._drain()
        now = time.monotonic()
        if self._daemon.due is not None and now >= self._daemon.due:
            self._start_daemon()
        if self._deadline is not None and now >= self._deadline and not self._ended:
            self._overdue()
            self._drain()

    def _reap(self) -> None:
        """Wait for every child that has ended: the app, the daemon, and orphans of both."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                if pid == self._app.pid:
                    self._app.stopped(os.WSTOPSIG(status))
            elif pid == self._app.pid:
                self._app_ended(os.waitstatus_to_exitcode(status))
            elif pid == self._daemon.pid:
                self._daemon_ended(os.waitstatus_to_exitcode(status))

    def _enter(self, phase: str, seconds: float | None) -> None:
        self._phase = phase
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def _overdue(self) -> None:
        """The phase has taken as long as it may."""
        self._deadline = None
        if self._phase == WAITING:
            self._wait_no_longer()
        elif self._phase == STOPPING:
            say(
                f"the app did not end within {self._settings.stop_timeout:g} s (run.stop_timeout); it is killed"
            )
            self._app.signal(signals.KILL, "group")
        elif self._phase == DRAINING and not self._killed:
            self._kill_rest()
        elif self._phase == DRAINING:
            self._go_on()
        elif self._phase == PAUSED:
            self._start_app()

    # -- signals from outside: they are the app's ---------------------------------------

    def _take(self, number: int, *, from_terminal: bool) -> None:
        asks_for_the_end = number in (signals.TERM, signals.INT, self._settings.stop_signal)
        if self._phase in (RUNNING, STOPPING):
            number = self._settings.rewrite_signals.get(number, number)
            if number:
                self._asked_to_end |= asks_for_the_end
                self._app.signal(number, self._settings.signal_scope, from_terminal=from_terminal)
        elif asks_for_the_end or number == signals.QUIT:
            # No app runs that could act on it.
            if self._phase == WAITING:
                say(f"{signals.name(number)} came before the app was started")
                self._code = 128 + number
            self._end()

    # -- the app ----------------------------------------------------------------------

    def _start_app(self) -> None:
        self._settings = self._next_settings
        try:
            while True:
                try:
                    self._app.start(self._settings, self._variables.now())
                    break
                except CommandError as error:
                    if not self._variables.step_back():
                        raise
                    say(f"{error}; so its environment stays as it was at the last start")
        except CommandError as error:
            say(str(error))
            self._code = error.code
            self._end()
            return
        self._variables.worked()
        self._policy.started()
        self._enter(RUNNING, None)
        self._tell_of_app()

    def _tell_of_app(self) -> None:
        self._daemon.tell("app_started", self._app.pid, self._app.starts)

    def _begin(self, start: str) -> None:
        """What an app with this ``start`` waits for has come."""
        if self._phase == WAITING and self._settings.start == start:
            self._start_app()

    def _wait_no_longer(self) -> None:
        waited = f"{self._settings.sync_timeout:g} s (run.sync_timeout)"
        if self._strict:
            say(f"the plugins could not be checked within {waited}, so the app is not started (--strict)")
            self._code = OWN_FAILURE
            self._end()
        else:
            say(f"volumes and plugins are not ready after {waited}; the app is started without them")
            self._start_app()

    def _restart(self, reason: str) -> None:
        """Stop the app, and start it again with what its environment is by then."""
        if self._phase != RUNNING or self._asked_to_end:
            return
        say("the app is restarted" + (f": {reason}" if reason else ""))
        self._enter(STOPPING, self._settings.stop_timeout)
        self._app.signal(self._settings.stop_signal, self._settings.signal_scope)
        self._app.signal(signals.CONT, "group")  # if it is stopped, it would not come to it

    def _app_ended(self, ended: int) -> None:
        """``ended``: its exit code, or a signal's number, negative."""
        number = max(0, -ended)
        code = 128 + number if number else ended
        self._app.ended()
        # Half of the time at most: the plugins' on_stop has to come behind it.
        self._app.output.app_ended(self._settings.drain_timeout / 2)
        self._daemon.tell("app_exited", code, number, self._app.starts)
        note = ""
        if self._asked_to_end:
            self._pause = None
        elif self._phase == STOPPING:
            self._pause = 0.0
            self._policy.restarted()
        else:
            self._pause, code, note = self._policy.ended(code, self._settings.restart)
        self._code = self._settings.exit_codes.get(code, code)
        if self._code != code and self._pause is None:
            note += f"; kmetad exits with {self._code} (run.exit_codes)"
        if ended and self._phase != STOPPING or note:
            how = f"was ended by {signals.name(number)}" if number else f"exited with {ended}"
            say(f"{os.path.basename(self._settings.command[0])} {how}{note}")
        self._enter(DRAINING, self._settings.drain_timeout)
        self._killed = False
        self._leftovers = Leftovers()

    # -- what is left when it has ended -------------------------------------------------

    def _end(self) -> None:
        """No app is started any more."""
        self._pause = None
        if self._phase != DRAINING:
            self._enter(DRAINING, self._settings.drain_timeout)
            self._killed = False
        self._stop_daemon()

    def _stop_daemon(self) -> None:
        left = 0.0 if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        self._daemon.stop(left)

    def _drain(self) -> None:
        """In that phase: have all that is left end, and go on when it has."""
        if self._phase != DRAINING:
            return
        output = self._app.output
        left = self._leftovers.ask(self._daemon.sessions)
        # What the app has written may still wait for the first tags, which are the daemon's.
        held_until = output.held_until()
        if held_until is not None and time.monotonic() >= held_until:
            output.hold_no_longer()
            held_until = None
        if self._pause is None and not self._daemon.stopping and held_until is None:
            self._stop_daemon()
        if left or output.left():
            return
        if self._pause is not None or not self._daemon.pid:
            self._go_on()

    def _kill_rest(self) -> None:
        self._killed = True
        self._leftovers.kill(self._daemon.sessions, self._settings.drain_timeout)
        self._app.output.finish()
        if self._pause is None and self._daemon.pid:
            waited = f"{self._settings.drain_timeout:g} s (run.drain_timeout)"
            say(f"the plugins did not stop within {waited}; the daemon is killed")
            self._daemon.kill()
        self._enter(DRAINING, _LAST_MOMENT)

    def _go_on(self) -> None:
        if self._pause is None:
            if lost := " and ".join(self._app.output.left()):
                waited = f"{self._settings.drain_timeout:g} s (run.drain_timeout)"
                say(f"the app's {lost} was not read to the end within {waited}; the rest is lost")
            self._ended = True
        elif self._pause:
            self._enter(PAUSED, self._pause)
        else:
            self._start_app()

    # -- the daemon ---------------------------------------------------------------------

    def _start_daemon(self) -> None:
        self._daemon.start()
        if self._app.pid:
            self._tell_of_app()

    def _daemon_ended(self, ended: int) -> None:
        self._daemon.ended()
        if self._phase == WAITING and self._strict and ended == OWN_FAILURE:
            self._code = OWN_FAILURE  # it has said why
            self._end()
        else:
            how = f"was ended by {signals.name(-ended)}" if ended < 0 else f"exited with {ended}"
            self._daemon.start_later(f"the daemon {how}")

    def _take_settings(self, settings: Settings) -> None:
        """For the app's next start."""
        if not settings.command:
            settings.command = self._settings.command
        passed, would_pass, will_pass = (
            which.output != "inherit" for which in (self._settings, self._next_settings, settings)
        )
        if self._app.pid and will_pass not in (passed, would_pass):
            how = "lines get tags" if will_pass else "lines no longer pass through kmetad"
            say(f"the app's {how} from its next start on: a process that runs keeps its output")
        self._next_settings = settings

    def _hear(self, kind: str, values: tuple[Any, ...]) -> None:
        """What the daemon says (``kmetad._link``)."""
        if kind == "hello":
            self._variables.begin()
            self._tell_of_app()  # a daemon that has replaced itself doesn't know
        elif kind == "run":
            self._take_settings(Settings(values[0], self._overrides))
        elif kind == "variable":
            self._variables.say(*values)
        elif kind == "environment":
            self._variables.commit()
        elif kind == "checked":
            self._daemon.was_checked()
            self._begin("now")  # which waits for this alone, and only with --strict
        elif kind == "ready":
            self._begin("after-sync")
        elif kind == "signal" and self._phase == RUNNING:
            self._app.signal(values[0], self._settings.signal_scope)
        elif kind == "restart":
            self._restart(*values)
        elif kind == "tags":
            self._app.output.tag(*values)
        elif kind == "count":
            self._daemon.tell("counted", self._app.output.counts())


def _told(error: Exception) -> str:
    """Where it came from; what it is, where that can't be had."""
    try:
        import traceback

        return "".join(traceback.format_exception(error))
    except Exception:  # such as no descriptor left, to import that
        return repr(error)
