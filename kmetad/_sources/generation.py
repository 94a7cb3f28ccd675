"""Reading a directory as one generation: never a mix of two swaps.

The kubelet renames ``..data`` to publish, and removes the generation before right
after that. So the directory that ``..data`` leads to is opened once, everything is
read relative to it, and at the end ``..data`` must still lead there; else it is read
again. The links at the top level lag behind a swap and are never followed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

from kmetad.errors import SourceLost, SourceUnreadable

_DATA = "..data"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A FIFO somebody put there must not block us.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_VANISHED_TRIES = 10

T = TypeVar("T")
Take = Callable[[int, str], T]
"""Reads an open file, whose path in the volume is given for what it is worth, as whatever is wanted of it."""


@dataclass(frozen=True, slots=True)
class Generation:
    """All files of a directory, by path; an OSError where one can't be read."""

    files: dict[str, object]
    swapped_ns: int | None
    """When it was published, in ns since the epoch; None for a plain directory."""
    fingerprint: Hashable


def read_generation(path: str, take: Take[T], *, expect_swaps: bool) -> Generation:
    """Read a directory. ``take`` is called for each regular file.

    With ``expect_swaps`` a directory without ``..data`` is lost; otherwise it is plain:
    its regular files are read one by one, those of subdirectories are not.
    Raises SourceLost and SourceUnreadable.
    """
    root = _open_root(path)
    try:
        tries = 0
        while True:
            target = _target(root)
            if target is None:
                if expect_swaps:
                    raise SourceLost(f"{path}/{_DATA} is gone: the kubelet has taken the volume down, or has yet to fill it")
                return _read_plain(root, take)
            try:
                directory = os.open(target, _DIRECTORY, dir_fd=root)
                try:
                    changed = os.fstat(directory).st_mtime_ns
                    files: dict[str, object] = {}
                    _read_tree(directory, "", take, files)
                finally:
                    os.close(directory)
            except FileNotFoundError:
                # Swapped while it was read; or it is broken, and stays so.
                if _target(root) == target:
                    tries += 1
                    if tries == _VANISHED_TRIES:
                        raise SourceLost(f"{path}/{_DATA} leads to {target}, where something is missing") from None
                continue
            except OSError as error:
                raise _unreadable(error, f"{path}/{target}", root, target) from None
            if _target(root) == target:
                return Generation(files, changed, target)
    finally:
        os.close(root)


def fingerprint(path: str, *, expect_swaps: bool) -> Hashable:
    """The target of ``..data``; of a plain directory name, inode, time and size of each file.

    Raises SourceLost and SourceUnreadable.
    """
    root = _open_root(path)
    try:
        target = _target(root)
        if target is not None:
            return target
        if expect_swaps:
            raise SourceLost(f"{path}/{_DATA} is gone")
        return _fingerprint_plain(root)
    finally:
        os.close(root)


def explain(error: OSError, path: str, status: os.stat_result | None) -> str:
    """Why a path can't be read, which permission is missing, and what to do."""
    if error.errno != errno.EACCES or status is None:
        return f"{printable(path)}: {error.strerror}"
    return (
        f"{printable(path)}: permission denied: mode {status.st_mode & 0o7777:04o} of user {status.st_uid} and "
        f"group {status.st_gid}, and this process is user {os.geteuid()}, group {os.getegid()}; "
        f"set fsGroup in the Pod's securityContext, or defaultMode of the volume"
    )


def printable(path: str) -> str:
    """A path for a message: what a terminal would obey, or what is no UTF-8, is escaped."""
    return path if path.isprintable() else path.encode("unicode_escape", "surrogatepass").decode("ascii")


def _open_root(path: str) -> int:
    try:
        return os.open(path, _DIRECTORY)
    except FileNotFoundError:
        raise SourceLost(f"{path} isn't there: not mounted yet, or no volume is mounted at this path") from None
    except NotADirectoryError:
        raise SourceLost(
            f"{path} is no directory: a file that is mounted alone (subPath) never changes; mount the whole volume"
        ) from None
    except OSError as error:
        try:
            status = os.stat(path)
        except OSError:
            status = None
        raise SourceUnreadable(explain(error, path, status)) from None


def _target(root: int) -> str | None:
    """Where ``..data`` leads; None if there is no such link."""
    try:
        return os.readlink(_DATA, dir_fd=root)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.EINVAL:  # something else of that name
            return None
        raise SourceUnreadable(f"{_DATA}: {error.strerror}") from None


def _unreadable(error: OSError, path: str, root: int, name: str) -> SourceUnreadable:
    try:
        status = os.stat(name, dir_fd=root)
    except OSError:
        status = None
    return SourceUnreadable(explain(error, path, status))


def _read_tree(directory: int, prefix: str, take: Take[T], files: dict[str, object]) -> None:
    """Everything below an open directory. Raises FileNotFoundError if it is removed meanwhile."""
    for name in os.listdir(directory):
        path = prefix + name
        try:
            file = os.open(name, _FILE, dir_fd=directory)
        except FileNotFoundError:
            raise
        except OSError as error:
            files[path] = _with_status(error, name, directory)
            continue
        try:
            files[path] = take(file, path)
        except IsADirectoryError:
            _read_tree(file, path + "/", take, files)
        except OSError as error:
            files[path] = error
        finally:
            os.close(file)


def _read_plain(root: int, take: Take[T]) -> Generation:
    print_before = _fingerprint_plain(root)
    files: dict[str, object] = {}
    for name in sorted(os.listdir(root)):
        if name.startswith(".."):
            continue
        try:
            file = os.open(name, _FILE, dir_fd=root)
        except FileNotFoundError:
            continue  # deleted since it was listed, or a link to nowhere
        except OSError as error:
            files[name] = _with_status(error, name, root)
            continue
        try:
            files[name] = take(file, name)
        except IsADirectoryError:
            pass
        except OSError as error:
            files[name] = error
        finally:
            os.close(file)
    return Generation(files, None, print_before)


def _fingerprint_plain(root: int) -> Hashable:
    prints = []
    for name in sorted(os.listdir(root)):
        try:
            entry = os.stat(name, dir_fd=root)
        except OSError:
            continue
        prints.append((name, entry.st_ino, entry.st_mtime_ns, entry.st_size))
    return tuple(prints)


def _with_status(error: OSError, name: str, directory: int) -> OSError:
    """The same error with the file's mode and owner in ``filename2``, for ``explain``."""
    try:
        error.filename2 = os.stat(name, dir_fd=directory)
    except OSError:
        error.filename2 = None
    return error
