"""Finds a plugin's class: by entry point, by module, or by a file's path."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kmetad._plugins.place import where
from kmetad.errors import PluginError

GROUP = "kmetad"
"""The entry-point group of plugins; each entry is a module that holds a class ``Plugin``."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin's class, its ``Options`` (None: it takes none), and where it comes from, for messages."""

    plugin: type
    options_type: type | None
    origin: str


@dataclass(frozen=True, slots=True)
class Installed:
    """A plugin that is installed, and the distribution that brought it."""

    name: str
    module: str
    distribution: str
    version: str


def load(name: str, *, use: str | None = None, module: str | None = None, path: str | None = None) -> Loaded:
    """The plugin of ``[plugins.NAME]``: of a file, of a module, or installed as ``use`` (NAME, if all are None).

    Raises PluginError; whatever the plugin's own code raises while it is imported
    is told in it.
    """
    if path is not None:
        refuse_if_others_may_write(name, path)
        found, origin = _import_file(name, path), path
    elif module is not None:
        found, origin = _import(name, module), f"module {module}"
    else:
        entry = _entry(name, use or name)
        found, origin = _import(name, entry.module), f"{entry.distribution} {entry.version}"
    plugin = getattr(found, "Plugin", None)
    if not isinstance(plugin, type):
        raise PluginError(f"plugins.{name}: {origin} has no class Plugin")
    return Loaded(plugin, getattr(found, "Options", None), origin)


def installed() -> list[Installed]:
    """Every plugin that entry points tell of, by name."""
    # 60 ms and 3 MB, so only when somebody asks for an installed plugin.
    from importlib.metadata import entry_points

    found = []
    for point in entry_points(group=GROUP):
        distribution = point.dist
        found.append(
            Installed(
                point.name,
                point.module,
                distribution.name if distribution else "?",
                distribution.version if distribution else "?",
            )
        )
    return sorted(found, key=lambda plugin: plugin.name)


def refuse_if_others_may_write(name: str, path: str) -> None:
    """Refuse a file that somebody else could replace: its code would run with our rights.

    The resolved file and each directory above it must belong to root or to us, and be
    writable by nobody else; a sticky directory is as good, and so is a read-only mount.
    Raises PluginError.
    """
    real = os.path.realpath(path)
    if not os.path.isfile(real):
        raise PluginError(f"plugins.{name}.path: {path} is no file")
    for place in _with_parents(real):
        status = os.stat(place)
        if os.statvfs(place).f_flag & os.ST_RDONLY:
            continue
        shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
        if status.st_uid not in (0, os.geteuid()):
            reason, remedy = f"belongs to user {status.st_uid}", "chown it to root"
        elif shared and not sticky:
            reason, remedy = f"is writable by others (mode {status.st_mode & 0o7777:04o})", "chmod go-w it"
        else:
            continue
        raise PluginError(
            f"plugins.{name}.path: {place} {reason}, so somebody else could change what runs here; {remedy}, "
            f"or mount it read-only"
        )


def _with_parents(path: str) -> Iterator[str]:
    while True:
        yield path
        parent = os.path.dirname(path)
        if parent == path:
            return
        path = parent


def _entry(name: str, use: str) -> Installed:
    there = installed()
    for plugin in there:
        if plugin.name == use:
            return plugin
    from difflib import get_close_matches

    names = [plugin.name for plugin in there]
    close = get_close_matches(use, names, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    known = ", ".join(names) if names else "none"
    raise PluginError(
        f"plugins.{name}: no plugin {use!r} is installed (installed: {known}){hint}"
        + (
            ""
            if close
            else f"; pip install kmetad-{use}, or name its file with path, or its module with module"
        )
    )


def _import(name: str, module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if (
            isinstance(error, ModuleNotFoundError)
            and error.name
            and f"{module}.".startswith(f"{error.name}.")
        ):
            raise PluginError(
                f"plugins.{name}: there is no module {module}; is it installed for {sys.executable}?"
            ) from None
        raise _raised(name, f"importing {module}", error) from error


def _import_file(name: str, path: str) -> Any:
    from importlib.util import module_from_spec, spec_from_file_location

    # Two instances of one file are two modules: plugins share nothing by accident.
    spec = spec_from_file_location(f"kmetad_plugin_{name.replace('-', '_').replace('.', '_')}", path)
    if spec is None or spec.loader is None:
        raise PluginError(f"plugins.{name}.path: {path} is no Python file (its name must end in .py)")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and msgspec look their module up there
    try:
        spec.loader.exec_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        del sys.modules[spec.name]
        raise _raised(name, f"importing {path}", error) from error
    return module


def _raised(name: str, doing: str, error: BaseException) -> PluginError:
    return PluginError(f"plugins.{name}: {doing} raised {type(error).__name__}: {error}{where(error)}")
