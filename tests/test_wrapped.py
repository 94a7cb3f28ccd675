"""kmetad._daemon.supervisor and .wrapped: the link in this process, with the test at its other end."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from kmetad import _link
from kmetad._daemon.supervisor import Supervisor
from kmetad._daemon.wrapped import Control, Readiness
from kmetad.errors import AppError
from kmetad.hookspecs import Skip
from kmetad.metadata import Snapshot, SourceState

DEADLINE = 10.0


class Far:
    """The supervisor's end of a link, and the daemon's view of it."""

    def __init__(self) -> None:
        self.end, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.end.settimeout(DEADLINE)
        self.near = theirs.dup()  # what the daemon would have after an exec
        self.supervisor = Supervisor(theirs.detach())
        self.told: list[tuple[Any, ...]] = []
        self.stopped = threading.Event()
        self.heard = threading.Semaphore(0)
        self._listens = False

    def close(self) -> None:
        """Give everything back; the listening thread ends when its link does."""
        self.end.close()
        if self.supervisor._hearing.locked():
            self.supervisor._hearing.release()
        assert not self._listens or self.stopped.wait(DEADLINE)
        self.near.close()
        self.supervisor._link.close()

    def listen(self) -> None:
        """Have the daemon's side listen."""

        def told(*what: Any) -> None:
            self.told.append(what)
            self.heard.release()

        self._listens = True
        self.supervisor.listen(told, self.stopped.set, structlog.get_logger())

    def hear(self) -> tuple[str, tuple[Any, ...]] | None:
        """The next message."""
        return _link.receive(self.end)


@pytest.fixture
def far() -> Iterator[Far]:
    """A link."""
    made = Far()
    yield made
    made.close()


def test_the_app_as_it_was_heard_of(far: Far) -> None:
    """Its process and its starts; what is said twice is told once."""
    control = Control(far.supervisor, "one")
    assert (control.wrapped, control.pid, control.starts) == (True, 0, 0)
    far.listen()
    for message in [("app_started", 7, 1), ("app_started", 7, 1), ("app_started", 8, 2)]:
        _link.send(far.end, *message)
    far.heard.acquire(timeout=DEADLINE)
    far.heard.acquire(timeout=DEADLINE)
    assert (far.told, control.pid, control.starts) == ([("started", 7, 1), ("started", 8, 2)], 8, 2)
    _link.send(far.end, "app_exited", 3, 0, 2)
    far.heard.acquire(timeout=DEADLINE)
    assert (far.told[-1], control.pid, control.starts) == (("exited", 3, 0, 2), 0, 2)


def test_signals_by_name_and_number(far: Far) -> None:
    """The number is sent; what is no signal isn't."""
    control = Control(far.supervisor, "one")
    for signal in ("HUP", "sigusr1", 15, "RTMIN+1"):
        control.signal(signal)
    assert [far.hear() for _ in range(4)] == [("signal", (number,)) for number in (1, 10, 15, 35)]
    with pytest.raises(ValueError, match="did you mean HUP"):
        control.signal("HUPP")


def test_a_restart_within_a_delivery(far: Far) -> None:
    """It waits for the delivery's end, is one however often it was asked for, and none if the delivery fails."""
    control = Control(far.supervisor, "one")

    def fail() -> None:
        with control.delivering():
            control.restart("lost")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with control.delivering():
        control.restart("a\nb" + "c" * 1000)
        control.restart("again")
        control.signal(1)
    control.restart()
    assert far.hear() == ("signal", (1,))
    assert far.hear() == ("restart", ("one: a b" + "c" * 197,))
    assert far.hear() == ("restart", ("one",))


def test_a_delivery_that_is_skipped_is_acknowledged(far: Far) -> None:
    """So the restart that was asked for in it is passed on, when others' variables have been waited for."""
    order: list[str] = []
    control = Control(far.supervisor, "one", lambda seconds: order.append("waited"))

    def skip() -> None:
        with control.delivering():
            control.restart("before")
            raise Skip

    with pytest.raises(Skip):
        skip()
    assert order == ["waited"]
    assert far.hear() == ("restart", ("one: before",))


def test_a_restart_by_another_thread(far: Far) -> None:
    """A plugin's own thread has nothing to do with the delivery that goes on."""
    control = Control(far.supervisor, "one")

    def fail() -> None:
        with control.delivering():
            thread = threading.Thread(target=control.restart, args=("other",))
            thread.start()
            thread.join()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert far.hear() == ("restart", ("one: other",))


def restarting(control: Control, wait: float) -> tuple[threading.Thread, list[Any]]:
    """A thread that waits for a restart within a delivery, and what became of it: the starts by then, or why not."""
    became: list[Any] = []

    def restart() -> None:
        with control.delivering():
            try:
                control.restart("new", wait=wait)
            except AppError as error:
                became.append(str(error))
            else:
                became.append(control.starts)

    thread = threading.Thread(target=restart)
    thread.start()
    return thread, became


def test_a_restart_is_waited_for(far: Far) -> None:
    """Until the next start, and no other; it is asked for at once, and not once more when the delivery ends."""
    control = Control(far.supervisor, "one")
    far.listen()
    _link.send(far.end, "app_started", 7, 3)
    far.heard.acquire(timeout=DEADLINE)
    thread, became = restarting(control, DEADLINE)
    assert far.hear() == ("restart", ("one: new",))
    _link.send(far.end, "app_started", 7, 3)
    _link.send(far.end, "app_exited", 0, 15, 3)
    far.heard.acquire(timeout=DEADLINE)
    assert thread.is_alive()
    _link.send(far.end, "app_started", 8, 4)
    thread.join(DEADLINE)
    assert became == [4]
    control.signal(1)
    assert far.hear() == ("signal", (1,))


def test_a_daemon_that_begins_takes_no_start_of_before_for_the_new_one(far: Far) -> None:
    """It learns first how the app is, if only that it doesn't run."""
    control = Control(far.supervisor, "one")
    far.listen()
    thread, became = restarting(control, DEADLINE)
    _link.send(far.end, "app_started", 7, 3)
    assert far.hear() == ("restart", ("one: new",))
    assert thread.is_alive()
    _link.send(far.end, "app_started", 8, 4)
    thread.join(DEADLINE)
    assert became == [4]


def test_an_app_that_does_not_run_yet(far: Far) -> None:
    """Nobody is told that it was started; its first start is the new one."""
    control = Control(far.supervisor, "one")
    far.listen()
    _link.send(far.end, "app_started", 0, 0)
    thread, became = restarting(control, DEADLINE)
    assert far.hear() == ("restart", ("one: new",))
    _link.send(far.end, "app_started", 7, 1)
    thread.join(DEADLINE)
    assert (became, far.told) == ([1], [("started", 7, 1)])


def test_a_start_while_others_are_waited_for_is_not_the_new_one(far: Far) -> None:
    """The app ended by itself before it was asked to; and waiting for others is a part of the time."""
    waits: list[float] = []

    def others(seconds: float) -> None:
        waits.append(seconds)
        _link.send(far.end, "app_started", 8, 4)
        for _ in range(2):
            far.heard.acquire(timeout=DEADLINE)

    control = Control(far.supervisor, "one", others)
    far.listen()
    _link.send(far.end, "app_started", 7, 3)
    thread, became = restarting(control, DEADLINE)
    assert far.hear() == ("restart", ("one: new",))
    assert thread.is_alive()
    assert 0 < waits[0] <= DEADLINE
    _link.send(far.end, "app_started", 9, 5)
    thread.join(DEADLINE)
    assert became == [5]


@pytest.mark.parametrize("wait", [0.0, -1.0, 0.01])
def test_a_restart_that_does_not_come(far: Far, wait: float) -> None:
    """It has been asked for, and that it took too long is told."""
    control = Control(far.supervisor, "one")
    far.listen()
    thread, became = restarting(control, wait)
    thread.join(DEADLINE)
    assert far.hear() == ("restart", ("one: new",))
    assert became == [
        f"the app has not started anew within {wait:.3g} s; stopping it may take run.stop_timeout"
    ]


def test_a_restart_that_kmetads_end_overtakes(far: Far) -> None:
    """Whoever waits for it, however long, is told at once."""
    control = Control(far.supervisor, "one")
    far.listen()
    _link.send(far.end, "app_started", 7, 3)
    far.heard.acquire(timeout=DEADLINE)
    thread, became = restarting(control, float("inf"))
    assert far.hear() == ("restart", ("one: new",))
    _link.send(far.end, "stop", 1.0)
    thread.join(DEADLINE)
    assert became == ["kmetad stops, so the app is not started anew"]


def test_a_supervisor_that_has_gone(far: Far) -> None:
    """Asking fails, and says why; the daemon is told to stop."""
    far.listen()
    far.end.close()
    assert far.stopped.wait(DEADLINE)
    control = Control(far.supervisor, "one")
    with pytest.raises(AppError, match="has gone"):
        control.signal("HUP")
    with pytest.raises(AppError, match="has gone"):
        control.restart()
    assert far.supervisor.stop_within is None
    assert not far.supervisor.hear_no_more()


def test_asked_to_stop(far: Far) -> None:
    """So many seconds; and what would have been an exec is an end."""
    far.listen()
    _link.send(far.end, "stop", 2.5)
    assert far.stopped.wait(DEADLINE)
    assert far.supervisor.hear_no_more() is False
    assert far.supervisor.stop_within == 2.5


def test_messages_before_an_exec(far: Far) -> None:
    """What comes from then on is left for the next process, whole."""
    far.listen()
    _link.send(far.end, "app_started", 7, 1)
    far.heard.acquire(timeout=DEADLINE)
    assert far.supervisor.hear_no_more()
    _link.send(far.end, "stop", 2.5)
    far.near.settimeout(DEADLINE)
    assert _link.receive(far.near) == ("stop", (2.5,))
    assert not far.stopped.is_set()


def test_what_is_no_message(far: Far) -> None:
    """It is logged, and the next is heard; a kind that isn't known means nothing to this version."""
    with capture_logs() as logs:
        far.listen()
        far.end.send(b"nonsense")
        _link.send(far.end, "unheard_of", 1)
        _link.send(far.end, "app_started", 7, 1)
        assert far.heard.acquire(timeout=DEADLINE)
    assert [log["event"] for log in logs] == ["link.misunderstood"]


def test_readiness() -> None:
    """Once, when both hold: every declared volume speaks, and all plugins have begun."""
    said: list[str] = []
    for order in ("volumes first", "plugins first"):
        readiness = Readiness(["a", "b"], lambda order=order: said.append(order))  # type: ignore[misc]
        if order == "plugins first":
            readiness.begun()
        for status in ("lost", "unreadable", "polling"):
            assert not said[1 if order == "plugins first" else 0 :]
            readiness.saw(Snapshot(sources={"a": SourceState("healthy"), "b": SourceState(status)}))
        readiness.begun()
        readiness.saw(Snapshot(sources={"a": SourceState("lost"), "b": SourceState("lost")}))
    assert said == ["volumes first", "plugins first"]
    readiness = Readiness(["a"], lambda: said.append("missing"))
    readiness.begun()
    readiness.saw(Snapshot())
    assert "missing" not in said
