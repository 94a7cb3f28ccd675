"""Which changes a lane wants to hear of: ``TYPE:GLOB`` on a change's type and key."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from kmetad.events import AnyChange


class Match:
    """Some patterns, as ``label:app`` or ``file:settings/*``; ``*`` as TYPE stands for every type.

    In GLOB, ``*`` also matches ``/``, since keys of labels and files hold it.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        self._globs = [(type_, glob) for type_, _, glob in (p.partition(":") for p in patterns)]

    def __call__(self, change: AnyChange) -> bool:
        """True if one of the patterns is for this change."""
        return self.covers(change.type, change.key)

    def covers(self, type_: str, key: str) -> bool:
        """The same, for a type and a key."""
        return any(t in (type_, "*") and fnmatchcase(key, glob) for t, glob in self._globs)


class Filter:
    """What a lane is shown: what its ``match`` wants (everything, without one), less the noise."""

    def __init__(self, match: Sequence[str] = (), ignore: Sequence[str] = ()) -> None:
        self.match = Match(match)
        self.ignore = Match(ignore)

    def __call__(self, changes: tuple[AnyChange, ...]) -> tuple[AnyChange, ...]:
        """The changes that are left."""
        if not self.match.patterns and not self.ignore.patterns:
            return changes
        everything = not self.match.patterns
        return tuple(c for c in changes if (everything or self.match(c)) and not self.ignore(c))
