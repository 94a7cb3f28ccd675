"""The lanes' memory on disk, in ``[state] dir``: for restarts of the container.

One record with everything, replaced by a rename. Nothing is synced: a process that is
killed loses no write, and a node that loses its power leaves an older record or a broken
one. Then plugins are told again what they know, which they have to bear anyway; a sync
before each delivery would wait for the node's disk.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress

from kmetad._delivery.record import Unreadable, frame, unframe

NAME = "kmetad.state"
LOCK = "kmetad.lock"
BROKEN = "kmetad.state.broken"

_NEW = "kmetad.state.new"
_LARGEST = 256 << 20
"""Bytes; no Pod's metadata comes near."""


class StateFile:
    """The file in a directory that nobody else has, as long as this object isn't closed.

    Raises OSError where the directory isn't there or can't be written, BlockingIOError where
    another process has it.
    """

    def __init__(self, directory: str) -> None:
        self.path = f"{directory}/{NAME}"
        self._new = f"{directory}/{_NEW}"
        self._broken = f"{directory}/{BROKEN}"
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._lock = os.open(f"{directory}/{LOCK}", flags, 0o600)
        try:
            # Of the process, not of the descriptor (fcntl_locking(2)): a plugin's child doesn't keep it.
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise

    def read(self) -> bytes | None:
        """The record's content; None where there is no file. Raises OSError and Unreadable."""
        try:
            # Whatever somebody has put there, a FIFO among it, must not block.
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                raise Unreadable("no regular file")
            if status.st_size > _LARGEST:
                raise Unreadable(f"{status.st_size} bytes long")
            data = bytearray()
            while chunk := os.read(file, 1 << 20):
                data += chunk
        finally:
            os.close(file)
        content, end = unframe(memoryview(data))
        if end != len(data):
            raise Unreadable("something else follows the record")
        return bytes(content)

    def write(self, content: bytes) -> None:
        """Replace it. Raises OSError; what there was stays then."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            file = os.open(self._new, flags, 0o600)
        except FileExistsError:  # one that a kill left half-written
            os.unlink(self._new)
            file = os.open(self._new, flags, 0o600)
        try:
            left = memoryview(frame(content))
            while left:
                left = left[os.write(file, left) :]
        finally:
            os.close(file)
        os.rename(self._new, self.path)

    def set_aside(self) -> str:
        """Keep a file that can't be read for whoever wants to know why. Answers where; raises OSError."""
        os.rename(self.path, self._broken)
        return self._broken

    def close(self) -> None:
        """Leave it to others."""
        with suppress(OSError):
            os.close(self._lock)
