"""What comes of loading a TOML: a configuration, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field

from kmetad._config.model import Config
from kmetad._config.problems import Problem


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, as far as it is usable, and everything that is wrong with it."""

    config: Config
    """Without what is faulty: faulty keys have their defaults, what has a name is left out."""
    problems: tuple[Problem, ...] = ()
    """In file order."""
    file: str | None = None
    """None where there is no file."""
    content: bytes | None = field(default=None, repr=False)
    """What was in the file, byte by byte; None where there is none, or it can't be read."""

    @property
    def fatal(self) -> bool:
        """True where not even the app may be started."""
        return any(problem.fatal for problem in self.problems)


def unusable(file: str, line: int, found: str, suggestion: str = "") -> Loaded:
    """Nothing could be made of a file: the defaults, and why."""
    return Loaded(Config(), (Problem(file, line, "", found, "", suggestion, fatal=True),), file)
