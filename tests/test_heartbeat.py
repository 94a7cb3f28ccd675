"""Whether the daemon's threads go round: they are asked, and answer on their own thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog

from kmetad._daemon.journal import PACE
from kmetad._delivery.lane import Lane
from kmetad._delivery.lanes import Lanes
from kmetad._delivery.match import Filter
from kmetad._delivery.pace import Pace
from kmetad._sources.volume import Volume as Source
from kmetad._watch import Watch
from kmetad._watch.hints import Hints
from kmetad._watch.inotify import InotifyHints
from kmetad._watch.observer import ObserverHints
from kmetad.events import Batch
from kmetad.metadata import Snapshot
from kmetad.testing.kubelet import Volume
from tests.cli import DEADLINE, eventually


@pytest.fixture(params=[InotifyHints, ObserverHints])
def hints(request: pytest.FixtureRequest) -> Iterator[Hints]:
    """Each backend."""
    made: Hints = request.param()
    yield made
    made.stop()
    made.close()


class Idle:
    """An instance that does nothing."""

    name = "idle"

    def start(self, snapshot: Snapshot) -> None: ...
    def deliver(self, batch: Batch) -> None: ...
    def stop(self) -> None: ...


def asked(ask: Callable[[Callable[[], object]], object]) -> list[str]:
    """The name of the thread that answers; another for each answer that is one too many."""
    names: list[str] = []
    ask(lambda: names.append(threading.current_thread().name))
    eventually(lambda: names, "an answer")
    return names


def test_a_call_wakes_and_says_nothing(hints: Hints, tmp_path: Path) -> None:
    """It ends one wait, the present one or the next, without a hint; what stops ends all of them."""
    hints.add(str(tmp_path), swapped=False)
    hints.wake()
    hint = hints.wait(None)
    assert not (hint.touched or hint.ended or hint.everything or hint.mounts or hints.stopped())
    waiting = threading.Thread(target=hints.wait, args=(None,))
    waiting.start()
    hints.wake()
    waiting.join()
    hints.wake()
    hints.stop()
    for _ in range(3):
        hints.wait(None)
    assert hints.stopped()


def test_who_watches_answers(tmp_path: Path) -> None:
    """On its own thread, while it waits; nothing is read for it, and a swap is found as before."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "web"})
    source = Source("podinfo", volume.path, digest_key=b"k")
    reads: list[str] = []
    read = source.read
    source.read = lambda last: (reads.append(threading.current_thread().name), read(last))[1]  # type: ignore[method-assign]
    batches: list[Batch] = []
    watch = Watch([source])
    thread = threading.Thread(target=lambda: batches.extend(watch), name="watching")
    thread.start()
    eventually(lambda: batches, "the first batch")
    before = len(reads)
    answers = [asked(watch.ask), asked(watch.ask)]
    assert len(reads) == before
    volume.label("app", "api")
    eventually(lambda: len(batches) == 2, "the swap")
    watch.stop()
    thread.join()
    assert answers == [["watching"], ["watching"]]  # to go round again answers nothing by itself


def test_who_notices_stuck_hooks_answers() -> None:
    """On its own thread."""
    lanes = Lanes()
    lanes.start([Lane(Idle(), Filter(), PACE, structlog.get_logger())])
    answers = [asked(lanes.ask), asked(lanes.ask)]
    lanes.stop(10)
    assert answers == [["kmetad-timeouts"], ["kmetad-timeouts"]]


def test_who_answers_notices_stuck_hooks_all_the_same() -> None:
    """Also one that was entered before, and nobody else is."""
    entered, leave, noticed = threading.Event(), threading.Event(), threading.Event()

    class Hanging(Idle):
        def start(self, snapshot: Snapshot) -> None:
            entered.set()
            leave.wait(DEADLINE)

    lanes = Lanes(noticed.set)
    log = structlog.get_logger()
    lanes.start([Lane(Hanging(), Filter(), Pace(timeout=0.2), log, entered=lanes.entered)])
    lanes.offer(Batch((), Snapshot(), Snapshot(generation=1), 0))
    assert entered.wait(DEADLINE)
    asked(lanes.ask)
    assert noticed.wait(DEADLINE)
    leave.set()
    lanes.stop(DEADLINE)
