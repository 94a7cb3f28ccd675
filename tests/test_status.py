"""What the daemon says of itself, and the socket over which it says it; both without a daemon."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from kmetad._daemon.places import NAME, Place, places, reach
from kmetad._daemon.status import Introspection
from kmetad._daemon.status_socket import StatusSocket
from kmetad.metadata import Snapshot, SourceState
from kmetad.status import AppStatus, Fault, LaneStatus, StateStatus, plain
from tests.cli import eventually
from tests.namespaces import own
from tests.unprivileged import as_nobody

DEADLINE = 30.0

IDLE = LaneStatus("nginx", "idle", generation=1)
READ = Snapshot(sources=MappingProxyType({"podinfo": SourceState()}), generation=3)
LOST = Snapshot(sources=MappingProxyType({"podinfo": SourceState("lost", 1, "/etc/podinfo isn't there")}))


def introspection(snapshot: Snapshot = READ, *lanes: LaneStatus) -> Introspection:
    """Of a daemon with the volume podinfo, and these lanes."""
    return Introspection("kmetad.toml", ["podinfo"], lambda: snapshot, lambda: lanes)


class TestReadiness:
    """Every declared volume can be read, every on_start has succeeded, the configuration has no fault."""

    def test_ready(self) -> None:
        """Whatever else a lane does."""
        doing = ("idle", "settling", "delivering", "retrying", "parked", "stuck", "stopped")
        lanes = [LaneStatus(state, state, generation=1) for state in doing]
        status = introspection(READ, *lanes).status()
        assert (status.ready, status.unready, status.generation) == (True, (), 3)
        assert status.lanes == tuple(lanes)
        assert status.pid == os.getpid()
        assert abs(status.started_ns - time.time_ns()) < DEADLINE * 1e9

    @pytest.mark.parametrize("state", ["lost", "unreadable"])
    def test_a_declared_volume_that_does_not_speak(self, state: Any) -> None:
        """It says which, and why; one that nobody declared, or that is polled, is no reason."""
        sources = {
            "podinfo": SourceState(state, 1, "the reason"),
            "token": SourceState("lost", 1, "no token"),
            "other": SourceState("polling", 1, "no inotify"),
        }
        own = Introspection(None, ["podinfo", "other"], lambda: Snapshot(sources=sources), lambda: ())
        assert own.status().unready == (f"volume podinfo is {state}: the reason",)

    def test_before_the_first_look(self) -> None:
        """Also where no volume is declared."""
        status = Introspection(None, [], Snapshot, lambda: ()).status()
        assert (status.ready, status.unready) == (False, ("nothing of the Pod has been read yet",))

    @pytest.mark.parametrize(
        ("lane", "reason"),
        [
            (LaneStatus("a", "starting"), "plugin a: on_start hasn't succeeded yet"),
            (
                LaneStatus("a", "retrying", last_fault=Fault(1, "on_start", "OSError: no")),
                "plugin a: on_start hasn't succeeded yet: OSError: no",
            ),
            (
                LaneStatus("a", "stuck", hook="on_start", last_fault=Fault(1, "on_start", "OSError: no")),
                "plugin a: on_start hasn't succeeded yet; it runs for longer than lane.timeout",
            ),
            (
                LaneStatus("a", "set-aside", crashes=3),
                "plugin a is set aside: the daemon died 3 times in a row",
            ),
        ],
    )
    def test_a_plugin_that_has_not_begun(self, lane: LaneStatus, reason: str) -> None:
        """It says which, and what keeps it."""
        (said,) = introspection(READ, IDLE, lane).status().unready
        assert said.startswith(reason)

    def test_a_plugin_s_error_is_cut_in_the_sentence(self) -> None:
        """Whatever a plugin puts into an exception, the first lines stay readable; the whole is in its lane."""
        error = "ValueError: " + "x" * 10_000
        lane = LaneStatus("a", "retrying", last_fault=Fault(1, "on_start", error))
        status = introspection(READ, lane).status()
        assert len(status.unready[0]) < 500
        assert status.lanes[0].last_fault == lane.last_fault

    def test_faults_of_the_configuration(self) -> None:
        """Those in force count; those of a newer one that was refused are told, and change nothing."""
        own = introspection()
        own.refused(["a typo"])
        assert own.status().ready
        assert own.status().config.refused == ("a typo",)
        own.refused([])
        own.found(["line 3: no such plugin"])
        status = own.status()
        assert status.unready == ("the configuration has a fault: line 3: no such plugin",)
        assert (status.config.faults, status.config.refused) == (("line 3: no such plugin",), ())


def test_the_document() -> None:
    """Field names as they are, times as text, and every byte of a name that is no UTF-8."""
    lane = LaneStatus(
        "caf\udce9", "retrying", hook_seconds=1.23456, last_fault=Fault(1_500_000_000, "on_change", "E")
    )
    own = Introspection(
        "/a/\udcff",
        [],
        lambda: LOST,
        lambda: (lane,),
        app=lambda: AppStatus(7, 2),
        state=lambda: StateStatus("/var/lib/kmetad", "full"),
    )
    document = own.document()
    assert document.isascii()
    read = json.loads(document)
    assert read == plain(own.status())
    assert read["config"]["file"] == "/a/\udcff"
    assert read["started"].endswith("Z")
    assert read["sources"] == {
        "podinfo": {"status": "lost", "faults": 1, "error": "/etc/podinfo isn't there"}
    }
    (told,) = read["lanes"]
    assert (told["name"], told["hook_seconds"], told["generation"]) == ("caf\udce9", 1.235, None)
    assert told["last_fault"] == {"time": "1970-01-01T00:00:01.500000Z", "hook": "on_change", "error": "E"}
    assert read["app"] == {"pid": 7, "starts": 2, "output": {}}
    assert read["state"] == {"dir": "/var/lib/kmetad", "error": "full"}


# -- the socket ---------------------------------------------------------------------


class Log(list[tuple[str, dict[str, Any]]]):
    """What was logged, with the level under ``level``."""

    def __getattr__(self, level: str) -> Callable[..., None]:
        if level not in ("debug", "info", "warning", "error"):
            raise AttributeError(level)
        return lambda event, **values: self.append((event, {"level": level, **values}))


class Process:
    """A fork that opens the socket when it is told to, and closes it when it is told to, or this object ends it."""

    def __init__(
        self, *directories: Path | str, document: bytes = b"hello", then: Sequence[Callable[[], Any]] = ()
    ):
        """``then``: what it does at each ``word``, in order."""
        self.code: int | None = None
        self._link, theirs = socket.socketpair()
        self._link.settimeout(DEADLINE)
        where = [Place(str(directory), "test") for directory in directories]
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # threads of other tests, which the child hasn't
            self.pid = os.fork()
        if self.pid == 0:
            try:
                self._be(theirs, where, document, iter(then))
            finally:
                os._exit(1)
        theirs.close()

    @staticmethod
    def _be(
        link: socket.socket, where: list[Place], document: bytes, then: Iterator[Callable[[], Any]]
    ) -> None:
        log = Log()
        own = StatusSocket(where, lambda: document, log, patience=0.05)
        while (word := link.recv(1)) != b"e":
            if word == b"b":
                own.start()
                link.send(json.dumps(log).encode())
            else:
                if word == b"w":
                    next(then)()
                link.send(json.dumps([event for event, _ in log]).encode())
        own.close()
        os._exit(0)

    def begin(self) -> None:
        """Have it open the socket."""
        self._link.send(b"b")

    def told(self) -> tuple[str, dict[str, Any]]:
        """What it logged as it did."""
        ((event, values),) = json.loads(self._link.recv(1 << 16))
        return event, values

    def opened(self) -> dict[str, Any]:
        """Have it open the socket, which has to work."""
        self.begin()
        event, values = self.told()
        assert event == "status.listening", values
        return values

    def word(self) -> None:
        """Have it do the next of ``then``; returns when it has, or has become something else."""
        self._link.send(b"w")
        self._link.recv(1 << 16)

    def events(self) -> list[str]:
        """What it has logged."""
        self._link.send(b"l")
        events: list[str] = json.loads(self._link.recv(1 << 16))
        return events

    def kill(self) -> None:
        """As the kernel does it."""
        os.kill(self.pid, signal.SIGKILL)
        self._wait()

    def end(self) -> int:
        """Have it close the socket, and end by itself."""
        self._link.send(b"e")
        return self._wait()

    def _wait(self) -> int:
        self._link.close()
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code


@pytest.fixture
def process() -> Iterator[Callable[..., Process]]:
    """Makes processes, and ends what is left of them."""
    made: list[Process] = []

    def make(*arguments: Any, **more: Any) -> Process:
        made.append(Process(*arguments, **more))
        return made[-1]

    yield make
    for one in made:
        if one.code is None:
            one.kill()


@contextmanager
def connected(directory: Path | str) -> Iterator[socket.socket]:
    """A client."""
    with socket.socket(socket.AF_UNIX) as client:
        reach(str(directory), client.connect)  # waits where many do
        client.settimeout(DEADLINE)
        yield client


def ask(directory: Path | str) -> bytes:
    """All that is said."""
    with connected(directory) as client:
        return b"".join(iter(lambda: client.recv(1 << 16), b""))


def test_everybody_is_answered(process: Callable[..., Process], tmp_path: Path) -> None:
    """The document, and then the end; again and again; and the name goes with the process."""
    one = process(tmp_path)
    assert one.opened()["socket"] == f"{tmp_path}/{NAME}"
    assert [ask(tmp_path) for _ in range(3)] == [b"hello"] * 3
    assert one.end() == 0
    assert not (tmp_path / NAME).exists()


def test_only_its_own_user_may_connect(process: Callable[..., Process], tmp_path: Path) -> None:
    """Mode 0600, whatever the umask is, which stays as it is: other threads make files meanwhile."""
    before = os.umask(0)
    try:
        one = process(tmp_path, then=[lambda: (tmp_path / "umask").write_text(oct(os.umask(0)))])
        one.opened()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600
    one.word()
    one.end()
    assert (tmp_path / "umask").read_text() == "0o0"


def test_the_mode_is_there_from_the_first_moment(tmp_path: Path) -> None:
    """bind(2) itself makes it: nobody can come in between."""
    seen: list[int] = []

    def watch(frame: Any, event: str, argument: Any) -> None:
        if event == "c_return" and getattr(argument, "__name__", "") == "bind":
            seen.append(stat.S_IMODE((tmp_path / NAME).stat().st_mode))

    before = os.umask(0)
    own = StatusSocket([Place(str(tmp_path), "test")], lambda: b"", Log())
    sys.setprofile(watch)
    try:
        own.start()
    finally:
        sys.setprofile(None)
        os.umask(before)
        own.close()
    assert seen == [0o600]


def test_closing_ends_the_thread(tmp_path: Path) -> None:
    """It sleeps in accept(2), and is woken."""
    own = StatusSocket([Place(str(tmp_path), "test")], lambda: b"", Log())
    own.start()
    (thread,) = [t for t in threading.enumerate() if t.name == "kmetad-status"]
    own.close()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    own.close()  # once more does no harm


def test_the_first_place_that_can_be_written_to(process: Callable[..., Process], tmp_path: Path) -> None:
    """Neither what isn't there, nor what is no directory."""
    (tmp_path / "file").write_text("")
    good, later = tmp_path / "good", tmp_path / "later"
    good.mkdir(), later.mkdir()
    one = process(tmp_path / "none", tmp_path / "file", good, later)
    assert one.opened()["socket"] == f"{good}/{NAME}"
    assert ask(good) == b"hello"
    assert list(later.iterdir()) == []


def test_a_directory_that_may_only_be_read(tmp_path: Path) -> None:
    """The next one; where there is none, it says so, with each reason and what to do."""
    closed, own = tmp_path / "closed", tmp_path / "own"
    closed.mkdir(mode=0o555), own.mkdir()
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o111)
    own.chmod(0o777)

    def start(*directories: Path) -> Log:
        log = Log()
        one = StatusSocket([Place(str(d), "$XDG_RUNTIME_DIR") for d in directories], lambda: b"", log)
        one.start()
        one.close()
        return log

    ((event, values),) = as_nobody(lambda: list(start(closed, own)))
    assert (event, values.get("socket")) == ("status.listening", f"{own}/{NAME}")
    ((event, values),) = as_nobody(lambda: list(start(closed, tmp_path / "none")))
    assert (event, values["level"]) == ("status.unavailable", "info")
    assert f"{closed} ($XDG_RUNTIME_DIR): Permission denied" in values["reason"]
    assert f"{tmp_path}/none ($XDG_RUNTIME_DIR): No such file" in values["reason"]
    assert "[state] dir" in values["remedy"]


def test_the_fallback_is_made(tmp_path: Path) -> None:
    """For its user alone; where it can't be made, that is the reason."""
    log = Log()
    for fallback in (tmp_path / "kmetad", tmp_path / "none" / "kmetad"):
        own = StatusSocket(places(None, {}, str(fallback)), lambda: b"", log)
        own.start()
        own.close()
    assert stat.S_IMODE((tmp_path / "kmetad").stat().st_mode) == 0o700
    (first, _), (second, values) = log
    assert (first, second) == ("status.listening", "status.unavailable")
    assert f"{tmp_path}/none/kmetad: No such file or directory" in values["reason"]


OPENED = """
import json, sys
from kmetad._daemon.places import Place
from kmetad._daemon.status_socket import StatusSocket

class Log:
    def __getattr__(self, level):
        return lambda event, **values: print(json.dumps([event, values]))

it = StatusSocket([Place(directory, "test") for directory in sys.argv[1:]], bytes, Log())
it.start()
it.close()
"""


@pytest.mark.parametrize(
    ("mount", "reason"),
    [(("tmpfs", "ro"), "Read-only file system"), (("mqueue", "rw"), "Operation not permitted")],
)
def test_a_file_system_that_holds_no_socket(mount: tuple[str, str], reason: str, tmp_path: Path) -> None:
    """One that is read-only, and one that has no sockets: the next place, or none."""
    kind, options = mount
    (tmp_path / "mounted").mkdir(), (tmp_path / "good").mkdir()
    script = f'mount -t {kind} -o {options} none "$1" && exec "$2" -c "$3" "$1" "$4"'
    for last, event, told in (
        ("good", "status.listening", str(tmp_path)),
        ("none", "status.unavailable", reason),
    ):
        done = subprocess.run(
            [*own("mount", "ipc"), "sh", "-c", script, "sh", tmp_path / "mounted"]
            + [sys.executable, OPENED, tmp_path / last],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0] == event
        assert told in done.stdout


def test_a_long_path(process: Callable[..., Process], tmp_path: Path) -> None:
    """Longer than a socket's address."""
    deep = tmp_path / ("d" * 200)
    deep.mkdir()
    one = process(deep)
    one.opened()
    assert ask(deep) == b"hello"
    one.end()
    assert not (deep / NAME).exists()


class TestOneName:
    """Of several daemons in one directory one has the socket, and what a dead one left is replaced."""

    def test_another_daemon_has_it(self, process: Callable[..., Process], tmp_path: Path) -> None:
        """The second says so, what to do, and goes without, also where it could go elsewhere."""
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        one, other = process(tmp_path, document=b"one"), process(tmp_path, elsewhere, document=b"other")
        one.opened()
        other.begin()
        event, values = other.told()
        assert (event, values["level"]) == ("status.unavailable", "warning")
        assert f"another daemon of kmetad has {tmp_path}/{NAME}" in values["reason"]
        assert "[state] dir" in values["remedy"]
        assert other.end() == 0
        assert ask(tmp_path) == b"one"  # the other one's end took nothing away
        assert list(elsewhere.iterdir()) == []

    @pytest.mark.parametrize("left", [False, True])
    def test_two_that_start_at_once(
        self, left: bool, process: Callable[..., Process], tmp_path: Path
    ) -> None:
        """Exactly one gets it, also where all find the socket of a dead one; and that one answers."""
        for round_ in range(15):
            directory = tmp_path / str(round_)
            directory.mkdir()
            if left:
                dead = process(directory)
                dead.opened()
                dead.kill()
            several = [process(directory, document=b"%d" % number) for number in range(4)]
            for one in several:
                one.begin()
            events = [one.told()[0] for one in several]
            assert sorted(events) == ["status.listening", *["status.unavailable"] * 3]
            assert ask(directory) == b"%d" % events.index("status.listening")
            for one in several:
                assert one.end() == 0
            assert not (directory / NAME).exists()

    def test_one_that_was_killed(self, process: Callable[..., Process], tmp_path: Path) -> None:
        """Its successor takes the name, at once."""
        for number in range(5):
            one = process(tmp_path, document=b"%d" % number)
            one.opened()
            assert ask(tmp_path) == b"%d" % number
            one.kill()
            assert (tmp_path / NAME).exists()

    def test_one_that_was_killed_and_left_a_fork(
        self, process: Callable[..., Process], tmp_path: Path
    ) -> None:
        """What a plugin has forked holds the socket, where nobody answers any more; it holds up nobody."""
        (tmp_path / "socket").mkdir()

        def fork() -> None:
            if (child := os.fork()) == 0:
                signal.pause()
            (tmp_path / "child").write_text(str(child))

        dead = process(tmp_path / "socket", then=[fork])
        dead.opened()
        dead.word()
        child = int((tmp_path / "child").read_text())
        try:
            dead.kill()
            with connected(tmp_path / "socket"):
                pass  # the kernel takes it for alive
            one = process(tmp_path / "socket", document=b"one")
            one.opened()
            assert ask(tmp_path / "socket") == b"one"
        finally:
            os.kill(child, signal.SIGKILL)

    def test_one_that_becomes_another_by_exec(self, process: Callable[..., Process], tmp_path: Path) -> None:
        """The lock goes with the program, though the process stays."""
        code = "import signal; signal.pause()"
        one = process(tmp_path, then=[lambda: os.execv(sys.executable, [sys.executable, "-S", "-c", code])])
        one.opened()
        one.word()  # its link is closed by the exec, as are all of its descriptors
        process(tmp_path, document=b"next").opened()
        assert ask(tmp_path) == b"next"

    def test_one_whose_name_was_taken_away(self, process: Callable[..., Process], tmp_path: Path) -> None:
        """Somebody cleaned up, and another daemon came: that one's socket stays."""
        one = process(tmp_path)
        one.opened()
        for path in tmp_path.iterdir():
            path.unlink()
        other = process(tmp_path, document=b"other")
        other.opened()
        assert one.end() == 0
        assert ask(tmp_path) == b"other"

    @pytest.mark.parametrize("kind", ["symlink", "file", "directory"])
    def test_what_is_no_socket(self, kind: str, process: Callable[..., Process], tmp_path: Path) -> None:
        """It isn't kmetad's to remove, nor to follow."""
        target = tmp_path / "target"
        path = tmp_path / NAME
        if kind == "symlink":
            path.symlink_to(target)
        elif kind == "file":
            path.write_text("precious")
        else:
            path.mkdir()
        one = process(tmp_path)
        one.begin()
        event, values = one.told()
        assert (event, values["level"]) == ("status.unavailable", "warning")
        assert "no socket" in values["reason"]
        assert "remove it" in values["remedy"]
        assert path.is_symlink() or path.exists()
        assert not target.exists()

    def test_a_symlink_in_the_lock_s_place(self, process: Callable[..., Process], tmp_path: Path) -> None:
        """It isn't followed."""
        (tmp_path / f"{NAME}.lock").symlink_to(tmp_path / "target")
        one = process(tmp_path)
        one.begin()
        assert one.told()[0] == "status.unavailable"
        assert not (tmp_path / "target").exists()


class TestClients:
    """Whatever clients do, others are answered, and the daemon isn't held up."""

    def test_many_that_never_read(self, process: Callable[..., Process], tmp_path: Path) -> None:
        """The kernel keeps their answer."""
        process(tmp_path, document=b"x" * 50_000).opened()
        silent = [socket.socket(socket.AF_UNIX) for _ in range(50)]
        try:
            for client in silent:
                reach(str(tmp_path), client.connect)
            assert len(ask(tmp_path)) == 50_000
        finally:
            for client in silent:
                client.close()

    def test_one_that_never_reads_a_long_answer(
        self, process: Callable[..., Process], tmp_path: Path
    ) -> None:
        """It is given up, and the next one gets the whole."""
        process(tmp_path, document=b"x" * 4_000_000).opened()
        with connected(tmp_path) as silent:
            silent.recv(1)  # its turn has come
            assert len(ask(tmp_path)) == 4_000_000

    def test_one_that_goes_away(self, process: Callable[..., Process], tmp_path: Path) -> None:
        """At any moment."""
        process(tmp_path, document=b"x" * 4_000_000).opened()
        with connected(tmp_path) as hasty:
            hasty.recv(1)
        with connected(tmp_path):
            pass
        assert len(ask(tmp_path)) == 4_000_000

    def test_one_that_comes_while_no_descriptor_is_left(
        self, process: Callable[..., Process], tmp_path: Path
    ) -> None:
        """It waits, and is answered when there is one."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

        def exhaust() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))

        def relax() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))

        one = process(tmp_path, then=[exhaust, relax])
        one.opened()
        one.word()
        assert ask(tmp_path) == b"hello"  # accept(2) had its descriptor when it fell asleep
        with connected(tmp_path) as client:
            eventually(lambda: one.events() == ["status.listening", "status.failed"])
            time.sleep(0.2)  # it is tried several times
            one.word()
            assert client.recv(100) == b"hello"
        assert one.events() == ["status.listening", "status.failed"]  # once, however often it was tried

    def test_a_fault_of_ours(self, tmp_path: Path) -> None:
        """It is logged; who asked gets the end, and the next one an answer."""
        log = Log()
        answers = iter([ZeroDivisionError("a fault"), b"well"])

        def document() -> bytes:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        own = StatusSocket([Place(str(tmp_path), "test")], document, log, patience=0.05)
        own.start()
        try:
            assert [ask(tmp_path), ask(tmp_path)] == [b"", b"well"]
        finally:
            own.close()
        assert [event for event, _ in log] == ["status.listening", "status.failed"]
        assert log[1][1]["error"] == "ZeroDivisionError: a fault"
