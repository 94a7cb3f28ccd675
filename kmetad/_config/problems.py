"""What is wrong with a configuration, and how that is said.

``kmetad.toml:12: plugins.nginx.lane.debounce: found "200", expected a duration such as "200ms" — did you
mean "200s" or "200ms"?``
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]
"""Where a value stands: keys, and indices of arrays."""

_SHOWN = 60
"""More characters of a value than these tell nobody anything."""
_SECRETS = ("token", "passw", "pwd", "secret", "key", "credential", "auth")
_BARE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of the configuration; ``str`` makes the sentence for people."""

    file: str
    """As it was named by whoever started kmetad; empty where there is no file."""
    line: int
    """Counted from 1; 0 where the whole file is meant, or it isn't known."""
    place: str
    """``plugins.nginx.lane.debounce``; empty where the whole file is meant."""
    found: str
    """What is there, as text for people; without ``expected`` it says by itself what is wrong."""
    expected: str = ""
    suggestion: str = ""
    """What to do: ``did you mean "x"?``"""
    fatal: bool = False
    """True where not even the app may be started: no TOML, or a fault in ``[run]`` or ``[daemon]``."""

    def __str__(self) -> str:
        where = [f"{self.file}:{self.line}" if self.file and self.line else self.file, self.place]
        what = f"found {self.found}, expected {self.expected}" if self.expected else self.found
        suggestion = f" — {self.suggestion}" if self.suggestion else ""
        return "".join(f"{part}: " for part in where if part) + what + suggestion


class Wrong(ValueError):
    """A value isn't of its kind: what was expected, and what to do."""

    def __init__(self, expected: str, suggestion: str = "") -> None:
        super().__init__(expected)
        self.expected = expected
        self.suggestion = suggestion


def place(path: Path) -> str:
    """A path as TOML writes it: ``plugins."a.b".match[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if part and _BARE.issuperset(part) else quoted(part))
    return text


def quoted(text: str) -> str:
    """A text in quotation marks, cut to a readable length, with nothing in it that a terminal would obey."""
    text = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}
    shown = (escapes.get(c) or (c if c.isprintable() else f"\\u{ord(c):04x}") for c in text)
    return '"' + "".join(shown) + '"'


def kind_of(value: Any) -> str:
    """The TOML type of a value: ``a string``."""
    names = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a float",
        dict: "a table",
        list: "an array",
    }
    return names.get(type(value), "a date or time")


def secret(path: Path, value: Any) -> bool:
    """True where the value must not be repeated in a message.

    In a plugin's own options and in the app's environment that is what is named
    like a secret, and anywhere a URL that carries a password. Otherwise kmetad's
    tables hold no secrets, only paths to them.
    """
    if isinstance(value, str) and "://" in value and "@" in value:
        return True
    if path[:1] != ("plugins",) and path[:2] != ("run", "env"):
        return False
    return any(word in str(part).lower() for part in path[2:] for word in _SECRETS)


def shown(path: Path, value: Any) -> str:
    """A value as a message may show it: itself if it is short and no secret, else its type."""
    if isinstance(value, (dict, list)) and not value:
        return "an empty table" if isinstance(value, dict) else "an empty array"
    if isinstance(value, (dict, list)) or secret(path, value):
        return kind_of(value)
    if isinstance(value, str):
        return quoted(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def one_of(options: Iterable[str]) -> str:
    """``a, b or c``"""
    *most, last = list(options) or [""]
    return f"{', '.join(most)} or {last}" if most else last


def did_you_mean(*options: str) -> str:
    """A suggestion of texts; empty if there are none."""
    return f"did you mean {one_of(map(quoted, options))}?" if options else ""


def nearest(text: str, options: Iterable[str]) -> str:
    """The option that is most like a misspelt text; empty if none is."""
    import difflib  # only faults need it

    by_lower = {option.lower(): option for option in options}
    return by_lower.get(next(iter(difflib.get_close_matches(text.lower(), by_lower, 1)), ""), "")


def in_file_order(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """By line; those of one line in the order in which they were found."""
    return tuple(sorted(problems, key=lambda problem: problem.line))
