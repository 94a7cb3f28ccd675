"""What an app leaves behind when it ends: asked to end, and killed in the end."""

from __future__ import annotations

from kmetad._supervisor import processes, signals
from kmetad._supervisor.messages import say

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_SHOWN = 10


class Leftovers:
    """The descendants of one app that has ended, in whatever session or process group they are."""

    def __init__(self) -> None:
        self._asked: set[int] = set()

    def ask(self, not_of: Collection[int]) -> bool:
        """Send TERM to each that didn't have it yet. True if any is left.

        ``not_of``: sessions that aren't the app's.
        """
        left = processes.descendants(not_of)
        new = [process for process in left if process.pid not in self._asked]
        # A process that is stopped would never come to its TERM.
        processes.signal_all(new, signals.TERM, signals.CONT)
        self._asked.update(process.pid for process in new)
        return bool(left)

    def kill(self, not_of: Collection[int], waited: float) -> None:
        """Their time is over."""
        left = [process for process in processes.descendants(not_of) if process.alive]
        processes.signal_all(left, signals.KILL)
        if left:
            names = ", ".join(map(str, left[:_SHOWN])) + (", …" if len(left) > _SHOWN else "")
            say(f"the app left processes behind that did not end within {waited:g} s; killed: {names}")
