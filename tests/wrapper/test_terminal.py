"""The terminal: what runs under kmetad behaves as on a plain one."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Iterator

import pytest

from tests.cli import eventually
from tests.wrapper.terminals import BASH, Terminal, terminal
from tests.wrapper.wrapped import app, children, gone, kmetad, process_1, stat_of, state

WRAP = shlex.join(kmetad())


def as_process_1(session: bool) -> list[str]:
    """Process 1 in a terminal's session, or the leader of that session, as container runtimes have it."""
    if session and os.geteuid() != 0:
        pytest.skip("only root can take the terminal from another session")
    return [*process_1(), *(["setsid", "--ctty"] if session else [])]


WAYS = {"plain": list, "process 1": lambda: as_process_1(False), "leader": lambda: as_process_1(True)}


@pytest.fixture(params=WAYS)
def before(request: pytest.FixtureRequest) -> list[str]:
    """The wrapper below a terminal, in three ways."""
    return WAYS[request.param]()


def test_a_shell_is_an_ordinary_one(before: list[str]) -> None:
    """Jobs are stopped, continued and interrupted; the shell and kmetad don't notice."""
    with terminal([*before, *kmetad(), *BASH]) as term:
        assert "job control" not in term.prompt()
        term.type("echo has $-")
        term.sees("has [a-zA-Z]*m")
        shell = term.foreground()
        term.type("sh -c 'echo up; exec sleep 1000'")
        term.sees("up\r\n")
        assert term.foreground() != shell
        term.press("z")
        assert "Stopped" in term.prompt()
        assert term.foreground() == shell
        assert "Running" in term.does("bg >/dev/null; jobs")
        term.type("fg")
        term.sees("sleep 1000")
        eventually(lambda: term.foreground() != shell)
        term.press("c")
        term.prompt()
        term.type("echo is $?; cat /dev/null | cat; echo is $?")
        term.sees("is 130\r\n(.*\r\n)*is 0\r\n")  # the daemon's log may come between
        term.type("exit 7")
        term.spawned.wait()
        assert term.spawned.exitstatus == 7


def test_the_size_of_the_window(before: list[str]) -> None:
    """A change reaches the app, once."""
    with terminal([*before, *kmetad(), *app("record('app')")]) as term:
        term.sees("app ready")
        term.spawned.setwinsize(33, 99)
        term.sees(f"app {int(signal.SIGWINCH)}\r\n")
        term.press("c")
        term.sees("app (\\d+)\r\n")
        assert term.spawned.match.group(1) == str(int(signal.SIGINT))


PROBE = "stty -a; tty; stty -a </dev/tty; for i in 0 1 2; do test -t $i && readlink /proc/self/fd/$i; done"


def test_its_properties(before: list[str]) -> None:
    """The app has the same terminal in the same state, and its name."""
    found = []
    for wrapper in ([], kmetad()):
        with terminal([*before, *wrapper, "sh", "-c", PROBE]) as term:
            found.append(re.sub("pts/[0-9]+", "TTY", term.rest()))
    assert "TTY" in found[0]
    assert found[0] == found[1]


def test_nobody_is_there_to_continue_it() -> None:
    """Ctrl-Z in a container whose process 1 is kmetad: there is no shell to say `fg`, so the app goes on."""
    with terminal([*as_process_1(True), *kmetad(), "sh", "-c", "echo up; exec cat"]) as term:
        term.sees("up\r\n")
        term.press("z")
        term.type("still there")
        term.sees("still there\r\n")
        term.press("d")
        term.spawned.wait()
        assert term.spawned.exitstatus == 0


# -- from a shell, as one of its jobs -----------------------------------------------------


@pytest.fixture
def shell() -> Iterator[Terminal]:
    """An interactive shell that has the terminal."""
    with terminal(BASH) as term:
        term.prompt()
        yield term


CAT = f"{WRAP} sh -c 'echo pid $$ up; exec cat'"
IDLE = f"{WRAP} sh -c 'echo pid $$ up; exec sleep 1000'"


def pids(term: Terminal) -> tuple[int, int]:
    """kmetad's and the app's, once the app is up."""
    it = int(term.sees("pid (\\d+) up\r\n").group(1))
    return int(stat_of(it)[1]), it


def test_the_app_has_the_terminal(shell: Terminal) -> None:
    """While it runs, and the shell has it back afterwards."""
    shell.type(CAT)
    _, it = pids(shell)
    eventually(lambda: shell.foreground() == it)
    shell.type("line")
    shell.sees("line\r\n")
    shell.press("d")
    shell.prompt()
    assert shell.foreground() == shell.pid
    shell.type("echo is $?")
    shell.sees("is 0\r\n")


def test_a_script_has_it_back() -> None:
    """A shell without job control, which hands the terminal to nobody, finds it as it was."""
    with terminal(["sh", "-c", f"{WRAP} head -n 1; read line; echo got $line"]) as term:
        term.type("one")
        term.sees("one\r\n")
        term.type("two")
        term.sees("got two\r\n")


def test_an_interrupt(shell: Terminal) -> None:
    """Ctrl-C ends the app, and the exit says so."""
    shell.type(IDLE)
    _, it = pids(shell)
    shell.press("c")
    shell.prompt()
    gone(it)
    shell.type("echo is $?")
    shell.sees("is 130\r\n")


def test_both_stop_and_both_go_on(shell: Terminal) -> None:
    """Ctrl-Z and `fg`, as often as one likes."""
    shell.type(CAT)
    wrapper, it = pids(shell)
    for _ in range(2):
        shell.press("z")
        assert "Stopped" in shell.prompt()
        assert (stat_of(wrapper)[0], stat_of(it)[0]) == ("T", "T")
        assert shell.foreground() == shell.pid
        shell.type("fg")
        shell.sees("exec cat'\r\n")
        state(it, "S")
        eventually(lambda: shell.foreground() == it)
        shell.type("line")
        shell.sees("line\r\n")
    shell.press("d")
    shell.prompt()
    gone(wrapper)


def test_both_go_on_in_the_background(shell: Terminal) -> None:
    """Ctrl-Z and `bg`; then `fg`, and a Ctrl-Z and a Ctrl-C reach it again."""
    shell.type(IDLE)
    wrapper, it = pids(shell)
    for _ in range(2):
        shell.press("z")
        assert "Stopped" in shell.prompt()
        shell.does("bg")
        state(it, "S")
        state(wrapper, "S")
        assert shell.foreground() == shell.pid
        shell.type("fg")
        shell.sees("sleep 1000'\r\n")
        eventually(lambda: shell.foreground() != shell.pid)
    shell.press("c")
    shell.prompt()
    gone(it)


def test_a_running_job_is_fetched(shell: Terminal) -> None:
    """`fg` of a job that was never stopped: no signal tells of it, and the app can use the terminal all the same."""
    shell.type(
        f"{WRAP} sh -c 'trap \"read x; echo got \\$x\" USR1; echo pid $$ up; while :; do sleep .05; done' &"
    )
    wrapper, it = pids(shell)
    shell.type("fg")
    eventually(lambda: shell.foreground() == wrapper)
    os.kill(it, signal.SIGUSR1)
    shell.type("line")
    shell.sees("got line\r\n")
    assert shell.foreground() == it


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU])
def test_a_stop_from_elsewhere(shell: Terminal, number: int) -> None:
    """It is forwarded as itself; kmetad stops once the app has; SIGCONT continues both."""
    shell.type(CAT)
    wrapper, it = pids(shell)
    os.kill(wrapper, number)
    assert "Stopped" in shell.prompt()
    assert (stat_of(wrapper)[0], stat_of(it)[0]) == ("T", "T")
    shell.type("fg")
    eventually(lambda: shell.foreground() == it)
    shell.type("line")
    shell.sees("line\r\n")


def test_going_on_from_elsewhere(shell: Terminal) -> None:
    """SIGCONT for kmetad continues both, in the background."""
    shell.type(IDLE)
    wrapper, it = pids(shell)
    shell.press("z")
    shell.prompt()
    os.kill(wrapper, signal.SIGCONT)
    state(wrapper, "S")
    state(it, "S")
    assert shell.foreground() == shell.pid


def test_an_app_that_does_not_stop(shell: Terminal) -> None:
    """It is asked to (Ctrl-Z) and does something else: then kmetad doesn't stop, either."""
    shell.type(shlex.join([*kmetad(), *app("record('app')")]))
    it = int(shell.sees("app ready (\\d+)\r\n").group(1))
    wrapper = int(stat_of(it)[1])
    for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        os.kill(wrapper, number)
        shell.sees(f"app {int(number)}\r\n")
    eventually(lambda: shell.foreground() == it)
    shell.press("z")
    shell.sees(f"app {int(signal.SIGTSTP)}\r\n")
    assert (stat_of(wrapper)[0], shell.foreground()) == ("S", it)


def test_an_app_that_dies_while_both_are_stopped(shell: Terminal) -> None:
    """`fg` finds it ended."""
    shell.type(IDLE)
    _, it = pids(shell)
    shell.press("z")
    shell.prompt()
    os.kill(it, signal.SIGKILL)
    state(it, "Z")
    shell.does("fg")
    shell.type("echo is $?")
    shell.sees("is 137\r\n")


def test_in_the_background(shell: Terminal) -> None:
    """The terminal stays the shell's; an app that reads from it is stopped, as always, until it is there."""
    shell.type(CAT + " &")
    wrapper, it = pids(shell)
    state(it, "T")
    state(wrapper, "T")
    assert shell.foreground() == shell.pid
    assert "Stopped" in shell.does("jobs")
    shell.type("fg")
    eventually(lambda: shell.foreground() == it)
    shell.type("line")
    shell.sees("line\r\n")
    shell.press("d")
    shell.prompt()
    shell.type("echo is $?")
    shell.sees("is 0\r\n")


def test_the_background_stays_there(shell: Terminal) -> None:
    """An app that doesn't touch the terminal just runs; its end takes nothing from the shell."""
    shell.type(IDLE + " &")
    wrapper, it = pids(shell)
    assert shell.foreground() == shell.pid
    assert "Running" in shell.does("jobs")
    shell.does("kill %1")
    gone(wrapper)
    gone(it)
    assert shell.foreground() == shell.pid


def test_no_start_stops_for_the_terminal(shell: Terminal) -> None:
    """An app that writes or reads the terminal's settings or lines at once, fifty times: none is left stopped."""
    shell.does("export COVERAGE_PROCESS_START= COVERAGE_PROCESS_CONFIG=")
    shell.type(f"for i in $(seq 25); do {WRAP} stty -echo; {WRAP} head -n 1; done; echo finished")
    for number in range(25):
        shell.type(f"line {number}.")
    for number in range(25):
        shell.sees(re.escape(f"line {number}.\r\n"))
    shell.sees("finished\r\n")
    shell.prompt()


def test_the_daemon_has_no_terminal(shell: Terminal) -> None:
    """A session of its own: no Ctrl-C reaches it, and it can't take the terminal."""
    shell.type(IDLE)
    wrapper, it = pids(shell)
    eventually(lambda: len(children(wrapper)) == 2)
    daemon = next(pid for pid in children(wrapper) if pid != it)
    eventually(lambda: stat_of(daemon)[3] == str(daemon))
    assert stat_of(daemon)[4] == "0"
    assert stat_of(it)[4] != "0"


def test_the_terminal_hangs_up() -> None:
    """The window is closed: the app hears it, and all ends."""
    with terminal([*kmetad(), "sh", "-c", "echo pid $$ up; exec sleep 1000"]) as term:
        wrapper, it = pids(term)
        term.hang_up()
        gone(it)
        state(wrapper, "Z")
