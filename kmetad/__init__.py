"""Tells an app about its own Pod, and reacts when it changes.

This is the door: what plugins and apps import. Each name is fetched when it is
first used, so that a process pays for nothing else.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` itself is among what nobody pays for
if TYPE_CHECKING:
    from typing import Any

    from kmetad._diff import apply as apply
    from kmetad._diff import diff as diff
    from kmetad._watch import Watch as Watch
    from kmetad._watch import awatch as awatch
    from kmetad._watch import watch as watch
    from kmetad.errors import AppError as AppError
    from kmetad.errors import ConfigError as ConfigError
    from kmetad.errors import DecodeError as DecodeError
    from kmetad.errors import FieldPathError as FieldPathError
    from kmetad.errors import KmetadError as KmetadError
    from kmetad.errors import PluginError as PluginError
    from kmetad.errors import QuantityError as QuantityError
    from kmetad.events import AnnotationChange as AnnotationChange
    from kmetad.events import Batch as Batch
    from kmetad.events import Change as Change
    from kmetad.events import FieldChange as FieldChange
    from kmetad.events import FileChange as FileChange
    from kmetad.events import LabelChange as LabelChange
    from kmetad.events import Outcome as Outcome
    from kmetad.events import ResourceChange as ResourceChange
    from kmetad.events import SourceChange as SourceChange
    from kmetad.events import TokenChange as TokenChange
    from kmetad.events import TrustChange as TrustChange
    from kmetad.hookspecs import App as App
    from kmetad.hookspecs import Context as Context
    from kmetad.hookspecs import Fail as Fail
    from kmetad.hookspecs import LogTags as LogTags
    from kmetad.hookspecs import Retry as Retry
    from kmetad.hookspecs import Skip as Skip
    from kmetad.hookspecs import hookimpl as hookimpl
    from kmetad.metadata import Digest as Digest
    from kmetad.metadata import Resource as Resource
    from kmetad.metadata import Snapshot as Snapshot
    from kmetad.metadata import SourceState as SourceState
    from kmetad.metadata import Token as Token
    from kmetad.quantity import Quantity as Quantity
    from kmetad.status import Status as Status

__version__ = "0.1.0"

_HOMES = {
    "kmetad._diff": ("apply", "diff"),
    "kmetad._watch": ("Watch", "awatch", "watch"),
    "kmetad.errors": (
        "AppError",
        "ConfigError",
        "DecodeError",
        "FieldPathError",
        "KmetadError",
        "PluginError",
        "QuantityError",
    ),
    "kmetad.events": (
        "AnnotationChange",
        "Batch",
        "Change",
        "FieldChange",
        "FileChange",
        "LabelChange",
        "Outcome",
        "ResourceChange",
        "SourceChange",
        "TokenChange",
        "TrustChange",
    ),
    "kmetad.hookspecs": ("App", "Context", "Fail", "LogTags", "Retry", "Skip", "hookimpl"),
    "kmetad.metadata": ("Digest", "Resource", "Snapshot", "SourceState", "Token"),
    "kmetad.quantity": ("Quantity",),
    "kmetad.status": ("Status",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *sorted(_HOME_OF)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    """PEP 562: import a name's home when somebody asks for it."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
