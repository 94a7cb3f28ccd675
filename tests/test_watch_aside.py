"""kmetad._watch.aside and kmetad._sources.file: one file beside the sources, however it is changed."""

from __future__ import annotations

import errno
import os
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kmetad._sources.environment import Environment
from kmetad._sources.file import File
from kmetad._watch import Watch
from kmetad._watch.hints import Hint
from kmetad._watch.observer import ObserverHints
from kmetad._watch.system import system_hints
from kmetad.errors import SourceLost, SourceUnreadable
from kmetad.testing.kubelet import Volume
from tests.cli import eventually
from tests.test_watch import DEADLINE, Scripted, Watcher, source, told
from tests.unprivileged import as_nobody

ENV = Environment("env", {"POD_NAME": "web-0"})


class Beside:
    """A file that is watched beside some sources, and what is told of it."""

    def __init__(self, path: Path | str, *sources: Any, known: bytes | None = None, **options: Any) -> None:
        self._news: queue.SimpleQueue[bytes | str] = queue.SimpleQueue()
        watch = Watch(sources or [ENV], **options)
        watch.beside(File(str(path)), known, self._news.put)
        self.watcher = Watcher(watch)
        self.first = self.watcher.next()
        """What the Pod is; by then the file was looked at once."""

    def next(self) -> bytes | str:
        """What is told next; fails if nothing is."""
        return self._news.get(timeout=DEADLINE)

    def until(self, content: bytes) -> None:
        """Wait until this is told."""
        while self.next() != content:
            pass

    def end(self) -> list[bytes | str]:
        """Stop; what was told and nobody took."""
        self.watcher.end()
        left = []
        while not self._news.empty():
            left.append(self._news.get())
        return left


@pytest.fixture
def beside() -> Iterator[Callable[..., Beside]]:
    """Starts watchers, and ends them."""
    started: list[Beside] = []

    def start(*args: Any, **options: Any) -> Beside:
        started.append(Beside(*args, **options))
        return started[-1]

    yield start
    for one in started:
        one.end()


def test_in_a_config_map(tmp_path: Path, beside: Callable[..., Beside]) -> None:
    """Each swap is told once, with the whole content; one that changes another file isn't."""
    volume = Volume(tmp_path / "etc")
    volume.write(files={"kmetad.toml": "1", "other": "1"})
    watched = beside(tmp_path / "etc" / "kmetad.toml", known=b"1")
    for n in range(2, 6):
        volume.file("kmetad.toml", str(n))
        volume.file("other", str(n))
        assert watched.next() == str(n).encode()
    assert watched.end() == []


def test_it_says_nothing_of_the_pod(tmp_path: Path, beside: Callable[..., Beside]) -> None:
    """No batch, no source: only what is watched for the plugins is in those."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"})
    file = tmp_path / "kmetad.toml"
    file.write_text("1")
    watched = beside(file, source(tmp_path / "podinfo"), known=b"1")
    assert list(watched.first.current.sources) == ["podinfo"]
    file.write_text("2")
    assert watched.next() == b"2"
    volume.label("app", "b")
    assert told(watched.watcher.next()) == [("label", "app", "a", "b")]
    assert watched.watcher.end() == []


def by_writing(file: Path, content: str) -> None:
    """In place."""
    file.write_text(content)


def by_renaming(file: Path, content: str) -> None:
    """As most editors do."""
    new = file.with_name(".kmetad.toml.swp")
    new.write_text(content)
    new.rename(file)


def by_moving_away(file: Path, content: str) -> None:
    """As editors do that keep the file before: for a moment there is none."""
    file.rename(file.with_name("kmetad.toml~"))
    file.write_text(content)


def by_deleting(file: Path, content: str) -> None:
    """Likewise."""
    file.unlink()
    file.write_text(content)


def by_hard_link(file: Path, content: str) -> None:
    """Of which a CREATE is all that is heard."""
    new = file.with_name("new")
    new.write_text(content)
    file.unlink()
    os.link(new, file)
    new.unlink()


@pytest.mark.parametrize("change", [by_writing, by_renaming, by_moving_away, by_deleting, by_hard_link])
def test_a_plain_file(
    tmp_path: Path, beside: Callable[..., Beside], change: Callable[[Path, str], None]
) -> None:
    """However it is written, and again."""
    file = tmp_path / "kmetad.toml"
    file.write_text("1")
    watched = beside(file, known=b"1")
    for content in ("22", "", "22"):
        change(file, content)
        watched.until(content.encode())


def test_half_a_file(tmp_path: Path, beside: Callable[..., Beside]) -> None:
    """Whoever writes in several steps is left to finish."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "a"})
    file = tmp_path / "kmetad.toml"
    file.write_text("1")
    watched = beside(file, source(tmp_path / "podinfo"), known=b"1")
    with file.open("w") as writing:
        writing.write("half")
        writing.flush()
        volume.label("app", "b")
        watched.watcher.next()  # all that came before was heard
        writing.write(" and half")
    assert watched.next() == b"half and half"


def test_changed_before_anybody_looked(tmp_path: Path, beside: Callable[..., Beside]) -> None:
    """What differs from what was read before is told at the first look; so is that there is nothing."""
    file = tmp_path / "kmetad.toml"
    file.write_text("2")
    assert beside(file, known=b"1").next() == b"2"
    assert beside(file, known=None).next() == b"2"
    assert beside(file, known=b"2").end() == []
    assert beside(tmp_path / "none", known=b"1").next() == f"{tmp_path}/none isn't there"


def test_lost_and_found(tmp_path: Path, beside: Callable[..., Beside]) -> None:
    """With its directory, too. Each is told once; when it is back, it is told even where it is as it was."""
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "kmetad.toml").write_text("1")
    watched = beside(etc / "kmetad.toml", known=b"1")
    (etc / "kmetad.toml").unlink()
    assert watched.next() == f"{etc}/kmetad.toml isn't there"
    (etc / "kmetad.toml").write_text("1")
    watched.until(b"1")
    etc.rename(tmp_path / "away")
    assert watched.next() == f"{etc}/kmetad.toml isn't there"
    (tmp_path / "away").rename(etc)
    assert watched.next() == b"1"
    (etc / "kmetad.toml").write_text("2")
    watched.until(b"2")


def test_another_directory_at_its_place(tmp_path: Path, beside: Callable[..., Beside]) -> None:
    """It is the one that is watched from then on."""
    for name in ("etc", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kmetad.toml").write_text("1")
    watched = beside(tmp_path / "etc" / "kmetad.toml", known=b"1")
    (tmp_path / "etc").rename(tmp_path / "old")
    (tmp_path / "new").rename(tmp_path / "etc")
    (tmp_path / "etc" / "kmetad.toml").write_text("2")
    watched.until(b"2")
    (tmp_path / "etc" / "kmetad.toml").write_text("3")
    watched.until(b"3")


def test_made_anew_at_once(tmp_path: Path) -> None:
    """A directory that was made anew before anybody looked is watched again, also where it has the same inode."""
    (tmp_path / "kmetad.toml").write_text("1")
    hints = Scripted([Hint(ended={f"{tmp_path}/."}), Hint()])
    watch = Watch([ENV], hints=hints)
    watch.beside(File(f"{tmp_path}/kmetad.toml"), b"1", lambda _news: None)
    list(watch)
    assert hints.watched == [(f"{tmp_path}/.", False)] * 2


def test_another_directory_above(tmp_path: Path) -> None:
    """Of which nothing is told: the slow rescan finds it, and it is watched from then on."""
    for name in ("top", "new"):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc" / "kmetad.toml").write_text(name)
    hints = Scripted([Hint(everything=True), Hint(everything=True), Hint()])
    heard: list[bytes | str] = []
    watch = Watch([ENV], hints=hints)
    watch.beside(File(f"{tmp_path}/top/etc/kmetad.toml"), b"top", heard.append)
    next(watch)
    assert hints.watched == [(f"{tmp_path}/top/etc/.", False)]
    (tmp_path / "top").rename(tmp_path / "old")
    (tmp_path / "new").rename(tmp_path / "top")
    list(watch)
    assert heard == [b"new"]
    assert hints.watched == [(f"{tmp_path}/top/etc/.", False)] * 2


def test_a_link_that_changes_before_it_is_watched(tmp_path: Path) -> None:
    """Where it leads to by then is watched."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "real").write_text(name)
    link = tmp_path / "link"
    link.symlink_to("a/real")

    class Late(Scripted):
        def add(self, path: str, *, swapped: bool) -> None:
            if not self.watched:
                link.unlink()
                link.symlink_to("b/real")
            super().add(path, swapped=swapped)

    hints = Late([Hint()])
    watch = Watch([ENV], hints=hints)
    watch.beside(File(str(link)), b"b", lambda _news: None)
    next(watch)
    assert f"{tmp_path}/b/." in [path for path, _ in hints.watched]


def test_links_on_the_way(tmp_path: Path, beside: Callable[..., Beside]) -> None:
    """A link to the file or to its directory is followed: to what it leads to, and where it leads next."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "real.toml").write_text(name)
    (tmp_path / "current").symlink_to("a")
    (tmp_path / "etc").mkdir()
    link = tmp_path / "etc" / "kmetad.toml"
    link.symlink_to(tmp_path / "current" / "real.toml")
    watched = beside(link, known=b"a")
    (tmp_path / "a" / "real.toml").write_text("a2")
    watched.until(b"a2")
    (tmp_path / "next").symlink_to("b")
    (tmp_path / "next").rename(tmp_path / "current")
    watched.until(b"b")
    (tmp_path / "b" / "real.toml").write_text("b2")
    watched.until(b"b2")
    (tmp_path / "a" / "real.toml").write_text("a3")  # nobody looks there any more
    link.unlink()
    link.symlink_to(tmp_path / "a" / "real.toml")
    watched.until(b"a3")
    hints: Any = watched.watcher.watch._hints
    eventually(lambda: {*hints._descriptors} == {f"{tmp_path}/{name}/." for name in ("etc", "a")})
    assert watched.end() == []


def test_a_link_into_a_config_map(tmp_path: Path, beside: Callable[..., Beside]) -> None:
    """The swap elsewhere is seen, and the kubelet's clearing up wakes nobody."""
    volume = Volume(tmp_path / "mount")
    volume.write(files={"sub/kmetad.toml": "1"})
    link = tmp_path / "kmetad.toml"
    link.symlink_to("mount/sub/kmetad.toml")
    watched = beside(link, known=b"1")
    for n in range(2, 6):
        volume.file("sub/kmetad.toml", str(n))
        assert watched.next() == str(n).encode()
    assert watched.end() == []


def test_directories(tmp_path: Path) -> None:
    """Those where a change shows: of each link on the way, and of the file; none that the kubelet made for once."""
    real = tmp_path.resolve()
    volume = Volume(real / "mount")
    volume.write(files={"sub/x": "1", "y": "1"})
    (real / "etc").mkdir()
    (real / "etc" / "y").symlink_to("../mount/y")
    (real / "etc" / "plain").write_text("")
    (real / "etc" / "plain2").symlink_to("plain")
    (real / "circle").symlink_to("circle")
    (real / "dead").symlink_to(real / "etc" / "none")

    def directories(name: str) -> dict[str, bool]:
        found = File(f"{real}/{name}").directories().items()
        return {os.path.relpath(path, real): swapped for path, swapped in found}

    assert directories("mount/y") == directories("mount/sub/x") == {"mount": True}
    assert directories("etc/y") == {"etc": False, "mount": True}
    assert directories("etc/plain") == directories("etc/plain2") == {"etc": False}
    assert directories("etc/../etc/./plain") == {"etc": False}
    assert directories("dead") == {".": False, "etc": False}
    assert directories("none/at/all") == {"none/at": False}
    assert directories("circle") == {".": False}
    assert File("/x").directories() == {"/": False}


def test_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As seen from where the process is."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "x").write_text("1")
    (tmp_path / "x").symlink_to("etc/x")
    monkeypatch.chdir(tmp_path)
    assert File("x").directories() == {".": False, "./etc": False}
    assert File("x").read() == b"1"


def why(file: File) -> str:
    """What is wrong with it."""
    with pytest.raises(SourceUnreadable) as raised:
        file.read()
    return str(raised.value)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A sentence for each: what is there, and what is the matter with it."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceUnreadable, match="pipe is a pipe, which can be read only once"):
        File(str(tmp_path / "pipe")).read()
    with open(tmp_path / "large", "wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(SourceUnreadable, match="is longer than 16 MiB"):
        File(str(tmp_path / "large")).read()
    with pytest.raises(SourceUnreadable, match="Is a directory"):
        File(str(tmp_path)).read()
    (tmp_path / "closed").write_text("")
    (tmp_path / "closed").chmod(0)
    message = as_nobody(lambda: why(File(str(tmp_path / "closed"))))
    assert "closed: permission denied: " in message
    for path in ("none", "large/below"):
        with pytest.raises(SourceLost, match=f"{path} isn't there"):
            File(str(tmp_path / path)).read()


class Refusing:
    """A backend whose kernel has a number of watches left."""

    def __init__(self, left: int) -> None:
        self.left = left
        self.inner = system_hints()

    def add(self, path: str, *, swapped: bool) -> None:
        if not self.left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left -= 1
        self.inner.add(path, swapped=swapped)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_without_notifications(tmp_path: Path, beside: Callable[..., Beside]) -> None:
    """It is compared once a second, until there are some; a source has the first that comes."""
    Volume(tmp_path / "podinfo").write(labels={"app": "a"})
    file = tmp_path / "kmetad.toml"
    file.write_text("1")
    hints = Refusing(0)
    watched = beside(file, source(tmp_path / "podinfo"), known=b"1", hints=hints)
    assert watched.first.current.sources["podinfo"].status == "polling"
    file.write_text("2")
    watched.until(b"2")
    hints.left = 1
    watched.watcher.until(lambda batch: batch.current.sources["podinfo"].status == "healthy")
    hints.left = 1
    eventually(lambda: watched.watcher.watch._patience(1e9) > 60.0)  # it is watched, and nobody wakes
    file.write_text("3")
    watched.until(b"3")


def test_idle_is_asleep(tmp_path: Path) -> None:
    """While it is there nobody wakes before the rescan; while it isn't, for a second at most."""
    (tmp_path / "kmetad.toml").write_text("1")
    waits: list[float | None] = []

    class Recording(Scripted):
        def wait(self, timeout: float | None) -> Hint:
            waits.append(timeout)
            return super().wait(timeout)

    for name in ("kmetad.toml", "none"):
        watch = Watch([ENV], hints=Recording([Hint(), Hint()]), clock=lambda: 0.0)
        watch.beside(File(str(tmp_path / name)), b"1", lambda _news: None)
        assert len(list(watch)) == 1
    assert (waits[0], waits[-1]) == (300.0, 1.0)


@pytest.mark.parametrize(
    ("hint", "seconds"), [(Hint(), 300.0), (Hint(everything=True), 0.0), (Hint(mounts=True), 0.0)]
)
def test_it_is_looked_at(tmp_path: Path, hint: Hint, seconds: float) -> None:
    """Once in a rescan's time, and when notifications were lost, or something was mounted, perhaps over it."""
    file = tmp_path / "kmetad.toml"
    file.write_text("1")
    now = 0.0
    heard: list[bytes | str] = []
    watch = Watch([ENV], hints=Scripted([hint, Hint()]), clock=lambda: now)
    watch.beside(File(str(file)), b"1", heard.append)
    next(watch)
    file.write_text("2")
    now = seconds
    list(watch)
    assert heard == [b"2"]


def test_in_the_directory_of_a_source(tmp_path: Path, beside: Callable[..., Beside]) -> None:
    """Neither takes the other's notifications away when it gives up its own."""
    (tmp_path / "v").mkdir()
    file = tmp_path / "v" / "kmetad.toml"
    file.write_text("1")
    link = tmp_path / "kmetad.toml"
    link.symlink_to(file)
    watched = beside(link, source(tmp_path / "v", kind="files"), known=b"1")
    file.write_text("2")
    watched.until(b"2")
    watched.watcher.until(lambda batch: any(change.key == "podinfo/kmetad.toml" for change in batch.changes))
    link.unlink()
    link.write_text("3")  # from here on the source is alone in its directory
    watched.until(b"3")
    file.write_text("4")
    watched.watcher.until(lambda batch: any(change.key == "podinfo/kmetad.toml" for change in batch.changes))
    link.write_text("5")
    watched.until(b"5")


def test_plain_observer_backend(tmp_path: Path, beside: Callable[..., Beside]) -> None:
    """Systems without inotify find it, too."""
    volume = Volume(tmp_path / "etc")
    volume.write(files={"kmetad.toml": "1"})
    watched = beside(tmp_path / "etc" / "kmetad.toml", known=b"1", hints=ObserverHints())
    for n in range(2, 5):
        volume.file("kmetad.toml", str(n))
        assert watched.next() == str(n).encode()
