"""What is fuzzed: for each reader of bytes that others may write, a function that fails if the reader does what it mustn't.

A target takes any bytes at all. It passes if the reader answers, or raises one of the
errors that its docstring names; and if what it answers is right, as far as a second,
simpler way to it can tell.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import tempfile
from _blake2 import blake2b
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from kmetad import _link
from kmetad._delivery import record
from kmetad._delivery.cursor import Cursor
from kmetad._delivery.match import Filter
from kmetad._delivery.slots import Slots
from kmetad._diff import apply, diff
from kmetad._goquote import encode
from kmetad._sources.content import NOTHING, Content, Source
from kmetad._sources.environment import Environment
from kmetad._sources.items import Item
from kmetad._sources.merge import merge
from kmetad._sources.serviceaccount import ServiceAccount
from kmetad._sources.textmap import decode
from kmetad._sources.volume import Volume
from kmetad.errors import DecodeError, FieldPathError, QuantityError, SourceLost, SourceUnreadable
from kmetad.events import Batch, LabelChange, SourceChange
from kmetad.fieldpath import parse
from kmetad.metadata import Digest, Resource, Snapshot, SourceState, Token
from kmetad.quantity import Quantity
from kmetad.testing.kubelet import token

KEY = b"k" * 32
DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Target:
    """A reader under test."""

    name: str
    run: Callable[[bytes], None]
    """Raises whatever it likes where the reader has a fault."""
    seeds: Callable[[], Iterable[bytes]]
    """Inputs that get far, for a fuzzer to begin with."""
    words: tuple[bytes, ...]
    """What is worth putting anywhere into an input."""
    longest: int = 4096
    """Bytes of an input."""
    share: float = 1.0
    """Of a million inputs; what is slow gets fewer."""


class Take:
    """Decisions out of an input's bytes; when they run out, the first choice and empty texts."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """From 0, by the next byte."""
        self._at += 1
        return self._data[self._at - 1] % below if self._at <= len(self._data) else 0

    def one(self, choices: tuple[Any, ...]) -> Any:
        """One of these."""
        return choices[self.number(len(choices))]

    def bytes(self) -> bytes:
        """Some: as many as the next byte says."""
        length = self.number(256)
        self._at += length
        return self._data[self._at - length : self._at]

    def rest(self) -> bytes:
        """All that are left."""
        left = self._data[self._at :]
        self._at = len(self._data)
        return left


# -- labels and annotations ----------------------------------------------------------------

_REASONS = {
    'no KEY="VALUE" as the kubelet writes it',
    "a quotation mark that isn't escaped",
    "a control character that isn't escaped",
    "an escape that Go doesn't write",
    "an escape of no character",
    "a key that was there before",
}
_SHORT = {b"a": 7, b"b": 8, b"f": 12, b"n": 10, b"r": 13, b"t": 9, b"v": 11, b"\\": 92, b'"': 34}


def textmap(data: bytes) -> None:
    """``decode`` against a reading byte by byte, and to the quoting and back."""
    expected = _slowly(data)
    try:
        values = decode(data, "labels")
    except DecodeError as error:
        assert error.reason in _REASONS, error.reason  # so it tells no content
        assert 1 <= error.line <= data.count(b"\n") + 1
        # Control characters serve it as marks, and Go writes none: it may refuse what is readable.
        assert expected is None or b"\0" in data or b"\1" in data
        return
    assert values == expected
    again = encode(values)
    assert decode(again, "labels") == values
    assert encode(decode(again, "labels")) == again


def _slowly(data: bytes) -> dict[str, str] | None:
    """The same map, or None where there is none."""
    values: dict[str, str] = {}
    for line in data.removesuffix(b"\n").split(b"\n") if data.removesuffix(b"\n") else ():
        key, equals, rest = line.partition(b'="')
        value = _unquoted(rest[:-1]) if rest[-1:] == b'"' else None
        if not equals or value is None or _text(key) in values:
            return None
        values[_text(key)] = _text(value)
    return values


def _unquoted(body: bytes) -> bytes | None:
    out = bytearray()
    at = 0
    while at < len(body):
        char = body[at : at + 1]
        at += 1
        if char == b'"':
            return None
        if char != b"\\":
            out += char
            continue
        kind = body[at : at + 1]
        at += 1
        if kind in _SHORT:
            out.append(_SHORT[kind])
            continue
        width = {b"x": 2, b"u": 4, b"U": 8}.get(kind, 0)
        digits = body[at : at + width]
        at += width
        if not width or len(digits) < width or not digits.isalnum():
            return None
        try:
            code = int(digits, 16)
            out += bytes([code]) if width == 2 else chr(code).encode()
        except (ValueError, OverflowError):  # no digits, no character, or a surrogate
            return None
    return bytes(out)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _annotations() -> Iterable[bytes]:
    yield from (path.read_bytes()[:4096] for path in sorted((DATA / "nasty").glob("*.annotations")))
    yield b'app="web"\ntier="gold"\n'
    yield rb'a="\a\b\f\n\r\t\v\\\"\x00\xff\u20ac\U0001f600"'


# -- volumes -------------------------------------------------------------------------------


@cache
def _directory() -> str:
    """In memory, where there is such a place; for this process."""
    directory = tempfile.TemporaryDirectory(
        prefix="kmetad-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    )
    _kept.append(directory)
    return directory.name


_kept: list[Any] = []  # a TemporaryDirectory goes with its object

_NAMES = (
    b"labels",
    b"annotations",
    b"name",
    b"uid",
    b"cpu_limit",
    b"mem_request",
    b"namespace",
    b"x",
    b"d",
    b"..",
    b"..x",
)
_TARGETS = (
    b".",
    b"..",
    b"/",
    b"..data",
    b"labels",
    b"x",
    b"d",
    b"/dev/zero",
    b"/proc/self/mem",
    b"../..",
    b"nowhere",
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
_TIMES = (None, 0, -1, 2**62, -(2**62), 253402300800 * 10**9)


def volume(data: bytes) -> None:
    """A real directory with whatever may be in one, read, changed, and read again."""
    take = Take(data)
    root = os.fsencode(_directory()) + b"/v"
    kind, items = take.one(("auto", "downward", "files")), take.one(_ITEMS)
    source = Volume("podinfo", os.fsdecode(root), kind=kind, items=items, digest_key=KEY)
    made: list[bytes] = []
    try:
        _make(made, root, os.mkdir)
        previous = NOTHING
        for generation in (b"..1", b"..2", b"..3")[: 1 + take.number(3)]:
            _fill(take, root, generation, made)
            content = _look(source, previous)
            if content is not None:
                previous = content
                fresh = Volume("podinfo", source.path, kind=kind, items=items, digest_key=KEY)
                fresh._downward, fresh._undecided = source._downward, source._undecided
                anew = fresh.read(NOTHING)
                assert len(anew.faults) == len(content.faults)
                for part in ("labels", "annotations", "fields", "resources", "files"):
                    # What can't be understood keeps what it said before; all else is as if read for the first time.
                    assert getattr(anew, part).items() <= getattr(content, part).items() or content.faults
                assert content.faults or anew == content
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
        if what == 1 and _make(made, path, os.mkdir):
            directories.append(path)
        elif what == 2:
            target = take.one(_TARGETS) if take.number(4) else take.bytes().translate(None, b"\0") or b"y"
            _make(made, path, lambda path, target=target: os.symlink(target, path))
        elif what == 3:
            _make(made, path, os.mkfifo)
        elif what != 1:
            content = take.one(_CONTENTS) if take.number(4) else take.bytes()
            _make(made, path, lambda path, content=content: _write(path, content))
    if swapped:
        target = generation if swapped != 1 else take.one(_TARGETS)
        with suppress(OSError):
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


def _look(source: Source, previous: Content) -> Content | None:
    """Read, and let all that is made of a reading be made of it."""
    try:
        content = source.read(previous)
    except (SourceLost, SourceUnreadable) as error:
        assert str(error).isprintable()
        return None
    assert source.fingerprint() == content.fingerprint
    for sentence in (*content.faults, *content.unreadable):
        assert sentence.isprintable(), sentence
    snapshot = merge([(source.name, SourceState(), content)], Snapshot())
    changes = diff(Snapshot(), snapshot)
    assert apply(Snapshot(), changes) == snapshot
    for line in Batch(changes, Snapshot(), snapshot, 0).json_lines().splitlines():
        json.loads(line)
    return content


def _trees() -> Iterable[bytes]:
    # kind, items, generations; then of each: swapped, files (where, name, what, content), its time
    file = bytes([0, 1, 0, 0, 1, 1])
    yield bytes([0, 0, 0, 2, 1]) + file + bytes([0])
    yield bytes([0, 0, 1, 2, 1]) + file + bytes([0, 2, 2]) + file + bytes([0, 1, 1, 0, 1, 2]) + bytes([3])
    yield bytes([1, 2, 2, 0, 3]) + file * 3 + bytes([0, 1, 1, 2, 3, 1, 7, 1, 3, 0, 1, 8, 2, 1, 4])
    yield bytes([2, 0, 0, 3, 2, 0, 0, 3, 97, 98, 255, 0, 0, 5, 1, 2, 3, 4, 5, 0, 1, 7, 3, 0])


# -- the service account -------------------------------------------------------------------


def serviceaccount(data: bytes) -> None:
    """``token``, ``ca.crt`` and ``namespace`` of any bytes; the token well-formed around any claims, too."""
    take = Take(data)
    directory = _directory() + "/account"
    os.makedirs(directory, exist_ok=True)
    source, previous = ServiceAccount("token", directory, KEY), NOTHING
    for _ in range(1 + take.number(2)):
        shape, trust, namespace = take.number(3), take.bytes(), take.bytes()
        claims = take.rest() if shape else take.bytes()
        if shape == 1:
            claims = b".".join((b"e30", base64.urlsafe_b64encode(claims).rstrip(b"="), b"c2ln"))
        for name, content in (("token", claims), ("ca.crt", trust), ("namespace", namespace)):
            with open(f"{directory}/{name}", "wb") as file:
                file.write(content)
        content_ = _look(source, previous)
        assert content_ is not None
        previous = content_


def _tokens() -> Iterable[bytes]:
    claims = base64.urlsafe_b64decode(
        token(expires=2_000_000_000, warn_after=1_900_000_000).split(".")[1] + "=="
    )
    yield bytes([0, 1, 1]) + b"C" + bytes([7]) + b"default" + claims
    yield bytes([0, 2, 1]) + b"C" + bytes([7]) + b"default" + token().encode()
    for odd in (
        b'{"exp": 1e999}',
        b'{"exp": NaN, "aud": [1, null, "a"]}',
        b'{"exp": -9e15}',
        b"[[",
        b'{"exp": %s}' % (b"9" * 50),
    ):
        yield bytes([0, 1, 0, 0]) + odd


# -- what the daemon remembers -------------------------------------------------------------


def state(data: bytes) -> None:
    """A record's content, steps, a file on disk, a memory file: ``Unreadable``, or something that can be gone on from."""
    how, data = data[:1] or b"\0", data[1:]
    with suppress(record.Unreadable):
        record.unframe(memoryview(data))
    with suppress(record.Unreadable):
        if how < b"\x80":
            known = record.decode(data)
        else:
            known = _remembered()
            record.replay(known, data)
        _go_on(known)
    os.truncate(_memory(), 0)
    os.pwrite(_memory(), data, 0)
    slots = Slots(_memory())
    with suppress(record.Unreadable):
        for content in slots.read():
            assert isinstance(content, bytes)
    for _, beside in slots.read_cells(2):
        with suppress(record.Unreadable):
            record.show(record.LaneState("x", cursor=Cursor(Snapshot())), bytes(beside).rstrip(b"\0"))


def _go_on(known: record.State) -> None:
    """As the next daemon does: filter anew, compare, count, write it all again."""
    blake2b(b"", key=known.digest_key)
    for lane in known.lanes:
        assert Filter(lane.match, lane.ignore) is not None
        lane.crashes += 1
        if lane.cursor is not None:
            lane.cursor.show(diff(lane.cursor.acknowledged, Snapshot()))
            lane.cursor.pending(known.last)
    known.life += 1
    content = record.encode(known)
    again = record.decode(content)
    assert record.encode(again) == content
    assert (again.last, again.life, again.digest_key) == (known.last, known.life, known.digest_key)


@cache
def _memory() -> int:
    return os.memfd_create("kmetad-fuzz")


def _remembered() -> record.State:
    snapshot = Snapshot(
        labels=MappingProxyType({"app": "web", "\udcff": ""}),
        fields=MappingProxyType({"metadata.name": "web-0"}),
        resources=MappingProxyType(
            {"a.limits.cpu": Resource(250, Quantity("1m")), ".limits.cpu": Resource(1)}
        ),
        files=MappingProxyType({"podinfo/x": Digest(b"d" * 16)}),
        tokens=MappingProxyType({"token": Token(2_000_000_000, ("api",), Digest(b"t" * 16))}),
        sources=MappingProxyType({"podinfo": SourceState("lost", 3, "gone"), "two": SourceState()}),
        generation=7,
        swapped=MappingProxyType({"podinfo": 10**18}),
        origins=MappingProxyType(
            {"label": MappingProxyType({"app": "podinfo", "\udcff": "two"}), "field": "podinfo"}
        ),
    )
    change = LabelChange("app", None, "db", "podinfo")
    lanes = [
        record.LaneState("one", ("label:*",), ("label:x",), Cursor(snapshot), 2, True, [change]),
        record.LaneState("two", cursor=Cursor(Snapshot(), {("label", "app"): ("a", None)})),
        record.LaneState("three"),
    ]
    return record.State(KEY, 3, snapshot, lanes)


def _states() -> Iterable[bytes]:
    known = _remembered()
    content = record.encode(known)
    yield b"\0" + content
    yield b"\0" + record.frame(content)
    changes = record.encode_changes(
        [LabelChange("app", None, "db", "podinfo"), SourceChange("two", None, SourceState(faults=1), "two")]
    )
    steps = [
        record.shown(0, changes),
        record.acknowledged(2),
        record.moved(changes, known.last),
        record.proven(0),
    ]
    yield b"\xff" + record.encode_steps(steps)
    slots = Slots(os.memfd_create("seed"))
    slots.write(content)
    slots.add(record.encode_steps(steps))
    yield b"\0" + bytes(slots._map[:16]) + bytes(slots._map[4096:8192])
    for odd in (1e300, float("inf"), 2**64 - 1, -1, True, None, b"", [[]], {b"a": 1}):
        yield b"\0" + msgspec.msgpack.encode([KEY, odd, [[], []], []])
        yield b"\0" + msgspec.msgpack.encode([odd, 0, [[[[], b""]], [[[0] * 8, 0, []]]], []])
        yield b"\0" + msgspec.msgpack.encode(
            [KEY, 0, [[[[], b""]], [[[0] * 8, odd, []]]], [[b"n", [], [], 0, [], odd, odd]]]
        )
        yield b"\xff" + msgspec.msgpack.encode([[odd], [0, odd, odd, odd], [1, odd, odd], [2, odd], [3, odd]])


# -- the link between supervisor and daemon ------------------------------------------------


def link(data: bytes) -> None:
    """Any packet at all: a message, an end, or ValueError; never the end of who receives it."""
    ours, theirs = _pair()
    theirs.send(data)
    try:
        message = _link.receive(ours)
    except ValueError as error:
        assert not isinstance(error, UnicodeError)  # as marshal's own; those say what stood there
        return
    assert message is None or (isinstance(message[0], str) and isinstance(message[1], tuple))
    assert (message is None) == (not data)


@cache
def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _packets() -> Iterable[bytes]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        for message in (
            ("hello",),
            ("variable", "NAME", b"value"),
            ("variable", "NAME", None),
            ("signal", 15),
            ("run", ("a", 1.5, True, (1, 2), {"k": [1]})),
            ("app_exited", 143, 15, 2**40),
        ):
            _link.send(theirs, *message)
            yield ours.recv(_link.LONGEST)


# -- texts in the configuration and in the environment -------------------------------------


def quantity(data: bytes) -> None:
    """A quantity, or QuantityError; its canonical form is the same quantity."""
    text = _text(data)
    try:
        amount = Quantity(text)
    except QuantityError as error:
        assert len(str(error)) < 400
        return
    again = Quantity(str(amount))
    assert (again, str(again)) == (amount, str(amount))
    assert int(amount) * 1000 >= amount.milli > (int(amount) - 1) * 1000
    assert str(amount * 3 - amount - amount) == str(amount)


def fieldpath(data: bytes) -> None:
    """A field path, or FieldPathError; and a snapshot asked for it answers."""
    try:
        parse(_text(data))
    except FieldPathError:
        return
    _remembered().last.get(_text(data))


def environment(data: bytes) -> None:
    """Variables of any values, declared and conventional."""
    take = Take(data)
    names = (
        "POD_NAME",
        "MY_POD_IP",
        "HOST_IPS",
        "POD_UID",
        "OTEL_RESOURCE_ATTRIBUTES",
        "CPU_LIMIT",
        "A",
        "B",
    )
    declared = {"A": Item(field="metadata.uid"), "B": Item(resource="limits.cpu", divisor=Quantity("1m"))}
    variables = {}
    for _ in range(take.number(5)):
        variables[take.one(names)] = _text(take.bytes())
    variables[take.one(names)] = _text(take.rest())
    assert _look(Environment("env", variables, declared), NOTHING) is not None


TARGETS = (
    Target(
        "textmap", textmap, _annotations, (b'="', b'"\n', b"\\", b'\\"', b"\\\\", b"\\x", b"\\xc3\\xa9", b"\\u00e9",
        b"\\ud800", b"\\U0010ffff", b"\\U00110000", b"\xc3", b"\xed\xa0\x80", b"\n", b"\0", b"\1"), 2048,
    ),
    Target("volume", volume, _trees, (b"\0", b"\1", b"\2", b"\3", b"labels", b'a="1"', b"..data"), 512, 0.25),
    Target("serviceaccount", serviceaccount, _tokens, (b'"exp":', b'"aud":', b"null", b"1e308", b"[", b"{", b".", b"\\ud800"), 1024, 0.25),
    Target(
        "state", state, _states, (b"\x90", b"\x91", b"\xc0", b"\xc4\x00", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", b"\xcb\x7f\xf0\0\0\0\0\0\0", b"\x81\xc0",
        b"\x91" * 600, b"kmtd\1\0\0\0", b"\xa5label", b"\xa6source", b"\xc4\x20" + b"9" * 32), 8192,
    ),
    Target("link", link, _packets, (b"(", b"[", b"{", b"N", b"s", b"u", b"i\1\0\0\0", b"\xff\xff\xff\x7f", b"c\0\0\0\0", b"r\0\0\0\0", b"(\1\0\0\0" * 300)),
    Target("quantity", quantity, lambda: (b"250m", b"1.5Gi", b"-0.1e-3", b"1E", b"9" * 30 + b"Ei", b"1e999"), (b"e", b"E", b".", b"+", b"-", b"Ki", b"n", b"e-", b"000", b"9" * 500), 1500),
    Target("fieldpath", fieldpath, lambda: (b"metadata.labels['app']", b"app.limits.cpu", b"requests.hugepages-2Mi", b"status.podIP", b'metadata.annotations["a"]', b"metadata.label"), (b"metadata.", b"labels", b"['", b"']", b"limits.", b"cpu", b"hugepages-", b"."), 512),
    Target("environment", environment, lambda: (b"\2\0\4web0\1\x0710.0.0.1\4k8s.pod.name=a%20b,k8s.pod.uid=%ff", b"\1\7\3250\6x"), (b"=", b",", b"%", b"%ff", b"k8s.pod.name", b"::1", b"1.2.3.4"), 1024),
)  # fmt: skip
"""All of them."""
