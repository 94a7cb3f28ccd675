"""How faults are said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._config.problems import Problem, in_file_order, nearest, one_of, place, quoted


def test_sentence() -> None:
    """File, line, place, what was found, what was expected, a suggestion."""
    problem = Problem(
        "kmetad.toml",
        12,
        "plugins.nginx.lane.debounce",
        '"200"',
        'a duration such as "200ms"',
        'did you mean "200s" or "200ms"?',
    )
    assert str(problem) == (
        'kmetad.toml:12: plugins.nginx.lane.debounce: found "200", expected a duration such as "200ms"'
        ' — did you mean "200s" or "200ms"?'
    )


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("f", 0, "a.b", "x", "y"), "f: a.b: found x, expected y"),
        (Problem("", 0, "a.b", "x", "y"), "a.b: found x, expected y"),
        (Problem("f", 3, "", "it isn't TOML"), "f:3: it isn't TOML"),
        (Problem("f", 0, "", "it can't be read", "", "name another"), "f: it can't be read — name another"),
    ],
)
def test_parts_may_be_missing(problem: Problem, text: str) -> None:
    """What isn't known leaves no trace."""
    assert str(problem) == text


def test_place() -> None:
    """Keys are quoted as TOML needs it, indices stand in brackets."""
    assert place(("plugins", "a.b", "match", 0, "", "ünï")) == 'plugins."a.b".match[0].""."ünï"'


@given(st.text())
def test_quoted_is_harmless(text: str) -> None:
    """Nothing that a terminal would obey gets into a message, nor a second line."""
    shown = quoted(text)
    assert shown.isprintable()
    assert len(shown) <= 2 + 61 * 8


def test_file_order() -> None:
    """By line, else as found."""
    first, second, third = (Problem("f", line, name, "") for line, name in ((1, "a"), (2, "z"), (2, "b")))
    assert in_file_order([second, third, first]) == (first, second, third)


def test_nearest() -> None:
    """Case doesn't count, and what is like nothing leads nowhere."""
    assert nearest("COMAND", ["command", "env"]) == "command"
    assert nearest("zzz", ["command", "env"]) == ""
    assert nearest("x", []) == ""


def test_one_of() -> None:
    """A list for people."""
    assert one_of(["a"]) == "a"
    assert one_of(["a", "b", "c"]) == "a, b or c"
