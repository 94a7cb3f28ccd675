"""Finds the TOML and reads it. Without one, little more than the defaults is imported."""

from __future__ import annotations

import os
from collections.abc import Mapping

from kmetad._config.loaded import Loaded, unusable
from kmetad._config.model import Config

DEFAULT_FILE = "/etc/kmetad/kmetad.toml"


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
