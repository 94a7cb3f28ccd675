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

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A FIFO somebody put there must not block us.
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
                # By its name, not by ..data, which may lead elsewhere by now.
                directory = os.open(target if target[0] == "/" else f"{path}/{target}", _DIRECTORY)
                try:
                    _read_tree(directory, "", files, denied, take_large)
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


def _read_tree(
    directory: int,
    prefix: str,
    files: dict[str, bytes | T],
    denied: dict[str, OSError],
    take_large: TakeLarge[T],
) -> None:
    """Everything below an open directory. Raises FileNotFoundError if it is removed meanwhile.

    This is the hot path of every swap: a plain open and read each, no ``stat``, and a
    directory is known by its refusal to be read.
    """
    for name in os.listdir(directory):
        path = prefix + name
        try:
            file = os.open(name, _FILE, dir_fd=directory)
        except FileNotFoundError:
            raise
        except OSError as error:
            denied[path] = error
            continue
        try:
            content = os.read(file, _CHUNK)
            files[path] = content if len(content) < _CHUNK else take_large(file, path, content)
        except IsADirectoryError:
            _read_tree(file, path + "/", files, denied, take_large)
        except FileNotFoundError:
            raise
        except OSError as error:
            denied[path] = error
        finally:
            os.close(file)


def _read_plain(path: str, take_large: TakeLarge[T]) -> Generation[T]:
    files: dict[str, bytes | T] = {}
    denied: dict[str, OSError] = {}
    # The fingerprint is older than the contents: what changes in between is read again, not missed.
    entries = _list_plain(path)
    for name, _ in entries:
        try:
            file = os.open(f"{path}/{name}", _FILE)
        except FileNotFoundError:
            continue  # deleted since it was listed
        except OSError as error:
            denied[name] = error
            continue
        try:
            content = os.read(file, _CHUNK)
            files[name] = content if len(content) < _CHUNK else take_large(file, name, content)
        except OSError as error:
            denied[name] = error
        finally:
            os.close(file)
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
