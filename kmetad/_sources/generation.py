"""Reading a directory as one generation: never a mix of two swaps.

The kubelet renames ``..data`` to publish, and removes the generation before right
after that. So the directory that ``..data`` leads to is opened once, everything is
read relative to it, and at the end ``..data`` must still lead there; else it is read
again. The links at the top level lag behind a swap and are never followed.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from kmetad._sources.permissions import explain, may, printable
from kmetad.errors import SourceLost, SourceUnreadable

# A link in a directory's place leads out of the volume, or in circles.
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A FIFO that somebody puts into a file's place at the last moment must not block us.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_CHUNK = 64 * 1024
_BROKEN_TRIES = 10

T = TypeVar("T")
TakeLarge = Callable[[int, str, bytes], T]
"""Reads on in an open file of 64 KiB or more: its descriptor, its path in the volume, the first 64 KiB."""


@dataclass(frozen=True, slots=True)
class Generation(Generic[T]):
    """All files of a directory."""

    files: dict[str, bytes | T]
    """Contents by the path in the directory; what ``TakeLarge`` answered for large ones."""
    denied: dict[str, OSError]
    """Files, and directories with all that is in them, that can't be read."""
    swapped_ns: int | None
    """When it was published, in ns since the epoch; None for a plain directory."""
    fingerprint: Hashable


def read_generation(path: str, take_large: TakeLarge[T], *, expect_swaps: bool) -> Generation[T]:
    """Read a directory; ``take_large`` says what becomes of a file of more than 64 KiB.

    With ``expect_swaps`` a directory without ``..data`` is lost; otherwise it is plain:
    its regular files are read one by one, those of subdirectories are not.
    Raises SourceLost and SourceUnreadable.
    """
    data = path + "/..data"
    broken = 0
    try:
        while True:
            target = _target(data)
            if target is None:
                if expect_swaps:
                    raise _gone(path)
                return _read_plain(path, take_large)
            files: dict[str, bytes | T] = {}
            denied: dict[str, OSError] = {}
            try:
                directory = _open_generation(path, target)
                try:
                    _read_tree(directory, files, denied, take_large)
                    if _target(data) == target:
                        status = os.fstat(directory)
                        # A name may come again: it is still ours if ours hasn't been removed.
                        if status.st_nlink:
                            return Generation(files, denied, status.st_mtime_ns, target)
                finally:
                    os.close(directory)
            except FileNotFoundError:
                # Swapped while it was read; or it is broken, and stays so.
                if _target(data) != target:
                    continue
                broken += 1
                if broken == _BROKEN_TRIES:
                    raise SourceLost(
                        f"{printable(path)}/..data leads to {printable(target)}, where something is missing; "
                        "the kubelet has taken the volume down, or its setup failed (see the Pod's events)"
                    ) from None
    except OSError as error:
        raise _translated(error, path) from None


def fingerprint(path: str, *, expect_swaps: bool) -> Hashable:
    """The target of ``..data``; of a plain directory name, inode, time and size of each file.

    Raises SourceLost and SourceUnreadable.
    """
    try:
        target = _target(path + "/..data")
        if target is not None:
            return target
        if expect_swaps:
            raise _gone(path)
        return _fingerprint_of(_list_plain(path))
    except OSError as error:
        raise _translated(error, path) from None


def _target(data: str) -> str | None:
    """Where ``..data`` leads; None if there is no such link."""
    try:
        return os.readlink(data)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):  # EINVAL: something of that name that is no link
            return None
        raise


def _open_generation(path: str, target: str) -> int:
    """The directory that ``..data`` leads to. By its name, not by ``..data``, which may lead elsewhere by now.

    The kubelet publishes a directory right in the volume. Through any other link, whoever
    may write into the volume could have us read all there is.
    """
    if "/" not in target and target != "..":
        try:
            return os.open(f"{path}/{target}", _DIRECTORY)
        except NotADirectoryError:
            pass
    raise SourceUnreadable(
        f"{printable(path)}/..data leads to {printable(target)}, which is no directory right in the volume; "
        "the kubelet publishes nothing else, and nothing else is read"
    )


def _read_tree(
    directory: int, files: dict[str, bytes | T], denied: dict[str, OSError], take_large: TakeLarge[T]
) -> None:
    """Everything below an open directory. Raises FileNotFoundError if it is removed meanwhile.

    This is the hot path of every swap: a listing says which are files, and each costs an
    open and a read. One directory is open at a time, and none is entered through a link:
    however deep the tree, or in circles, this ends.
    """
    below: list[str] = []
    _read_directory(directory, "", files, denied, below, take_large)
    while below:
        path = below.pop()
        try:
            inner = os.open(path, _DIRECTORY, dir_fd=directory)
        except FileNotFoundError:
            raise
        except OSError as error:
            denied[path] = error
            continue
        try:
            _read_directory(inner, path + "/", files, denied, below, take_large)
        finally:
            os.close(inner)


def _read_directory(
    directory: int,
    prefix: str,
    files: dict[str, bytes | T],
    denied: dict[str, OSError],
    below: list[str],
    take_large: TakeLarge[T],
) -> None:
    """One directory's files, and links to files; its directories are added to ``below``, all else is passed over."""
    with os.scandir(directory) as entries:
        for entry in entries:
            path = prefix + entry.name
            try:
                if entry.is_dir(follow_symlinks=False):
                    below.append(path)
                elif entry.is_file():
                    files[path] = _read_file(entry.name, path, take_large, directory)
            except FileNotFoundError:
                raise
            except OSError as error:
                denied[path] = error


def _read_file(name: str, path: str, take_large: TakeLarge[T], directory: int | None = None) -> bytes | T:
    file = os.open(name, _FILE, dir_fd=directory)
    try:
        content = os.read(file, _CHUNK)
        return content if len(content) < _CHUNK else take_large(file, path, content)
    finally:
        os.close(file)


def _read_plain(path: str, take_large: TakeLarge[T]) -> Generation[T]:
    files: dict[str, bytes | T] = {}
    denied: dict[str, OSError] = {}
    # The fingerprint is older than the contents: what changes in between is read again, not missed.
    entries = _list_plain(path)
    for name, _ in entries:
        try:
            files[name] = _read_file(f"{path}/{name}", name, take_large)
        except FileNotFoundError:
            continue  # deleted since it was listed
        except OSError as error:
            denied[name] = error
    return Generation(files, denied, None, _fingerprint_of(entries))


def _list_plain(path: str) -> list[tuple[str, os.stat_result]]:
    """The regular files, and links to such, right in a directory. Raises OSError for the directory itself."""
    found = []
    for name in sorted(os.listdir(path)):
        if name.startswith(".."):  # never a file's name, but the kubelet's own
            continue
        try:
            status = os.stat(f"{path}/{name}")
        except OSError:
            if not may(path, os.X_OK):
                raise  # no file here may be looked at
            continue  # a link to nowhere, or to where we may not look
        if stat.S_ISREG(status.st_mode):
            found.append((name, status))
    return found


def _fingerprint_of(entries: list[tuple[str, os.stat_result]]) -> Hashable:
    return tuple((name, s.st_ino, s.st_mtime_ns, s.st_size) for name, s in entries)


def _gone(path: str) -> SourceLost:
    return SourceLost(
        f"{printable(path)}/..data is gone: the kubelet has taken the volume down, or has yet to fill it"
    )


def _translated(error: OSError, path: str) -> SourceLost | SourceUnreadable:
    """The error of the directory itself, for the watcher."""
    shown = printable(path)
    if error.errno == errno.ENOENT:
        return SourceLost(f"{shown} isn't there: not mounted yet, or no volume is mounted at this path")
    if error.errno == errno.ENOTDIR:
        return SourceLost(
            f"{shown} is no directory: a file that is mounted alone (subPath) never changes; "
            "mount the whole volume"
        )
    # readlink and open name the path that they failed at.
    return SourceUnreadable(explain(error, error.filename if isinstance(error.filename, str) else path))
