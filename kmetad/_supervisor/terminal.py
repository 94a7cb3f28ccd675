"""The terminal: its foreground is handed to the app and taken back, as a shell does with its jobs."""

from __future__ import annotations

import os


class Terminal:
    """The controlling terminal, if there is one.

    Every signal is blocked here, SIGTTOU too, so that a process in the background may
    set the foreground (tcsetpgrp(3)).
    """

    def __init__(self) -> None:
        self._own = os.getpgrp()
        self._descriptor = _controlling_terminal()

    def give(self, group: int) -> None:
        """Put the app's process group into the foreground, if kmetad's own is there.

        Where it isn't, both are a background job of some shell.
        """
        if self.is_held_by(self._own):
            self._set(group)

    def take_back(self, group: int) -> None:
        """The app has stopped or ended; whoever started kmetad finds the terminal as it was."""
        if self.is_held_by(group):
            self._set(self._own)

    def is_held_by(self, group: int) -> bool:
        """Whether the terminal's foreground is this process group."""
        if self._descriptor is None:
            return False
        try:
            return os.tcgetpgrp(self._descriptor) == group
        except OSError:
            return False  # hung up

    def _set(self, group: int) -> None:
        assert self._descriptor is not None
        try:
            os.tcsetpgrp(self._descriptor, group)
        except OSError:
            pass  # hung up, or the group has ended meanwhile


def _controlling_terminal() -> int | None:
    """A descriptor of it. Only the controlling terminal of a session answers tcgetpgrp(3)."""
    for descriptor in (0, 1, 2):
        try:
            os.tcgetpgrp(descriptor)
        except OSError:
            continue
        return descriptor
    try:
        return os.open("/dev/tty", os.O_RDWR)
    except OSError:
        return None
