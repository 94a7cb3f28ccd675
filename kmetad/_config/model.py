"""The configuration, as the program has it: INTERFACE's TOML with every default.

Each table of the TOML is a Struct, each key one of its fields. Durations are
seconds, sizes are bytes, signals are numbers. ``kmetad check --schema`` is made
from these types as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from kmetad._config.kinds import (
    AbsolutePath,
    Argv,
    CatchableSignal,
    Divisor,
    Duration,
    EnvField,
    EnvTemplate,
    ExitCode,
    FileName,
    LongerDuration,
    Name,
    Pattern,
    ResourcePath,
    Signal,
    SignalOrNothing,
    Size,
    SourceName,
    Url,
    Variable,
    VolumeField,
)
from kmetad._config.lines import Lines


class Run(Struct, frozen=True, forbid_unknown_fields=True):
    """``[run]``: the app that kmetad wraps."""

    command: Argv = ()
    """Empty: no app. ``-- CMD`` on the command line wins."""
    signal_scope: Literal["child", "group"] = "child"
    rewrite_signals: dict[CatchableSignal, SignalOrNothing] = {}
    """What comes, and what the app gets instead; 0: nothing."""
    exit_codes: dict[ExitCode, ExitCode] = {}
    """The app's, and kmetad's instead."""
    restart: Literal["never", "on-failure", "always"] = "never"
    stop_signal: Signal = 15
    stop_timeout: Duration = 30.0
    drain_timeout: Duration = 5.0
    start: Literal["now", "after-sync"] = "now"
    """``after-sync`` whenever ``env`` holds something."""
    sync_timeout: Duration = 10.0
    output: Literal["auto", "tag", "inherit"] = "auto"
    first_tags_timeout: Duration = 2.0
    env: dict[Variable, EnvTemplate] = {}


class Daemon(Struct, frozen=True, forbid_unknown_fields=True):
    """``[daemon]``: the limits of the daemon's own process."""

    memory_limit: Size = 128 * 2**20
    nice: Annotated[int, Meta(ge=-20, le=19)] = 5
    oom_score_adj: Annotated[int, Meta(ge=-1000, le=1000)] = 500


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """``[log]``: what kmetad tells of itself, on standard error."""

    format: Literal["auto", "console", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error", "critical"] = "info"


class State(Struct, frozen=True, forbid_unknown_fields=True):
    """``[state]``: what outlives the container."""

    dir: AbsolutePath | None = None


class Watch(Struct, frozen=True, forbid_unknown_fields=True):
    """``[watch]``: how the sources are watched."""

    rescan: LongerDuration = 300.0
    ignore: tuple[Pattern, ...] = ("annotation:kubernetes.io/config.*", "annotation:kmetad.dev/*")
    """Noise that nobody is told of."""


class Item(Struct, frozen=True, forbid_unknown_fields=True):
    """What a file or a variable holds: either a field, or a resource with its container and divisor."""

    field: str | None = None
    resource: ResourcePath | None = None
    container: str = ""
    divisor: Divisor | None = None


class VolumeItem(Item, frozen=True, forbid_unknown_fields=True):
    """``items.FILE`` of a volume."""

    field: VolumeField | None = None


class EnvItem(Item, frozen=True, forbid_unknown_fields=True):
    """``[env] VARIABLE``."""

    field: EnvField | None = None


class Volume(Struct, frozen=True, forbid_unknown_fields=True):
    """``[volumes.NAME]``: a directory to watch."""

    path: AbsolutePath
    kind: Literal["auto", "downward", "files"] = "auto"
    items: dict[FileName, VolumeItem] = {}


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """``[token]``: where the service account is mounted."""

    path: AbsolutePath = "/var/run/secrets/kubernetes.io/serviceaccount"


class Api(Struct, frozen=True, forbid_unknown_fields=True):
    """``[api]``: how the API server is reached; in-cluster where neither is given."""

    url: Url | None = None
    """Plain http (``kubectl proxy``, an ambassador) gets no credentials."""
    kubeconfig: AbsolutePath | None = None
    proxy_from_env: bool = False
    """``https_proxy`` and ``no_proxy`` mean the API server, too."""


class Retry(Struct, frozen=True, forbid_unknown_fields=True):
    """``lane.retry``: the wait before the next try, doubling from ``initial`` to ``max``."""

    initial: LongerDuration = 1.0
    max: LongerDuration = 60.0
    attempts: Annotated[int, Meta(ge=0)] = 0
    """0: no end."""


class Lane(Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.NAME.lane]``: when changes are delivered to an instance."""

    debounce: Duration = 0.0
    """Wait until so long nothing came."""
    max_wait: Duration = 0.0
    """But no longer than this; 10 × ``debounce`` where the TOML says nothing."""
    splay: Duration = 0.0
    """And then for a random part of this."""
    timeout: LongerDuration = 30.0
    """After it a hook that hasn't returned is called stuck."""
    retry: Retry = Retry()


class PluginKeys(Struct, frozen=True):
    """The keys of ``[plugins.NAME]`` that mean the same for every plugin; all others are its options."""

    use: Name | None = None
    module: str | None = None
    path: AbsolutePath | None = None
    match: tuple[Pattern, ...] = ()
    lane: Lane = Lane()


RESERVED_KEYS: tuple[str, ...] = PluginKeys.__struct_fields__
"""Their names."""


@dataclass(frozen=True, slots=True)
class PluginTable:
    """``[plugins.NAME]``: one instance of a plugin.

    Exactly one of ``use``, ``module`` and ``path`` is set; ``use`` is NAME where the
    TOML has none of them.
    """

    name: str
    use: str | None = None
    """A name in the entry-point group ``kmetad``."""
    module: str | None = None
    path: str | None = None
    match: tuple[str, ...] = ()
    """``TYPE:GLOB``; empty: everything."""
    lane: Lane = Lane()
    options: dict[str, Any] = dataclass_field(default_factory=dict, repr=False)
    """The plugin's own options, not checked yet (``kmetad._config.options``); may hold secrets."""
    lines: Lines | None = dataclass_field(default=None, repr=False, compare=False)
    """Where they stand in the file."""


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file."""

    run: Run = Run()
    daemon: Daemon = Daemon()
    log: Log = Log()
    state: State = State()
    watch: Watch = Watch()
    volumes: dict[SourceName, Volume] = {}
    """By name, in declared order; empty: found by convention."""
    env: dict[Variable, EnvField | EnvItem] = {}
    """By variable; a text is a field path. Conventions apply to all others."""
    token: Token | None = None
    """None: found by convention."""
    api: Api = Api()
    plugins: dict[Name, PluginTable] = {}
    """By instance, in declared order."""
