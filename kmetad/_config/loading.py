"""Reads the TOML. Without one, little more than the defaults is imported."""

from __future__ import annotations

from dataclasses import replace

from kmetad._config.loaded import Loaded, unusable
from kmetad._config.model import Config


def load(path: str | None, content: bytes | None = None) -> Loaded:
    """Read a file; without one everything has its default. Nothing is raised: faults are in ``problems``.

    ``content`` is what to take for its content, where somebody has read it already.
    """
    if path is None:
        return Loaded(Config())
    if content is None:
        try:
            with open(path, "rb") as file:
                content = file.read()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = error.strerror if isinstance(error, OSError) else str(error)
            return unusable(
                path, 0, f"it can't be read: {reason}", "name another file with -c or $KMETAD_CONFIG"
            )
    return replace(_understood(content, path), content=content)


def _understood(content: bytes, path: str) -> Loaded:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return unusable(path, line, "it isn't UTF-8, as TOML must be", "save it as UTF-8")
    from kmetad._config.parsing import parse

    return parse(text, path)
