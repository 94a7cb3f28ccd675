"""``[run]`` as the supervisor has it: plain values, so that they need no configuration to be imported."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kmetad._config.model import Config


class Settings:
    """The keys of ``[run]`` that the supervisor acts on, with their defaults. Seconds, and numbers of signals."""

    command: tuple[str, ...] = ()
    signal_scope: str = "child"
    rewrite_signals: Mapping[int, int] = {}
    exit_codes: Mapping[int, int] = {}
    restart: str = "never"
    stop_signal: int = 15
    stop_timeout: float = 30.0
    drain_timeout: float = 5.0
    start: str = "now"
    sync_timeout: float = 10.0
    output: str = "inherit"
    """Its lines go straight on (``inherit``), or through here (``unless-terminal``, ``always``), to get tags."""
    first_tags_timeout: float = 2.0

    def __init__(self, values: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
        """``values`` are a configuration's (``plain``), ``overrides`` the command line's, which win."""
        for name, value in {**values, **overrides}.items():
            setattr(self, name, value)
        if "rewrite_signals" in overrides:  # signal by signal
            self.rewrite_signals = {**values.get("rewrite_signals", {}), **overrides["rewrite_signals"]}


NAMES = tuple(Settings.__annotations__)


TAGGER = "logtag"
"""The plugin for which ``output = "auto"`` means that lines get tags."""


def plain(config: Config) -> dict[str, Any]:
    """A configuration's ``[run]``, as values that ``marshal`` takes, each implied one spelt out."""
    run = config.run
    values: dict[str, Any] = {name: getattr(run, name) for name in NAMES}
    for name in ("rewrite_signals", "exit_codes"):
        values[name] = {int(old): int(new) for old, new in values[name].items()}
    values["stop_signal"] = int(run.stop_signal)
    if run.env:
        values["start"] = "after-sync"
    values["output"] = output(config)
    return values


def output(config: Config) -> str:
    """``Settings.output`` for what the TOML says. ``reading`` knows the same of a TOML that isn't checked yet."""
    if config.run.output != "auto":
        return {"tag": "always", "inherit": "inherit"}[config.run.output]
    return "unless-terminal" if any(plugin.use == TAGGER for plugin in config.plugins.values()) else "inherit"
