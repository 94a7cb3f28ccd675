"""The command line of a daemon's process: what its supervisor, or the daemon that it replaces, hands to it."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from kmetad._supervisor import interpreter


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

    def argv(self) -> list[str]:
        """The whole command line, with the interpreter."""
        argv = [sys.executable, *interpreter.options(), "-m", "kmetad._daemon", "--config", self.config]
        argv += [f"--{name}" for name in ("strict", "verbose") if getattr(self, name)]
        for name in ("link", "memory", "niceness"):
            value = getattr(self, name)
            if value is not None:
                argv += [f"--{name}", str(value)]
        return argv

    def exec(self) -> None:
        """Replace this process; the descriptors stay open."""
        for descriptor in (self.link, self.memory):
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
        if name in ("strict", "verbose"):
            found[name] = True
        elif name == "config":
            found[name] = next(words, "")
        elif name in ("link", "memory", "niceness"):
            found[name] = int(next(words, ""))
        else:
            raise ValueError(f"{word} is no option of kmetad's daemon")
    return Arguments(**found)  # type: ignore[arg-type]
