"""A terminal of one's own: shells and wrapped commands under a pty."""

from __future__ import annotations

import os
import re
import signal
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pexpect

from tests.cli import DEADLINE, environment
from tests.wrapper.wrapped import stat_of

PROMPT = "<prompt>"
"""What our interactive shells write when they wait for a command."""

BASH = ["bash", "--norc", "--noprofile", "--noediting", "-i"]


class Terminal:
    """A command under a pty, whose controlling terminal that is."""

    def __init__(self, command: Sequence[str]) -> None:
        env = {**environment(), "PS1": PROMPT, "TERM": "dumb"}
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # threads of other tests, which the child hasn't
            self.spawned = pexpect.spawn(
                command[0],
                list(command[1:]),
                env=env,  # type: ignore[arg-type]
                encoding="utf-8",
                timeout=DEADLINE,
                echo=False,
                dimensions=(24, 80),
            )

    @property
    def pid(self) -> int:
        """Of the command."""
        return self.spawned.pid

    def type(self, text: str) -> None:
        """Type a line."""
        self.spawned.sendline(text)

    def press(self, letter: str) -> None:
        """Ctrl and a letter."""
        self.spawned.sendcontrol(letter)

    def sees(self, pattern: str) -> re.Match[str]:
        """Wait until the output matches; fails the test if it never does."""
        self.spawned.expect(pattern)
        found = self.spawned.match
        assert isinstance(found, re.Match)
        return found

    def prompt(self) -> str:
        """Wait for the shell's prompt; what came before it."""
        self.sees(re.escape(PROMPT))
        return str(self.spawned.before)

    def rest(self) -> str:
        """All that comes, up to the command's end."""
        self.spawned.expect(pexpect.EOF)
        return str(self.spawned.before)

    def does(self, command: str) -> str:
        """What a command of the shell writes, up to the next prompt."""
        self.type(command)
        return self.prompt().replace("\r\n", "\n")

    def hang_up(self) -> None:
        """Close it, as if its window were closed."""
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, self.spawned.child_fd)
        os.close(nothing)

    def foreground(self) -> int:
        """The process group that has the terminal."""
        return os.tcgetpgrp(self.spawned.child_fd)


@contextmanager
def terminal(command: Sequence[str]) -> Iterator[Terminal]:
    """A command under a pty; at the end all of its session is killed."""
    started = Terminal(command)
    try:
        yield started
    finally:
        for entry in os.listdir("/proc"):
            if entry.isdigit() and stat_of(int(entry))[3:4] == [str(started.pid)]:
                with suppress(ProcessLookupError):  # it may just have ended
                    os.kill(int(entry), signal.SIGKILL)
        started.spawned.close(force=True)
