"""What a plugin knows: what it acknowledged, and what it was shown since.

The two differ after a delivery that failed. The plugin may have acted on all of
what it was shown, on a part, or on nothing; so it is told every key in which the
newest snapshot differs from anything that it may hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from kmetad._diff import diff
from kmetad.events import SUBJECTS, TYPES, AnyChange
from kmetad.metadata import Snapshot

_SUBJECTS = {change.type: (change, part) for change, part in SUBJECTS}
_ORDER = {type_: at for at, type_ in enumerate(TYPES)}

MOST_SHOWN = 4 << 20
"""Characters of keys and texts that were shown in vain, at most: sixteen times what a Pod's annotations may hold."""


class Cursor:
    """A lane's memory. Pure, and not safe for use from several threads."""

    def __init__(
        self, acknowledged: Snapshot, shown: Mapping[tuple[str, str], tuple[Any, ...]] = MappingProxyType({})
    ) -> None:
        self.acknowledged = acknowledged
        # By type and key, the last two different values shown since the last
        # acknowledgement. Two are enough: whatever is newest, one of them differs from
        # it. Remembering only the last snapshot shown wouldn't be: A -> B failed, then
        # B -> A failed before the hook came to that key, and B would stay for good.
        self._shown = dict(shown)

    @property
    def shown(self) -> Mapping[tuple[str, str], tuple[Any, ...]]:
        """By type and key, the last values shown and not acknowledged: for another cursor that goes on."""
        return self._shown

    @property
    def overfull(self) -> bool:
        """True if more was shown in vain than there is memory for: keys came and went, and nothing was acknowledged."""
        return sum(map(_weight, self._shown, self._shown.values())) > MOST_SHOWN

    @property
    def settled(self) -> bool:
        """True if all that was shown was acknowledged."""
        return not self._shown

    def pending(self, newest: Snapshot) -> tuple[AnyChange, ...]:
        """Every key in which the newest differs from what the plugin may hold, sources first, by type and key.

        ``old`` is what it was shown last, or what it acknowledged.
        """
        changes = diff(self.acknowledged, newest)
        if not self._shown:
            return changes
        owed: dict[tuple[str, str], Any] = {(c.type, c.key): c for c in changes}
        for (type_, key), shown in self._shown.items():
            change, part = _SUBJECTS[type_]
            new = getattr(newest, part).get(key)
            acknowledged = getattr(self.acknowledged, part).get(key)
            may_hold = [value for value in (*reversed(shown), acknowledged) if value != new]
            if may_hold:
                source = newest.source_of(type_, key) or self.acknowledged.source_of(type_, key)
                owed[type_, key] = change(key, may_hold[0], new, source)
        return tuple(owed[at] for at in sorted(owed, key=lambda at: (_ORDER[at[0]], at[1])))

    def show(self, changes: Iterable[AnyChange]) -> None:
        """Remember what the plugin is about to be shown; before its first hook is entered."""
        for change in changes:
            before = self._shown.get((change.type, change.key), ())
            if not before or before[-1] != change.new:
                self._shown[change.type, change.key] = (*before[-1:], change.new)

    def acknowledge(self, snapshot: Snapshot) -> None:
        """The plugin has acted on everything up to this snapshot."""
        self.acknowledged = snapshot
        self._shown.clear()


def _weight(at: tuple[str, str], values: tuple[Any, ...]) -> int:
    return 100 + len(at[1]) + sum(len(value) for value in values if isinstance(value, str))
