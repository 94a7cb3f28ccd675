"""kmetad._watch: one batch a change, nothing lost, and every fault heals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kmetad
from kmetad import Batch
from kmetad._sources.environment import Environment
from kmetad._sources.volume import Volume as Source
from kmetad._watch import Watch, watch
from kmetad._watch.hints import Hint, Hints
from kmetad._watch.observer import ObserverHints
from kmetad._watch.system import system_hints
from kmetad.testing.kubelet import Volume

DEADLINE = 20.0
KEY = b"k" * 32


class Watcher:
    """A ``Watch`` iterated on a thread of its own, and its batches."""

    def __init__(self, watched: Watch) -> None:
        self.watch = watched
        self._batches: queue.SimpleQueue[Batch | BaseException] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for batch in self.watch:
                self._batches.put(batch)
        except BaseException as error:
            self._batches.put(error)

    def next(self) -> Batch:
        """The next batch; fails if none comes."""
        batch = self._batches.get(timeout=DEADLINE)
        if isinstance(batch, BaseException):
            raise batch
        return batch

    def until(self, wanted: Any) -> Batch:
        """The first batch for which it is true."""
        while not wanted(batch := self.next()):
            pass
        return batch

    def end(self) -> list[Batch]:
        """Stop; what came and nobody took."""
        self.watch.stop()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        left = []
        while not self._batches.empty():
            left.append(self.next())
        return left


@pytest.fixture
def watching() -> Iterator[Any]:
    """Starts watchers, and ends them."""
    watchers: list[Watcher] = []

    def start(*sources: Any, **options: Any) -> Watcher:
        watchers.append(Watcher(Watch(sources, **options)))
        return watchers[-1]

    yield start
    for watcher in watchers:
        watcher.end()


@contextlib.contextmanager
def ended_by_deadline(watched: Watch) -> Iterator[Watch]:
    """For a test that iterates itself: what never comes ends the iteration, which fails the test."""
    timer = threading.Timer(DEADLINE, watched.stop)
    timer.start()
    try:
        with watched:
            yield watched
    finally:
        timer.cancel()


def source(path: Path, name: str = "podinfo", **options: Any) -> Source:
    """A volume as kmetad reads it."""
    return Source(name, str(path), digest_key=KEY, **options)


def told(batch: Batch) -> list[tuple[str, str, Any, Any]]:
    """A batch's changes but for the sources'."""
    return [(c.type, c.key, c.old, c.new) for c in batch.changes if c.type != "source"]


def test_goes_on_from_what_a_process_before_knew(tmp_path: Path, watching: Any) -> None:
    """The last values of a volume that is lost now, its faults, and the generation; first comes all there is."""
    volume = Volume(tmp_path / "v")
    volume.write(labels={"app": "a"}, annotations={"note": "x"})
    os.rename(tmp_path / "v", tmp_path / "away")
    before = watching(source(tmp_path / "away")).next().current
    watcher = watching(source(tmp_path / "v"), before=before)
    first = watcher.next()
    assert told(first) == [("annotation", "note", None, "x"), ("label", "app", None, "a")]
    assert first.current.sources["podinfo"].status == "lost"
    assert first.current.generation == before.generation + 1
    again = watching(source(tmp_path / "v"), before=first.current)
    assert again.next().current == first.current  # the same fault still: it isn't counted twice
    os.rename(tmp_path / "away", tmp_path / "v")
    recovered = again.next().current
    assert (recovered.sources["podinfo"].status, recovered.sources["podinfo"].faults) == ("healthy", 1)
    assert recovered.labels == {"app": "a"}
    last = watching(source(tmp_path / "v"), before=recovered).next()
    assert last.current == recovered
    assert [change.op for change in last.changes] == ["added"] * 3


def test_first_everything_then_each_change(tmp_path: Path, watching: Any) -> None:
    """The first batch holds all as added; then one batch a swap, each from the last one's ``current``."""
    volume = Volume(tmp_path / "v")
    volume.write(labels={"app": "a"}, annotations={"note": "x"})
    watcher = watching(source(tmp_path / "v"))
    first = watcher.next()
    assert told(first) == [("annotation", "note", None, "x"), ("label", "app", None, "a")]
    assert first.changes[0].type == "source"
    volume.label("app", "b")
    second = watcher.next()
    assert told(second) == [("label", "app", "a", "b")]
    assert second.previous is first.current
    assert second.current.annotations is first.current.annotations  # what didn't change is shared
    assert (first.current.generation, second.current.generation) == (1, 2)
    generation = (tmp_path / "v" / os.readlink(tmp_path / "v" / "..data")).stat().st_mtime_ns
    assert second.swapped_ns == generation <= second.time_ns
    assert watcher.end() == []


def test_public_function(tmp_path: Path) -> None:
    """``kmetad.watch`` names volumes after their directories, and closes with its block."""
    volume = Volume(tmp_path / "a" / "podinfo")
    volume.write(labels={"app": "a"})
    other = Volume(tmp_path / "b" / "podinfo")
    other.write(labels={"app": "b", "tier": "gold"})
    with watch(tmp_path / "a" / "podinfo", str(tmp_path / "b" / "podinfo")) as batches:
        batch = next(batches)
        assert batch.current.labels == {"app": "a", "tier": "gold"}
        assert list(batch.current.sources) == ["podinfo", "podinfo-2"]
        assert batch.current.source_of("label", "tier") == "podinfo-2"
    assert list(batches) == []


def test_async_twin(tmp_path: Path) -> None:
    """``kmetad.awatch`` gives the same batches, and can be cancelled while it waits."""
    volume = Volume(tmp_path / "v")
    volume.write(labels={"app": "a"})

    async def main() -> None:
        batches = kmetad.awatch(tmp_path / "v")
        assert told(await anext(batches)) == [("label", "app", None, "a")]
        volume.label("app", "b")
        assert told(await asyncio.wait_for(anext(batches), DEADLINE)) == [("label", "app", "a", "b")]
        waiting = asyncio.ensure_future(anext(batches))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())


def test_equal_content_is_no_batch(tmp_path: Path, watching: Any) -> None:
    """A swap that changes nothing (the kubelet makes none, others do) gives no batch."""
    volume = Volume(tmp_path / "v")
    volume.write(labels={"app": "a"})
    watcher = watching(source(tmp_path / "v"))
    watcher.next()
    same = tmp_path / "v" / "..again"
    same.mkdir()
    (same / "labels").write_bytes(b'app="a"')
    os.symlink("..again", tmp_path / "v" / "..data_tmp")
    os.rename(tmp_path / "v" / "..data_tmp", tmp_path / "v" / "..data")
    volume.label("app", "b")
    assert told(watcher.next()) == [("label", "app", "a", "b")]
    assert watcher.end() == []


def test_volume_that_comes_later_goes_and_comes_again(tmp_path: Path, watching: Any) -> None:
    """Lost, found, lost, found: its values stay meanwhile, and each step is a change of the source."""
    watcher = watching(source(tmp_path / "v"))
    first = watcher.next()
    assert [(c.key, c.new.status) for c in first.changes] == [("podinfo", "lost")]
    assert "isn't there" in first.current.sources["podinfo"].error
    volume = Volume(tmp_path / "v")
    volume.write(labels={"app": "a"})
    found = watcher.until(lambda batch: batch.current.labels)
    assert found.current.sources["podinfo"].status == "healthy"
    volume.label("app", "b")  # it is watched, not polled
    assert told(watcher.next()) == [("label", "app", "a", "b")]
    volume.remove()
    lost = watcher.until(lambda batch: batch.current.sources["podinfo"].status == "lost")
    assert lost.current.labels == {"app": "b"}
    again = Volume(tmp_path / "v")
    again.write(labels={"app": "c"})
    back = watcher.until(lambda batch: batch.current.labels == {"app": "c"})
    assert told(back) == [("label", "app", "b", "c")]
    assert back.current.sources["podinfo"].status == "healthy"
    assert back.current.sources["podinfo"].faults >= 2
    again.label("app", "d")
    assert told(watcher.next()) == [("label", "app", "c", "d")]


def test_made_anew_before_anybody_looked(tmp_path: Path) -> None:
    """A directory that was deleted and made anew since the last look, with the same inode too, is watched again."""
    volume = Volume(tmp_path / "v")
    volume.write(labels={"n": "0"})
    with ended_by_deadline(Watch([source(tmp_path / "v")])) as watched:
        next(watched)
        for number in range(1, 20):
            volume.remove()
            (tmp_path / "v").mkdir()
            volume.write(labels={"n": f"{number}"})
            next(batch for batch in watched if batch.current.labels == {"n": f"{number}"})
            volume.label("n", f"{number} again")
            next(batch for batch in watched if batch.current.labels == {"n": f"{number} again"})


def test_directory_that_is_filled_later(tmp_path: Path, watching: Any) -> None:
    """A volume that is mounted before the kubelet wrote to it is plain at first, then swapped."""
    (tmp_path / "v").mkdir()
    watcher = watching(source(tmp_path / "v"))
    watcher.next()
    volume = Volume(tmp_path / "v")
    volume.write(labels={"app": "a"})
    watcher.until(lambda batch: batch.current.labels == {"app": "a"})
    volume.label("app", "b")
    watcher.until(lambda batch: batch.current.labels == {"app": "b"})


def test_plain_directory(tmp_path: Path, watching: Any) -> None:
    """Regular files (a CSI mount) are told of when they are whole, one by one; subdirectories aren't read."""
    (tmp_path / "a").write_text("1")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_text("1")
    watcher = watching(source(tmp_path, "csi", kind="files"))
    assert [c[:2] for c in told(watcher.next())] == [("file", "csi/a")]
    (tmp_path / "new").write_text("1")
    os.rename(tmp_path / "new", tmp_path / "a")
    (tmp_path / "a").write_text("2")
    watcher.until(lambda batch: any(c[1] == "csi/a" for c in told(batch)))
    (tmp_path / "a").unlink()
    watcher.until(lambda batch: not batch.current.files)


def test_undecodable_file(tmp_path: Path, watching: Any) -> None:
    """Its last values stay, the other files go on, and the source says file and line."""
    volume = Volume(tmp_path / "v")
    volume.write(labels={"app": "a"}, annotations={"note": "x"})
    watcher = watching(source(tmp_path / "v"))
    watcher.next()
    broken = tmp_path / "v" / "..broken"
    broken.mkdir()
    (broken / "labels").write_bytes(b'app="b"\ntier=gold')
    (broken / "annotations").write_bytes(b'note="y"')
    os.symlink("..broken", tmp_path / "v" / "..data_tmp")
    os.rename(tmp_path / "v" / "..data_tmp", tmp_path / "v" / "..data")
    batch = watcher.next()
    assert told(batch) == [("annotation", "note", "x", "y")]
    state = batch.current.sources["podinfo"]
    assert (state.status, state.faults) == ("healthy", 1)
    assert "labels, line 2" in state.error
    assert "gold" not in state.error
    volume.write(labels={"app": "c"}, annotations={"note": "y"})
    after = watcher.next()
    assert told(after) == [("label", "app", "a", "c")]
    assert after.current.sources["podinfo"].error == ""


def test_first_healthy_source_speaks(tmp_path: Path, watching: Any) -> None:
    """Of two volumes with the same key the first speaks; when it is lost, the second does."""
    one, two = Volume(tmp_path / "one"), Volume(tmp_path / "two")
    one.write(labels={"app": "1"})
    two.write(labels={"app": "2", "tier": "gold"})
    watcher = watching(source(tmp_path / "one", "one"), source(tmp_path / "two", "two"))
    first = watcher.next()
    assert first.current.labels == {"app": "1", "tier": "gold"}
    assert (first.current.source_of("label", "app"), first.current.source_of("label", "tier")) == (
        "one",
        "two",
    )
    one.remove()
    lost = watcher.until(lambda batch: batch.current.labels["app"] == "2")
    assert ("label", "app", "1", "2") in told(lost)
    assert next(c.source for c in lost.changes if c.key == "app") == "two"


def test_source_without_directory(watching: Any) -> None:
    """The environment is read once and watched by nobody."""
    watcher = watching(Environment("env", {"POD_NAME": "web-0"}))
    assert told(watcher.next()) == [("field", "metadata.name", None, "web-0")]
    assert watcher.end() == []


class Scripted:
    """A backend that says what a test tells it to, and sleeps never."""

    def __init__(self, hints: list[Hint]) -> None:
        self.hints = hints
        self.watched: list[tuple[str, bool]] = []

    def add(self, path: str, *, swapped: bool) -> None:
        self.watched.append((path, swapped))

    def remove(self, path: str) -> None:
        pass

    def wait(self, timeout: float | None) -> Hint:
        return self.hints.pop(0) if self.hints else Hint()

    def stopped(self) -> bool:
        return not self.hints

    def stop(self) -> None:
        self.hints.clear()

    def close(self) -> None:
        pass


def test_overflow_reads_everything_again(tmp_path: Path) -> None:
    """After the kernel dropped notifications, every source is read, and has one fault more."""
    volume = Volume(tmp_path / "v")
    volume.write(labels={"app": "a"})
    hints: Hints = Scripted([Hint(everything=True), Hint()])
    watched = Watch([source(tmp_path / "v")], hints=hints)
    next(watched)
    volume.label("app", "b")
    batch = next(watched)
    assert told(batch) == [("label", "app", "a", "b")]
    assert [(c.old, c.new) for c in batch.changes if c.type == "source"] == [
        (kmetad.SourceState(), kmetad.SourceState(faults=1))
    ]


def overflow(directory: Path) -> None:
    """Make more notifications in a plain directory that is watched than the kernel keeps."""
    (directory / "a").write_text("")
    there, back = os.fsencode(directory / "a"), os.fsencode(directory / "b")
    for _ in range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) // 4 + 1):
        os.rename(there, back)  # two each, never equal to the one before
        os.rename(back, there)


def test_watched_anew_after_an_overflow(tmp_path: Path) -> None:
    """That a directory went may be among what the kernel dropped; one with the same inode is heard of all the same."""
    (tmp_path / "busy").mkdir()
    volume = Volume(tmp_path / "v")
    volume.write(labels={"n": "1"})
    inode = os.stat(volume.path).st_ino
    busy = source(tmp_path / "busy", "busy", kind="files")
    with ended_by_deadline(Watch([source(tmp_path / "v"), busy])) as watched:
        next(watched)
        overflow(tmp_path / "busy")
        volume.remove()
        (tmp_path / "v").mkdir()
        if os.stat(volume.path).st_ino != inode:
            pytest.skip("this file system gives no inode twice")
        volume.write(labels={"n": "2"})
        next(batch for batch in watched if batch.current.sources["podinfo"].faults)
        volume.label("n", "3")
        next(batch for batch in watched if batch.current.labels == {"n": "3"})


@pytest.mark.parametrize("anew", [False, True], ids=["another one", "made anew"])
def test_replaced_between_two_looks(anew: bool, tmp_path: Path) -> None:
    """A directory that went and came before anybody looked was away all the same: from healthy to healthy."""
    volume = Volume(tmp_path / "v")
    volume.write(labels={"n": "1"})
    other = Volume(tmp_path / "other")
    other.write(labels={"n": "1"})
    with ended_by_deadline(Watch([source(tmp_path / "v")])) as watched:
        next(watched)
        if anew:
            volume.remove()
            volume.write(labels={"n": "1"})
        else:
            os.rename(tmp_path / "v", tmp_path / "old")
            os.rename(tmp_path / "other", tmp_path / "v")
        batch = next(watched)
        assert [(c.old, c.new) for c in batch.changes] == [
            (kmetad.SourceState(), kmetad.SourceState(faults=1))
        ]
        Volume(tmp_path / "v").label("n", "2")
        batch = next(watched)
        assert told(batch) == [("label", "n", "1", "2")]
        assert batch.current.sources["podinfo"] == kmetad.SourceState(faults=1)


def test_slow_rescan_heals_what_nobody_told(tmp_path: Path) -> None:
    """A lost wake-up costs a rescan's time and nothing else; it is no fault."""
    volume = Volume(tmp_path / "v")
    volume.write(labels={"app": "a"})
    now = iter(float(n) for n in range(0, 100000, 200))
    watched = Watch(
        [source(tmp_path / "v")], hints=Scripted([Hint(), Hint(), Hint()]), clock=lambda: next(now)
    )
    next(watched)
    volume.label("app", "b")
    batch = next(watched)
    assert told(batch) == [("label", "app", "a", "b")]
    assert [c.type for c in batch.changes] == ["label"]


def test_nobody_wakes_an_idle_watcher(tmp_path: Path) -> None:
    """While all is healthy it sleeps to the rescan; while something is lost, for a second at most."""
    volume = Volume(tmp_path / "v")
    volume.write(labels={"app": "a"})
    waits: list[float | None] = []

    class Recording(Scripted):
        def wait(self, timeout: float | None) -> Hint:
            waits.append(timeout)
            return super().wait(timeout)

    for path in (tmp_path / "v", tmp_path / "none"):
        watched = Watch([source(path)], hints=Recording([Hint(), Hint()]), clock=lambda: 0.0)
        assert len(list(watched)) == 1
    healthy, lost = waits[0], waits[-1]
    assert (healthy, lost) == (300.0, 1.0)


def test_plain_observer_backend(tmp_path: Path, watching: Any) -> None:
    """The backend for systems without inotify finds swaps, deletions and re-created directories too."""
    volume = Volume(tmp_path / "v")
    volume.write(labels={"app": "a"})
    watcher = watching(source(tmp_path / "v"), hints=ObserverHints())
    watcher.next()
    volume.label("app", "b")
    assert told(watcher.next()) == [("label", "app", "a", "b")]
    volume.remove()
    watcher.until(lambda batch: batch.current.sources["podinfo"].status == "lost")
    again = Volume(tmp_path / "v")
    again.write(labels={"app": "c"})
    watcher.until(lambda batch: batch.current.labels == {"app": "c"})
    again.label("app", "d")
    watcher.until(lambda batch: batch.current.labels == {"app": "d"})


def test_other_systems_get_the_plain_observer() -> None:
    """Only Linux has inotify."""
    hints = system_hints("darwin")
    assert isinstance(hints, ObserverHints)
    hints.close()


MOUNTED = """
import ctypes, os, sys, threading
from kmetad._sources.volume import Volume as Source
from kmetad._watch import Watch
from kmetad.testing.kubelet import Volume
libc = ctypes.CDLL(None, use_errno=True)
def check(code):
    if code: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
try:
    check(libc.unshare(0x20000)); check(libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None))
except OSError as error:
    print("not permitted", error); sys.exit(0)
path = sys.argv[1]
mount = lambda: check(libc.mount(b"none", path.encode(), b"tmpfs", 0, None))
os.mkdir(path); mount()
volume = Volume(path); volume.write(labels={"n": "1"})
batches = Watch([Source("podinfo", path, digest_key=b"k")])
seen = lambda n: next(b for b in batches if b.current.labels.get("n") == n)
seen("1")
check(libc.umount2(path.encode(), 2))
next(b for b in batches if b.current.sources["podinfo"].faults)
mount(); volume = Volume(path); volume.write(labels={"n": "2"})
seen("2")
volume.label("n", "3"); seen("3")
mount(); volume = Volume(path); volume.write(labels={"n": "4"})   # over the one below
seen("4")
volume.label("n", "5"); seen("5")
print("healed")
"""


def test_unmounted_mounted_again_and_mounted_over(tmp_path: Path) -> None:
    """A real tmpfs that is unmounted, mounted again, and mounted over, is followed each time."""
    command = [sys.executable, "-c", MOUNTED, str(tmp_path / "v")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "not permitted" in done.stdout:
        pytest.skip(f"no mount namespace here: {done.stdout}")
    assert done.stdout.strip() == "healed", done.stderr
