"""Watching heals itself: whatever is taken away is said, and when it is back, all is as if nothing had been."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from kmetad._sources.content import NOTHING
from kmetad._sources.volume import Volume as Source
from kmetad.testing.kubelet import Volume
from tests.cli import Output, eventually
from tests.daemons import Daemon
from tests.namespaces import Limit, entering, inside, own
from tests.waking import wake_ups
from tests.wrapper.wrapped import stat_of

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what heals here is inotify, mounts and namespaces"
)

WITNESS = """
import msgspec
from kmetad import hookimpl

class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    waits: str = ""

class Plugin:
    def __init__(self, options, context):
        self.log, self.waits = context.log, options.waits

    @hookimpl
    def kmetad_on_start(self, snapshot):
        self.tell((), snapshot)

    @hookimpl
    def kmetad_on_change(self, batch):
        if self.waits:
            self.log.info("waiting")
            open(self.waits).read()
        self.tell(batch.changes, batch.current, time=batch.time_ns)

    def tell(self, changes, now, **more):
        sources = {c.key: (c.old.status, c.new.status) for c in changes if c.type == "source"}
        states = {name: (s.status, s.faults, s.error) for name, s in now.sources.items()}
        keys = [c.key for c in changes if c.type != "source"]
        self.log.info("told", sources=sources, states=states, keys=keys, labels=dict(now.labels), **more)
"""


class Witness(Daemon):
    """A daemon with a plugin that says what it is told; ``before`` runs it, and ``python`` is told to be kmetad."""

    def __init__(
        self,
        directory: Path,
        toml: str,
        *arguments: str,
        before: Sequence[str] = (),
        python: Sequence[str] = ("-m", "kmetad"),
    ) -> None:
        self.command = [*before, sys.executable, *python, "run"]
        (directory / "witness.py").write_text(WITNESS)
        super().__init__(directory, toml, *arguments)

    def started(self, arguments: tuple[str, ...], environ: dict[str, str]) -> subprocess.Popen[str]:
        """Start the process, whose pid ``before`` keeps."""
        command = [*self.command, "-c", str(self.toml), *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, text=True
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def close(self) -> None:
        """End it, so that it ends its app, if it has one; then kill what is left."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        super().close()

    def told(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The next batch for which it is true."""
        while not wanted(batch := self.line("told")):
            pass
        return batch

    def turns(self, status: str, source: str = "podinfo") -> tuple[int, str]:
        """Wait until it is told that the source has become so; how many faults it had, and the one in force."""
        batch = self.told(lambda batch: batch["sources"].get(source, ("", ""))[1] == status)
        _, faults, error = batch["states"][source]
        return faults, error

    def now(self, **labels: str) -> dict[str, Any]:
        """Wait until it is told that the labels are these."""
        return self.told(lambda batch: batch["labels"] == labels)


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Witness]]:
    """Starts daemons that watch DIR/podinfo, and kills what is left of them."""
    started: list[Witness] = []
    tmp_path.chmod(0o755)

    def start(toml: str = "", *arguments: str, plugin: str = "", **options: Any) -> Witness:
        directory = tmp_path / f"daemon{len(started)}"
        directory.mkdir(mode=0o755)
        toml = f'{toml}[volumes.podinfo]\npath = "{tmp_path}/podinfo"\n'
        toml += f'[plugins.witness]\npath = "DIR/witness.py"\n{plugin}'
        started.append(Witness(directory, toml, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """The volume, which says ``n: 1``."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"n": "1"})
    return volume


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A directory in a tmpfs, as volumes of the kubelet are, where there is one."""
    where = "/dev/shm" if os.access("/dev/shm", os.W_OK) else tmp_path
    with tempfile.TemporaryDirectory(prefix="kmetad-", dir=where) as path:
        yield Path(path)


# -- the kernel gives no notifications -----------------------------------------------------


def test_no_instance_left(daemon: Callable[..., Witness], volume: Volume) -> None:
    """With none at the start it polls, says so once, and misses no swap; when there is one, it watches."""
    limits = Limit("max_inotify_instances")
    kmetad = daemon(before=limits.command(0))
    status, faults, error = state = kmetad.line("told")["states"]["podinfo"]
    assert (status, faults) == ("polling", 1)
    assert error.startswith("inotify has no instance left (fs.inotify.max_user_instances")
    volume.label("n", "2")
    volume.label("n", "3")
    assert kmetad.now(n="3")["states"]["podinfo"] == state
    limits.set(kmetad.pid, 100)
    assert kmetad.turns("healthy") == (1, "")
    volume.label("n", "4")
    kmetad.now(n="4")


def test_no_watch_left_for_a_volume_that_comes_back(
    daemon: Callable[..., Witness], volume: Volume, tmp_path: Path
) -> None:
    """Watches run out while it runs: the volume that needs a new one is polled, the others are heard of as before."""
    other = Volume(tmp_path / "other")
    other.write(labels={"other": "1"})
    limits = Limit("max_inotify_watches")
    kmetad = daemon(f'[volumes.other]\npath = "{other.path}"\n', before=limits.command(2))
    kmetad.now(n="1", other="1")
    limits.set(kmetad.pid, 1)
    volume.remove()
    kmetad.turns("lost")
    volume.write(labels={"n": "2"})
    faults, error = kmetad.turns("polling")
    assert faults == 2
    assert "fs.inotify.max_user_watches" in error
    other.label("other", "2")
    assert kmetad.told(lambda batch: "other" in batch["keys"])["states"]["other"] == ["healthy", 0, ""]
    volume.label("n", "3")
    kmetad.now(n="3", other="2")
    limits.set(kmetad.pid, 2)
    assert kmetad.turns("healthy") == (2, "")
    volume.label("n", "4")
    kmetad.now(n="4", other="2")


def test_no_descriptor_left(daemon: Callable[..., Witness], volume: Volume) -> None:
    """A process that may open nothing any more can't read; once it may, it is told what it missed."""
    kmetad = daemon()
    kmetad.now(n="1")
    before = resource.prlimit(kmetad.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(kmetad.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    volume.label("n", "2")
    faults, error = kmetad.turns("unreadable")
    assert faults == 1
    assert "Too many open files" in error
    resource.prlimit(kmetad.pid, resource.RLIMIT_NOFILE, before)
    assert kmetad.now(n="2")["sources"] == {"podinfo": ["unreadable", "healthy"]}
    volume.label("n", "3")
    kmetad.now(n="3")


def test_overflow(daemon: Callable[..., Witness], volume: Volume, memory: Path) -> None:
    """The kernel drops notifications of 20,000 swaps that nobody reads: it is said, and each last state is told."""
    many = [Volume(memory / f"v{number}") for number in range(20)]
    for number, one in enumerate(many):
        one.write(labels={f"n{number}": "start"})
    kmetad = daemon("".join(f'[volumes.v{number}]\npath = "{one.path}"\n' for number, one in enumerate(many)))
    kmetad.line("told")
    os.kill(kmetad.pid, signal.SIGSTOP)
    eventually(lambda: stat_of(kmetad.pid)[0] == "T")
    for swap in range(20_000 // len(many)):  # in turns: no event is equal to the one before it
        for number, one in enumerate(many):
            one.label(f"n{number}", f"{swap} of {number}")
    os.kill(kmetad.pid, signal.SIGCONT)
    last = {"n": "1", **{f"n{number}": f"{swap} of {number}" for number in range(len(many))}}
    lost_and_found = {name: ["healthy", 1, ""] for name in ["podinfo", *(f"v{n}" for n in range(len(many)))]}
    batch = kmetad.told(
        lambda batch: batch["labels"] == last and batch["states"].items() >= lost_and_found.items()
    )
    many[7].label("n7", "heard")
    assert kmetad.now(**{**last, "n7": "heard"})["states"] == batch["states"]


# -- the volume goes and comes -------------------------------------------------------------


def test_unmounted_and_mounted_again(daemon: Callable[..., Witness], tmp_path: Path) -> None:
    """A tmpfs is mounted at the path, unmounted, mounted again, mounted over, and taken away from who uses it."""
    path = tmp_path / "podinfo"
    path.mkdir()
    kmetad = daemon(before=own("mount"))
    kmetad.line("told")
    there = f"/proc/{kmetad.pid}/root{path}"  # what the daemon sees at the path

    def mount() -> Volume:
        inside(kmetad.pid, "mount", "-t", "tmpfs", "none", str(path))
        return Volume(there)

    def unmount(*how: str) -> None:
        inside(kmetad.pid, "umount", *how, str(path))

    mount().write(labels={"n": "1"})
    kmetad.now(n="1")
    unmount()
    faults, error = kmetad.turns("lost")
    assert "..data is gone" in error
    mounted = mount()
    mounted.write(labels={"n": "2"})
    assert kmetad.now(n="2")["states"]["podinfo"] == ["healthy", faults, ""]
    mounted.label("n", "3")
    kmetad.now(n="3")

    over = mount()
    kmetad.turns("lost")
    over.write(labels={"n": "4"})
    kmetad.now(n="4")
    unmount()
    batch = kmetad.now(n="3")  # the one below
    assert batch["sources"] == {"podinfo": ["healthy", "healthy"]}
    mounted.label("n", "5")
    kmetad.now(n="5")

    with subprocess.Popen(
        entering(kmetad.pid, "sh", "-c", f"cd {path} && echo there && read line"),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as somebody:  # fmt: skip
        assert somebody.stdout is not None and somebody.stdout.readline() == "there\n"
        unmount("--lazy")
        kmetad.turns("lost")
        Volume(f"/proc/{somebody.pid}/cwd").label("n", "where nobody finds it")
        mount().write(labels={"n": "6"})
        assert kmetad.line("told", sources={"podinfo": ["lost", "healthy"]})["labels"] == {"n": "6"}
        Volume(f"/proc/{somebody.pid}/cwd").label("n", "nor now")
        Volume(there).label("n", "7")
        assert kmetad.line("told")["labels"] == {"n": "7"}
        somebody.communicate("")


def test_deleted_and_replaced(daemon: Callable[..., Witness], volume: Volume, tmp_path: Path) -> None:
    """The directory goes and comes, is exchanged for another, lacks ``..data`` for a while, and becomes a link."""
    kmetad = daemon('[watch]\nrescan = "200ms"\n')
    kmetad.now(n="1")
    volume.remove()
    assert kmetad.turns("lost")[0] == 1
    volume.write(labels={"n": "2"})
    kmetad.now(n="2")

    other = Volume(tmp_path / "other")
    other.write(labels={"n": "3"})
    os.rename(volume.path, tmp_path / "old")
    os.rename(other.path, volume.path)
    assert kmetad.now(n="3")["states"]["podinfo"][1] >= 2
    volume.label("n", "4")
    kmetad.now(n="4")

    os.unlink(f"{volume.path}/..data")  # of which the narrow mask hears nothing
    faults, error = kmetad.turns("lost")
    assert "..data is gone" in error
    volume.write(labels={"n": "5"})
    assert kmetad.now(n="5")["states"]["podinfo"] == ["healthy", faults, ""]

    os.rename(volume.path, tmp_path / "elsewhere")
    os.symlink("elsewhere", volume.path)
    volume.label("n", "6")
    kmetad.now(n="6")
    os.symlink("old", tmp_path / "link")
    os.rename(tmp_path / "link", volume.path)
    kmetad.now(n="2")
    Volume(tmp_path / "old").label("n", "7")
    kmetad.now(n="7")


def test_what_blocks_a_reader(daemon: Callable[..., Witness], volume: Volume, tmp_path: Path) -> None:
    """A pipe that nobody writes into, a socket, links in circles: swapped in or in a plain directory, nobody waits."""
    plain, odd, again = tmp_path / "plain", Path(volume.path, "..odd"), Path(volume.path, "..again")

    def publish(directory: Path) -> None:
        os.symlink(directory.name, f"{volume.path}/..data_tmp")
        os.rename(f"{volume.path}/..data_tmp", f"{volume.path}/..data")

    kmetad = daemon(f'[volumes.plain]\npath = "{plain}"\n')
    kmetad.now(n="1")
    for directory in (plain, odd):
        directory.mkdir()
        os.mkfifo(directory / "pipe")
        os.mknod(directory / "socket", stat.S_IFSOCK | 0o600)
        os.symlink(".", directory / "circle")
        (directory / "labels").write_text(f'{directory.name.strip(".")}="2"')
    publish(odd)
    batch = kmetad.now(odd="2", plain="2")
    assert {batch["states"][name][0] for name in ("podinfo", "plain")} == {"healthy"}
    again.mkdir()
    (again / "labels").write_text('n="3"')
    publish(again)
    kmetad.now(n="3", plain="2")


UNPRIVILEGED = """
import json, os, sys
from kmetad import watch
batches = watch(sys.argv[1])
batch = next(batches)
if os.getuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
while True:
    state = batch.current.sources["podinfo"]
    print(json.dumps([state.status, state.faults, state.error, batch.current.labels["n"]]), flush=True)
    batch = next(batches)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can swap where others may not even look")
def test_permission_denied_for_a_while() -> None:
    """What we may not enter, or not read, keeps its last values and says so; once permitted, it is read again."""
    with tempfile.TemporaryDirectory(prefix="kmetad-") as directory:
        os.chmod(directory, 0o755)
        volume = Volume(f"{directory}/podinfo")
        volume.write(labels={"n": "1"})
        command = [sys.executable, "-c", UNPRIVILEGED, volume.path]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            out = Output(process.stdout)

            def told() -> list[Any]:
                batch: list[Any] = json.loads(out.line())
                return batch

            assert told() == ["healthy", 0, "", "1"]
            os.chmod(volume.path, 0o700)
            volume.label("n", "2")
            status, faults, error, label = told()
            assert (status, faults, label) == ("unreadable", 1, "1")
            assert "mode 0700, so the permission to search (x) is missing" in error
            os.chmod(volume.path, 0o755)
            assert told() == ["healthy", 1, "", "2"]

            volume.mode = 0o600
            volume.label("n", "3")
            status, faults, error, label = told()
            assert (status, faults, label) == ("unreadable", 2, "2")
            assert "mode 0600, so the permission to read (r) is missing" in error
            os.chmod(f"{volume.path}/..data/labels", 0o644)  # of which nobody is notified
            assert told() == ["healthy", 2, "", "3"]
            process.kill()
            out.close()


# -- who is told -----------------------------------------------------------------------------


def test_lost_and_recovered_while_a_plugin_is_slow(
    daemon: Callable[..., Witness], volume: Volume, tmp_path: Path
) -> None:
    """Between two deliveries the volume was away: the plugin is told so, from healthy to healthy."""
    os.mkfifo(tmp_path / "gate")

    def let_go_on() -> None:
        with open(tmp_path / "gate", "w"):  # waits for the plugin to come to it
            pass

    kmetad = daemon(plugin=f'waits = "{tmp_path}/gate"')
    kmetad.now(n="1")
    volume.label("n", "2")
    kmetad.line("waiting")
    volume.remove()
    assert kmetad.line("source.fault")["status"] == "lost"
    volume.write(labels={"n": "2"})
    faults = kmetad.line("source.recovered")["faults"]
    let_go_on()
    batch = kmetad.line("told")
    assert (batch["keys"], batch["sources"]) == (["n"], {})  # what it was shown
    let_go_on()
    batch = kmetad.line("told")
    assert (batch["keys"], batch["sources"]) == ([], {"podinfo": ["healthy", "healthy"]})
    assert batch["states"]["podinfo"] == ["healthy", faults, ""]


def test_two_processes_on_one_volume(daemon: Callable[..., Witness], volume: Volume) -> None:
    """A sidecar and a wrapper are both told every swap, and reading the volume, theirs or anybody's, wakes neither."""
    both = [daemon(), daemon("", "--", "sleep", "1000")]
    pids = [kmetad.line("kmetad.started")["pid"] for kmetad in both]
    for kmetad in both:
        kmetad.seen("told")
    for number in range(2, 30):
        volume.label("n", str(number))
        for kmetad in both:
            assert kmetad.line("told", keys=["n"])["labels"] == {"n": str(number)}
    eventually(lambda: all(_asleep(pid) for pid in pids))
    before = [wake_ups(pid) for pid in pids]
    reader = Source("podinfo", volume.path, digest_key=b"k")
    for _ in range(500):
        reader.read(NOTHING)
    volume.label("n", "last")
    for kmetad in both:
        kmetad.now(n="last")
    assert all(wake_ups(pid) - woken < 250 for pid, woken in zip(pids, before, strict=True))


def _tasks(pid: int) -> list[Path]:
    return list(Path(f"/proc/{pid}/task").iterdir())


def _asleep(pid: int) -> bool:
    return all(stat_of(int(task.name))[0] == "S" for task in _tasks(pid))


# -- clocks ----------------------------------------------------------------------------------


def test_a_machine_that_is_up_for_a_century(daemon: Callable[..., Witness], tmp_path: Path) -> None:
    """However far the monotonic clock is, a lost volume is looked at once a second, and a swap is told."""
    kmetad = daemon(before=(*own("time"), "--monotonic=4000000000"))
    assert kmetad.line("told")["states"]["podinfo"][0] == "lost"
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"n": "1"})
    kmetad.now(n="1")
    volume.label("n", "2")
    kmetad.now(n="2")


JUMPING = """
import runpy, sys, time
real, offset = time.time_ns, sys.argv.pop(1)

def time_ns():
    with open(offset) as seconds:
        return real() + int(seconds.read()) * 10**9

time.time_ns, time.time = time_ns, lambda: time_ns() / 10**9
sys.argv[0] = "kmetad"
runpy.run_module("kmetad", run_name="__main__")
"""


def test_a_clock_that_jumps(daemon: Callable[..., Witness], volume: Volume, tmp_path: Path) -> None:
    """Thirty years to and fro: a batch's time says so. Order, and how often a lost volume is looked at, don't change.

    The clock is the one that Python code asks; what waits, waits in the kernel, by its monotonic clock.
    """

    def jump(years: int) -> float:
        seconds = years * 365 * 24 * 3600
        (tmp_path / "new").write_text(str(seconds))
        os.rename(tmp_path / "new", tmp_path / "offset")
        return time.time() + seconds

    jump(0)
    kmetad = daemon(python=("-c", JUMPING, str(tmp_path / "offset")))
    kmetad.now(n="1")
    for number, years in enumerate((-30, 30), 2):
        now = jump(years)
        volume.label("n", f"{number}")
        assert abs(kmetad.now(n=f"{number}")["time"] / 10**9 - now) < 24 * 3600
        volume.remove()
        kmetad.turns("lost")
        jump(-years)
        volume.write(labels={"n": f"{number} again"})
        kmetad.now(n=f"{number} again")
