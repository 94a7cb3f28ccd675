"""Whether somebody else could put another file where a plugin's is.

What kmetad loads runs with all that kmetad may do, the Pod's token included. So
nobody but root and kmetad's own user may decide what it is: not by writing the
file, nor by replacing it, one of its directories, or a symlink on the way to it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator

_MAX_LINKS = 40  # path_resolution(7)


def _read_only(path: str) -> bool:
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


def untrusted(
    path: str, *, uid: int | None = None, read_only: Callable[[str], bool] = _read_only
) -> tuple[str, list[str]]:
    """The file that an absolute path leads to, and why it can't be trusted: a sentence each, with its remedy.

    A sticky directory may be writable, for nobody can replace others' files in it;
    so may anything on a read-only mount. (A ConfigMap's root is ``drwxrwxrwx``, but
    mounted read-only.) ``uid`` is kmetad's own.

    Raises OSError where the path leads nowhere.
    """
    uid = os.geteuid() if uid is None else uid
    reasons = []
    here = path
    for here, found in _steps(path):
        owner, mode = found.st_uid, stat.S_IMODE(found.st_mode)
        if owner not in (0, uid):
            reasons.append(
                f"{here} belongs to user {owner}, so somebody else could change what runs here; chown it to root"
            )
        if stat.S_ISLNK(found.st_mode):
            continue  # its own mode means nothing
        sticky = stat.S_ISDIR(found.st_mode) and mode & stat.S_ISVTX
        if mode & (stat.S_IWGRP | stat.S_IWOTH) and not sticky and not read_only(here):
            reasons.append(
                f"{here} is writable by others (mode {mode:04o}), so somebody else could change what runs here; "
                f"chmod go-w it, or mount it read-only"
            )
    return here, reasons


def _steps(path: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every directory and symlink on the way, and last the file, each with its own lstat."""
    here, links = "/", 0
    yield here, os.lstat(here)
    ahead = path.split("/")[::-1]
    while ahead:
        part = ahead.pop()
        if part in ("", "."):
            continue
        if part == "..":
            here = os.path.dirname(here)
            continue
        step = os.path.join(here, part)
        found = os.lstat(step)
        yield step, found
        if not stat.S_ISLNK(found.st_mode):
            here = step
            continue
        links += 1
        if links > _MAX_LINKS:
            from errno import ELOOP

            raise OSError(ELOOP, os.strerror(ELOOP), path)
        target = os.readlink(step)
        if target.startswith("/"):
            here = "/"
        ahead += target.split("/")[::-1]
