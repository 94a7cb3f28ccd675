"""The hooks that a plugin may have: the whole contract between kmetad and plugins.

A plugin is a class ``Plugin`` whose methods are marked with ``kmetad.hookimpl``.
It is made once for each table ``[plugins.NAME]`` that names it, and each instance
has a thread of its own: its hooks are never entered twice at once, and neither
wait for other plugins nor make them wait.

A hook takes only the arguments that it names. What a hook raises is logged with
the instance's name, reaches nobody else, and leaves the batch unacknowledged: it
is delivered again, against what is newest by then (``lane.retry``). The same goes for
one that returns after ``lane.timeout``. Two exceptions are no faults, but answers:
``Retry`` and ``Skip``. A third, ``Fail``, is a fault that was foreseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from threading import TIMEOUT_MAX
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_args

import pluggy

from kmetad.errors import AppError
from kmetad.events import (
    AnnotationChange,
    Batch,
    FieldChange,
    FileChange,
    LabelChange,
    Outcome,
    Plain,
    ResourceChange,
    SourceChange,
    TokenChange,
    TrustChange,
)
from kmetad.fieldpath import parse
from kmetad.metadata import Snapshot
from kmetad.status import NOT_RUNNING, Status

if TYPE_CHECKING:
    from kmetad.api import Client

hookspec = pluggy.HookspecMarker("kmetad")
hookimpl = pluggy.HookimplMarker("kmetad")

API_VERSION = 1
"""Of the contract: this module, and the values that its hooks are given.

A plugin's module may say beside its class ``Plugin`` which one it was written for: ``API_VERSION = 1``. kmetad refuses
one that is newer than its own. It grows when a plugin that was right could go wrong: a hook, an argument or attribute
is gone or means something else, or a hook is called at another time, or in another thread. A new hook, argument,
attribute or option doesn't make it grow: the plugin's requirement ``kmetad>=…`` says that it needs one.
"""
OLDEST_API_VERSION = 1
"""The oldest contract that plugins may have been written for."""


class Retry(Exception):
    """Raised by a hook: not now, but later, with what is newest then.

    ``after``: in seconds; without it, as ``lane.retry`` says. It counts in ``batch.attempt``, but
    isn't a fault: it parks no lane. ``reason`` goes into the log. Raises ValueError for seconds that
    can't be waited for.
    """

    def __init__(self, reason: str = "", *, after: float | None = None) -> None:
        if after is not None and not 0 <= after <= TIMEOUT_MAX:
            raise ValueError(f"Retry(after={after}): expected seconds, from 0 to {TIMEOUT_MAX:.0f}")
        super().__init__(reason)
        self.reason = reason
        self.after = after


class Skip(Exception):
    """Raised by a hook: the delivery is acknowledged although nothing was done; ``reason`` goes into the log.

    The hooks that would have followed in this delivery aren't called, ``kmetad_app_env`` aside.
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


class Fail(Exception):
    """Raised by a hook: what was to be done couldn't be, and ``reason``, a sentence, says why.

    A fault as any other, but one that was foreseen: the log has the reason, without a traceback.
    ``retry``: whether trying again could help, as ``lane.retry`` says; if not, the lane is parked at once
    until something changes.
    """

    def __init__(self, reason: str, *, retry: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry = retry


_NO_APP = (
    "kmetad wraps no app here that could be signalled or restarted: start the app with `kmetad run -- CMD`, "
    "or name its command in [run]"
)


class App:
    """The app that kmetad wraps (``kmetad run -- CMD``), and what a plugin may ask for.

    This class itself is what there is where kmetad wraps none, as in a sidecar: asking
    raises AppError, which says why. All may be used from any thread, in hooks and outside
    of them, but not while the plugin is made: kmetad may only be checking it.
    """

    def __init__(self, *, wrapped: bool = False, why: str = _NO_APP) -> None:
        self.wrapped = wrapped
        """Whether there is one at all. A plugin that can't do without may raise AppError in its ``__init__``."""
        self._why = why

    @property
    def pid(self) -> int:
        """Its process, as far as the daemon has heard; 0 while it doesn't run (yet, or between two starts)."""
        return 0

    @property
    def starts(self) -> int:
        """How often it was started, as far as the daemon has heard."""
        return 0

    def signal(self, signal: int | str) -> None:
        """Send it a signal, by number or name (``"HUP"``), to whom ``run.signal_scope`` says.

        While it doesn't run, nothing happens: its next start finds everything as it is by
        then. Raises ValueError for what is no signal, AppError where it can't be sent.
        """
        raise AppError(self._why)

    def restart(self, reason: str = "", *, wait: float | None = None) -> None:
        """Stop it as ``[run]`` says, and start it again with its environment as it is by then.

        ``reason`` goes on standard error, behind the instance's name. Asked for in
        ``on_start``, ``on_change`` and the like, it is passed on when the delivery is acknowledged,
        and not if that fails: then the hook is called again, and can ask again. With ``wait`` it is
        passed on at once, and this returns when the app has started anew: after so many seconds at most.
        What this instance gives by ``kmetad_app_env`` in the same delivery comes too late for that start.
        Raises AppError, also where it hasn't by then.
        """
        raise AppError(self._why)


def own_client() -> Client:
    """Of a context that nobody has given a client."""
    from kmetad.api import Client

    return Client()


@dataclass(frozen=True, slots=True)
class Context:
    """What ``Plugin.__init__`` may take beside ``options``, by the name ``context``."""

    name: str
    """The instance's, as in ``[plugins.NAME]``."""
    log: Any
    """A structlog logger that says whose lines these are."""
    snapshot: Callable[[], Snapshot] = Snapshot
    """Answers what the Pod is now."""
    app: App = field(default_factory=App)
    """The app that kmetad wraps."""
    status: Callable[[], Status] = lambda: NOT_RUNNING
    """Answers how kmetad itself is: its sources, all instances, why it isn't ready."""
    covers: Callable[[str, str], bool] = lambda type_, key: True
    """Answers whether changes of this type (``label``) and key are for this instance, as its ``match`` has it."""
    timeout: float = 30.0
    """``lane.timeout``, in seconds: a hook that takes longer has failed."""
    api: Callable[[], Client] = own_client
    """
    Answers the client of the API server, as ``[api]`` and ``[token]`` have it: one for all instances. Not while
    the plugin is made. Raises ``kmetad.api.NoServer`` and ``CredentialsError`` where there is none.
    """

    def follows(self, path: str, snapshot: Snapshot) -> bool:
        """Whether changes of a field (``metadata.labels['app']``) are for this instance, by ``covers``.

        Of ``limits.cpu``: those of any container's; of ``metadata.labels``: those of every label. Raises
        FieldPathError for no field path.
        """
        at = parse(path)
        if at.type in ("labels", "annotations"):
            one = at.type.removesuffix("s")
            return all(self.covers(one, key) for key in getattr(snapshot, at.type))
        if at.type != "resource":
            return self.covers(at.type, at.key)
        keys = [f"{at.container}.{at.key}"]
        if not at.container:
            keys = [key for key in snapshot.resources if key.endswith(keys[0])]
        return any(self.covers("resource", key) for key in keys)


StreamName = Literal["stdout", "stderr"]
Text = Literal["untouched", "prefix", "json"]
_LARGEST = 1 << 63


@dataclass(frozen=True, slots=True)
class LogTags:
    """What the lines of the app's output carry, as an instance has it now.

    Raises ValueError and TypeError for what no line can carry. All instances' together may take 16 KiB in a line.
    """

    fields: Mapping[str, Plain]
    """By name in the line."""
    key: str = "pod"
    """Of the object in which they stand, within the line's; empty: beside the line's own members."""
    streams: tuple[StreamName, ...] = get_args(StreamName)
    text: Text = "untouched"
    """
    What becomes of a line that is no JSON object. ``untouched``: nothing. ``prefix``: ``NAME=VALUE`` for
    each tag in front of it. ``json``: it is the ``message`` of an object with its time, stream and tags.
    """

    def __post_init__(self) -> None:
        fields: Any = self.fields
        if not isinstance(fields, Mapping):
            raise TypeError(f"LogTags: fields is a {type(fields).__name__}, expected names with their values")
        for name, value in fields.items():
            if not isinstance(name, str) or not isinstance(value, (str, int, float, bool, type(None))):
                raise TypeError(
                    f"LogTags: {name!r} with a value of type {type(value).__name__}, expected a plain one"
                )
            if isinstance(value, float) and not isfinite(value):
                raise ValueError(f"LogTags: {name} is {value}, which JSON can't say")
            if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
                raise ValueError(f"LogTags: {name} is an integer of more than 64 bits")
        if not isinstance(self.key, str):
            raise TypeError(f"LogTags: key is a {type(self.key).__name__}, expected a text")
        for stream in self.streams:
            if stream not in get_args(StreamName):
                raise ValueError(f"LogTags: there is no stream {stream!r}; expected stdout, stderr, or both")
        if self.text not in get_args(Text):
            raise ValueError(f"LogTags: text is {self.text!r}, expected one of {', '.join(get_args(Text))}")
        # Copies: what its maker changes later is nobody's.
        object.__setattr__(self, "fields", MappingProxyType(dict(fields)))
        object.__setattr__(self, "streams", tuple(self.streams))


@hookspec
def kmetad_on_start(snapshot: Snapshot) -> Mapping[str, Plain] | None:
    """First of all, with what the Pod is now. Called again until it returns; changes come only after that.

    What it returns is for other instances: ``Outcome.detail``.
    """


@hookspec
def kmetad_on_change(batch: Batch) -> Mapping[str, Plain] | None:
    """Something changed: all changes of one delivery together, after the hooks for its single changes.

    When it and they have returned, the batch is acknowledged. What it returns is for other
    instances: ``Outcome.detail``.
    """


@hookspec
def kmetad_on_label(change: LabelChange) -> None:
    """A label was added, changed or removed. Once for each of the batch, before ``kmetad_on_change``."""


@hookspec
def kmetad_on_annotation(change: AnnotationChange) -> None:
    """An annotation was added, changed or removed. Likewise."""


@hookspec
def kmetad_on_field(change: FieldChange) -> None:
    """A field (a name, an IP) became known, changed or went. Likewise."""


@hookspec
def kmetad_on_resource(change: ResourceChange) -> None:
    """A request or limit changed (an in-place resize). Likewise."""


@hookspec
def kmetad_on_file(change: FileChange) -> None:
    """Another file of a watched volume changed: a ConfigMap's or Secret's. Likewise; the content isn't passed on."""


@hookspec
def kmetad_on_token(change: TokenChange) -> None:
    """The mounted token was renewed. Likewise; the token isn't passed on."""


@hookspec
def kmetad_on_trust(change: TrustChange) -> None:
    """The mounted CA of the cluster changed. Likewise."""


@hookspec
def kmetad_on_source(change: SourceChange) -> None:
    """A source was lost, recovered, or had faults meanwhile. Likewise, and first of the batch."""


@hookspec
def kmetad_on_app_start(pid: int, starts: int) -> None:
    """The app that kmetad wraps was started, for the ``starts``-th time, as the process ``pid``.

    Between two deliveries, after ``kmetad_on_start`` returned. Told again by a daemon that was
    itself started anew while the app ran on. Raising is only logged.
    """


@hookspec
def kmetad_on_app_exit(code: int, signal: int, starts: int) -> None:
    """The app ended: its exit code as a shell has it (128 + n for a signal), and the signal's number or 0.

    ``starts`` is that of its start. Likewise. What is left of kmetad's life after the last
    exit is ``run.drain_timeout`` for everything together, ``kmetad_on_stop`` included.
    """


@hookspec
def kmetad_on_applied(outcome: Outcome) -> None:
    """Another instance was told something, and this is what it did with it: each try, whatever became of it.

    Of several outcomes of one instance that come meanwhile the newest counts. After a restart of
    kmetad the last one of each instance comes again. Between two deliveries, after
    ``kmetad_on_start`` returned. Called again, as ``lane.retry`` says, until it returns, or there is a newer one.
    """


@hookspec(firstresult=True)
def kmetad_app_env(snapshot: Snapshot) -> Mapping[str, str] | None:
    """Variables for the app's next start, by name: all that the instance has to give, each time anew.

    Asked for after ``kmetad_on_start``, and after each delivery, of which it is a part: if it raises, the
    delivery has failed. They come on top of the container's variables and of ``[run.env]``;
    of several instances that give one, the last in the TOML wins. A value that no environment
    can hold (a NUL, over 128 KiB) is refused, and the one before stays. The app has them at its first
    start only if ``run.start`` is ``"after-sync"``.
    """


@hookspec(firstresult=True)
def kmetad_log_tags(snapshot: Snapshot) -> LogTags | None:
    """What the app's log lines carry from now on: all that the instance has to give, each time anew; None: nothing.

    Asked for after ``kmetad_on_start``, and after each delivery, of which it is a part: raising fails it. Several
    instances' are put together in the TOML's order; of two values of one name the later stands. Lines carry them
    only if ``run.output`` is ``"tag"``; with a plugin logtag that goes without saying.

    ::

        @hookimpl
        def kmetad_log_tags(self, snapshot):
            return LogTags({"tier": snapshot.labels.get("tier", "none")})
    """


@hookspec
def kmetad_on_stop() -> None:
    """Last of all, when kmetad stops and no other hook of the instance is running. Raising is only logged."""
