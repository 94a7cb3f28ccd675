"""What this version can't act on yet."""

from __future__ import annotations

from kmetad._config import Config, parse, pending
from kmetad._config.notyet import _NOT_YET, _get


def test_defaults_are_silent() -> None:
    """Nobody is told of options that they don't use."""
    assert pending(Config()) == []


def test_options_in_use() -> None:
    """Each option that is used without effect is named."""
    config = parse('[api]\nurl = "http://x"', "f").config
    assert [sentence.split(":")[0] for sentence in pending(config)] == ["api.url"]


def test_all_exist() -> None:
    """The list names no option that isn't there."""
    for option in _NOT_YET:
        _get(Config(), option)
