"""A pump's own faults, and who may take tags away: what no app can bring about."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from kmetad._supervisor import pump
from kmetad._supervisor.output import Output
from kmetad._supervisor.pump import Pump, Stream
from kmetad._supervisor.splice import Splicer
from tests.cli import eventually


@pytest.fixture(autouse=True)
def no_news() -> Iterator[None]:
    """What a pump rings for comes as SIGCHLD, which nobody takes here."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


def test_a_fault_costs_the_tags_alone(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All lines come, as they are; it is said once."""

    def feed(self: Splicer, data: bytes, tags: object) -> list[bytes]:
        raise MemoryError

    monkeypatch.setattr(pump.Splicer, "feed", feed)
    source, app = os.pipe()
    out, to = os.pipe()
    moved: list[bool] = []
    Pump(source, Stream(to, "stdout"), lambda: None, lambda: moved.append(True)).start()
    for number in range(3):
        os.write(app, b"%d\n" % number)
        assert os.read(out, 100) == b"%d\n" % number
    os.close(app)
    eventually(lambda: moved == [True])
    os.close(to)
    assert os.read(out, 100) == b""
    os.close(out)
    (said,) = capfd.readouterr().err.splitlines()
    assert "goes on without tags: MemoryError()" in said


def test_no_thread_is_left(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Then the app writes where it would have written."""

    def start(self: Pump) -> None:
        raise RuntimeError("can't start new thread")

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(Pump, "start", start)
    output = Output()
    assert output.open("force", 1.0) == []
    assert output.left() == []
    assert "gets no tags" in capfd.readouterr().err
    assert len(os.listdir("/proc/self/fd")) <= len(before) + 2  # and what wakes the main thread


def test_a_new_daemon_takes_no_tags_away() -> None:
    """Only when all have spoken again, what they say counts."""
    output = Output()
    both = {"stdout": (b'"a":1,"b":1', "untouched", b"")}
    output.tag({"stdout": (b'"a":1', "untouched", b"")}, False)
    output.tag(both, True)
    output.tag({"stdout": (b'"a":2', "untouched", b"")}, False)
    assert output.said == both
    output.tag({}, True)
    assert output.said == {}
