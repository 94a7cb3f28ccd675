"""The command line of a daemon's process: what its supervisor, or the daemon that it replaces, hands to it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from kmetad._supervisor import interpreter

_FLAGS = ("strict", "verbose", "check", "wrapped")
_NUMBERS = ("link", "memory", "niceness", "content", "signals")


@dataclass(frozen=True, slots=True)
class Arguments:
    """``python -m kmetad._daemon --config FILE …``; no command for people."""

    config: str = ""
    """The TOML; empty: none."""
    strict: bool = False
    verbose: bool = False
    link: int | None = None
    """The descriptor of the socket to the supervisor (``kmetad._link``); None: no app is wrapped."""
    memory: int | None = None
    """The descriptor of the file with the lanes' state."""
    niceness: int | None = None
    """The process's before it was raised; None: it is as it was inherited."""
    content: int | None = None
    """The descriptor of a file with what the TOML is to be taken to hold; None: it is to be read."""
    signals: int | None = None
    """The descriptor of a pipe: signals that came too late for the daemon before this one (``Signals.hand_over``)."""
    check: bool = False
    """Only check it (``kmetad._daemon.checking``)."""
    wrapped: bool = False
    """With ``check``, which has no link: an app is wrapped."""

    def argv(self) -> list[str]:
        """The whole command line, with the interpreter."""
        argv = [sys.executable, *interpreter.options(), "-m", "kmetad._daemon", "--config", self.config]
        argv += [f"--{name}" for name in _FLAGS if getattr(self, name)]
        for name in _NUMBERS:
            value = getattr(self, name)
            if value is not None:
                argv += [f"--{name}", str(value)]
        return argv

    def exec(self) -> None:
        """Replace this process; the descriptors stay open."""
        for descriptor in (self.link, self.memory, self.content, self.signals):
            if descriptor is not None:
                os.set_inheritable(descriptor, True)
        argv = self.argv()
        os.execv(argv[0], argv)


def parse(argv: list[str]) -> Arguments:
    """Of what follows the module's name. Raises ValueError, which says what is wrong."""
    found: dict[str, str | int | bool] = {}
    words = iter(argv)
    for word in words:
        name = word.removeprefix("--")
        if name in _FLAGS:
            found[name] = True
        elif name == "config":
            found[name] = next(words, "")
        elif name in _NUMBERS:
            found[name] = int(next(words, ""))
        else:
            raise ValueError(f"{word} is no option of kmetad's daemon")
    return Arguments(**found)  # type: ignore[arg-type]
