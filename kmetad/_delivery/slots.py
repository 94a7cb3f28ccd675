"""A file in memory that a kill at any moment leaves readable.

It holds a record with everything, and behind it records with the steps since. When
there is no room for a further step, a new record with everything is written elsewhere
in the file, and pointed to once it is whole. The kernel keeps what was stored, whatever
becomes of the process; so nothing is ever synced.

=============  =========================================================================
bytes          of the file
=============  =========================================================================
0 - 15         a pointer: the number of a record with everything, and its place (``<QQ``)
16 - 31        another: the two are written in turn, the higher number holds
4096 + 512 n   the cell of lane n: a word of this machine's, and up to 504 bytes that it speaks of
behind them    records
=============  =========================================================================

Each record's checksum counts in the number of the record with everything, so that what
an older one left behind it is no step of this one. A cell is for what can't wait: its
lane alone writes it, what it speaks of first, then, in one store, the word.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterator
from sys import byteorder

from kmetad._delivery.record import Unreadable, frame, unframe

_POINTER = struct.Struct("<QQ")
_PAGE = 4096
_CELL = 512
_WORD = 8
CELL_ROOM = _CELL - _WORD
"""Bytes of a cell beside its word."""
_ROOM = 32 * 1024
"""Bytes for steps, at least: some hundred deliveries."""


class Slots:
    """See the module. Not safe for use from several threads."""

    def __init__(self, fd: int) -> None:
        """``fd`` stays the caller's. Raises OSError where it can't be mapped."""
        self._fd = fd
        if os.fstat(fd).st_size < _PAGE:
            os.posix_fallocate(fd, 0, _PAGE)
        self._size = os.fstat(fd).st_size
        self._map = mmap.mmap(fd, self._size)
        self._number = self._seed = 0
        self._front = self._begin = self._end = self._limit = _PAGE

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

    def read_cells(self, count: int) -> Iterator[tuple[int, memoryview]]:
        """The word of each of so many cells that a predecessor made, and the bytes beside it."""
        data = memoryview(self._map)
        self._front = _behind_cells(count)
        for begin in range(_PAGE, min(_PAGE + count * _CELL, len(data) - _CELL + 1), _CELL):
            yield int.from_bytes(data[begin : begin + _WORD], byteorder), data[begin + _WORD : begin + _CELL]

    def make_cells(self, count: int) -> list[Cell]:
        """So many cells; not to be set before everything is written: they may lie where a record is now."""
        self._front = max(self._front, _behind_cells(count))  # those of before count until then
        self._grow(self._front)
        return [Cell(self._map, _PAGE + number * _CELL) for number in range(count)]

    def write(self, everything: bytes) -> None:
        """Replace all there is. Raises OSError where the file can't grow; what there was stays."""
        number = self._number + 1
        record = frame(everything, _seed(number))
        needed = len(record) + max(_ROOM, len(record))
        # Before the record that holds now, or behind it: it has to stay whole until the other is.
        begin = self._front if self._begin - self._front >= needed else max(self._front, self._limit)
        self._grow(begin + needed)
        end = begin + len(record)
        self._map[begin:end] = record
        at = number % 2 * _POINTER.size
        self._map[at : at + _POINTER.size] = _POINTER.pack(number, begin)
        self._number, self._seed = number, _seed(number)
        self._begin, self._end, self._limit = begin, end, begin + needed

    def add(self, step: bytes) -> bool:
        """One more step. False if there is no room for it: then everything is to be written."""
        record = frame(step, self._seed)
        begin, end = self._end, self._end + len(record)
        if end > self._limit:
            return False
        self._map[begin:end] = record
        self._end = end
        return True

    def clear(self) -> None:
        """What was written is of no use: begin anew."""
        self._map[: 2 * _POINTER.size] = bytes(2 * _POINTER.size)
        self._number = 0
        self._begin = self._end = self._limit = _PAGE

    @property
    def crowded(self) -> bool:
        """Whether there is little room left for steps."""
        return (self._limit - self._end) * 2 < _ROOM

    def _unframe(self, at: int, number: int) -> tuple[bytes, int]:
        content, end = unframe(memoryview(self._map), at, _seed(number))
        return bytes(content), end

    def _grow(self, size: int) -> None:
        """Have so many bytes at least."""
        if size > self._size:
            # Allocated rather than only said: memory that isn't there is an error here, not a SIGBUS later.
            os.posix_fallocate(self._fd, 0, size)
            self._map = mmap.mmap(self._fd, size)
            self._size = size


class Cell:
    """One lane's; see the module. For one thread."""

    def __init__(self, map_: mmap.mmap, begin: int) -> None:
        self._map = map_
        self._word = memoryview(map_)[begin : begin + _WORD].cast("Q")
        self._begin = begin + _WORD

    @property
    def word(self) -> int:
        """What was set last, by whatever process."""
        return self._word[0]

    def set(self, word: int, content: bytes = b"") -> None:
        """Store a word (64 bits), and first what it speaks of: ``CELL_ROOM`` bytes at most."""
        if content:
            self._map[self._begin : self._begin + len(content)] = content
        self._word[0] = word


def _seed(number: int) -> int:
    return number & 0xFFFFFFFF


def _behind_cells(count: int) -> int:
    return _PAGE + -(-count * _CELL // _PAGE) * _PAGE
