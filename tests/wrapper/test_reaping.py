"""Reaping: orphans while the app runs, and what is left when it has ended."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.cli import DEADLINE, environment, eventually
from tests.wrapper.conftest import Toml
from tests.wrapper.wrapped import (
    Wrapped,
    app,
    children,
    descendants,
    gone,
    kmetad,
    own_lines,
    stat_of,
    state,
    status_of,
)

TERM, USR1, USR2, KILL = (
    int(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGKILL)
)


@pytest.mark.parametrize("session", [False, True], ids=["same session", "own session"])
def test_orphans_become_its_children_and_are_reaped(before: tuple[str, ...], session: bool) -> None:
    """Also where it isn't process 1; no zombie stays, and the app goes on."""
    code = f"orphan(lambda: record('orphan', [{USR1}]), session={session}); record('app')"
    with Wrapped(app(code), before=before) as wrapped:
        orphan = wrapped.ready("orphan")
        wrapped.ready()
        assert int(status_of(orphan)["PPid"]) == wrapped.pid
        os.kill(orphan, USR1)
        gone(orphan)
        wrapped.send(USR2)
        wrapped.until(f"app {USR2}")


def test_many_orphans_at_once(before: tuple[str, ...]) -> None:
    """A hundred that end at the same moment: one SIGCHLD may stand for many."""
    code = f"[orphan(lambda: sleep_until([{USR1}])) for _ in range(100)]; record('app')"
    with Wrapped(app(code), before=before) as wrapped:
        it = wrapped.ready()
        orphans = [pid for pid in children(wrapped.pid) if stat_of(pid)[2] == str(it)]
        orphans.remove(it)
        assert len(orphans) == 100
        for pid in orphans:
            os.kill(pid, USR1)
        for pid in orphans:
            gone(pid)
        assert stat_of(it)[0] == "S"


LEFT = f"""
def left():
    record('left', [{USR2}])
    say('left done')
"""
ENDS = f"record('app', [{USR1}]); os._exit(7)"
KINDS = {
    "a child": "child(left)",
    "an orphan": "orphan(left)",
    "in another session": "orphan(left, session=True)",
    "below another": "orphan(lambda: os.waitpid(child(left), 0), session=True)",
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_gets_its_time(before: tuple[str, ...], kind: str, toml: Toml) -> None:
    """TERM, and then as long as it takes, up to the deadline; the exit code is the app's all the same."""
    code = f"{LEFT}\n{KINDS[kind]}\n{ENDS}"
    with Wrapped(app(code), options=toml('[run]\ndrain_timeout = "1h"\n'), before=before) as wrapped:
        left, it = wrapped.ready("left"), wrapped.ready()
        os.kill(it, USR1)
        assert wrapped.until("left") == f"left {TERM}"
        gone(it)
        assert wrapped.process.poll() is None
        os.kill(left, USR2)
        wrapped.until("left done")
        assert wrapped.wait() == 7


@pytest.mark.parametrize("stopped", [False, True])
def test_a_deadline_for_all_that_is_left(before: tuple[str, ...], stopped: bool, toml: Toml) -> None:
    """Those that ignore TERM are killed, in whatever session and state they are; it is said."""
    code = f"{LEFT}\norphan(left, session=True)\n{ENDS}"
    with Wrapped(app(code), options=toml('[run]\ndrain_timeout = "300ms"\n'), before=before) as wrapped:
        left, it = wrapped.ready("left"), wrapped.ready()
        if stopped:
            os.kill(left, signal.SIGSTOP)
            state(left, "T")
        os.kill(it, USR1)
        assert wrapped.wait() == 7
        assert not stat_of(left)
        assert wrapped.out is not None
        assert "left done" not in wrapped.out.rest()
        assert wrapped.err is not None
        assert len([line for line in own_lines("\n".join(wrapped.err.rest())) if "killed" in line]) == 1


def test_what_is_stopped_is_asked_as_well(toml: Toml) -> None:
    """It is continued, so that it comes to its TERM."""
    code = f"{LEFT}\norphan(left, session=True)\n{ENDS}"
    with Wrapped(app(code), options=toml('[run]\ndrain_timeout = "1h"\n')) as wrapped:
        left, it = wrapped.ready("left"), wrapped.ready()
        os.kill(left, signal.SIGSTOP)
        state(left, "T")
        os.kill(it, USR1)
        assert wrapped.until(f"left {TERM}")
        os.kill(left, USR2)
        assert wrapped.wait() == 7


def test_no_time_at_all(before: tuple[str, ...], toml: Toml) -> None:
    """``drain_timeout = "0s"``: what is left is killed at once."""
    code = f"{LEFT}\norphan(left)\n{ENDS}"
    with Wrapped(app(code), options=toml('[run]\ndrain_timeout = "0s"\n'), before=before) as wrapped:
        left, it = wrapped.ready("left"), wrapped.ready()
        os.kill(it, USR1)
        assert wrapped.wait() == 7
        assert not stat_of(left)


def test_a_maximum_and_no_sleep(before: tuple[str, ...], toml: Toml) -> None:
    """What ends by TERM is not waited for any longer than that."""
    script = "(setsid sleep 1000 & sleep 1000 &) ; echo app ready $$; exit 3"
    with Wrapped(
        ["sh", "-c", script], options=toml('[run]\ndrain_timeout = "1h"\n'), before=before
    ) as wrapped:
        assert wrapped.wait() == 3


def test_what_is_forked_while_all_ends(toml: Toml) -> None:
    """A process that comes into being only then is asked, too."""
    code = f"""
def late():
    record('late', [{TERM}])
    say('late done')
def left():
    record('left', [{TERM}])
    orphan(late, session=True)
orphan(left)
{ENDS}"""
    with Wrapped(app(code), options=toml('[run]\ndrain_timeout = "1h"\n')) as wrapped:
        wrapped.ready("left")
        os.kill(wrapped.ready(), USR1)
        wrapped.until("late done")
        assert wrapped.wait() == 7


def test_the_output_of_what_is_left_is_whole(before: tuple[str, ...], toml: Toml) -> None:
    """What an orphan writes after the app's end arrives."""
    script = (
        "(trap 'for i in 1 2 3; do echo $i; done; exit' TERM; "
        "echo up; kill -USR1 $$; while :; do sleep 0.01; done) & wait"
    )
    with Wrapped(
        ["sh", "-c", script], options=toml('[run]\ndrain_timeout = "1h"\n'), before=before
    ) as wrapped:
        assert wrapped.wait() == 128 + USR1
        assert wrapped.out is not None
        assert wrapped.out.rest()[1:] == ["1", "2", "3"]


def test_processes_that_were_there_before_stay(toml: Toml) -> None:
    """Only descendants are asked: not who started kmetad, nor its other children."""
    script = 'sleep 1000 & other=$!; "$@"; code=$?; kill -0 $other && echo alive; kill $other; exit $code'
    done = subprocess.run(
        ["sh", "-c", script, "sh", *kmetad(), "sh", "-c", "exit 9"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.stdout, done.returncode) == ("alive\n", 9)


def test_no_process_remains(before: tuple[str, ...]) -> None:
    """Neither the daemon nor anything else outlives the wrapper."""
    with Wrapped(
        app(f"orphan(lambda: record('left', [{TERM}]), session=True); {ENDS}"), before=before
    ) as wrapped:
        wrapped.ready("left")
        it = wrapped.ready()
        eventually(lambda: len(children(wrapped.pid)) == 3)  # the app, its orphan, the daemon
        below = descendants(wrapped.pid)
        os.kill(it, USR1)
        assert wrapped.wait() == 7
        for pid in below:
            gone(pid)
