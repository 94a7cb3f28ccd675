"""The kinds of scalar values that the TOML has: how each is read, what else was expected, how it is written.

``Duration`` and its like are types for ``msgspec.Struct``: what the program has
(a float of seconds), annotated with what the TOML has (``"200ms"``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from msgspec import Meta

from kmetad._config.fields import FIELD_EXPECTED, RESOURCE_EXPECTED, env_field, resource, volume_field
from kmetad._config.problems import Wrong, did_you_mean, nearest, one_of, quoted
from kmetad._config.signals import nearest_signal, signal_name, signal_number
from kmetad._config.units import (
    format_duration,
    format_size,
    parse_duration,
    parse_size,
    suggest_durations,
    suggest_sizes,
)
from kmetad.errors import FieldPathError, QuantityError
from kmetad.events import TYPES
from kmetad.quantity import Quantity
from kmetad.template import Template, parse_template


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of scalar."""

    expected: str
    """What a value of another type is told."""
    parse: Callable[[Any], Any]
    """From what tomllib read (of a key: a string) to what the program has; raises Wrong."""
    schema: Mapping[str, Any]
    """What JSON Schema can say of it."""
    show: Callable[[Any], Any] = lambda value: value
    """Back to what one writes in the TOML."""


def _duration(expected: str, allowed: Callable[[float], bool]) -> Kind:
    def parse(value: Any) -> float:
        try:
            seconds = parse_duration(value) if isinstance(value, str) and value[:1] != "-" else None
        except ValueError:
            seconds = None
        if seconds is None or not allowed(seconds):
            suggestions = [s for s in suggest_durations(value) if s != value and allowed(parse_duration(s))]
            raise Wrong(expected, did_you_mean(*suggestions))
        return seconds

    pattern = r"^\+?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$"
    return Kind(expected, parse, {"type": "string", "pattern": pattern}, format_duration)


_SIZE_EXPECTED = 'a size of at least 1Mi such as "128Mi"'


def _size(value: Any) -> int:
    try:
        size = parse_size(value)
    except ValueError:
        size = 0
    if size < 2**20:
        raise Wrong(_SIZE_EXPECTED, did_you_mean(*suggest_sizes(value)))
    return size


_SIGNAL_EXPECTED = 'a signal such as "TERM" or 15'


def _signal(value: Any) -> int:
    if type(value) not in (int, str):
        raise Wrong(_SIGNAL_EXPECTED)
    try:
        return signal_number(value)
    except ValueError:
        near = nearest_signal(value)
        raise Wrong(_SIGNAL_EXPECTED, did_you_mean(*[near] if near else [])) from None


def _catchable(value: Any) -> int:
    number = _signal(value)
    if signal_name(number) in ("KILL", "STOP"):
        raise Wrong("a signal that a process can catch; KILL and STOP never reach kmetad")
    return number


def _or_nothing(value: Any) -> int:
    if value == "0" or (type(value) is int and value == 0):
        return 0
    try:
        return _signal(value)
    except Wrong as wrong:
        raise Wrong('a signal such as "QUIT" or 3, or 0 to drop it', wrong.suggestion) from None


def _exit_code(value: Any) -> int:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        value = int(value)  # as a key it is a string
    if type(value) is not int or not 0 <= value <= 255:
        raise Wrong("an exit code from 0 to 255")
    return value


_PATH_EXPECTED = 'an absolute path, which begins with "/"'
_URL_EXPECTED = 'a URL such as "http://127.0.0.1:8001"'
_TOP = ("etc", "home", "mnt", "opt", "root", "run", "srv", "tmp", "usr", "var")


def _path(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        forgotten = isinstance(value, str) and value.partition("/")[0] in _TOP
        raise Wrong(_PATH_EXPECTED, did_you_mean(f"/{value}") if forgotten else "")
    return value


def _url(value: Any) -> str:
    if not isinstance(value, str) or not value.startswith(("http://", "https://")) or not value.isprintable():
        raise Wrong(_URL_EXPECTED)
    return value


def _argv(value: Any) -> tuple[str, ...]:
    expected = 'an array of strings, the program first, such as ["gunicorn", "app:app"]'
    if isinstance(value, str):
        import shlex  # only faults need it

        try:
            words = shlex.split(value)
        except ValueError:
            words = []
        suggestion = f"did you mean [{', '.join(map(quoted, words))}]?" if words else ""
        raise Wrong(expected, suggestion)
    if not isinstance(value, list) or not all(isinstance(word, str) and "\0" not in word for word in value):
        raise Wrong(expected)
    if not value or not value[0]:
        raise Wrong(expected, "leave it out if there is no command")
    return tuple(value)


def _match(value: Any) -> str:
    expected = f"TYPE:GLOB with one of {', '.join(TYPES)} or * as TYPE"
    if not isinstance(value, str):
        raise Wrong(expected)
    type_, colon, glob = value.partition(":")
    if not colon:
        raise Wrong(
            expected, did_you_mean(f"{value}:*" if value in TYPES or value == "*" else f"label:{value}")
        )
    if type_ not in TYPES and type_ != "*":
        near = nearest(type_, TYPES)
        raise Wrong(expected, did_you_mean(f"{near}:{glob}") if near else "")
    if not glob:
        raise Wrong(expected, did_you_mean(f"{type_}:*"))
    return value


def _variable(value: Any) -> str:
    if not isinstance(value, str) or not value or "=" in value or not value.isprintable():
        raise Wrong("the name of an environment variable")
    return value


def check_name(value: Any) -> str:
    """A name for an instance or a source; raises Wrong."""
    if not isinstance(value, str) or not value or "/" in value or not value.isprintable():
        raise Wrong("a printable name without '/'")
    return value


RESERVED = ("env", "token")
"""The names of the sources that aren't volumes."""


def check_source_name(value: Any) -> str:
    """A name for a volume; raises Wrong."""
    if value in RESERVED:
        raise Wrong(
            f"another name: {one_of(map(quoted, RESERVED))} is the name of a source that is no volume"
        )
    return check_name(value)


def _file_name(value: Any) -> str:
    # As validateLocalDescendingPath and validateLocalNonReservedPath of pkg/apis/core/validation
    if (
        not isinstance(value, str)
        or not value
        or value[0] == "/"
        or value[:2] == ".."
        or ".." in value.split("/")
    ):
        raise Wrong('a path in the volume such as "cpu_limit" or "limits/cpu", without ".."')
    return value


def _quantity(value: Any) -> Quantity:
    expected = 'a Kubernetes quantity such as "1m" or "1Mi"'
    try:
        if type(value) not in (int, str):
            raise Wrong(expected)
        return Quantity(str(value))
    except QuantityError:
        raise Wrong(expected) from None


def _template(value: Any) -> Template:
    expected = "a text such as \"v{metadata.labels['version']}\""
    if not isinstance(value, str):
        raise Wrong(expected)
    try:
        return parse_template(value)
    except FieldPathError as error:
        raise Wrong("only placeholders that name a field", str(error)) from None
    except ValueError as error:
        raise Wrong(expected, str(error)) from None


def _text(pattern: str = "", **schema: Any) -> dict[str, Any]:
    return {"type": "string", **({"pattern": pattern} if pattern else {}), **schema}


_SIGNAL_SCHEMA = {"type": ["string", "integer"]}
_EXIT_CODE_SCHEMA = {"type": ["integer", "string"], "minimum": 0, "maximum": 255, "pattern": "^[0-9]+$"}
_DURATION = _duration('a duration such as "200ms"', lambda s: s >= 0)
_LONGER = _duration('a duration longer than 0s such as "30s"', lambda s: s > 0)
QUANTITY = Kind('a Kubernetes quantity such as "1m"', _quantity, {"type": ["string", "integer"]}, str)
TIMEDELTA = Kind(
    _DURATION.expected,
    lambda value: timedelta(seconds=_DURATION.parse(value)),
    _DURATION.schema,
    lambda value: format_duration(value.total_seconds()),
)


def _of(kind: Kind) -> Meta:
    return Meta(extra={"kind": kind})


Duration = Annotated[float, _of(_DURATION)]
"""Seconds, zero or more."""
LongerDuration = Annotated[float, _of(_LONGER)]
"""Seconds, more than zero."""
Size = Annotated[int, _of(Kind(_SIZE_EXPECTED, _size, {"type": ["string", "integer"]}, format_size))]
"""Bytes."""
Signal = Annotated[int, _of(Kind(_SIGNAL_EXPECTED, _signal, _SIGNAL_SCHEMA, signal_name))]
"""A signal's number."""
CatchableSignal = Annotated[int, _of(Kind(_SIGNAL_EXPECTED, _catchable, _SIGNAL_SCHEMA, signal_name))]
"""Not KILL, not STOP."""
SignalOrNothing = Annotated[int, _of(Kind(_SIGNAL_EXPECTED, _or_nothing, _SIGNAL_SCHEMA, signal_name))]
"""A signal's number, or 0."""
ExitCode = Annotated[
    int,
    _of(Kind("an exit code from 0 to 255", _exit_code, _EXIT_CODE_SCHEMA)),
]
AbsolutePath = Annotated[str, _of(Kind(_PATH_EXPECTED, _path, _text("^/")))]
Url = Annotated[str, _of(Kind(_URL_EXPECTED, _url, _text("^https?://")))]
Argv = Annotated[
    tuple[str, ...],
    _of(
        Kind(
            "an array of strings", _argv, {"type": "array", "items": {"type": "string"}, "minItems": 1}, list
        )
    ),
]
"""A command and its arguments; no shell."""
Pattern = Annotated[str, _of(Kind("TYPE:GLOB", _match, _text(f"^({'|'.join(TYPES)}|\\*):[\\s\\S]")))]
"""``TYPE:GLOB`` on a change's type and key."""
Variable = Annotated[str, _of(Kind("a variable's name", _variable, _text("^[^=]+$")))]
NAME = Kind("a printable name without '/'", check_name, _text("^[^/]+$"))
Name = Annotated[str, _of(NAME)]
SourceName = Annotated[
    str, _of(Kind("a name", check_source_name, _text("^[^/]+$", **{"not": {"enum": list(RESERVED)}})))
]
FileName = Annotated[str, _of(Kind("a file's name", _file_name, _text("^[^/]")))]
VolumeField = Annotated[str, _of(Kind(FIELD_EXPECTED, volume_field, _text()))]
EnvField = Annotated[str, _of(Kind(FIELD_EXPECTED, env_field, _text()))]
ResourcePath = Annotated[str, _of(Kind(RESOURCE_EXPECTED, resource, _text("^(requests|limits)\\.")))]
Divisor = Annotated[Quantity, _of(QUANTITY)]
EnvTemplate = Annotated[Template, _of(Kind("a text", _template, _text(), lambda template: template.text))]
