"""Finds the TOML and reads it. Without one, little more than the defaults is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from kmetad._config.model import Config
from kmetad._config.problems import Problem

DEFAULT_FILE = "/etc/kmetad/kmetad.toml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, as far as it is usable, and everything that is wrong with it."""

    config: Config
    """Without what is faulty: faulty keys have their defaults, what has a name is left out."""
    problems: tuple[Problem, ...] = ()
    """In file order."""
    file: str | None = None
    """None where there is no file."""

    @property
    def fatal(self) -> bool:
        """True where not even the app may be started."""
        return any(problem.fatal for problem in self.problems)


def find(option: str | None, environ: Mapping[str, str], default: str = DEFAULT_FILE) -> str | None:
    """The file to load: ``-c``, else ``$KMETAD_CONFIG``, else the default if it is there. Empty: none."""
    named = environ.get("KMETAD_CONFIG") if option is None else option
    if named is not None:
        return named or None
    try:
        os.lstat(default)  # a link that leads nowhere is there, and is a fault
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # loading it will tell why
    return default


def load(path: str | None) -> Loaded:
    """Read a file; without one everything has its default. Nothing is raised: faults are in ``problems``."""
    if path is None:
        return Loaded(Config())
    try:
        with open(path, "rb") as file:
            data = file.read()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return unusable(path, 0, f"it can't be read: {reason}", "name another file with -c or $KMETAD_CONFIG")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return unusable(path, line, "it isn't UTF-8, as TOML must be", "save it as UTF-8")
    from kmetad._config.parsing import parse

    return parse(text, path)


def unusable(file: str, line: int, found: str, suggestion: str = "") -> Loaded:
    """Nothing could be made of a file: the defaults, and why."""
    return Loaded(Config(), (Problem(file, line, "", found, "", suggestion, fatal=True),), file)
