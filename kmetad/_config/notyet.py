"""What this version parses but can't act on yet, so that nobody waits for it in silence.

When a part is built, its line here goes.
"""

from __future__ import annotations

from functools import reduce

from kmetad._config.model import Config

_NOT_YET = (
    "api.url",
    "api.kubeconfig",
)


def pending(config: Config) -> list[str]:
    """A sentence for each option that isn't at its default and has no effect yet."""
    return [
        f"{option}: this version of kmetad knows the option, but doesn't act on it yet"
        for option in _NOT_YET
        if _get(config, option) != _get(Config(), option)
    ]


def _get(config: Config, option: str) -> object:
    return reduce(getattr, option.split("."), config)
