"""``[state] dir``: what the lanes remember outlives the container. A daemon without a memory file stands for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from kmetad._delivery.disk import Disk
from kmetad._delivery.record import HEADER, State, decode, encode, frame
from kmetad._delivery.statefile import StateFile
from kmetad.testing.kubelet import ServiceAccountVolume, Volume
from tests.daemons import DEADLINE, Daemon
from tests.test_lane import until
from tests.test_survival import FRAGILE, ONE, PODINFO, WAITING, plugin
from tests.unprivileged import as_nobody

STATE = '[state]\ndir = "DIR/state"\n'
LOG = structlog.get_logger()

Start = Callable[..., Daemon]


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Start]:
    """Starts daemons, as one container after the other, and kills what is left of them."""
    started: list[Daemon] = []
    (tmp_path / "fragile.py").write_text(FRAGILE.replace("DIR", str(tmp_path)))
    (tmp_path / "state").mkdir()
    tmp_path.chmod(0o755)
    os.mkfifo(tmp_path / "fifo")

    def start(toml: str = ONE, **environ: str) -> Daemon:
        started.append(Daemon(tmp_path, STATE + toml, **environ))
        return started[-1]

    yield start
    for one in started:
        one.close()


def told(kmetad: Daemon) -> Any:
    """What the plugin is told next."""
    return kmetad.line("told")["changes"]


def knows(directory: Path, **labels: str) -> bool:
    """Whether it is on disk that the one plugin has acknowledged these."""
    try:
        content = (directory / "state" / "kmetad.state").read_bytes()
    except FileNotFoundError:
        return False
    cursor = decode(content[HEADER:]).lanes[0].cursor
    return cursor is not None and cursor.settled and cursor.acknowledged.labels == labels


def killed(kmetad: Daemon) -> None:
    """At once, with no supervisor that would remember."""
    assert kmetad.end(signal.SIGKILL) == -signal.SIGKILL


def test_killed_half_way_and_back(container: Start, tmp_path: Path) -> None:
    """A -> B, killed in the hook, back to A: the next container tells B -> A. Nothing acknowledged comes again."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a", "tier": "1"})
    kmetad = container(PODINFO + WAITING)
    kmetad.line("start")
    volume.label("app", "b")
    assert told(kmetad) == [["label", "app", "a", "b"]]
    killed(kmetad)
    volume.label("app", "a")
    kmetad = container()
    kmetad.line("start")
    assert told(kmetad) == [["label", "app", "b", "a"]]
    assert not [line for line in kmetad.lines if line["event"] == "plugin.suspected"]  # another container's
    assert until(lambda: knows(tmp_path, app="a", tier="1"))
    killed(kmetad)
    kmetad = container()
    kmetad.line("start")
    volume.label("tier", "2")
    assert told(kmetad) == [["label", "tier", "1", "2"]]
    assert kmetad.end() == 0
    volume.label("tier", "3")
    kmetad = container()
    kmetad.line("start")
    assert told(kmetad) == [["label", "tier", "2", "3"]]
    assert kmetad.end() == 0
    left = ["kmetad.lock", "kmetad.sock.lock", "kmetad.state"]  # the second is the status socket's
    assert sorted(os.listdir(tmp_path / "state")) == left
    assert (tmp_path / "state" / "kmetad.state").stat().st_mode & 0o777 == 0o600


def test_a_daemon_that_replaces_itself_keeps_the_directory(container: Start, tmp_path: Path) -> None:
    """HUP: the lock is free for the successor, and a kill behind it loses nothing."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"})
    kmetad = container()
    kmetad.line("start")
    kmetad.process.send_signal(signal.SIGHUP)
    kmetad.line("start")
    volume.label("app", "b")
    assert told(kmetad) == [["label", "app", "a", "b"]]
    assert until(lambda: knows(tmp_path, app="b"))
    killed(kmetad)
    assert not [line for line in kmetad.lines if line["event"].startswith("state.")]


def test_a_wider_match_brings_its_keys(container: Start, tmp_path: Path) -> None:
    """As added, in the next container; a narrower one is silent."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a", "tier": "gold"})
    kmetad = container(PODINFO + plugin("one", 'match = ["label:app"]'))
    kmetad.line("start")
    assert kmetad.end() == 0
    kmetad = container(PODINFO + plugin("one", 'match = ["label:*"]'))
    kmetad.line("start")
    assert told(kmetad) == [["label", "tier", "None", "gold"]]
    assert kmetad.end() == 0
    kmetad = container(PODINFO + plugin("one", 'match = ["label:app"]'))
    kmetad.line("start")
    volume.label("app", "b")
    assert told(kmetad) == [["label", "app", "a", "b"]]
    assert kmetad.end() == 0


UID = 'items.uid = { field = "metadata.uid" }\n'


def test_the_state_of_another_pod_is_dropped(container: Start, tmp_path: Path) -> None:
    """As on a volume that outlives Pods: what another one's plugins know says nothing of this one's."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"}, files={"uid": "11111111-0000-0000-0000-000000000000"})
    kmetad = container(PODINFO + UID + plugin("one"))
    kmetad.line("start")
    assert kmetad.end() == 0
    volume.label("app", "b")
    kmetad = container(PODINFO + UID + plugin("one"))
    assert told(kmetad) == [["label", "app", "a", "b"]]  # the same Pod
    assert kmetad.end() == 0
    volume.write(labels={"app": "c"}, files={"uid": "22222222-0000-0000-0000-000000000000"})
    kmetad = container(PODINFO + UID + plugin("one"))
    assert kmetad.line("state.dropped")["uid"] == "11111111-0000-0000-0000-000000000000"
    kmetad.line("start")
    volume.label("app", "d")
    assert told(kmetad) == [["label", "app", "c", "d"]]
    assert kmetad.end() == 0


def test_another_pods_values_do_not_speak(container: Start, tmp_path: Path) -> None:
    """Not even for a volume that isn't there yet, where this Pod is known by its environment."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"})
    one = "11111111-0000-0000-0000-000000000000"
    kmetad = container(POD_UID=one)
    kmetad.line("start")
    assert kmetad.end() == 0
    os.rename(tmp_path / "podinfo", tmp_path / "away")
    kmetad = container(POD_UID=one.replace("1", "2"))
    kmetad.line("state.dropped")
    assert kmetad.line("kmetad.started")["labels"] == 0
    assert kmetad.end() == 0


BROKEN: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda good: b"", "cut off: no whole header"),
    "cut off": (lambda good: good[:-1], "cut off: "),
    "no record": (lambda good: b"#!/bin/sh\necho hello\n", "no record of kmetad"),
    "one bit": (lambda good: good[:40] + bytes([good[40] ^ 1]) + good[41:], "damaged: its checksum differs"),
    "another version": (lambda good: good[:4] + b"\x63" + good[5:], "of version 99"),
    "more behind it": (lambda good: good + b"\0", "something else follows the record"),
    "no state": (lambda good: frame(b"\x93\x01\x02\x03"), "its content makes no sense"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_file_is_set_aside(tmp_path: Path, fault: str) -> None:
    """It is kept for whoever wants to know, it is said why, and what is saved next is whole."""
    break_it, reason = BROKEN[fault]
    state = State(b"k" * 32)
    path = tmp_path / "kmetad.state"
    broken = break_it(frame(encode(state)))
    path.write_bytes(broken)
    with capture_logs() as logs:
        disk = Disk(str(tmp_path), lambda: encode(state), LOG)
        assert disk.read() is None
    (line,) = logs
    assert line["event"] == "state.unreadable"
    assert line["reason"].startswith(reason)
    assert Path(line["kept"]).read_bytes() == broken
    disk.save()
    assert disk.read() == state
    disk.close()


@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "socket"])
def test_what_is_no_file_is_set_aside(tmp_path: Path, kind: str) -> None:
    """Nothing that lies there blocks, or leads elsewhere."""
    path = tmp_path / "kmetad.state"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(frame(encode(State(b"k" * 32))))
    make = {
        "fifo": lambda: os.mkfifo(path),
        "directory": lambda: path.mkdir(),
        "link": lambda: path.symlink_to(elsewhere),
        "socket": lambda: os.mknod(path, 0o140600),
    }
    make[kind]()
    with capture_logs() as logs:
        disk = Disk(str(tmp_path), lambda: encode(State(b"n" * 32)), LOG)
        assert disk.read() is None
    assert [line["event"] for line in logs] == ["state.unreadable"]
    disk.save()
    assert path.is_file() and not path.is_symlink()
    assert elsewhere.read_bytes() == frame(encode(State(b"k" * 32)))
    disk.close()


def test_a_broken_file_stops_nobody(container: Start, tmp_path: Path) -> None:
    """The plugins start afresh."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"})
    (tmp_path / "state" / "kmetad.state").write_bytes(b"kmtd" + bytes(100))
    kmetad = container()
    assert kmetad.line("state.unreadable")["effect"] == "every plugin starts afresh"
    kmetad.line("start")
    assert until(lambda: knows(tmp_path, app="a"))
    assert kmetad.end() == 0


def test_what_a_kill_left_half_written_is_replaced(tmp_path: Path) -> None:
    """It was never renamed, so it never counts."""
    state = State(b"k" * 32)
    disk = Disk(str(tmp_path), lambda: encode(state), LOG)
    disk.save()
    disk.close()
    (tmp_path / "kmetad.state.new").write_bytes(b"half")
    disk = Disk(str(tmp_path), lambda: encode(state), LOG)
    assert disk.read() == state
    disk.save()
    assert disk.read() == state
    assert sorted(os.listdir(tmp_path)) == ["kmetad.lock", "kmetad.state"]
    disk.close()


def test_two_that_are_given_one_directory(container: Start, tmp_path: Path) -> None:
    """The second says so and goes on without; when the first has ended, it is free for the next."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"})
    first = container()
    first.line("start")
    second = container()
    assert "another process of kmetad uses it" in second.line("state.failed")["error"]
    second.line("start")
    volume.label("app", "b")
    assert told(first) == told(second) == [["label", "app", "a", "b"]]
    killed(first)
    assert second.end() == 0
    third = container()
    third.line("start")
    assert third.end() == 0
    assert not [line for line in third.lines if line["event"].startswith("state.")]


def test_a_directory_that_is_not_there(container: Start, tmp_path: Path) -> None:
    """It isn't made: what lies in the container's own layer is no memory, and who mistyped it has to know."""
    (tmp_path / "state").rmdir()
    Volume(tmp_path / "podinfo").write(labels={"app": "a"})
    kmetad = container()
    line = kmetad.line("state.failed")
    assert line["error"].endswith("No such file or directory")
    assert "emptyDir" in line["remedy"]
    kmetad.line("start")
    assert kmetad.end() == 0
    assert not (tmp_path / "state").exists()


def test_a_directory_that_must_not_be_written(tmp_path: Path) -> None:
    """Whoever runs as another user than the volume was made for is told."""

    def start() -> str:
        return Disk(str(tmp_path), lambda: b"", LOG).error

    tmp_path.chmod(0o555)
    assert as_nobody(start) == f"{tmp_path}/kmetad.lock: Permission denied"


def test_a_directory_that_fails_for_a_while(tmp_path: Path) -> None:
    """It is said once, and once more when it is over; each delivery tries again."""
    state = State(b"k" * 32)
    directory = tmp_path / "state"
    directory.mkdir()
    disk = Disk(str(directory), lambda: encode(state), LOG)
    disk.save()
    os.rename(directory, tmp_path / "away")
    with capture_logs() as logs:
        disk.save()
        disk.save()
        assert "No such file" in disk.error
        os.rename(tmp_path / "away", directory)
        state.life = 7
        disk.save()
    assert [line["event"] for line in logs] == ["state.failed", "state.recovered"]
    assert disk.error == ""
    assert disk.read() == state
    disk.close()
    os.unlink(directory / "kmetad.state")
    disk.save()  # it isn't ours any more
    assert not (directory / "kmetad.state").exists()


def test_one_writes_for_all(tmp_path: Path) -> None:
    """Each lane returns when a write that began after its call is done; those that come meanwhile share the next."""
    entered, leave = threading.Semaphore(0), threading.Semaphore(0)
    written: list[int] = []
    now = [1]

    def encoded() -> bytes:
        seen = now[0]
        entered.release()
        assert leave.acquire(timeout=DEADLINE)
        written.append(seen)
        return b"%d" % seen

    disk = Disk(str(tmp_path), encoded, LOG)
    lanes = [threading.Thread(target=disk.save) for _ in range(5)]
    lanes[0].start()
    assert entered.acquire(timeout=DEADLINE)
    now[0] = 2
    for lane in lanes[1:]:
        lane.start()
    assert until(lambda: disk._asked == 5)
    leave.release()
    lanes[0].join(DEADLINE)
    assert all(lane.is_alive() for lane in lanes[1:])  # the first write may have begun too early for them
    leave.release()
    for lane in lanes[1:]:
        lane.join(DEADLINE)
        assert not lane.is_alive()
    assert written == [1, 2]
    disk.close()


def test_no_secret_is_on_disk(container: Start, tmp_path: Path) -> None:
    """Neither the token nor the content of a file: digests of them alone, and what is metadata."""
    marker = "MARKERofaSECRET"
    account = ServiceAccountVolume(tmp_path / "account")
    account.write(files={"token": marker, "ca.crt": marker, "namespace": "default"})
    settings = Volume(tmp_path / "settings")
    settings.write(files={"password": marker})
    kmetad = container(
        '[token]\npath = "DIR/account"\n[volumes.settings]\npath = "DIR/settings"\nkind = "files"\n'
        + plugin("one", 'dies = "on_change"\nby = "waiting"')
    )
    kmetad.line("start")
    settings.file("password", marker + "2")
    told(kmetad)
    killed(kmetad)
    content = (tmp_path / "state" / "kmetad.state").read_bytes()
    assert b"settings/password" in content
    assert marker.encode() not in content


def test_a_plugins_child_does_not_keep_it(tmp_path: Path) -> None:
    """The lock is the process's own: it is free as soon as that closes it, or ends."""
    first = StateFile(str(tmp_path))
    take = (
        "import sys; from kmetad._delivery.statefile import StateFile; StateFile(sys.argv[1]); print('taken')"
    )

    def other() -> str:
        done = subprocess.run(
            [sys.executable, "-c", take, str(tmp_path)], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() or done.stderr.splitlines()[-1]

    assert other().startswith("BlockingIOError")
    ends, alive = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests, which the child hasn't
        child = os.fork()
    if child == 0:
        os.close(alive)
        os.read(ends, 1)
        os._exit(0)
    first.close()
    assert other() == "taken"
    os.close(alive)
    os.close(ends)
    os.waitpid(child, 0)
