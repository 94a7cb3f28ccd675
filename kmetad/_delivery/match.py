"""Which changes a lane wants to hear of: ``TYPE:GLOB`` on a change's type and key."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import translate

from kmetad.events import TYPES, AnyChange


class Match:
    """Some patterns, as ``label:app`` or ``file:settings/*``; ``*`` as TYPE stands for every type.

    In GLOB, ``*`` also matches ``/``, since keys of labels and files hold it.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self.patterns = tuple(patterns)
        globs: dict[str, list[str]] = {}
        for type_, _, glob in (pattern.partition(":") for pattern in patterns):
            for named in TYPES if type_ == "*" else (type_,):
                globs.setdefault(named, []).append(translate(glob))
        self._matches = {type_: re.compile("|".join(these)).match for type_, these in globs.items()}

    def __call__(self, change: AnyChange) -> bool:
        """True if one of the patterns is for this change."""
        return self.covers(change.type, change.key)

    def concerns(self, type_: str) -> bool:
        """True if one of the patterns is for changes of this type."""
        return type_ in self._matches

    def covers(self, type_: str, key: str) -> bool:
        """The same, for a type and a key."""
        matches = self._matches.get(type_)
        return matches is not None and matches(key) is not None


class Filter:
    """What a lane is shown: what its ``match`` wants (everything, without one), less the noise."""

    def __init__(self, match: Sequence[str] = (), ignore: Sequence[str] = ()) -> None:
        self.match = Match(match)
        self.ignore = Match(ignore)
        self._untouched = frozenset(() if match else (t for t in TYPES if not self.ignore.concerns(t)))

    def covers(self, type_: str, key: str) -> bool:
        """True if what becomes of this key is shown."""
        wanted = not self.match.patterns or self.match.covers(type_, key)
        return wanted and not self.ignore.covers(type_, key)

    def __call__(self, changes: tuple[AnyChange, ...]) -> tuple[AnyChange, ...]:
        """The changes that are left."""
        for change in changes:
            if change.type not in self._untouched:
                break
        else:
            return changes
        everything = not self.match.patterns
        left = tuple([c for c in changes if (everything or self.match(c)) and not self.ignore(c)])
        return changes if len(left) == len(changes) else left
