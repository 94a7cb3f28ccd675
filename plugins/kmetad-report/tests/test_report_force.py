"""What is in force: hand-made statuses."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest
from kmetad_report.force import History, standing

from kmetad.metadata import Snapshot
from kmetad.status import NOT_RUNNING, ConfigStatus, LaneStatus, Status, Tried

APPLIED, FAILED = Tried(1, "applied", 0.1, 1), Tried(1, "failed", 0.1, 1, "Fail: no")
BEGUN, LATER = Tried(1, "applied", 0.1, 0), Tried(1, "postponed", 0.1, 1, "later")
SKIPPED = Tried(1, "skipped", 0.1, 1)


def lane(
    name: str, generation: int | None, state: Any = "idle", last: Tried | None = BEGUN, **more: Any
) -> LaneStatus:
    """An instance."""
    return LaneStatus(name, state, generation=generation, last=last, **more)


def status(generation: int, *lanes: LaneStatus, faults: tuple[str, ...] = ()) -> Status:
    """kmetad with these, and the report itself."""
    own = lane("report", generation)
    return replace(
        NOT_RUNNING, pid=7, generation=generation, lanes=(own, *lanes), config=ConfigStatus(None, faults)
    )


def test_the_slowest_counts() -> None:
    """What all have come to."""
    now = standing(status(9, lane("a", 9), lane("b", 7, "delivering", hook="on_change")), "report")
    assert (now.generation, now.instances, now.look_again) == (7, ("a", "b"), False)


def test_only_those_that_are_named_count() -> None:
    """With ``after``."""
    now = standing(status(9, lane("a", 9), lane("b", None, "starting", None)), "report", ["a"])
    assert (now.generation, now.state, now.instances) == (9, "applied", ("a",))


def test_nobody_else() -> None:
    """What kmetad has seen is in force."""
    now = standing(status(9), "report")
    assert (now.generation, now.state, now.instances) == (9, "applied", ())


def test_one_that_has_come_to_nothing_yet() -> None:
    """Nothing is in force; whether its ``on_start`` succeeds, nobody tells."""
    now = standing(status(1, lane("a", 1), lane("b", None, "delivering", None, hook="on_start")), "report")
    assert (now.generation, now.state, now.look_again) == (None, "pending", True)


def test_named_but_not_there() -> None:
    """It can come to nothing."""
    now = standing(status(1, lane("a", 1)), "report", ["a", "b"])
    assert (now.generation, now.state, now.why) == (None, "failed", "there is no instance b")


def test_faults_of_the_configuration() -> None:
    """What it leaves out isn't there to be waited for; what is named is."""
    faulty = status(1, lane("a", 1), faults=("plugins.b: no plugin 'relaod' is installed",))
    now = standing(faulty, "report")
    assert (now.generation, now.state) == (None, "failed")
    assert "relaod" in now.why
    assert standing(faulty, "report", ["a"]).state == "applied"


@pytest.mark.parametrize(
    ("slow", "state", "again"),
    [
        (lane("a", 9), "applied", False),
        (lane("a", 9, "idle", FAILED), "applied", False),  # nothing was left of it
        (lane("a", 8, "idle"), "pending", True),
        (lane("a", 8, "idle", APPLIED), "applied", True),
        (lane("a", 8, "settling", SKIPPED), "applied", True),
        (lane("a", 8, "settling", FAILED), "failed", True),
        (lane("a", 8, "delivering", APPLIED, hook="on_change"), "applied", False),
        (lane("a", 8, "delivering", BEGUN, hook="on_change"), "pending", False),
        (lane("a", 8, "delivering", FAILED, hook="on_change"), "failed", False),
        (lane("a", 8, "delivering", APPLIED, hook="on_applied"), "applied", True),
        (lane("a", 8, "retrying", FAILED), "failed", False),
        (lane("a", 8, "retrying", LATER), "pending", False),
        (lane("a", 8, "parked", FAILED), "failed", False),
        (lane("a", 8, "stuck", BEGUN, hook="on_change"), "pending", False),
        (lane("a", None, "retrying", FAILED), "failed", False),
        (lane("a", None, "set-aside", None, crashes=3), "failed", False),
    ],
)
def test_states(slow: LaneStatus, state: str, again: bool) -> None:
    """What the last tries say, and whether something may come of which nobody tells."""
    now = standing(status(9, slow, lane("b", 9)), "report")
    assert (now.state, now.look_again) == (state, again)
    assert bool(now.why) == (state == "failed")
    assert now.why in ("", "a: Fail: no", "a is set aside: kmetad died 3 times in a row in its hooks")


def snapshot(generation: int, version: str | None) -> Snapshot:
    """A Pod with that label."""
    labels = {} if version is None else {"version": version}
    return Snapshot(labels=MappingProxyType(labels), generation=generation)


def test_history() -> None:
    """What was so then; a value holds until the next."""
    history = History({"v": "metadata.labels['version']"})
    assert history.at(1) is None
    for generation, version in ((3, "a"), (4, "a"), (6, "b"), (5, "late"), (7, None)):
        history.add(snapshot(generation, version))
    assert [history.at(at) for at in (2, 3, 5, 6, 7, 99)] == [
        None,
        {"v": "a"},
        {"v": "a"},
        {"v": "b"},
        {},
        {},
    ]


def test_history_is_bounded() -> None:
    """What no lane can be at any more is forgotten; noise takes no place."""
    history = History({"v": "metadata.labels['version']"})
    for generation in range(1, 101):
        history.add(snapshot(generation, str(generation)))
        history.add(snapshot(generation, "other"))
    for generation in range(101, 200):
        history.add(snapshot(generation, "100"))
    assert history.at(80) is None
    assert history.at(85) == {"v": "85"}
    assert history.at(150) == {"v": "100"}


def test_bytes_that_are_no_text() -> None:
    """The API holds none."""
    history = History({"v": "metadata.labels['version']"})
    history.add(snapshot(1, "a\udcffb"))
    assert history.at(1) == {"v": "a\ufffdb"}
