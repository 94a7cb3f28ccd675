"""What one lane remembers; here for as long as the process lives, in ``memory`` beyond its end."""

from __future__ import annotations

from collections.abc import Sequence

from kmetad._delivery.cursor import Cursor
from kmetad._delivery.news import News
from kmetad._delivery.packing import Packed, unpack_outcome
from kmetad._delivery.record import LaneState
from kmetad.events import AnyChange, Outcome


class Remembered:
    """A lane's memory. All but ``crashes`` is for the lane's own thread."""

    def __init__(self, state: LaneState) -> None:
        self._state = state
        self.patience = 0.0
        """Seconds."""

    @property
    def crashes(self) -> int:
        """How many times in a row the daemon died while one of the lane's hooks ran."""
        return self._state.crashes

    @property
    def forgotten(self) -> bool:
        """Whether there is nothing to go on from: the plugin has to begin with ``on_start``."""
        return self._state.cursor is None

    @property
    def outcome(self) -> Outcome | None:
        """The last that others were told of."""
        packed, cursor = self._state.outcome, self._state.cursor
        return (
            None
            if packed is None or cursor is None
            else unpack_outcome(packed, self._state.name, cursor.acknowledged)
        )

    def begin(self, newest: News, outcome: Packed | None = None) -> Cursor:
        """``on_start`` has succeeded with this. Answers where the lane goes on.

        ``outcome``, here and below: what others are told of it, packed; None where nobody is.
        """
        if outcome is not None:
            self._state.outcome = outcome
        cursor = self._state.cursor
        if cursor is None:
            cursor = self._state.cursor = Cursor(newest.current)
        return cursor

    def fail(self, outcome: Packed | None = None) -> bool:
        """It didn't take what it was shown: it may hold any of that, or none.

        False if that is too much to remember: then all of it is forgotten.
        """
        cursor = self._state.cursor
        assert cursor is not None
        self._state.outcome = outcome
        cursor.show(self._state.showing)
        self._state.showing = ()
        if cursor.overfull:
            self._state.cursor = None
        return not self.forgotten

    def acknowledge(self, newest: News, outcome: Packed | None = None, *, silently: bool = False) -> None:
        """The plugin knows what the watcher's batch led to. ``silently``: none of it was for the plugin."""
        assert self._state.cursor is not None
        self._state.cursor.acknowledge(newest.current)
        if not silently:
            self._state.outcome = outcome
        self._state.showing = ()

    def enter(self, told: str = "", showing: Sequence[AnyChange] = ()) -> None:
        """A hook is about to be entered: with these changes, or, between deliveries, with what ``told`` names.

        If this lane is suspected of a crash, it waits for others that are, ``patience`` at most.
        """
        self._state.showing = showing

    def leave(self) -> None:
        """The hook has returned, or raised."""

    def blame(self) -> None:
        """The daemon is about to die of this lane, although none of its hooks runs."""
