"""Volumes: a real directory with whatever may be in one, read, changed, and read again."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from kmetad._sources.content import NOTHING
from kmetad._sources.items import Item
from kmetad._sources.volume import Volume
from kmetad.quantity import Quantity
from tests.soak.targets.target import KEY, Take, Target, directory, look

_NAMES = (
    *(b"labels", b"annotations", b"name", b"uid", b"namespace", b"cpu_limit", b"mem_request"),
    *(b"x", b"d", b"..", b"..x"),
)
_TARGETS = (
    *(b".", b"..", b"/", b"../..", b"nowhere", b"..data", b"labels", b"x", b"d"),
    *(b"/dev/zero", b"/proc/self/mem"),
)
_CONTENTS = (b"", b'a="1"', b'a="1"\nb="2"', b"250", b"9" * 19, b"web-0", b"a=1", b'a="\\xff"')
_ITEMS: tuple[dict[str, Item] | None, ...] = (
    None,
    {},
    {
        "labels": Item(field="metadata.annotations"),
        "x": Item(field="metadata.labels"),
        "d/x": Item(resource="limits.cpu", container="app", divisor=Quantity("1m")),
        "cpu_limit": Item(resource="requests.memory", divisor=Quantity("1Ei")),
        "name": Item(field="metadata.labels['a']"),
        "\udcff\n": Item(field="metadata.labels"),
    },
)
_TIMES = (None, 0, -1, 2**31 * 10**9, 2**62 * 10**9, -(2**62) * 10**9)
_GENERATIONS = (b"..1", b"..2", b"..3")
_PARTS = ("labels", "annotations", "fields", "resources", "files")

_NOTHING, _DIRECTORY, _LINK, _PIPE = range(4)
"""What may lie at a path; all other numbers are files."""


def run(data: bytes) -> None:
    """SourceLost, SourceUnreadable, or a reading that doesn't depend on those before, but for what faults keep."""
    take = Take(data)
    root = os.fsencode(directory()) + b"/volume"
    kind, items = take.one(("auto", "downward", "files")), take.one(_ITEMS)
    source = Volume("podinfo", os.fsdecode(root), kind=kind, items=items, digest_key=KEY)
    made: list[bytes] = []
    previous = NOTHING
    try:
        _make(made, root, os.mkdir)
        for generation in _GENERATIONS[: 1 + take.number(len(_GENERATIONS))]:
            _fill(take, root, generation, made)
            content = look(source, previous)
            if content is None:
                continue
            fresh = Volume("podinfo", source.path, kind=kind, items=items, digest_key=KEY)
            fresh._downward, fresh._undecided = source._downward, source._undecided
            anew = fresh.read(NOTHING)
            assert len(anew.faults) == len(content.faults)
            if content.faults or content.unreadable:  # of which the values before are kept
                for part in _PARTS:
                    assert getattr(anew, part).keys() <= getattr(content, part).keys()
            else:
                assert anew == content
            previous = content
    finally:
        for path in reversed(made):
            try:
                os.unlink(path)
            except IsADirectoryError:
                os.rmdir(path)


def _fill(take: Take, root: bytes, generation: bytes, made: list[bytes]) -> None:
    """Put files and oddities into the root or into a generation, and let ``..data`` lead somewhere."""
    directories = [root]
    swapped = take.number(4)
    if swapped and _make(made, root + b"/" + generation, os.mkdir):
        directories.append(root + b"/" + generation)
    for _ in range(take.number(7)):
        where = directories[-1 - take.number(len(directories))]
        name = take.one(_NAMES) if take.number(4) else take.bytes().translate(None, b"/\0")[:255] or b"y"
        path, what = where + b"/" + name, take.number(8)
        if what == _DIRECTORY and _make(made, path, os.mkdir):
            directories.append(path)
        elif what == _LINK:
            target = take.one(_TARGETS) if take.number(4) else take.bytes().translate(None, b"\0") or b"y"
            _make(made, path, lambda path, target=target: os.symlink(target, path))
        elif what == _PIPE:
            _make(made, path, os.mkfifo)
        elif what > _PIPE:
            content = take.one(_CONTENTS) if take.number(4) else take.bytes()
            _make(made, path, lambda path, content=content: _write(path, content))
    if swapped:
        target = generation if swapped != 1 else take.one(_TARGETS)
        if root + b"/..data" in made:
            os.unlink(root + b"/..data")
            made.remove(root + b"/..data")
        _make(made, root + b"/..data", lambda path: os.symlink(target, path))
    time = take.one(_TIMES)
    if time is not None:
        with suppress(OSError):  # a file system has its limits
            os.utime(directories[-1], ns=(time, time))


def _make(made: list[bytes], path: bytes, make: Callable[[bytes], object]) -> bool:
    try:
        make(path)
    except OSError:  # there already, too long, or no name
        return False
    made.append(path)
    return True


def _write(path: bytes, content: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.write(file, content)
    finally:
        os.close(file)


def _seeds() -> list[bytes]:
    # Kind, items, how often; then each time: whether swapped; how many, and of each where, which name, what,
    # with what in it; the time.
    labels, annotations = bytes([0, 1, 0, 7, 1, 1]), bytes([0, 1, 1, 7, 1, 2])
    link, pipe = bytes([0, 1, 7, 2, 1, 0]), bytes([0, 1, 8, 3])
    inner, own_name = bytes([0, 1, 8, 1]), bytes([0, 0, 2, 255, 10, 7, 0, 3, 97, 98, 99])
    return [
        bytes([0, 0, 0, 2, 1]) + labels + bytes([0]),
        bytes([0, 0, 2, 2, 2])
        + labels
        + annotations
        + bytes([0, 2, 1])
        + labels
        + bytes([4, 2, 1])
        + annotations,
        bytes([1, 2, 1, 0, 3]) + labels + link + pipe + bytes([0, 2, 4]) + inner + labels + own_name + link,
        bytes([2, 0, 0, 3, 2]) + own_name + annotations + bytes([5]),
        bytes([0, 1, 1, 1, 1]) + labels + bytes([0, 0, 1, 1]) + labels + bytes([2]),
    ]


VOLUME = Target(
    "volume", run, _seeds(), [bytes([n]) for n in range(9)] + [b'a="1"', b"..data"], 512, share=0.25
)
