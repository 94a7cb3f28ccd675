"""``[run] restart``: when an app that has ended is started again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmetad._supervisor.policy import FIRST_PAUSE, LONGEST_PAUSE, QUICK, QUICK_LIMIT, Policy

CODES = st.integers(0, 255)
LIVES = st.lists(st.tuples(st.floats(0, 200), CODES), min_size=1, max_size=30)


class Clock:
    """Seconds that pass when the test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def live(
    policy: Policy, clock: Clock, seconds: float, code: int, restart: str
) -> tuple[float | None, int, str]:
    """One life of the app."""
    clock.now = 0.0  # where a sum is exact
    policy.started()
    clock.now += seconds
    return policy.ended(code, restart)


@given(LIVES)
def test_never(lives: list[tuple[float, int]]) -> None:
    """The first end is the end."""
    clock = Clock()
    policy = Policy(clock)
    for seconds, code in lives:
        assert live(policy, clock, seconds, code, "never") == (None, code, "")


@given(LIVES)
def test_on_failure_leaves_success_alone(lives: list[tuple[float, int]]) -> None:
    """Code 0 ends it, every other doesn't, unless it can't come up."""
    clock = Clock()
    policy = Policy(clock)
    quick = 0
    for seconds, code in lives:
        pause, last, _ = live(policy, clock, seconds, code, "on-failure")
        if code == 0:
            assert (pause, last) == (None, 0)
            return
        quick = quick + 1 if seconds < QUICK else 0
        if quick == QUICK_LIMIT:
            assert (pause, last) == (None, code)
            return
        assert pause is not None


@given(LIVES)
def test_pauses_double_and_are_capped(lives: list[tuple[float, int]]) -> None:
    """From the first to the longest; afresh after a long life."""
    clock = Clock()
    policy = Policy(clock)
    expected = FIRST_PAUSE
    for seconds, code in lives:
        pause, _, _ = live(policy, clock, seconds, code, "always")
        if pause is None:
            return
        if seconds > LONGEST_PAUSE:
            expected = FIRST_PAUSE
        assert pause == expected
        expected = min(LONGEST_PAUSE, 2 * expected)


@given(CODES)
def test_five_quick_ends_in_a_row_are_the_last(code: int) -> None:
    """With the last code, 1 if that was 0: a container that can't come up must not look like one that is done."""
    clock = Clock()
    policy = Policy(clock)
    ends = [live(policy, clock, 1.0, code, "always") for _ in range(QUICK_LIMIT)]
    assert [pause for pause, _, _ in ends[:-1]] == [1.0, 2.0, 4.0, 8.0]
    assert ends[-1][:2] == (None, code or 1)
    assert "gives up" in ends[-1][2]


def test_a_restart_that_was_asked_for_is_no_failure() -> None:
    """Four quick ends, one restart, four more."""
    clock = Clock()
    policy = Policy(clock)
    for _ in range(2):
        for _ in range(QUICK_LIMIT - 1):
            assert live(policy, clock, 1.0, 1, "always")[0] is not None
        policy.started()
        policy.restarted()
