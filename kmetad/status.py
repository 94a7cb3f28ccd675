"""How kmetad itself is: what ``kmetad status`` prints, and what plugins read by ``context.status()``.

Values only, made anew each time somebody asks. They hold no content of a file and no
token; of an exception of a plugin's they hold what the log says of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Literal, get_args

from kmetad.events import rfc3339
from kmetad.metadata import SourceState, nothing

Result = Literal["applied", "failed", "postponed", "skipped"]
"""What becomes of a try: its hooks returned in time; one raised or was late; one raised ``Retry``; one ``Skip``."""

BOUNDS = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0)
"""Seconds, by which tries are sorted: from a hook that only remembers to one that waits for a roll-out."""

LaneState = Literal[
    "starting",
    "idle",
    "settling",
    "delivering",
    "retrying",
    "parked",
    "stuck",
    "set-aside",
    "stopped",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong in a hook, the last time that something did."""

    time_ns: int
    """In ns since the epoch."""
    hook: str
    """``on_start``, ``on_change``, …"""
    error: str
    """The exception's type and text, or that it returned late."""


@dataclass(frozen=True, slots=True)
class Tried:
    """What an instance did with what it was told last."""

    time_ns: int
    """When its first hook was called, in ns since the epoch."""
    result: Result
    seconds: float
    """How long its hooks took."""
    changes: int
    """How many it was told of; 0 for ``on_start``."""
    error: str = ""
    """What was raised, or the reason of ``Retry`` or ``Skip``."""
    detail: Mapping[str, str | int | float | bool | None] = field(default_factory=nothing)
    """What the plugin said of it."""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long things took, sorted: a histogram, as Prometheus has it."""

    bounds: tuple[float, ...] = BOUNDS
    """Seconds, each the longest of its bucket, ascending."""
    counts: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    """How many fell into each bucket alone; the last is for what took longer than all bounds."""
    sum: float = 0.0
    """Seconds, of all together."""


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One plugin instance and what it knows. Counts are of this life of the daemon."""

    name: str
    state: LaneState
    """
    ``starting``: ``on_start`` hasn't succeeded yet. ``idle``: it knows the newest. ``settling``: it waits
    for a burst to end. ``delivering``: a hook runs. ``retrying``: it waits for the next try.
    ``parked``: it gave up until the next change. ``stuck``: a hook runs for longer than ``lane.timeout``.
    ``set-aside``: it brought the daemon down too often. ``stopped``: it is told nothing more.
    """
    generation: int | None = None
    """Of the snapshot that it acknowledged last; None before ``on_start`` succeeded."""
    attempt: int = 0
    """Which try of the delivery under way this is; 0 if none is."""
    hook: str = ""
    """The hook that runs now; empty if none does."""
    hook_seconds: float = 0.0
    """For how long it has."""
    retry_seconds: float = 0.0
    """Until the next try; 0 unless ``retrying``."""
    behind_seconds: float = 0.0
    """How long something has been there that it has yet to acknowledge; 0: it knows the newest."""
    acknowledged: int = 0
    """Deliveries of changes that succeeded."""
    faults: int = 0
    """Hooks that raised, or returned late."""
    stuck: int = 0
    """How often it was called stuck."""
    crashes: int = 0
    """How many times in a row the daemon died in one of its hooks."""
    last_fault: Fault | None = None
    last: Tried | None = None
    """The last try; None before ``on_start`` was called."""
    results: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(get_args(Result), 0))
    """How many tries came to what, by ``Result``."""
    retries: int = 0
    """Tries that weren't the first of their delivery."""
    took: Durations = field(default_factory=Durations)
    """How long tries took."""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """What has gone through a stream of the app's, all of its starts together."""

    lines: int
    bytes: int
    """As they came, without tags."""
    tagged: int
    """Lines; the others passed untouched."""
    lost: int = 0
    """Bytes that the kernel refused, such as those for a full disk."""


@dataclass(frozen=True, slots=True)
class AppStatus:
    """The app that kmetad wraps."""

    pid: int
    """0 while it doesn't run."""
    starts: int
    output: Mapping[str, StreamStatus] = field(default_factory=nothing)
    """By name, the streams whose lines go through kmetad, to get tags."""


@dataclass(frozen=True, slots=True)
class ConfigStatus:
    """The configuration in force, and what is wrong with a newer one that isn't."""

    file: str | None
    """None: there is no file, and all is found by convention."""
    faults: tuple[str, ...] = ()
    """Of the configuration in force: what the daemon does without."""
    refused: tuple[str, ...] = ()
    """Of the newest version of the file, if that was refused."""


@dataclass(frozen=True, slots=True)
class StateStatus:
    """``[state] dir``."""

    dir: str
    error: str = ""
    """Why nothing is kept there now; empty if it is."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What has happened, in this life of the daemon."""

    batches: int = 0
    """How many times there was a difference."""
    swaps: Mapping[str, int] = field(default_factory=nothing)
    """By source: how many swaps of the kubelet's made one."""
    changes: Mapping[str, int] = field(default_factory=nothing)
    """By type (``label``): all that differed, noise too, whoever was told."""
    api_calls: Mapping[str, int] = field(default_factory=nothing)
    """By method and status (``GET 200``): what plugins asked the API server; ``GET error``: no answer came."""


@dataclass(frozen=True, slots=True)
class Status:
    """All of it."""

    ready: bool
    """Every declared volume can be read, every ``on_start`` has succeeded, and the configuration has no fault."""
    unready: tuple[str, ...]
    """Why it isn't ready, a sentence each."""
    version: str
    pid: int
    """The daemon's."""
    started_ns: int
    """When this daemon started, in ns since the epoch."""
    generation: int
    """Of the newest snapshot; 0 before the first."""
    config: ConfigStatus
    sources: Mapping[str, SourceState] = field(default_factory=nothing)
    lanes: tuple[LaneStatus, ...] = ()
    """In the TOML's order; those that are set aside come last."""
    app: AppStatus | None = None
    """None where kmetad wraps none."""
    state: StateStatus | None = None
    """None where no ``[state] dir`` is configured."""
    counts: Counts = field(default_factory=Counts)


NOT_RUNNING = Status(
    ready=False,
    unready=("no daemon is running here: the plugin is only checked, or tested",),
    version="",
    pid=0,
    started_ns=0,
    generation=0,
    config=ConfigStatus(None),
)
"""What there is to say where no daemon runs."""


def plain(value: Any) -> Any:
    """A status, or a part of one, as JSON has it: docs/status.md's form.

    By its fields' names, a time in ns as text without the ``_ns``. Bytes that were no UTF-8 are lone surrogates
    in it, so encode it in ASCII, as ``json.dumps`` does.
    """
    if is_dataclass(value):
        made = {}
        for part in fields(value):
            at = getattr(value, part.name)
            if part.name.endswith("_ns"):
                made[part.name.removesuffix("_ns")] = rfc3339(at)
            else:
                made[part.name] = plain(at)
        return made
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return round(value, 3) if isinstance(value, float) else value
