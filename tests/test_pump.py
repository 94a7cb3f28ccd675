"""A pump's own faults, unkind descriptors, and who may take tags away: what no app can bring about."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from fcntl import F_SETPIPE_SZ, fcntl

import pytest

from kmetad._supervisor import output, pump, splice
from kmetad._supervisor.output import Output
from kmetad._supervisor.pump import Pump, Stream
from kmetad._supervisor.splice import Buffers, Splicer, Tags
from tests.cli import eventually

TAGS = Tags("stdout", b'"a":1')


@pytest.fixture(autouse=True)
def no_news() -> Iterator[None]:
    """What a pump rings for comes as SIGCHLD, which nobody takes here."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


class Pumped:
    """A pump at work, and the end of the app that writes into it."""

    def __init__(self, to: int, tags: Tags | None = TAGS, *, shared: bool = False) -> None:
        source, self.app = os.pipe()
        self.stream = Stream(to, "stdout", shared=shared)
        self.stream.tags = tags
        self.pump = Pump(source, self.stream, lambda: None, lambda: None)
        self.pump.start()

    def write(self, data: bytes) -> None:
        """As the app does."""
        while data:
            data = data[os.write(self.app, data) :]

    def end(self) -> None:
        """The app ends, and all has been passed on."""
        os.close(self.app)
        eventually(lambda: self.pump.done)
        self.pump.close()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends."""
    reading, writing = os.pipe()
    with closing(os.fdopen(reading, "rb")), closing(os.fdopen(writing, "wb")):
        yield reading, writing


def read(descriptor: int, size: int) -> bytes:
    """So many bytes, in however many bits they come."""
    came = b""
    while len(came) < size and (more := os.read(descriptor, size - len(came))):
        came += more
    return came


def test_a_fault_costs_the_tags_alone(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All lines come, as they are, also the part of one that was kept; it is said once."""
    reading, writing = pipe
    pumped = Pumped(writing)
    pumped.write(b'{"b":2}\n{ "held":')
    assert os.read(reading, 100) == b'{"a":1,"b":2}\n'
    eventually(lambda: pumped.stream.counts.bytes == 17)

    def broken(line: bytes) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr(splice, "_is_object", broken)
    pumped.write(b" 1}\n{")
    pumped.write(b"}\n")
    pumped.end()
    expected = b'{ "held": 1}\n{}\n'
    assert read(reading, len(expected)) == expected
    (said,) = capfd.readouterr().err.splitlines()
    assert "goes on without tags: RuntimeError('broken')" in said


def test_a_fault_of_the_splicer_is_not_one_of_writing(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What has an answer is written, whatever becomes of the next one; once."""
    reading, writing = pipe
    real = Splicer._splice
    called = []

    def second_fails(self: Splicer, lines: list[bytes], tags: Tags) -> Buffers:
        called.append(lines)
        if len(called) == 2:
            raise MemoryError
        return real(self, lines, tags)

    monkeypatch.setattr(splice, "_MUCH", 1)  # a line at a time
    monkeypatch.setattr(Splicer, "_splice", second_fails)
    pumped = Pumped(writing)
    pumped.write(b'{"n":1}\n{"n":2}\n{"n":3}\n{"n"')
    pumped.end()
    expected = b'{"a":1,"n":1}\n{"n":2}\n{"n":3}\n{"n"'
    assert read(reading, len(expected)) == expected
    assert "goes on without tags: MemoryError()" in capfd.readouterr().err


def test_a_fault_of_writing_loses_nothing(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where there is no memory to join lines into pieces, they are written one by one."""
    reading, writing = pipe

    def exhausted(data: bytes, pipe: int) -> Iterator[memoryview]:
        raise MemoryError

    monkeypatch.setattr(pump, "in_pieces", exhausted)
    pumped = Pumped(writing, shared=True)
    pumped.write(b'{"n":1}\n')
    pumped.end()
    expected = b'{"a":1,"n":1}\n'
    assert read(reading, len(expected)) == expected
    assert capfd.readouterr().err == ""


def test_a_fault_at_the_end(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """What was kept until then isn't lost either."""
    reading, writing = pipe

    def broken(line: bytes) -> bool:
        raise RuntimeError("broken")

    monkeypatch.setattr(splice, "_is_object", broken)
    pumped = Pumped(writing)
    pumped.write(b'{ "held": 1}')
    pumped.end()
    assert os.read(reading, 100) == b'{ "held": 1}'


def test_too_much_to_read_is_text(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no memory for one line, the next has its tags all the same."""
    reading, writing = pipe

    class Exhausted:
        def decode(self, text: str) -> None:
            raise MemoryError

    monkeypatch.setattr(splice, "_decoder", Exhausted())
    pumped = Pumped(writing)
    pumped.write(b'{ "b": 1}\n{"c":1}\n')
    pumped.end()
    expected = b'{ "b": 1}\n{"a":1,"c":1}\n'
    assert read(reading, len(expected)) == expected


def test_all_that_an_app_has_left_behind(pipe: tuple[int, int]) -> None:
    """However much its pipe holds, and whoever else has it."""
    reading, writing = pipe
    pumped = Pumped(writing, None)
    size = fcntl(pumped.app, F_SETPIPE_SZ, 1 << 20)
    data = bytes(size)
    pumped.write(data)
    pumped.pump.finish()
    assert read(reading, len(data)) == data
    eventually(lambda: pumped.pump.done)
    with pytest.raises(BrokenPipeError):
        pumped.write(b"more")
    os.close(pumped.app)
    pumped.pump.close()


def test_where_writing_would_block(pipe: tuple[int, int]) -> None:
    """Somebody who has the pipe too has set it so: all comes, in order, once."""
    reading, writing = pipe
    os.set_blocking(writing, False)
    fcntl(writing, F_SETPIPE_SZ, 4096)
    pumped = Pumped(writing, None)
    data = b"".join(b"%07d\n" % number for number in range(50_000))
    came = bytearray()

    def read() -> None:
        while len(came) < len(data):
            came.extend(os.read(reading, 5000))

    reader = threading.Thread(target=read)
    reader.start()
    pumped.write(data)
    pumped.end()
    reader.join()
    assert came == data


def test_what_the_kernel_refuses(capfd: pytest.CaptureFixture[str]) -> None:
    """It is counted, and said once; there is a next try."""
    with open("/dev/full", "wb") as full:
        pumped = Pumped(full.fileno(), None)
        pumped.write(b"one\n")
        eventually(lambda: pumped.stream.counts.lost == 4)
        pumped.write(b"three\n")
        pumped.end()
    assert pumped.stream.counts.lost == 10
    assert len(capfd.readouterr().err.splitlines()) == 1


def test_no_thread_is_left(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Then the app writes where it would have written."""

    def start(self: Pump) -> None:
        raise RuntimeError("can't start new thread")

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(Pump, "start", start)
    made = Output()
    assert made.open("always", 1.0) == []
    assert made.left() == []
    assert "gets no tags" in capfd.readouterr().err
    assert len(os.listdir("/proc/self/fd")) <= len(before) + 2  # and what wakes the main thread


def test_whatever_fails_the_app_starts(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It inherits what there is."""

    def announce(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "no such luck")

    monkeypatch.setattr(output.signals, "announce", announce)
    assert Output().open("always", 1.0) == []
    assert "no such luck" in capfd.readouterr().err


def test_a_new_daemon_takes_no_tags_away() -> None:
    """Only when all have spoken again, what they say counts."""
    made = Output()
    values = (b'"a":1,"b":1', "untouched", b"")
    made.tag({"stdout": (b'"a":1', "untouched", b"")}, False)
    made.tag({"stdout": values}, True)
    made.tag({"stdout": (b'"a":2', "untouched", b"")}, False)
    assert made.tags["stdout"].opened == b'{"a":1,"b":1,'
    made.tag({}, True)
    assert made.tags == {}


def test_what_is_no_tags_changes_nothing() -> None:
    """A daemon may send what it likes."""
    made = Output()
    made.tag({"stdout": (b'"a":1', "untouched", b"")}, True)
    with pytest.raises(TypeError):
        made.tag({"stderr": ("text", "untouched", b"")}, True)
    assert [*made.tags] == ["stdout"]
