"""A file in memory that a kill at any moment leaves readable.

It holds a record with everything, and behind it records with the steps since. When
there is no room for a further step, a new record with everything is written elsewhere
in the file, and pointed to once it is whole. The kernel keeps what was stored, whatever
becomes of the process; so nothing is ever synced.

============  =========================================================================
bytes         of the file
============  =========================================================================
0 - 15        a pointer: the number of a record with everything, and its place (``<QQ``)
16 - 31       another: the two are written in turn, the higher number holds
64 - 4095     marks, a byte a lane
4096 -        records
============  =========================================================================

Each record's checksum counts in the number of the record with everything, so that what
an older one left behind it is no step of this one.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator

from kmetad._delivery.record import HEADER, Unreadable, frame, unframe

_POINTER = struct.Struct("<QQ")
_MARKS = 64
_PAGE = 4096
MOST_MARKS = _PAGE - _MARKS
"""Lanes beyond so many have no mark."""
_ROOM = 32 * 1024
"""Bytes for steps, at least: some hundred deliveries."""


class Slots:
    """See the module. Not safe for use from several threads, but for ``mark``."""

    def __init__(self, fd: int) -> None:
        """``fd`` stays the caller's. Raises OSError where it can't be mapped."""
        self._fd = fd
        if os.fstat(fd).st_size < _PAGE:
            os.posix_fallocate(fd, 0, _PAGE)
        self._size = os.fstat(fd).st_size
        self._map = mmap.mmap(fd, self._size)
        self._marks = memoryview(mmap.mmap(fd, _PAGE))[_MARKS:]
        self._number = 0
        self._begin = self._end = self._limit = _PAGE

    def read(self) -> Iterator[bytes]:
        """The content of the record with everything, then of each step. Nothing where nothing was ever written.

        Raises Unreadable, as its first answer, where what was written is no record.
        """
        pointers = [_POINTER.unpack_from(self._map, at) for at in (0, _POINTER.size)]
        if not any(number for number, _ in pointers):
            return
        faults = []
        for number, begin in sorted(pointers, reverse=True):
            try:
                content, end = self._unframe(begin, number)
            except Unreadable as fault:
                faults.append(str(fault))
                continue
            self._number, self._begin = number, begin
            while True:
                self._end = self._limit = end
                yield content
                try:
                    content, end = self._unframe(end, number)
                except Unreadable:
                    return  # the end, or a step that was being written
        raise Unreadable(faults[0])

    def write(self, everything: bytes) -> None:
        """Replace all there is. Raises OSError where the file can't grow; what there was stays."""
        number = self._number + 1
        record = frame(everything, number & 0xFFFFFFFF)
        needed = len(record) + max(_ROOM, len(record))
        # Before the record that holds now, or behind it: it has to stay whole until the other is.
        begin = _PAGE if self._begin - _PAGE >= needed else self._limit
        if begin + needed > self._size:
            self._grow(begin + needed)
        self._store(begin, record)
        self._store(number % 2 * _POINTER.size, _POINTER.pack(number, begin))
        self._number, self._begin = number, begin
        self._end, self._limit = begin + len(record), begin + needed

    def add(self, step: bytes) -> bool:
        """One more step. False if there is no room for it: then everything is to be written."""
        end = self._end + HEADER + len(step)
        if end > self._limit:
            return False
        self._store(self._end, frame(step, self._number & 0xFFFFFFFF))
        self._end = end
        return True

    def clear(self) -> None:
        """What was written is of no use: begin anew."""
        self._store(0, bytes(2 * _POINTER.size))
        self._number, self._begin = 0, _PAGE
        self._end = self._limit = _PAGE

    @property
    def crowded(self) -> bool:
        """Whether there is little room left for steps."""
        return (self._limit - self._end) * 2 < _ROOM

    @property
    def marks(self) -> memoryview:
        """A byte for each lane, to be read and written at any time."""
        return self._marks

    def _unframe(self, at: int, number: int) -> tuple[bytes, int]:
        content, end = unframe(memoryview(self._map), at, number & 0xFFFFFFFF)
        return bytes(content), end

    def _store(self, at: int, data: bytes) -> None:
        self._map[at : at + len(data)] = data

    def _grow(self, size: int) -> None:
        # Allocated rather than only said: memory that isn't there is an error here, not a SIGBUS later.
        os.posix_fallocate(self._fd, 0, size)
        self._map = mmap.mmap(self._fd, size)
        self._size = size
