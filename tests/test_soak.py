"""``make soak`` in short: some schedules of faults, a few seconds of storm; and that their judge would object."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.cli import DEADLINE, environment
from tests.soak.journal import Line
from tests.soak.oracle import Broken, Judge
from tests.wrapper.wrapped import UNMEASURED

COUNT = 60
"""Of 2,000 that ``make soak`` plays."""

Labels = dict[str, str]

A: Labels = {"app": "a", "tier": "1"}
B: Labels = {"app": "b", "tier": "1"}
C: Labels = {"app": "c", "tier": "1"}


def test_some_schedules() -> None:
    """Whatever raises, hangs, is slow or dies, and wherever the daemon is killed: law 4 holds."""
    command = [sys.executable, "-m", "tests.soak.schedules", "--count", str(COUNT), "--jobs", "4"]
    done = subprocess.run(
        command, env=environment(UNMEASURED), capture_output=True, text=True, timeout=2 * DEADLINE
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert f"{COUNT} schedules" in done.stdout.splitlines()[-1]


def test_a_short_storm() -> None:
    """Under the real supervisor, with a daemon that dies: nothing lost, nothing told again, the app untouched."""
    command = [sys.executable, "-m", "tests.soak.storm", "--minutes", "0.05", "--every", "2"]
    done = subprocess.run(
        command, env=environment(UNMEASURED), capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "none missing" in done.stdout


def life(*, alone: bool = False, lagging: bool = False, match: tuple[str, ...] = ()) -> Line:
    """A daemon starts."""
    return {"what": "life", "lanes": {"one": match}, "fresh": False, "alone": alone, "lagging": lagging}


def died(*, orderly: bool = False, set_aside: tuple[str, ...] = ()) -> Line:
    """And ends."""
    return {"what": "died", "orderly": orderly, "set_aside": set_aside, "given_up": ()}


def swap(labels: Labels) -> Line:
    """The volume becomes this."""
    return {"what": "swap", "volume": "podinfo", "state": {"label": labels}}


def start(labels: Labels, generation: int = 1) -> Line:
    """``on_start`` is entered."""
    return {"what": "start", "lane": "one", "now": packed(labels), "generation": generation}


def enter(
    before: Labels, now: Labels, *told: tuple[str, Any, Any], attempt: int = 1, generation: int = 2
) -> Line:
    """A delivery begins."""
    changes = [["label", *change] for change in told]
    packed_ = {"before": packed(before), "now": packed(now)}
    return {
        "what": "enter",
        "lane": "one",
        "told": changes,
        "attempt": attempt,
        "generation": generation,
        **packed_,
    }


def apply(key: str) -> Line:
    """The plugin has done a part of it."""
    return {"what": "apply", "lane": "one", "keys": [["label", key]]}


def end(how: str = "return", took: float = 0.0) -> Line:
    """And returns, or raises."""
    return {"what": "end", "lane": "one", "how": how, "took": took}


def stop() -> Line:
    """``on_stop`` is entered."""
    return {"what": "stop", "lane": "one"}


def packed(labels: Labels) -> list[list[str]]:
    """As snapshots are written down."""
    return [["label", key, value] for key, value in labels.items()]


BEGUN = [life(), start(A), end()]
TOLD = [*BEGUN, swap(B), enter(A, B, ("app", "a", "b")), apply("app"), end()]
FAILED = [*TOLD[:-1], end("raise")]
KILLED_AFTER = [*TOLD, died(), life(), start(B), end()]


def judged(*lines: Line) -> Judge:
    """A judge who has heard all that."""
    judge = Judge({"one": (2, 30.0)}, {"podinfo": {"label": A}})
    for line in lines:
        judge.hear(line)
    return judge


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([*TOLD, swap(C), enter(B, C, ("app", "b", "c"))], id="acknowledged"),
        pytest.param(
            [*FAILED, swap(C), enter(A, C, ("app", "b", "c"), attempt=2)], id="shown, not acknowledged"
        ),
        pytest.param([*FAILED, swap(A), enter(A, A, ("app", "b", "a"), attempt=2)], id="and back"),
        pytest.param([*FAILED, enter(A, B, ("app", "a", "b"), attempt=2)], id="the same again"),
        pytest.param(
            [*KILLED_AFTER, swap(C), enter(B, C, ("app", "b", "c"))], id="killed behind it: acknowledged"
        ),
        pytest.param([*KILLED_AFTER, swap(C), enter(A, C, ("app", "b", "c"))], id="killed behind it: not"),
        pytest.param([*KILLED_AFTER, enter(A, B, ("app", "a", "b"))], id="and told once more"),
        pytest.param(
            [*BEGUN, swap(B), died(), life(), swap(A), start(A), end(), enter(A, A, ("app", "b", "a"))],
            id="killed before it, once it was remembered",
        ),
        pytest.param(
            [*TOLD, stop(), end(), died(orderly=True), life(), start(B), end(), stop()], id="an orderly end"
        ),
        pytest.param(
            [*TOLD, swap(C), enter(B, C, ("app", "b", "c")), apply("app"), end(), swap(A)]
            + [died(), life(alone=True, lagging=True), start(A), end(), enter(B, A, ("app", "c", "a"))],
            id="what the disk didn't have",
        ),
    ],
)
def test_the_judge_agrees(lines: list[Line]) -> None:
    """To what law 4 asks for, and to both answers where a kill leaves a question."""
    judged(*lines)


@pytest.mark.parametrize(
    ("lines", "objection"),
    [
        pytest.param(
            [*TOLD, swap(C), enter(B, C, ("app", "a", "c"))], "is owed", id="old is none it was shown"
        ),
        pytest.param(
            [*TOLD, swap(C), enter(B, C, ("app", "b", "c"), ("tier", "2", "1"))],
            "is owed",
            id="a key too many",
        ),
        pytest.param([*FAILED, enter(A, B, attempt=2)], "is owed", id="a key too few"),
        pytest.param([*FAILED, swap(A), enter(A, A, attempt=2)], "is owed", id="not told the way back"),
        pytest.param([*TOLD, enter(A, B, ("app", "a", "b"))], "is owed", id="the acknowledged again"),
        pytest.param(
            [
                *TOLD,
                stop(),
                end(),
                died(orderly=True),
                life(),
                start(B),
                end(),
                enter(A, B, ("app", "a", "b")),
            ],
            "is owed",
            id="the acknowledged again, after an orderly end",
        ),
        pytest.param([*FAILED, enter(A, B, ("app", "a", "b"))], "this is try 2", id="attempt"),
        pytest.param([*FAILED, enter(B, B, ("app", "a", "b"), attempt=2)], "previous", id="previous"),
        pytest.param(
            [*FAILED, enter(A, B, ("app", "a", "b"), attempt=2), end("raise")]
            + [enter(A, B, ("app", "a", "b"), attempt=1)],
            "parked",
            id="parked",
        ),
        pytest.param(
            [*TOLD[:-1], enter(A, B, ("app", "a", "b"))], "in enter already", id="entered twice at once"
        ),
        pytest.param(
            [life(), swap(B), enter(A, B, ("app", "a", "b"))], "before on_start", id="without on_start"
        ),
        pytest.param([*BEGUN, start(A)], "called again", id="started twice"),
        pytest.param([*BEGUN, enter(A, B, ("app", "a", "b"))], "was never so", id="a torn snapshot"),
        pytest.param([*TOLD, swap(C), enter(B, A, ("app", "b", "a"))], "was never so", id="an old snapshot"),
        pytest.param([*TOLD[:-2], end()], "was told of", id="acknowledged without its hooks"),
        pytest.param(
            [*TOLD, stop(), end(), died(orderly=True), life(), stop()], "never started", id="stop alone"
        ),
        pytest.param([*TOLD, died(orderly=True)], "on_stop was not called", id="no stop"),
        pytest.param([*TOLD, died(set_aside=("one",))], "set aside after", id="set aside for nothing"),
        pytest.param(
            [*[life(), start(A), died()] * 3, life(), start(A), died()], "3 times", id="not set aside"
        ),
    ],
)
def test_the_judge_objects(lines: list[Line], objection: str) -> None:
    """To whatever law 4 doesn't ask for."""
    with pytest.raises(Broken, match=objection):
        judged(*lines)
