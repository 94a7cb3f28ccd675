"""``[run]`` without msgspec: the same keys, the same defaults."""

from __future__ import annotations

import marshal
import tomllib
from typing import Any

import pytest

from kmetad._config import Config, parse
from kmetad._supervisor import reading
from kmetad._supervisor.settings import NAMES, Settings, output, plain


def values(settings: Settings) -> dict[str, Any]:
    """All of them."""
    return {name: getattr(settings, name) for name in NAMES}


def test_the_defaults_are_the_configurations() -> None:
    """No drift between the two."""
    assert values(Settings({}, {})) == plain(Config())


def test_they_travel_as_plain_values() -> None:
    """Whatever a TOML can say."""
    run = parse(
        """
        [run]
        command = ["a", "b"]
        signal_scope = "group"
        rewrite_signals = { TERM = "QUIT", HUP = 0 }
        exit_codes = { 143 = 0 }
        restart = "always"
        stop_signal = "RTMIN+3"
        stop_timeout = "1m"
        """,
        "kmetad.toml",
    )
    assert not run.problems
    sent = plain(run.config)
    assert marshal.loads(marshal.dumps(sent)) == sent
    assert values(Settings(sent, {})) == sent
    assert sent["rewrite_signals"] == {15: 3, 1: 0}


def test_env_implies_after_sync() -> None:
    """Its values are unknown before."""
    run = parse('[run]\nenv = { A = "{metadata.name}" }\n', "kmetad.toml").config
    assert plain(run)["start"] == "after-sync"


@pytest.mark.parametrize(("given", "expected"), [({1: 10}, {15: 3, 1: 10}), ({15: 2}, {15: 2})])
def test_the_command_line_rewrites_signal_by_signal(given: dict[int, int], expected: dict[int, int]) -> None:
    """What it doesn't name stays as the TOML has it."""
    settings = Settings({"rewrite_signals": {15: 3}}, {"rewrite_signals": given, "command": ("x",)})
    assert settings.rewrite_signals == expected
    assert settings.command == ("x",)


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("", "inherit"),
        ("[plugins.logtag]\n", "unless-terminal"),
        ("[plugins.tags]\nuse = 'logtag'\n", "unless-terminal"),
        ("[plugins.logtag]\nuse = 'reload'\n", "inherit"),
        ("[plugins.logtag]\npath = '/etc/own.py'\n", "inherit"),
        ("[plugins.logtag]\nmodule = 'own'\n", "inherit"),
        ("[plugins.tags]\n", "inherit"),
        ("[run]\noutput = 'tag'\n", "always"),
        ("[run]\noutput = 'inherit'\n[plugins.logtag]\n", "inherit"),
    ],
)
def test_where_the_lines_go(toml: str, expected: str) -> None:
    """By the checked configuration; without a ``[run]`` in it, the same by what is unchecked yet."""
    assert output(parse(toml, "kmetad.toml").config) == expected
    if "[run]" not in toml:
        assert reading._names_tagger(tomllib.loads(toml)) is (expected != "inherit")
