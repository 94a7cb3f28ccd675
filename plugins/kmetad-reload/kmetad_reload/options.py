"""What ``[plugins.NAME]`` with ``use = "reload"`` may hold, and which of it makes sense together."""

from __future__ import annotations

import signal as signals
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from kmetad_reload.http import Http
from kmetad_reload.write import Write

ACTIONS = ("signal", "restart", "exec", "http", "write", "none")
_VALUED = ("label", "annotation", "field")
_ONE = f"exactly one of {', '.join(ACTIONS)}"


class Exec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command: a program and its arguments, which no shell reads."""

    command: list[str]
    """A program and its arguments."""
    timeout: timedelta | None = None
    """None: what is left of the lane's."""

    def __post_init__(self) -> None:
        if not any(self.command[:1]):
            raise ValueError("command is empty; set a program and its arguments")
        if any("\0" in argument for argument in self.command):
            raise ValueError("command holds a NUL, which no argument can")
        _positive("timeout", self.timeout)


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing to do: exactly one of the keys, ``pid_file`` aside."""

    signal: str | int | None = None
    """A name or number; to the app that kmetad wraps, or to the process of ``pid_file``."""
    pid_file: str | None = None
    """Holds the process that ``signal`` is for."""
    restart: bool = False
    """Stops the app that kmetad wraps, and starts it again."""
    exec: list[str] | Exec | None = None
    """Runs a command; it gets the changes as JSON on standard input."""
    http: str | Http | None = None
    """Sends a request; a text is its URL."""
    write: Write | None = None
    """Writes metadata into a file."""
    none: bool = False
    """Nothing: the outcome alone is of interest."""

    def __post_init__(self) -> None:
        if len(self._named()) != 1:
            raise ValueError(f"an action has {_ONE}; found {', '.join(self._named()) or 'none of them'}")
        self._check()

    def _named(self) -> list[str]:
        """Which of them it has."""
        return [name for name in ACTIONS if getattr(self, name) not in (None, False)]

    def _check(self) -> None:
        if self.signal is not None:
            signal_of(self.signal)
        elif self.pid_file is not None:
            raise ValueError("pid_file is for signal only; remove it")
        if self.pid_file is not None and not self.pid_file:
            raise ValueError("pid_file is empty; name the file, or leave it out to signal the app")
        _check_short("exec", self.exec)
        _check_short("http", self.http)


class Verify(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What has to succeed in the end: a command, or an HTTP request. Tried again until it does, or time is up."""

    exec: list[str] | Exec | None = None
    """A command that has to succeed."""
    http: str | Http | None = None
    """Or a request that has to."""
    within: timedelta = timedelta(seconds=10)
    """For so long."""
    interval: timedelta = timedelta(milliseconds=500)
    """Between two tries."""

    def __post_init__(self) -> None:
        if (self.exec is None) == (self.http is None):
            raise ValueError("verify has exactly one of exec and http")
        _check_short("exec", self.exec)
        _check_short("http", self.http)
        _positive("within", self.within)
        _positive("interval", self.interval)


class Options(Action, frozen=True, forbid_unknown_fields=True):
    """One rule. An action stands in the table itself, or several in ``actions``, done in order."""

    actions: list[Action] | None = None
    """Several, done in order, instead of one in the table itself."""
    validate: list[str] | Exec | None = None
    """Has to succeed before anything is done."""
    verify: str | list[str] | Verify | None = None
    """Has to succeed after all is done."""
    on_failure: list[str] | Action | None = None
    """Done when ``verify`` didn't succeed."""
    values: dict[str, list[str]] = {}
    """By key of a label, annotation or field, what it may be; the part behind the ``/`` will do, or TYPE:KEY."""
    at_start: bool = False
    """Whether all is done at kmetad's start as well; ``write`` is in any case."""

    def __post_init__(self) -> None:
        named = self._named()
        if self.actions is None:
            if len(named) != 1:
                raise ValueError(
                    f"set {_ONE}, or several in actions = [...]; found {', '.join(named) or 'none of them'}"
                )
        elif named or self.pid_file is not None:
            raise ValueError(f"found {(named or ['pid_file'])[0]} beside actions; put it into actions, too")
        elif not self.actions:
            raise ValueError("actions is empty; set what to do, or { none = true }")
        self._check()
        _check_short("validate", self.validate)
        _check_short("verify", self.verify)
        _check_short("on_failure", self.on_failure)
        if self.on_failure is not None and self.verify is None:
            raise ValueError("on_failure is for what verify finds; set verify")
        if self.at_start and any(action.restart for action in self.in_order()):
            raise ValueError(
                "at_start with restart would restart the app whenever kmetad starts; leave one out"
            )
        for key in self.values:
            type_, colon, _ = key.partition(":")
            if colon and type_ not in _VALUED:
                raise ValueError(f"values: {key!r} begins with none of {', '.join(_VALUED)}")

    def in_order(self) -> list[Action]:
        """The actions."""
        return [self] if self.actions is None else self.actions


def signal_of(value: str | int) -> signals.Signals:
    """A signal by name, with or without SIG, or by number. Raises ValueError."""
    try:
        if isinstance(value, int):
            return signals.Signals(value)
        return signals.Signals["SIG" + value.upper().removeprefix("SIG")]
    except (KeyError, ValueError):
        raise ValueError(
            f"signal: found {value!r}, expected a name such as HUP or a number such as 1"
        ) from None


def refused(values: Mapping[str, list[str]], type_: str, key: str, value: str) -> list[str] | None:
    """What ``values`` allows instead of this; None where it allows it, or says nothing of that key."""
    if type_ in _VALUED:
        for name in (f"{type_}:{key}", key, key.rpartition("/")[2]):
            if name in values:
                return None if value in values[name] else values[name]
    return None


def names(values_key: str, type_: str, key: str) -> bool:
    """Whether a key of ``values`` is for this one."""
    return type_ in _VALUED and values_key in (f"{type_}:{key}", key, key.rpartition("/")[2])


def _check_short(name: str, value: object) -> None:
    """Short forms: a list is a command, a text a URL; each is checked as the long one."""
    try:
        if isinstance(value, list):
            Exec(value)
        elif isinstance(value, str):
            Http(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _positive(name: str, value: timedelta | None) -> None:
    if value is not None and value <= timedelta():
        raise ValueError(f"{name} has to be more than nothing")
