"""One file by its path, wherever that leads: in a ConfigMap's mount, behind links, or plain.

It is no Source, for it says nothing of the Pod: kmetad's own TOML.
"""

from __future__ import annotations

import errno
import os
import stat

from kmetad._sources.permissions import explain, printable
from kmetad.errors import SourceLost, SourceUnreadable

_LONGEST = 16 << 20
_CHUNK = 64 * 1024
_LINKS = 40  # as the kernel: a path with more of them is a circle (path_resolution(7))

# A FIFO somebody put there must not block us.
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


class File:
    """A file that may be written anew, replaced, or led to by other links, at any time."""

    def __init__(self, path: str) -> None:
        self.path = path

    def directories(self) -> dict[str, bool]:
        """Where another file at the path shows: each directory that holds a link on the way, and the file's own.

        With each, whether it is published by renaming ``..data``. What the kubelet made for
        one generation is left out: nothing in it ever changes.
        """
        found: dict[str, bool] = {}
        here = "" if self.path.startswith("/") else "."
        names = _names(self.path)
        links = 0
        in_generation = False
        while names:
            name = names.pop()
            try:
                target = os.readlink(f"{here}/{name}")
            except OSError:  # no link, or nothing at all
                if names:
                    here = f"{here}/{name}"
                continue
            links += 1
            if links > _LINKS:
                break
            swapped = name == "..data"
            found[here or "/"] = swapped or found.get(here or "/", False)
            absolute = target.startswith("/")
            in_generation = swapped or (in_generation and not absolute)
            here = "" if absolute else here
            names += _names(target)
        if not in_generation:
            found.setdefault(here or "/", False)
        return found

    def read(self) -> bytes:
        """The whole of it. Raises SourceLost and SourceUnreadable."""
        try:
            file = os.open(self.path, _FILE)
            try:
                return self._read(file)
            finally:
                os.close(file)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                raise SourceLost(f"{printable(self.path)} isn't there") from None
            raise SourceUnreadable(explain(error, self.path)) from None

    def _read(self, file: int) -> bytes:
        kind = os.fstat(file).st_mode
        if stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind):
            raise SourceUnreadable(f"{printable(self.path)} is a pipe, which can be read only once")
        chunks = []
        size = 0
        while chunk := os.read(file, _CHUNK):
            chunks.append(chunk)
            size += len(chunk)
            if size > _LONGEST:
                raise SourceUnreadable(f"{printable(self.path)} is longer than {_LONGEST >> 20} MiB")
        return b"".join(chunks)


def _names(path: str) -> list[str]:
    """A path's parts, the last first."""
    return [name for name in reversed(path.split("/")) if name not in ("", ".")]
