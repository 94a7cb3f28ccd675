"""sd_notify and the watchdog's conditions, and what the daemon says when, without a daemon."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from kmetad._daemon.notify import Notify
from kmetad._daemon.service import Service, describe
from kmetad.metadata import SourceState
from kmetad.status import ConfigStatus, LaneStatus, Status
from tests.listening import Listening

NOT_READY = Status(
    ready=False,
    unready=("volume podinfo is lost: /etc/podinfo isn't there",),
    version="1",
    pid=1,
    started_ns=0,
    generation=0,
    config=ConfigStatus(None),
    sources={},
    lanes=(),
    app=None,
    state=None,
)
READY = replace(
    NOT_READY,
    ready=True,
    unready=(),
    generation=7,
    sources={"podinfo": SourceState(), "env": SourceState()},
    lanes=(LaneStatus("nginx", "idle"),),
)


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Listening]:
    """Somebody who listens, at a path or at an abstract address."""
    listening = Listening(
        tmp_path / "notify" if request.param == "path" else f"@kmetad/{os.getpid()}/{tmp_path.name}"
    )
    yield listening
    listening.close()


def notify(**environ: str) -> Notify:
    """As a process with these variables has it."""
    return Notify(environ, structlog.get_logger())


def test_a_message(manager: Listening) -> None:
    """One datagram holds all fields, each in a line."""
    said = notify(NOTIFY_SOCKET=manager.path)
    assert said
    said.say(READY=1, STATUS="ready, ünd so \udcff")
    assert manager.hear() == {"READY": "1", "STATUS": "ready, ünd so ?"}
    assert manager.pids == [os.getpid()]


@pytest.mark.parametrize("named", ["", "@", "notify", "vsock:2:1"])
def test_nobody_who_could_be_spoken_to(named: str) -> None:
    """No variable, or one that names no Unix socket: nothing is said, and nothing is a fault."""
    said = notify(NOTIFY_SOCKET=named, WATCHDOG_USEC="1000")
    with capture_logs() as logs:
        said.say(READY=1)
    assert (bool(said), said.watchdog_usec(os.getpid()), logs) == (False, 0, [])


def test_nobody_listens(tmp_path: Path) -> None:
    """It is logged once, and no error; once somebody listens it is said again, and a new failure is logged anew."""
    path = str(tmp_path / "notify")
    said = notify(NOTIFY_SOCKET=path)
    with capture_logs() as logs:
        said.say(READY=1)
        said.say(STATUS="still here")
    assert [(line["event"], line["socket"]) for line in logs] == [("notify.failed", path)]
    manager = Listening(path)
    said.say(READY=1)
    assert manager.hear() == {"READY": "1"}
    manager.close()
    with capture_logs() as logs:
        said.say(READY=1)
    assert [line["event"] for line in logs] == ["notify.failed"]


def test_a_full_queue_is_waited_for(tmp_path: Path) -> None:
    """A manager that is busy gets every message when it comes to it."""
    manager = Listening(tmp_path / "notify")
    said = notify(NOTIFY_SOCKET=manager.path)
    number = int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text()) + 3
    speaking = threading.Thread(target=lambda: [said.say(N=n) for n in range(number)])
    speaking.start()
    assert [manager.hear()["N"] for _ in range(number)] == [str(n) for n in range(number)]
    speaking.join()
    manager.close()


@pytest.mark.timeout(20)  # seconds: else it would wait for ever
def test_a_manager_that_takes_nothing_is_given_up(
    manager: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, which is logged: a daemon doesn't hang with who started it."""
    monkeypatch.setattr("kmetad._daemon.notify._PATIENCE", 0.01)
    said = notify(NOTIFY_SOCKET=manager.path)
    with capture_logs() as logs:
        while said.say(N=1):
            pass
    assert [line["error"] for line in logs] == ["timed out"]


def test_the_variables_are_taken() -> None:
    """What a plugin starts doesn't have them; the program that this one is replaced with does."""
    variables = {"NOTIFY_SOCKET": "/run/notify", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    environ = {"PATH": "/bin", **variables}
    said = Notify(environ, structlog.get_logger())
    assert environ == {"PATH": "/bin"}
    said.hand_over()
    assert environ == {"PATH": "/bin", **variables}


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("3000000", None, 3_000_000),
        ("3000000", os.getpid, 3_000_000),
        ("3000000", os.getppid, 0),
        ("", None, 0),
        ("0", None, 0),
        ("-1", None, 0),
        ("1s", None, 0),
        ("٣", None, 0),
    ],
)
def test_who_is_watched(usec: str, pid: object, expected: int) -> None:
    """As sd_watchdog_enabled(3): a number of microseconds, for this process or whoever has the variable."""
    more = {"WATCHDOG_PID": str(pid())} if callable(pid) else {}
    said = notify(NOTIFY_SOCKET="/run/notify", WATCHDOG_USEC=usec, **more)
    assert said.watchdog_usec(os.getpid()) == expected


def test_its_socket_is_closed_on_exec(manager: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a plugin starts just then doesn't inherit it."""
    made = []

    class Seen(socket.socket):
        def send(self, *args: object) -> int:
            made.append((os.get_inheritable(self.fileno()), self.fileno()))
            return super().send(*args)  # type: ignore[arg-type]

    monkeypatch.setattr("kmetad._daemon.notify.socket.socket", Seen)
    notify(NOTIFY_SOCKET=manager.path).say(READY=1)
    assert [inherited for inherited, _ in made] == [False]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0][1])


# -- what is said when -----------------------------------------------------------------------


class Spoken:
    """A service whose status, clock and threads are the test's."""

    def __init__(self, manager: Listening, **environ: str) -> None:
        self.manager = manager
        self.now = 100.0
        self.status = NOT_READY
        self.woken = 0
        self.asked: list[object] = []
        self.service = Service(
            notify(NOTIFY_SOCKET=manager.path, **environ),
            lambda: self.status,
            self._wake,
            self.asked.append,
            clock=lambda: self.now,
        )

    def _wake(self) -> None:
        self.woken += 1

    def attend(self) -> list[dict[str, str]]:
        """All that is said of it."""
        self.service.attend()
        said = []
        while self.manager.waiting():
            said.append(self.manager.hear())
        return said


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[Listening]:
    """Somebody who listens."""
    listening = Listening(tmp_path / "notify")
    yield listening
    listening.close()


def test_ready_is_said_once(listening: Listening) -> None:
    """With the sentence that goes with it; a sentence whenever it is another one."""
    spoken = Spoken(listening)
    why = "Not ready: volume podinfo is lost: /etc/podinfo isn't there"
    assert spoken.attend() == [{"STATUS": why}]
    assert spoken.attend() == []
    spoken.status = READY
    assert spoken.attend() == [{"READY": "1", "STATUS": "Ready: 2 sources, 1 plugin, generation 7"}]
    assert spoken.attend() == []
    spoken.status = NOT_READY
    assert spoken.attend() == [{"STATUS": why}]
    spoken.status = READY
    assert spoken.attend() == [{"STATUS": "Ready: 2 sources, 1 plugin, generation 7"}]


def test_what_could_not_be_said_is_said_later(tmp_path: Path) -> None:
    """A manager that is away for a moment doesn't miss READY=1."""
    manager = Listening(tmp_path / "notify")
    spoken = Spoken(manager)
    spoken.status = READY
    manager.close()
    with capture_logs():
        spoken.service.attend()
    spoken.manager = Listening(tmp_path / "notify")
    assert spoken.attend() == [{"READY": "1", "STATUS": "Ready: 2 sources, 1 plugin, generation 7"}]
    spoken.manager.close()


def test_changes_wake_the_main_thread_once(listening: Listening) -> None:
    """However many there are before it attends."""
    spoken = Spoken(listening)
    for _ in range(3):
        spoken.service.changed()
    assert spoken.woken == 1
    spoken.attend()
    spoken.service.changed()
    assert spoken.woken == 2


def test_nobody_is_woken_where_nobody_listens() -> None:
    """Without the variables there is nothing to do, ever, and no status is put together."""

    def never(*_: object) -> Status:
        raise AssertionError

    service = Service(notify(WATCHDOG_USEC="1000000"), never, never, never)
    service.changed()
    service.attend()
    assert service.patience() is None
    service.reloading(5)
    service.stopping()


def test_the_watchdog_is_fed_by_those_who_answer(listening: Listening) -> None:
    """Each half of its time they are asked; WATCHDOG=1 is theirs to say."""
    spoken = Spoken(listening, WATCHDOG_USEC="4000000", WATCHDOG_PID=str(os.getpid()))
    assert spoken.service.patience() == 0
    assert spoken.attend()[0]["WATCHDOG_USEC"] == "4000000"
    assert (len(spoken.asked), spoken.service.patience()) == (1, 2)
    spoken.now += 1.5
    spoken.attend()
    assert (len(spoken.asked), spoken.service.patience()) == (1, 0.5)
    spoken.now += 0.5
    assert spoken.attend() == []
    assert len(spoken.asked) == 2
    answer = spoken.asked[-1]
    assert callable(answer)
    answer()
    assert listening.hear() == {"WATCHDOG": "1"}


@pytest.mark.parametrize("days", [60, 200_000_000])
def test_a_watchdog_with_much_time(listening: Listening, days: int) -> None:
    """Is fed once a day: poll(2) can't be asked to wait for longer than 24."""
    spoken = Spoken(listening, WATCHDOG_USEC=str(days * 86_400_000_000))
    spoken.attend()
    assert (len(spoken.asked), spoken.service.patience()) == (1, 86400)


def test_the_watchdog_waits_for_a_reload(listening: Listening) -> None:
    """For as long as the plugins have for their end; the successor asks for what was configured again."""
    spoken = Spoken(listening, WATCHDOG_USEC="4000000")
    spoken.service.reloading(60)
    said = listening.hear()
    assert (said["RELOADING"], said["WATCHDOG"], said["WATCHDOG_USEC"]) == ("1", "1", "64000000")
    Spoken(listening).service.reloading(60)
    assert "WATCHDOG_USEC" not in listening.hear()


def test_sentences() -> None:
    """One line each, not too long for systemd; with why a newer configuration isn't in force."""
    refused = replace(READY, config=ConfigStatus("a.toml", refused=("a.toml:3: no\nsuch\x1bkey",)))
    assert describe(refused) == (
        "Ready: 2 sources, 1 plugin, generation 7; a newer configuration has faults and isn't in force: "
        "a.toml:3: no such key"
    )
    assert len(describe(replace(NOT_READY, unready=("é" * 9999,))).encode()) < 4096
