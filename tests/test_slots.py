"""kmetad._delivery.slots: whatever moment a process is killed at, the last whole of what it wrote is read."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._delivery.record import Unreadable
from kmetad._delivery.slots import CELL_ROOM, Slots

CONTENTS = st.sampled_from([0, 1, 50, 3_000, 20_000, 70_000]).flatmap(
    lambda size: st.integers(0, 255).map(lambda byte: bytes([byte]) * size)
)
WRITES = st.lists(st.tuples(st.booleans(), CONTENTS), max_size=12)


class Killed(BaseException):
    """The process ended in the middle of a store."""


@dataclass
class Kill:
    """Lets so many bytes be stored, then ends it all; ``backwards``: of the last store, its end came first."""

    after: int
    backwards: bool = False
    dead: bool = field(default=False, init=False)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """For files that are opened meanwhile as well as for those that are open."""
        before, Map.kill = Map.kill, self
        try:
            yield
        finally:
            Map.kill = before


class Map(mmap.mmap):
    """A mapping in which a store may be the last."""

    kill: Kill | None = None

    def __setitem__(self, where: Any, data: Any) -> None:
        kill, begin = Map.kill, where.start or 0
        if kill is None:
            super().__setitem__(where, data)
        elif kill.dead:
            raise Killed
        elif len(data) <= kill.after:
            kill.after -= len(data)
            super().__setitem__(where, data)
        else:
            kill.dead = True
            part = kill.after
            if kill.backwards:
                begin, data = begin + len(data) - part, data[len(data) - part :]
            super().__setitem__(slice(begin, begin + part), data[:part])
            raise Killed


@pytest.fixture(autouse=True, scope="module")
def mortal() -> Iterator[None]:
    """Slots are mapped by the above."""
    with patch("kmetad._delivery.slots.mmap.mmap", Map):
        yield


@contextmanager
def memory_file() -> Iterator[int]:
    """An empty one."""
    fd = os.memfd_create("test")
    try:
        yield fd
    finally:
        os.close(fd)


def write(slots: Slots, kind: bool, content: bytes) -> bool:
    """All anew, or a step; answers whether it was all anew."""
    if kind or not slots.add(content):
        slots.write(content)
        return True
    return False


@given(WRITES)
def test_what_was_written_is_read(writes: list[tuple[bool, bytes]]) -> None:
    """The last of what replaced everything, and the steps behind it; by this process or the next."""
    with memory_file() as fd:
        slots = Slots(fd)
        assert list(slots.read()) == []
        expected: list[bytes] = []
        slots.write(b"first")
        expected = [b"first"]
        for kind, content in writes:
            expected = [content] if write(slots, kind, content) else [*expected, content]
            assert list(Slots(fd).read()) == expected


@given(WRITES, WRITES, st.integers(0, 300_000), st.booleans(), st.booleans())
def test_a_kill_leaves_the_last_whole(
    before: list[tuple[bool, bytes]],
    writes: list[tuple[bool, bytes]],
    after: int,
    backwards: bool,
    header: bool,
) -> None:
    """A store that was cut counts for nothing, and all before it is there; the successor goes on from it."""
    with memory_file() as fd:
        slots = Slots(fd)
        slots.write(b"first")
        expected = [b"first"]
        for kind, content in before:
            expected = [content] if write(slots, kind, content) else [*expected, content]
        pending = expected
        kill = Kill(after % 40 if header else after, backwards)
        try:
            with kill.at_work():
                for kind, content in writes:
                    pending = [content] if kind else [*expected, content]
                    expected = [content] if write(slots, kind, content) else [*expected, content]
        except Killed:
            pass
        successor = Slots(fd)
        read = list(successor.read())
        # Of a step that found no room, everything anew was written instead.
        assert read in (expected, pending, pending[-1:])
        successor.write(b"second")
        assert list(Slots(fd).read()) == [b"second"]


def test_an_older_records_steps_are_not_taken_for_newer() -> None:
    """What lies behind a record with everything from the time before it is no step of it, though it be sound."""
    with memory_file() as fd:
        slots = Slots(fd)
        for number in range(8):  # so that places are used again, with the same lengths
            slots.write(b"record %d" % number)
            assert list(Slots(fd).read()) == [b"record %d" % number]
            for _ in range(3):
                assert slots.add(b"a step")


def test_the_file_does_not_grow_for_ever() -> None:
    """The same amount, written a thousand times, takes the room of a few."""
    with memory_file() as fd:
        slots = Slots(fd)
        for _ in range(1000):
            slots.write(bytes(10_000))
        assert os.fstat(fd).st_size < 200_000


@pytest.mark.parametrize("size", [1, 4096, 100_000])
def test_foreign_content_is_refused(size: int) -> None:
    """And replaced when it is cleared."""
    with memory_file() as fd:
        os.write(fd, b"\xff" * size)
        slots = Slots(fd)
        with pytest.raises(Unreadable):
            list(slots.read())
        slots.clear()
        assert list(slots.read()) == []
        slots.write(b"ours")
        assert list(Slots(fd).read()) == [b"ours"]


def test_cells_are_apart() -> None:
    """They are seen by the next process, no record touches them, and they none."""
    with memory_file() as fd:
        slots = Slots(fd)
        slots.write(b"before")
        cells = slots.make_cells(20)
        slots.write(bytes(100_000))
        for number, cell in enumerate(cells):
            cell.set(2**64 - 1 - number, b"%d" % number * (CELL_ROOM // 2))
            assert cell.word == 2**64 - 1 - number
        successor = Slots(fd)
        assert list(successor.read()) == [bytes(100_000)]
        read = list(successor.read_cells(20))
        assert [word for word, _ in read] == [2**64 - 1 - number for number in range(20)]
        assert all(
            bytes(content).startswith(b"%d" % number * 200) for number, (_, content) in enumerate(read)
        )


def test_fewer_cells_leave_the_others_until_everything_is_written() -> None:
    """A kill in the middle of that finds the old record with its own cells."""
    with memory_file() as fd:
        slots = Slots(fd)
        cells = slots.make_cells(100)
        slots.write(b"before")
        for cell in cells:
            cell.set(7, b"kept")
        successor = Slots(fd)
        assert list(successor.read()) == [b"before"]
        assert len(list(successor.read_cells(100))) == 100
        successor.make_cells(1)
        with pytest.raises(Killed), Kill(50_000).at_work():
            successor.write(bytes(100_000))
        last = Slots(fd)
        assert list(last.read()) == [b"before"]
        assert {(word, bytes(content[:4])) for word, content in last.read_cells(100)} == {(7, b"kept")}


def test_where_there_is_no_memory_left() -> None:
    """A file that can't grow is an OSError, and what it held stays."""
    import resource

    with memory_file() as fd:
        slots = Slots(fd)
        slots.write(b"kept")
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limit[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                slots.write(bytes(1_000_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert list(Slots(fd).read()) == [b"kept"]
        assert slots.add(b"and more")
        assert list(Slots(fd).read()) == [b"kept", b"and more"]
