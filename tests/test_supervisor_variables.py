"""The environment of the app's next start."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kmetad._supervisor.variables import Variables

NAMES = st.sampled_from(["A", "B", "C", "PATH"])
SAID = st.dictionaries(NAMES, st.none() | st.text(max_size=3))


@given(st.dictionaries(NAMES, st.text(max_size=3)), st.lists(SAID))
def test_what_was_said_last_is_in_force(
    inherited: dict[str, str], rounds: list[dict[str, str | None]]
) -> None:
    """Over what kmetad inherited, which comes back when a variable is taken back."""
    variables = Variables(inherited)
    last: dict[str, str | None] = {}
    for said in rounds:
        before = variables.now()
        for name, value in said.items():
            variables.say(name, None if value is None else value.encode())
        assert variables.now() == before  # one half of a snapshot is none
        variables.commit()
        last |= said
        assert variables.now() == {
            **inherited,
            **{name: value for name, value in last.items() if value is not None},
        }


def test_half_a_snapshot_is_forgotten() -> None:
    """The daemon died in the middle of saying it."""
    variables = Variables({})
    variables.say("A", b"1")
    variables.begin()
    variables.say("B", b"2")
    variables.commit()
    assert variables.now() == {"B": "2"}


def test_a_new_daemon_knows_nothing_of_the_one_before() -> None:
    """What that said stays in force until the new one has said what is."""
    variables = Variables({})
    variables.say("A", b"1")
    variables.commit()
    variables.begin()
    assert variables.now() == {"A": "1"}
    variables.say("B", b"2")
    variables.commit()
    assert variables.now() == {"B": "2"}


def test_back_to_what_worked() -> None:
    """Once; then there is nothing to go back to."""
    variables = Variables({"HOME": "/"})
    variables.say("A", b"good")
    variables.commit()
    variables.worked()
    variables.say("A", b"too long")
    variables.say("B", b"new")
    variables.commit()
    assert variables.step_back()
    assert variables.now() == {"HOME": "/", "A": "good"}
    assert not variables.step_back()
