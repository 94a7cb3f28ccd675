"""Signals: every catchable one is the app's."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.wrapper.conftest import Toml
from tests.wrapper.wrapped import UNMEASURED, Wrapped, app, gone, run, state

CATCHABLE = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
HUP, INT, QUIT, TERM, USR1, USR2 = (
    int(number)
    for number in (
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR1,
        signal.SIGUSR2,
    )
)


def test_every_signal_is_forwarded_as_itself(before: tuple[str, ...]) -> None:
    """The real-time ones too; SIGCHLD, since somebody sent it; TSTP and its like, where the app has them blocked."""
    with Wrapped(app("record('app')"), before=before) as wrapped:
        wrapped.ready()
        for number in CATCHABLE:
            wrapped.send(number)
            assert wrapped.line() == f"app {number:d}"


def test_real_time_signals_queue() -> None:
    """Each one that was sent arrives."""
    with Wrapped(app("record('app')")) as wrapped:
        wrapped.ready()
        for _ in range(20):
            wrapped.send(signal.SIGRTMIN + 5)
        assert {wrapped.line() for _ in range(20)} == {f"app {signal.SIGRTMIN + 5:d}"}


def test_the_end_of_an_orphan_is_no_signal_for_the_app(before: tuple[str, ...]) -> None:
    """What the kernel tells the wrapper of orphans that it reaps stays with the wrapper."""
    with Wrapped(app(f"orphan(lambda: record('orphan', [{USR1}])); record('app')"), before=before) as wrapped:
        orphan = wrapped.ready("orphan")
        wrapped.ready()
        os.kill(orphan, USR1)
        wrapped.until(f"orphan {USR1}")
        gone(orphan)
        wrapped.send(USR2)
        assert wrapped.line() == f"app {USR2}"


def test_what_the_daemon_says_is_no_signal_for_the_app(before: tuple[str, ...], toml: Toml) -> None:
    """The supervisor hears it by SIGCHLD, too."""
    with Wrapped(app("record('app')"), options=toml('[run]\nstart = "now"\n'), before=before) as wrapped:
        wrapped.ready()
        wrapped.told("kmetad.started")
        wrapped.send(USR2)
        assert wrapped.line() == f"app {USR2}"


FAMILY = "child(lambda: record('child')); record('app')"


def test_the_child_alone_is_told(before: tuple[str, ...]) -> None:
    """What the wrapper started gets a signal; what that started doesn't."""
    with Wrapped(app(FAMILY), before=before) as wrapped:
        child = wrapped.ready("child")
        wrapped.ready("app")
        wrapped.send(USR1)
        assert wrapped.line() == f"app {USR1}"
        os.kill(child, USR2)
        assert wrapped.line() == f"child {USR2}"


@pytest.mark.parametrize("by", ["option", "toml"])
def test_the_group_is_told(before: tuple[str, ...], by: str, toml: Toml) -> None:
    """``--group``, or ``signal_scope``: all of the app's process group."""
    options = ["--group"] if by == "option" else toml('[run]\nsignal_scope = "group"\n')
    with Wrapped(app(FAMILY), options=options, before=before) as wrapped:
        wrapped.ready("child")
        wrapped.ready("app")
        for number in (USR1, TERM, signal.SIGRTMAX):
            wrapped.send(number)
            assert {wrapped.line(), wrapped.line()} == {f"app {number:d}", f"child {number:d}"}


def test_a_shell_and_its_children() -> None:
    """A shell in the foreground ends only with its child: what ``--group`` is for."""
    script = "sh -c 'echo inner ready $$; exec sleep 1000'; echo never"
    with Wrapped(["sh", "-c", script], options=["--group"]) as wrapped:
        inner = wrapped.ready("inner")
        wrapped.send(TERM)
        assert wrapped.wait() == 128 + TERM
        gone(inner)
        assert wrapped.out is not None
        assert wrapped.out.rest() == []


RULES = {
    "15:3": (TERM, QUIT),
    "SIGQUIT:sigterm": (QUIT, TERM),  # each once
    "HUP:INT": (HUP, INT),
    "RTMIN+1:USR1": (signal.SIGRTMIN + 1, USR1),
    "CHLD:RTMAX-1": (signal.SIGCHLD, signal.SIGRTMAX - 1),
    "TSTP:URG": (signal.SIGTSTP, signal.SIGURG),
    "USR1:0": (USR1, None),
    "64:0": (64, None),
}


@pytest.mark.parametrize("by", ["option", "toml"])
def test_rewriting(by: str, toml: Toml) -> None:
    """What comes, and what the app gets instead; to 0 nothing at all."""
    if by == "option":
        options = [word for rule in RULES for word in ("--rewrite", rule)]
    else:
        table = ", ".join(f'"{old}" = "{new}"' for old, new in (rule.split(":") for rule in RULES))
        options = toml(f"[run]\nrewrite_signals = {{ {table} }}\n")
    with Wrapped(app("record('app')"), options=options) as wrapped:
        wrapped.ready()
        for sent, got in RULES.values():
            wrapped.send(sent)
            if got is not None:
                assert wrapped.line() == f"app {got:d}"
            wrapped.send(USR2)
            assert wrapped.line() == f"app {USR2}"


def test_an_option_adds_to_the_configuration(toml: Toml) -> None:
    """``--rewrite`` goes before the TOML's rule for the same signal, and leaves the others."""
    options = toml("[run]\nrewrite_signals = { TERM = 'QUIT', HUP = 'USR1' }\n", "--rewrite", "TERM:INT")
    with Wrapped(app("record('app')"), options=options) as wrapped:
        wrapped.ready()
        wrapped.send(TERM)
        assert wrapped.line() == f"app {INT}"
        wrapped.send(HUP)
        assert wrapped.line() == f"app {USR1}"


def test_a_signal_from_outside_starts_no_clock(toml: Toml) -> None:
    """TERM is only forwarded: an app that takes its time isn't killed, however short the timeouts are."""
    options = toml('[run]\nstop_timeout = "1ms"\ndrain_timeout = "1ms"\n')
    with Wrapped(app(f"record('app', [{USR1}]); os._exit(5)"), options=options) as wrapped:
        wrapped.ready()
        end = time.monotonic() + 0.3
        while time.monotonic() < end:  # the time that it takes
            wrapped.send(TERM)
            assert wrapped.line() == f"app {TERM}"
        wrapped.send(USR1)
        assert wrapped.wait() == 5


@pytest.mark.parametrize("number", [TERM, HUP, INT])
def test_a_signal_during_the_start(number: int) -> None:
    """It ends the wrapper before there is an app, or it ends the app: never neither.

    What measures coverage starts first, and would drop an INT.
    """
    for delay in range(0, 60, 6):
        with Wrapped(["sh", "-c", "echo app ready $$; exec sleep 1000"], env=UNMEASURED) as wrapped:
            time.sleep(delay / 1000)  # somewhere in its start
            wrapped.send(number)
            code = wrapped.wait()
            assert wrapped.out is not None
            started = wrapped.out.rest()
            for line in started:
                gone(int(line.split()[2]))
            # The interpreter has a way of its own with an INT that comes while it starts.
            assert code in (
                {128 + number} if started else {-number, 128 + number, 1 if number == INT else -number}
            )


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU])
def test_stopping_and_going_on(before: tuple[str, ...], number: int) -> None:
    """Without a terminal, too: what stops the app is forwarded, and so is SIGCONT."""
    with Wrapped(["sh", "-c", "echo app ready $$; exec sleep 1000"], before=before) as wrapped:
        it = wrapped.ready()
        for _ in range(2):
            wrapped.send(number)
            state(it, "T")
            wrapped.send(signal.SIGCONT)
            state(it, "S")
        wrapped.send(USR1)
        assert wrapped.wait() == 128 + USR1


def test_an_app_that_is_stopped_alone(before: tuple[str, ...]) -> None:
    """By SIGSTOP, from elsewhere: kmetad goes on, and what comes meanwhile is there when the app goes on."""
    with Wrapped(app(f"orphan(lambda: record('orphan', [{USR1}])); record('app')"), before=before) as wrapped:
        orphan, it = wrapped.ready("orphan"), wrapped.ready()
        os.kill(it, signal.SIGSTOP)
        state(it, "T")
        wrapped.send(TERM)
        os.kill(orphan, USR1)
        assert wrapped.line() == f"orphan {USR1}"
        gone(orphan)
        os.kill(it, signal.SIGCONT)
        assert {wrapped.line(), wrapped.line()} == {f"app {TERM}", f"app {int(signal.SIGCONT)}"}


def test_the_exit_is_the_signals(before: tuple[str, ...]) -> None:
    """An app that dies of what was forwarded: 128 and its number."""
    done = run(["sh", "-c", "kill -USR1 $PPID; exec sleep 1000"], before=before)
    assert done.returncode == 128 + USR1
