"""The app's process: started, signalled, stopped and continued with this one."""

from __future__ import annotations

import os

from kmetad._supervisor import command, signals
from kmetad._supervisor.output import Output
from kmetad._supervisor.terminal import Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kmetad._supervisor.settings import Settings


class App:
    """See the module. It leads a process group of its own, which has the terminal if there is one."""

    def __init__(self, mask: Iterable[int]) -> None:
        self.pid = 0
        """0: it doesn't run."""
        self.starts = 0
        """How often it was started."""
        self.output = Output()
        self._mask = mask
        self._terminal = Terminal()
        self._told_to_stop = False

    def start(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """Start it. Raises command.CommandError."""
        pipes = self.output.open(settings.output, settings.first_tags_timeout)
        try:
            actions = [(os.POSIX_SPAWN_DUP2, end, number) for end, numbers in pipes for number in numbers]
            self.pid = command.spawn(settings.command, environ, self._mask, actions)
        finally:
            for end, _ in pipes:
                os.close(end)  # the app has it; with another one left, the pipe would never end
        self._terminal.give(self.pid)
        self.starts += 1
        self._told_to_stop = False

    def signal(self, number: int, scope: str, *, from_terminal: bool = False) -> None:
        """Send it a signal. ``scope`` is ``child`` or ``group``; ``from_terminal``: a key was pressed."""
        if not self.pid:
            return
        if number == signals.CONT:
            # What the terminal has stopped is the whole group.
            self._told_to_stop = False
            self._terminal.give(self.pid)
            scope = "group"
        elif from_terminal and number in signals.KEYS:
            # The app hasn't got the terminal yet, or a shell has said `fg` of a job that it never stopped.
            self._terminal.give(self.pid)
            scope = "group"
        elif number in signals.JOB_CONTROL:
            self._told_to_stop = True
        try:
            if scope == "group":
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except PermissionError:
            # A set-user-id program. Whoever sent the signal may have been root; this process isn't.
            from kmetad._supervisor.messages import say

            say(f"{signals.name(number)} can't be sent to the app: it runs as another user")

    def stopped(self, number: int) -> None:
        """It has been stopped by a signal, so this process stops as well, and goes on with it."""
        if number in signals.FROM_TERMINAL and not self._told_to_stop:
            # It touched the terminal in the moment between its start and getting it, or after
            # a shell's `fg` of a job that ran, of which no signal tells.
            self._terminal.give(self.pid)
            if self._terminal.is_held_by(self.pid):
                os.killpg(self.pid, signals.CONT)
                return
        from_terminal = self._terminal.is_held_by(self.pid)
        if number not in signals.JOB_CONTROL and not from_terminal:
            return  # somebody stopped the app alone, and nobody sits at a terminal and waits
        self._terminal.take_back(self.pid)
        if signals.stop_self(number):
            return  # SIGCONT is there, and is the next signal to be forwarded
        self._terminal.give(self.pid)
        if from_terminal and not self._told_to_stop and number not in signals.FROM_TERMINAL:
            # No shell will ever continue it: then Ctrl-Z stops nothing.
            os.killpg(self.pid, signals.CONT)

    def ended(self) -> None:
        """It was waited for."""
        self._terminal.take_back(self.pid)
        self.pid = 0
