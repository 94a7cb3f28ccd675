"""kmetad._sources.generation: one read, one generation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kmetad._sources.generation import Generation, fingerprint, read_generation
from kmetad.errors import SourceLost, SourceUnreadable
from kmetad.testing.kubelet import Volume

WRITER = """
import os, sys
root, swaps, names = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
FILES = ["labels", "annotations", "name", "res/cpu", "res/mem", ".hidden"]

def publish(number):
    new = f"..generation_{number % names}"
    os.mkdir(new)
    os.mkdir(f"{new}/res")
    for name in FILES:
        file = os.open(f"{new}/{name}", os.O_WRONLY | os.O_CREAT, 0o644)
        os.write(file, str(number).encode())
        os.close(file)
    old = os.readlink("..data") if os.path.lexists("..data") else None
    os.symlink(new, "..data_tmp")
    os.rename("..data_tmp", "..data")
    if old:
        for name in FILES:
            os.unlink(f"{old}/{name}")
        os.rmdir(f"{old}/res")
        os.rmdir(old)

os.chdir(root)
publish(0)
print("ready", flush=True)
sys.stdin.readline()
for number in range(1, swaps + 1):
    publish(number)
"""
FILES = {"labels", "annotations", "name", "res/cpu", "res/mem", ".hidden"}


def rest(file: int, _path: str, chunk: bytes) -> bytes:
    """A large file, whole."""
    with os.fdopen(os.dup(file), "rb") as stream:
        return chunk + stream.read()


def read(path: Path, *, expect_swaps: bool = False) -> Generation[bytes]:
    """One reading."""
    return read_generation(str(path), rest, expect_swaps=expect_swaps)


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """A volume that isn't written yet."""
    return Volume(tmp_path / "podinfo")


@pytest.mark.parametrize("names", [1_000_000, 2], ids=["fresh names", "names come again"])
def test_never_torn(tmp_path: Path, names: int) -> None:
    """Against a writer that swaps as fast as it can, each reading is one whole generation, none older than the last."""
    swaps = 1_500
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), str(swaps), str(names)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdin is not None and writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        writer.stdin.write("go\n")
        writer.stdin.close()
        last, seen = 0, 0
        while last < swaps:
            running = writer.poll() is None
            generation = read(tmp_path, expect_swaps=True)
            assert generation.files.keys() == FILES
            assert len(set(generation.files.values())) == 1
            assert not generation.denied
            number = int(generation.files["labels"])
            assert number >= last
            seen += number != last
            last = number
            assert running or last == swaps  # nothing is missed once the writer has stopped
        assert seen > 10  # else nothing raced
        assert writer.wait(10) == 0


def test_everything_below_is_read(volume: Volume) -> None:
    """Nested paths, dotfiles, empty files, binary and large ones; not the links at the top."""
    files: dict[str, str | bytes] = {
        "cpu_limit": "250",
        "mem/limit": "512",
        "a/b/c/d": "deep",
        ".hidden": "dot",
        "zone": "",
        "binary": bytes(range(256)),
        "big": b"x" * (3 * 65536 + 1),
        "exact": b"y" * 65536,
        "new\nline": "odd",
    }
    volume.write(labels={"a": "1"}, files=files)
    generation = read(Path(volume.path))
    expected = {path: text.encode() if isinstance(text, str) else text for path, text in files.items()}
    assert generation.files == {"labels": b'a="1"', **expected}
    assert generation.denied == {}


def test_when_it_was_swapped(volume: Volume) -> None:
    """The directory's modification time, and a fingerprint that is the target of the link."""
    volume.write(labels={"a": "1"})
    generation = read(Path(volume.path))
    target = os.readlink(f"{volume.path}/..data")
    assert generation.fingerprint == target == fingerprint(volume.path, expect_swaps=True)
    assert generation.swapped_ns == os.stat(f"{volume.path}/{target}").st_mtime_ns
    volume.label("a", "2")
    assert fingerprint(volume.path, expect_swaps=True) != target


def test_top_level_links_are_not_followed(volume: Volume) -> None:
    """They lag behind a swap: one may be missing, another left over."""
    volume.write(labels={"a": "1"})
    os.unlink(f"{volume.path}/labels")
    os.symlink("..data/gone", f"{volume.path}/gone")
    assert read(Path(volume.path)).files == {"labels": b'a="1"'}


def test_no_descriptor_is_left(volume: Volume, tmp_path: Path) -> None:
    """Whatever comes of it, as many files are open afterwards as before."""
    volume.write(labels={"a": "1"}, files={"a/b": "1"})
    before = os.listdir("/proc/self/fd")
    read(Path(volume.path))
    read(tmp_path)
    os.symlink("nowhere", tmp_path / "..data")
    with pytest.raises(SourceLost):
        read(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_not_there(tmp_path: Path) -> None:
    """A directory that doesn't exist is lost, and the message says where and why."""
    for look in (read, lambda path: fingerprint(str(path), expect_swaps=False)):
        with pytest.raises(SourceLost, match=r"none isn't there: not mounted yet"):
            look(tmp_path / "none")


def test_a_file_instead_of_a_directory(tmp_path: Path) -> None:
    """A subPath mount of one file can't be watched as a volume."""
    (tmp_path / "labels").write_text("")
    with pytest.raises(SourceLost, match="mount the whole volume"):
        read(tmp_path / "labels")


def test_gone_data(volume: Volume) -> None:
    """A volume that had ``..data`` and has it no longer is lost, not a plain directory of nothing."""
    os.mkdir(volume.path)
    for look in (read, lambda path, expect_swaps: fingerprint(str(path), expect_swaps=expect_swaps)):
        with pytest.raises(SourceLost, match=r"\.\.data is gone"):
            look(Path(volume.path), expect_swaps=True)
    assert read(Path(volume.path)).files == {}


def test_data_that_leads_nowhere(volume: Volume) -> None:
    """A link to a directory that isn't there is lost, after a few tries and not never."""
    os.mkdir(volume.path)
    os.symlink("..2026_gone", f"{volume.path}/..data")
    with pytest.raises(SourceLost, match=r"leads to \.\.2026_gone, where something is missing"):
        read(Path(volume.path))


@pytest.mark.parametrize("target", ["..data", "..", "/", "../elsewhere", "sub/dir", "./new", "file", "link"])
def test_data_that_leads_out_of_the_volume(volume: Volume, target: str) -> None:
    """The kubelet publishes a directory of the volume itself; whatever else is linked, nothing of it is read."""
    path = Path(volume.path)
    (path / "sub" / "dir").mkdir(parents=True)
    (path / "new").mkdir()
    (path / "file").write_text("")
    (path / "link").symlink_to("new")
    os.symlink(target, path / "..data")
    with pytest.raises(SourceUnreadable, match=r"\.\.data leads to .* no directory right in the volume"):
        read(path)


def test_links_in_a_generation(volume: Volume) -> None:
    """Those to files are followed, as in a plain directory; those to directories or nowhere are nothing to it."""
    volume.write(labels={"a": "1"}, files={"sub/file": "x"})
    path = Path(volume.path, volume.generation)
    for name, target in [("to-file", "sub/file"), ("to-directory", "sub"), ("circle", "."), ("out", "/proc")]:
        (path / name).symlink_to(target)
    (path / "sub" / "up").symlink_to("..")
    (path / "nowhere").symlink_to("none")
    (path / "itself").symlink_to("itself")
    os.mkfifo(path / "pipe")
    generation = read(Path(volume.path))
    assert generation.files == {"labels": b'a="1"', "sub/file": b"x", "to-file": b"x"}
    assert [str(error.strerror) for error in generation.denied.values()] == [
        "Too many levels of symbolic links"
    ]
    assert list(generation.denied) == ["itself"]


def test_the_volume_itself_as_its_generation(volume: Volume) -> None:
    """``..data -> .``: odd, and read once, not in circles."""
    path = Path(volume.path)
    (path / "sub").mkdir(parents=True)
    (path / "sub" / "x").write_text("1")
    os.symlink(".", path / "..data")
    assert read(path).files == {"sub/x": b"1"}


def test_deeper_than_anybody_goes(volume: Volume) -> None:
    """Thousands of directories in each other take no descriptor each, and no recursion; the deepest are denied."""
    volume.write(labels={"a": "1"})
    path = Path(volume.path, volume.generation)
    directory = os.open(path, os.O_RDONLY)
    for _ in range(3000):
        os.mkdir("d", dir_fd=directory)
        inner = os.open("d", os.O_RDONLY, dir_fd=directory)
        os.close(directory)
        directory = inner
    os.close(directory)
    try:
        generation = read(Path(volume.path))
    finally:
        subprocess.run(["rm", "-r", path / "d"], check=True)  # Python's rmtree does recurse
    assert generation.files == {"labels": b'a="1"'}
    assert [error.strerror for error in generation.denied.values()] == ["File name too long"]


def test_a_path_with_a_newline_is_shown_escaped(tmp_path: Path) -> None:
    """A name can't break out of its line of the log."""
    with pytest.raises(SourceLost, match=r"odd\\nname isn't there"):
        read(tmp_path / "odd\nname")


def test_plain_directory(tmp_path: Path) -> None:
    """Without ``..data``: regular files and links to them, at the top, hidden ones included; no pipe blocks."""
    (tmp_path / "app.conf").write_text("a")
    (tmp_path / ".env").write_text("b")
    (tmp_path / "link").symlink_to("app.conf")
    (tmp_path / "nowhere").symlink_to("none")
    (tmp_path / "..2026_left_over").write_text("not a file's name")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_text("c")
    os.mkfifo(tmp_path / "pipe")
    generation = read(tmp_path)
    assert generation.files == {"app.conf": b"a", ".env": b"b", "link": b"a"}
    assert generation.denied == {}
    assert generation.swapped_ns is None


def test_something_else_called_data(tmp_path: Path) -> None:
    """A directory of that name, no link, makes no volume."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "labels").write_text("")
    assert read(tmp_path).files == {"labels": b""}


def test_fingerprint_of_a_plain_directory(tmp_path: Path) -> None:
    """It changes with every write, rename, new and deleted file, and with nothing else."""
    file, path = tmp_path / "a", str(tmp_path)
    file.write_text("1")
    prints = [read(tmp_path).fingerprint]
    assert fingerprint(path, expect_swaps=False) == prints[0]
    file.read_text()
    assert fingerprint(path, expect_swaps=False) == prints[0]

    def look() -> None:
        prints.append(fingerprint(path, expect_swaps=False))
        assert read(tmp_path).fingerprint == prints[-1]

    file.write_text("22")
    look()
    os.utime(file, ns=(1, 1))
    look()
    (tmp_path / "b").write_text("22")
    os.utime(tmp_path / "b", ns=(1, 1))
    os.rename(tmp_path / "b", file)
    look()
    (tmp_path / "b").write_text("")
    look()
    file.unlink()
    look()
    assert len(set(prints)) == len(prints)
