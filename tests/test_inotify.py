"""kmetad._watch.inotify: every trap of watching directories, on real ones."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmetad._watch.hints import Hint
from kmetad._watch.inotify import PLAIN_MASK, SWAPPED_MASK, InotifyHints
from tests.namespaces import limited

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")

DEADLINE = 10.0


@pytest.fixture
def hints() -> Iterator[InotifyHints]:
    """The backend, closed in the end."""
    hints = InotifyHints()
    yield hints
    hints.close()


def swap(directory: Path, name: str) -> None:
    """Publish as the kubelet does, as far as notifications are concerned."""
    (directory / name).mkdir()
    os.symlink(name, directory / "..data_tmp")
    os.rename(directory / "..data_tmp", directory / "..data")


def nothing_more(hints: InotifyHints) -> bool:
    """True if nobody has anything to tell."""
    return hints.wait(0) == Hint()


def test_one_swap_is_one_hint(hints: InotifyHints, tmp_path: Path) -> None:
    """A swap wakes once, and its first directory, its links and its clearing up don't."""
    hints.add(str(tmp_path), swapped=True)
    (tmp_path / "labels").symlink_to("..data/labels")
    swap(tmp_path, "..1")
    assert hints.wait(DEADLINE) == Hint(touched={str(tmp_path)})
    assert nothing_more(hints)


def test_readers_wake_nobody(hints: InotifyHints, tmp_path: Path) -> None:
    """Somebody else who lists and reads the volume, and an ATTRIB storm (fsGroup), cause no wake-up."""
    (tmp_path / "file").write_text("x")
    hints.add(str(tmp_path), swapped=True)
    os.listdir(tmp_path)
    (tmp_path / "file").read_text()
    os.chmod(tmp_path, 0o755)
    os.chmod(tmp_path / "file", 0o600)
    assert nothing_more(hints)


def test_close_on_exec(hints: InotifyHints, tmp_path: Path) -> None:
    """No program that a hook starts inherits a descriptor of ours."""
    hints.add(str(tmp_path), swapped=True)
    for descriptor in (hints._inotify, hints._wake, hints._mounts):
        assert descriptor >= 0
        assert fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC


def test_one_descriptor_and_no_thread_for_many(hints: InotifyHints, tmp_path: Path) -> None:
    """A hundred directories cost one inotify instance and no thread."""
    threads = threading.active_count()
    for number in range(100):
        (tmp_path / str(number)).mkdir()
        hints.add(str(tmp_path / str(number)), swapped=True)
    assert threading.active_count() == threads
    assert _instances() == 1
    swap(tmp_path / "57", "..1")
    assert hints.wait(DEADLINE).touched == {str(tmp_path / "57")}


def _instances() -> int:
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sum("inotify" in os.readlink(link) for link in links if os.path.lexists(link))


def test_missing_and_forbidden_are_errors(hints: InotifyHints, tmp_path: Path) -> None:
    """watchdog swallows EACCES; here every failure is an OSError with its number."""
    with pytest.raises(FileNotFoundError):
        hints.add(str(tmp_path / "none"), swapped=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotADirectoryError):
        hints.add(str(tmp_path / "file"), swapped=True)


def test_permission(tmp_path: Path) -> None:
    """A directory that we may not read gives EACCES, not silence."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == os.getuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o111)
    code = (
        "import os, sys\n"
        "from kmetad._watch.inotify import InotifyHints\n"
        "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "else: os.chmod(sys.argv[1], 0)\n"
        "try: InotifyHints().add(sys.argv[1], swapped=True)\n"
        "except PermissionError as error: print(error.errno)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(closed)], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == str(errno.EACCES), done.stderr


def test_deleted_and_made_again(hints: InotifyHints, tmp_path: Path) -> None:
    """A deleted directory ends its watch; one made anew at the path is watched by adding it again."""
    volume = tmp_path / "volume"
    volume.mkdir()
    hints.add(str(volume), swapped=True)
    volume.rmdir()
    assert hints.wait(DEADLINE) == Hint(ended={str(volume)})
    volume.mkdir()
    hints.add(str(volume), swapped=True)
    swap(volume, "..1")
    assert hints.wait(DEADLINE) == Hint(touched={str(volume)})


def test_moved_away(hints: InotifyHints, tmp_path: Path) -> None:
    """A renamed directory isn't the volume any more, and is heard of no longer."""
    volume = tmp_path / "volume"
    volume.mkdir()
    hints.add(str(volume), swapped=True)
    volume.rename(tmp_path / "elsewhere")
    assert hints.wait(DEADLINE) == Hint(ended={str(volume)})
    swap(tmp_path / "elsewhere", "..1")
    assert nothing_more(hints)


def test_symlinked_path(hints: InotifyHints, tmp_path: Path) -> None:
    """A path that is a symlink is followed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    hints.add(str(tmp_path / "link"), swapped=True)
    swap(tmp_path / "real", "..1")
    assert hints.wait(DEADLINE) == Hint(touched={str(tmp_path / "link")})


def test_two_paths_to_one_directory(hints: InotifyHints, tmp_path: Path) -> None:
    """Both hear of it, the one with the narrow mask doesn't deafen the other, and each can leave alone."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    plain, swapped = str(tmp_path / "real"), str(tmp_path / "link")
    hints.add(plain, swapped=False)
    hints.add(swapped, swapped=True)
    (tmp_path / "real" / "file").write_text("x")
    assert hints.wait(DEADLINE).touched == {plain, swapped}
    hints.remove(swapped)
    (tmp_path / "real" / "file").write_text("y")
    assert hints.wait(DEADLINE).touched == {plain}
    hints.remove(plain)
    hints.remove(plain)
    (tmp_path / "real" / "file").write_text("z")
    assert not hints.wait(0).touched


def test_plain_directory(hints: InotifyHints, tmp_path: Path) -> None:
    """In a directory of regular files every way to change one is heard of, and none before it is whole."""
    hints.add(str(tmp_path), swapped=False)
    here = Hint(touched={str(tmp_path)})
    with (tmp_path / "file").open("w") as file:
        file.write("half")
        file.flush()
        assert nothing_more(hints)
    assert hints.wait(DEADLINE) == here
    os.rename(tmp_path / "file", tmp_path / "other")
    assert hints.wait(DEADLINE) == here
    os.symlink("other", tmp_path / "symbolic")
    assert hints.wait(DEADLINE) == here
    os.link(tmp_path / "other", tmp_path / "hard")
    assert hints.wait(DEADLINE) == here
    os.unlink(tmp_path / "hard")
    assert hints.wait(DEADLINE) == here
    (tmp_path / "other").read_text()
    assert nothing_more(hints)


def test_overflow_is_told(hints: InotifyHints, tmp_path: Path) -> None:
    """When the kernel drops notifications, it is said that anything may have changed."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    hints.add(str(tmp_path), swapped=False)
    (tmp_path / "a").write_text("")
    there, back = os.fsencode(tmp_path / "a"), os.fsencode(tmp_path / "b")
    for _ in range(limit // 4 + 1):  # two events for each rename, never equal to the one before
        os.rename(there, back)
        os.rename(back, there)
    seen = hints.wait(DEADLINE)
    while not seen.everything:
        seen = hints.wait(DEADLINE)
        assert seen != Hint(), "the queue ended without an overflow"


def test_a_very_long_wait(hints: InotifyHints, tmp_path: Path) -> None:
    """A rescan may be as far away as a duration can be: longer than poll(2) can count."""
    hints.add(str(tmp_path), swapped=True)
    for seconds in (2**31 / 1000 - 1, 2**31 / 1000, (2**63 - 1) / 10**9):
        swap(tmp_path, f"..{seconds}")
        assert hints.wait(seconds).touched


def test_the_mount_table_is_opened_later(tmp_path: Path) -> None:
    """A process that had one descriptor left when it began to watch hears of mounts as soon as it has more."""
    code = """
import os, resource, sys
from kmetad._watch.inotify import InotifyHints
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
next_free = os.dup(0); os.close(next_free)
resource.setrlimit(resource.RLIMIT_NOFILE, (next_free + 1, hard))
hints = InotifyHints()
try: hints.add(sys.argv[1], swapped=True)
except OSError as error: print(error.errno, hints._mounts)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
hints.add(sys.argv[1], swapped=True)
print(os.readlink(f"/proc/self/fd/{hints._mounts}").endswith("/mountinfo"))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(errno.EMFILE), "-1", "True"], done.stderr


def test_stop_ends_a_wait_from_another_thread(hints: InotifyHints) -> None:
    """``stop`` wakes a wait without end, and later waits end at once."""
    threading.Timer(0.01, hints.stop).start()
    assert hints.wait(None) == Hint()
    assert hints.stopped()
    assert hints.wait(None) == Hint()


def test_stop_after_close_is_harmless(hints: InotifyHints) -> None:
    """A stop that comes late touches no descriptor that may belong to somebody else by now."""
    hints.close()
    hints.stop()
    hints.close()


def test_stop_from_a_signal_handler_while_it_closes(hints: InotifyHints) -> None:
    """The handler runs on the thread that is inside ``close``, and must not wait for it."""
    with hints._closing:
        hints.stop()
    assert hints.stopped()


def test_mounting_over_is_told(tmp_path: Path) -> None:
    """A mount over the directory, of which inotify says nothing, and the unmount, are told."""
    code = """
import ctypes, os, sys
from kmetad._watch.inotify import InotifyHints
libc = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 0x40000
def check(code):
    if code: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
try:
    check(libc.unshare(CLONE_NEWNS)); check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))
except OSError as error:
    print("not permitted", error); sys.exit(0)
path = sys.argv[1]
hints = InotifyHints()
hints.add(path, swapped=True)
check(libc.mount(b"none", path.encode(), b"tmpfs", 0, None))
print(hints.wait(10).mounts)
hints.remove(path); hints.add(path, swapped=True)
check(libc.umount2(path.encode(), 2))
ended = hints.wait(10)
while path not in ended.ended:
    more = hints.wait(10); ended.ended |= more.ended; ended.mounts |= more.mounts
    assert more.ended or more.mounts
print(ended.mounts, path in ended.ended)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "not permitted" in done.stdout:
        pytest.skip(f"no mount namespace here: {done.stdout}")
    assert done.stdout.split() == ["True", "True", "True"], done.stderr


def test_masks_are_narrow() -> None:
    """No OPEN, ACCESS, CLOSE_NOWRITE, ATTRIB or MODIFY: others' reading must not wake us."""
    noisy = 0x1 | 0x2 | 0x4 | 0x10 | 0x20
    assert not SWAPPED_MASK & noisy
    assert not PLAIN_MASK & noisy
    assert SWAPPED_MASK == 0x80 | 0x400 | 0x800


EXHAUSTED = """
import os, sys
from kmetad._watch.inotify import InotifyHints

def limit(name, number):
    with open(f"/proc/sys/user/{name}", "w") as file: file.write(str(number))

hints = InotifyHints()
for name in ("max_inotify_instances", "max_inotify_watches"):
    limit(name, 0)
    try: hints.add(sys.argv[1], swapped=True)
    except OSError as error: print(error.errno)
    limit(name, 100)
hints.add(sys.argv[1], swapped=True)
os.rename(sys.argv[1] + "/..data_tmp", sys.argv[1] + "/..data")
print(*hints.wait(10).touched)
"""


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    """With no instance (EMFILE), or no watch (ENOSPC), a directory can't be added; later the same backend can."""
    os.symlink("..1", tmp_path / "..data_tmp")
    command = [*limited(), sys.executable, "-c", EXHAUSTED, tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [str(errno.EMFILE), str(errno.ENOSPC), str(tmp_path)], done.stderr
