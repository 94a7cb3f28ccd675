"""Every exception that kmetad raises on purpose.

::

    KmetadError
    ├── ConfigError          the TOML, or what it names, is wrong; lists every problem found
    ├── PluginError          a plugin can't be found, loaded or made
    ├── AppError             a plugin asks for something of the app, and it can't be had
    ├── DecodeError          a watched file isn't what Kubernetes writes (a ValueError)
    ├── FieldPathError       no such field path in Kubernetes (a ValueError)
    ├── FieldMissing         a text needs a field that isn't known now (a LookupError)
    ├── QuantityError        no Kubernetes quantity (a ValueError)
    └── SourceError          a source can't be read now
        ├── SourceLost           it isn't there
        └── SourceUnreadable     it is there, and a permission or an I/O error keeps it

Messages are whole sentences that say what happened, where, and what to do.
None of them ever holds the content of a file (law: secrets never appear).
"""

from __future__ import annotations

OWN_FAILURE = 125
"""Exit code of ``kmetad run`` where kmetad itself failed, as env(1) has it: all others are the app's."""


class KmetadError(Exception):
    """The root of them all."""


class ConfigError(KmetadError):
    """The configuration has faults; ``problems`` holds one text for each of them."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PluginError(KmetadError):
    """A plugin can't be found, imported or constructed."""


class AppError(KmetadError):
    """What a plugin asks of the app can't be had: kmetad wraps none, or what wraps it has gone."""


class DecodeError(KmetadError, ValueError):
    """A file of a volume isn't in the form that the kubelet writes.

    ``file`` is its path inside the volume, ``line`` counts from 1 (0 where the
    whole file is meant).
    """

    def __init__(self, reason: str, *, file: str = "", line: int = 0) -> None:
        place = f"{file}, line {line}: " if file and line else f"{file}: " if file else ""
        super().__init__(f"{place}{reason}")
        self.reason = reason
        self.file = file
        self.line = line


class FieldPathError(KmetadError, ValueError):
    """The text names no field that Kubernetes offers to a Pod."""


class FieldMissing(KmetadError, LookupError):
    """A text can't be filled in, for there are no such fields now: ``paths``."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        super().__init__(f"there is no {' and no '.join(paths)} now, and no default")
        self.paths = paths


class QuantityError(KmetadError, ValueError):
    """The text is no Kubernetes quantity."""


class SourceError(KmetadError):
    """A source can't be read at the moment; its last values stay in force."""


class SourceLost(SourceError):
    """The source isn't there: not mounted yet, deleted, or unmounted."""


class SourceUnreadable(SourceError):
    """The source is there, but the kernel won't let this process read it."""
