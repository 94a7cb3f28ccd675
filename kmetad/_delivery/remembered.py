"""What one lane remembers; here for as long as the process lives, in ``memory`` beyond its end."""

from __future__ import annotations

from collections.abc import Sequence

from kmetad._delivery.cursor import Cursor
from kmetad._delivery.record import LaneState
from kmetad.events import AnyChange, Batch


class Remembered:
    """A lane's memory. All but ``crashes`` is for the lane's own thread."""

    def __init__(self, state: LaneState) -> None:
        self._state = state

    @property
    def crashes(self) -> int:
        """How many times in a row the daemon died while one of the lane's hooks ran."""
        return self._state.crashes

    def begin(self, newest: Batch) -> Cursor:
        """``on_start`` has succeeded with this. Answers where the lane goes on."""
        cursor = self._state.cursor
        if cursor is None:
            cursor = self._state.cursor = Cursor(newest.current)
        return cursor

    def show(self, changes: Sequence[AnyChange]) -> None:
        """The plugin is about to be shown these; before its first hook is entered."""
        assert self._state.cursor is not None
        self._state.cursor.show(changes)

    def acknowledge(self, newest: Batch, *, silently: bool = False) -> None:
        """The plugin knows what the watcher's batch led to. ``silently``: none of it was for the plugin."""
        assert self._state.cursor is not None
        self._state.cursor.acknowledge(newest.current)

    def enter(self, *, told: bool = False, patience: float = 0.0) -> None:
        """A hook is about to be entered; ``told`` if it is what ``tell`` was given.

        Waits ``patience`` seconds at most for others that are suspected of a crash, if this one is.
        """

    def leave(self) -> None:
        """The hook has returned, or raised."""
