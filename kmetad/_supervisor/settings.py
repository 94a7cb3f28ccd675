"""``[run]`` as the supervisor has it: plain values, so that they need no configuration to be imported."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from kmetad._config.model import Run


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

    def __init__(self, values: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
        """``values`` are a configuration's (``plain``), ``overrides`` the command line's, which win."""
        for name, value in {**values, **overrides}.items():
            setattr(self, name, value)
        if "rewrite_signals" in overrides:  # signal by signal
            self.rewrite_signals = {**values.get("rewrite_signals", {}), **overrides["rewrite_signals"]}


NAMES = tuple(Settings.__annotations__)


def plain(run: Run) -> dict[str, Any]:
    """A configuration's ``[run]``, as values that ``marshal`` takes. ``run.env`` implies ``start = "after-sync"``."""
    values: dict[str, Any] = {name: getattr(run, name) for name in NAMES}
    for name in ("rewrite_signals", "exit_codes"):
        values[name] = {int(old): int(new) for old, new in values[name].items()}
    values["stop_signal"] = int(run.stop_signal)
    if run.env:
        values["start"] = "after-sync"
    return values
