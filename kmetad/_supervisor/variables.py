"""The environment of the app's next start: kmetad's own, and what the daemon has filled in."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Variables:
    """What the daemon says of one snapshot comes into force as a whole, so that no app ever starts between two."""

    def __init__(self, inherited: Mapping[str, str]) -> None:
        self._inherited = inherited
        self._in_force: dict[str, str] = {}
        self._said: dict[str, str | None] = {}
        self._afresh = False
        self._worked: dict[str, str] = {}

    def say(self, name: str, value: bytes | None) -> None:
        """One variable, as the bytes that execve(2) gets; None: no longer."""
        self._said[name] = None if value is None else os.fsdecode(value)

    def commit(self) -> None:
        """That was all of one snapshot."""
        if self._afresh:
            self._in_force.clear()
            self._afresh = False
        for name, value in self._said.items():
            if value is None:
                self._in_force.pop(name, None)
            else:
                self._in_force[name] = value
        self._said.clear()

    def begin(self) -> None:
        """A new daemon: what the one before has not committed is void, and all else once this one commits."""
        self._said.clear()
        self._afresh = True

    def now(self) -> dict[str, str]:
        """The environment for a start."""
        return {**self._inherited, **self._in_force}

    def worked(self) -> None:
        """The app was started with it."""
        self._worked = dict(self._in_force)

    def step_back(self) -> bool:
        """Go back to what worked. False if that is what there is already."""
        if self._in_force == self._worked:
            return False
        self._in_force = dict(self._worked)
        return True
