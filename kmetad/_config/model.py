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
    """A program and its arguments, without a shell. Empty: no app. ``-- CMD`` on the command line wins."""
    signal_scope: Literal["child", "group"] = "child"
    """Who gets the signals that kmetad forwards: the app's process, or its whole process group."""
    rewrite_signals: dict[CatchableSignal, SignalOrNothing] = {}
    """What comes, and what the app gets instead, as ``{ TERM = "QUIT" }``; 0: nothing."""
    exit_codes: dict[ExitCode, ExitCode] = {}
    """The app's, and kmetad's instead, as ``{ 143 = 0 }``; applied last, after the restart policy."""
    restart: Literal["never", "on-failure", "always"] = "never"
    """Whether an app that has ended is started again in the same container, after 1s, doubling to 1m. Five
    exits in a row within 10s of their start end it."""
    stop_signal: Signal = 15
    """What kmetad sends where it stops the app itself, for a restart."""
    stop_timeout: Duration = 30.0
    """So long after ``stop_signal`` comes KILL. At the Pod's end it is the kubelet that kills, by its own clock."""
    drain_timeout: Duration = 5.0
    """One deadline after the app's exit for all that is left: its orphans, its output, the plugins' ``on_stop``."""
    start: Literal["now", "after-sync"] = "now"
    """``after-sync``: the app waits for the volumes and for every plugin's ``on_start``. So it does whenever ``env``
    holds something."""
    sync_timeout: Duration = 10.0
    """``after-sync`` waits so long at most; then the app is started anyway, and kmetad says so."""
    output: Literal["auto", "tag", "inherit"] = "auto"
    """``tag``: the app's lines pass through kmetad, to carry tags. ``inherit``: they don't. ``auto``: they do if a
    plugin logtag is named, but not to a terminal."""
    first_tags_timeout: Duration = 2.0
    """What the app writes first is held so long at most, for its tags."""
    env: dict[Variable, EnvTemplate] = {}
    """Variables for the app, filled at each of its starts, as ``{ APP = "{metadata.labels['app']:-none}" }``."""


class Daemon(Struct, frozen=True, forbid_unknown_fields=True):
    """``[daemon]``: the limits of the daemon's own process."""

    memory_limit: Size = 128 * 2**20
    """Of the daemon's own data (RLIMIT_DATA): at a container's limit the kernel ends everything in it, the app too."""
    nice: Annotated[int, Meta(ge=-20, le=19)] = 5
    """The daemon's priority; higher is less."""
    oom_score_adj: Annotated[int, Meta(ge=-1000, le=1000)] = 500
    """Whom the kernel ends first where memory is short; higher is sooner."""


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """``[log]``: what kmetad tells of itself, on standard error."""

    format: Literal["auto", "console", "json"] = "auto"
    """``auto``: console on a terminal, else json, one object a line."""
    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    """The least that is told; ``kmetad run -v`` sets ``debug``."""


class State(Struct, frozen=True, forbid_unknown_fields=True):
    """``[state]``: what outlives the container."""

    dir: AbsolutePath | None = None
    """A directory that outlives the container (an emptyDir, systemd's StateDirectory), for what plugins know. Without
    it they are told everything anew by a restarted container."""


class Watch(Struct, frozen=True, forbid_unknown_fields=True):
    """``[watch]``: how the sources are watched."""

    rescan: LongerDuration = 300.0
    """How often everything is read once more, should the kernel not have told of a change."""
    ignore: tuple[Pattern, ...] = ("annotation:kubernetes.io/config.*", "annotation:kmetad.dev/*")
    """Noise: changes that nobody is told of."""


class Item(Struct, frozen=True, forbid_unknown_fields=True):
    """What a file or a variable holds: either a field, or a resource with its container and divisor."""

    field: str | None = None
    """A field path, as ``metadata.labels['app']``."""
    resource: ResourcePath | None = None
    """A request or limit, as ``limits.cpu``."""
    container: str = ""
    """Whose it is, as the manifest's ``containerName`` says."""
    divisor: Divisor | None = None
    """What the manifest says. Without it the number has no unit, for the file holds only that."""


class VolumeItem(Item, frozen=True, forbid_unknown_fields=True):
    """What a file of a volume holds: either a field or a resource."""

    field: VolumeField | None = None
    """A field path that a volume can hold, as ``metadata.labels['app']``."""


class EnvItem(Item, frozen=True, forbid_unknown_fields=True):
    """What a variable holds: either a field or a resource."""

    field: EnvField | None = None
    """A field path that a variable can hold, as ``status.podIP``."""


class Volume(Struct, frozen=True, forbid_unknown_fields=True):
    """``[volumes.NAME]``: a directory to watch."""

    path: AbsolutePath
    """Where it is mounted: the whole volume, for a ``subPath`` never changes."""
    kind: Literal["auto", "downward", "files"] = "auto"
    """``downward``: files are metadata. ``files``: they are compared, and never shown. ``auto``: downward if items are
    declared, or if ``labels`` or ``annotations`` is there and decodes whole."""
    items: dict[FileName, VolumeItem] = {}
    """What files of the volume hold, by their path in it. ``labels`` and ``annotations`` need none."""


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """``[token]``: where the service account is mounted."""

    path: AbsolutePath = "/var/run/secrets/kubernetes.io/serviceaccount"
    """A directory with ``token``, ``ca.crt`` and ``namespace``."""


class Api(Struct, frozen=True, forbid_unknown_fields=True):
    """``[api]``: how the API server is reached; in-cluster where neither is given."""

    url: Url | None = None
    """Its address. Plain http (``kubectl proxy``, an ambassador) gets no credentials."""
    kubeconfig: AbsolutePath | None = None
    """A file that says where the server is, and who asks."""
    proxy_from_env: bool = False
    """``https_proxy`` and ``no_proxy`` mean the API server, too."""


class Retry(Struct, frozen=True, forbid_unknown_fields=True):
    """``lane.retry``: the wait before the next try, doubling from ``initial`` to ``max``."""

    initial: LongerDuration = 1.0
    """The ceiling of the first wait; each wait is a random part of its ceiling."""
    max: LongerDuration = 60.0
    """The ceiling doubles up to this."""
    attempts: Annotated[int, Meta(ge=0)] = 0
    """After so many the lane is parked until something else changes; 0: no end."""


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
    """When a hook that raised is tried again."""


class PluginKeys(Struct, frozen=True):
    """The keys of ``[plugins.NAME]`` that mean the same for every plugin; all others are its options."""

    use: Name | None = None
    """The plugin, by its name; the table's own name where none of ``use``, ``module`` and ``path`` is there."""
    module: str | None = None
    """Or the module that holds it, as ``package.module``."""
    path: AbsolutePath | None = None
    """Or its file, which nobody but root and kmetad's user may be able to write or replace."""
    match: tuple[Pattern, ...] = ()
    """Which changes it is told of, as ``label:app``, ``file:settings/*``, ``*:*``. Empty: all."""
    lane: Lane = Lane()
    """When changes are delivered to it."""


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
