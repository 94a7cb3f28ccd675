"""Tags in the app's own log entries, fed by a simulated kubelet."""

from __future__ import annotations

import gc
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import structlog
from kmetad_logtag.inprocess import Follower, LogFilter, processor

from kmetad import FieldPathError
from kmetad.testing import Volume
from tests.cli import eventually

TAGS = {"version": "metadata.labels['version']"}


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """A volume with one label."""
    made = Volume(tmp_path / "podinfo")
    made.write(labels={"version": "1"})
    return made


@pytest.fixture
def follower(volume: Volume) -> Iterator[Follower]:
    """One that follows the volume."""
    with closing(Follower(volume.path)) as made:
        yield made


def record(**extra: Any) -> logging.LogRecord:
    """As a logger makes it."""
    return logging.getLogger("app").makeRecord("app", 20, "f", 1, "hello", (), None, extra=extra)


def test_structlog_entry_has_the_label_as_it_is_now(volume: Volume) -> None:
    """The first entry has it, and the one after a swap has the new one."""
    with closing(processor(tags=TAGS, volumes=volume.path)) as tag:
        out = structlog.testing.CapturingLogger()
        log = structlog.wrap_logger(out, processors=[tag, structlog.processors.JSONRenderer()])

        def said() -> Any:
            log.info("hello")
            return json.loads(out.calls[-1].args[0])

        assert said() == {"event": "hello", "pod": {"version": "1"}}
        volume.label("version", "2")
        eventually(lambda: said()["pod"] == {"version": "2"})
        volume.label("version", None)
        eventually(lambda: said()["pod"] == {})


def test_logging_format(volume: Volume, follower: Follower) -> None:
    """A format string may name the attribute."""
    made = record()
    assert LogFilter(tags=TAGS, follower=follower).filter(made)
    assert logging.Formatter("%(pod)s %(message)s").format(made) == "{'version': '1'} hello"


def test_own_keys_win(follower: Follower) -> None:
    """What the app put there stays."""
    assert processor(tags=TAGS, follower=follower)(None, "info", {"pod": 1}) == {"pod": 1}
    flat = processor(tags=TAGS, key="", follower=follower)
    assert flat(None, "info", {"version": "own"}) == {"version": "own"}
    made = record(pod="own")
    LogFilter(tags=TAGS, follower=follower).filter(made)
    assert vars(made)["pod"] == "own"


def test_what_the_app_does_with_one_entry_is_not_the_next_one_s(follower: Follower) -> None:
    """Each has tags of its own."""
    tag = processor(tags=TAGS, follower=follower)
    tag(None, "info", {})["pod"]["version"] = "changed"
    assert tag(None, "info", {}) == {"pod": {"version": "1"}}


def test_a_shared_follower_goes_on(volume: Volume, follower: Follower) -> None:
    """Whoever was given it doesn't end it."""
    processor(tags=TAGS, follower=follower).close()
    volume.label("version", "2")
    tag = processor(tags=TAGS, follower=follower)
    eventually(lambda: tag(None, "info", {})["pod"] == {"version": "2"})


def threads() -> int:
    """How many followers follow."""
    return sum(thread.name == "logtag" for thread in threading.enumerate())


def test_what_nobody_has_any_more_ends(volume: Volume) -> None:
    """Logging that is configured anew leaves nothing behind; nor does what was closed."""
    before = threads(), len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        LogFilter(tags=TAGS, volumes=volume.path)
    closed = Follower(volume.path)
    closed.close()
    gc.collect()
    eventually(lambda: (threads(), len(os.listdir("/proc/self/fd"))) == before)
    assert closed.snapshot.labels == {"version": "1"}


def test_volume_that_comes_later(tmp_path: Path) -> None:
    """There are no tags until it is there."""
    with closing(LogFilter(tags=TAGS, volumes=tmp_path / "later")) as tag:

        def tags() -> Any:
            made = record()
            tag.filter(made)
            return vars(made)["pod"]

        assert tags() == {}
        Volume(tmp_path / "later").write(labels={"version": "1"})
        eventually(lambda: tags() == {"version": "1"})


def test_fork(volume: Volume) -> None:
    """Child and parent both go on."""
    with closing(Follower(volume.path)) as made:
        tag = processor(tags=TAGS, follower=made)

        def is_two() -> bool:
            return bool(tag(None, "info", {})["pod"] == {"version": "2"})

        child = os.fork()
        if not child:
            try:
                gc.collect()  # what the child has of its parent's watch is not to be closed
                eventually(is_two)
            finally:
                os._exit(0 if is_two() else 1)
        volume.label("version", "2")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        eventually(is_two)


@pytest.mark.parametrize("name", ["msg", "name", "args", "message", "asctime"])
def test_reserved_names(name: str) -> None:
    """A record's own attributes are refused, as key and as tag."""
    with pytest.raises(ValueError, match="another name"):
        LogFilter(tags=TAGS, key=name)
    with pytest.raises(ValueError, match="another name"):
        LogFilter(tags={name: "metadata.name"}, key="")


def test_bad_options() -> None:
    """Told at construction."""
    with pytest.raises(FieldPathError):
        processor(tags={"a": "metadata.nam"})
    with pytest.raises(ValueError, match="otel"):
        processor()


def test_no_utf8(volume: Volume, follower: Follower) -> None:
    """Every encoder takes it."""
    tag = processor(tags={"note": "metadata.annotations['note']"}, follower=follower)
    volume.annotate("note", "a\udcff")
    eventually(lambda: tag(None, "info", {})["pod"] == {"note": "a\ufffd"})


def test_a_fault_is_told_once(
    volume: Volume, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And tried again."""
    tried = []

    def broken(*paths: str) -> Any:
        tried.append(paths)
        raise RuntimeError("broken")

    monkeypatch.setattr("kmetad_logtag.inprocess._RETRY", 0.01)
    monkeypatch.setattr("kmetad_logtag.inprocess.kmetad.watch", broken)
    with closing(processor(tags=TAGS, volumes=volume.path)) as tag:
        eventually(lambda: len(tried) > 2)
        assert tag(None, "info", {}) == {"pod": {}}
    assert len([entry for entry in caplog.records if "broken" in entry.message]) == 1
