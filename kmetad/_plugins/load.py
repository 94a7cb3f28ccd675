"""Finds a plugin's class: by entry point, by module, or by a file's path."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from kmetad import __version__
from kmetad._plugins.place import where
from kmetad._plugins.trust import untrusted
from kmetad.errors import PluginError
from kmetad.hookspecs import API_VERSION, OLDEST_API_VERSION

RESERVED_KEYS = ("use", "module", "path", "match", "lane")
"""Keys of every plugin's table that are kmetad's own, so that no plugin can have them as options."""

GROUP = "kmetad"
"""The entry-point group of plugins; each entry is a module that holds a class ``Plugin``."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A plugin's class, its ``Options`` (None: it takes none), and where it comes from, for messages."""

    plugin: type
    options_type: type | None
    origin: str
    api_version: int | None = None
    """The contract that it was written for (``kmetad.hookspecs.API_VERSION``); None where it doesn't say."""
    role: Any = None
    """What it says that it needs of the API server, ``ROLE``, unchecked; None where it says nothing."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A plugin that is installed, and the distribution that brought it."""

    name: str
    module: str
    distribution: str
    version: str


def load(name: str, *, use: str | None = None, module: str | None = None, path: str | None = None) -> Loaded:
    """The plugin of ``[plugins.NAME]``: of a file, of a module, or installed as ``use`` (else as NAME).

    Raises PluginError; whatever the plugin's own code raises while it is imported
    is told in it.
    """
    if path is not None:
        found, origin = _import_file(name, path), path
    elif module is not None:
        found, origin = _import(name, module), f"module {module}"
    else:
        entry = _entry(name, use or name)
        found, origin = _import(name, entry.module), f"{entry.distribution} {entry.version}"
    version = getattr(found, "API_VERSION", None)
    if wrong := _wrong_version(version):
        raise PluginError(f"plugins.{name}: {origin} {wrong}")
    plugin = getattr(found, "Plugin", None)
    if not isinstance(plugin, type):
        raise PluginError(f"plugins.{name}: {origin} has no class Plugin")
    options_type = getattr(found, "Options", None)
    faults = [] if options_type is None else _wrong_options(options_type)
    if faults:
        raise PluginError("\n".join(f"plugins.{name}: Options of {origin} {fault}" for fault in faults))
    return Loaded(plugin, options_type, origin, version, getattr(found, "ROLE", None))


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


def _entry(name: str, use: str) -> Installed:
    there = installed()
    matching = [plugin for plugin in there if plugin.name == use]
    if len({plugin.module for plugin in matching}) > 1:
        owners = " and ".join(f"{plugin.distribution} {plugin.version}" for plugin in matching)
        raise PluginError(
            f"plugins.{name}: {owners} both bring a plugin {use!r}; uninstall one, or name one by its module"
        )
    if matching:
        return matching[0]
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


def _import_file(name: str, path: str) -> ModuleType:
    """Run a file that nobody else could have put there, as a module of its own."""
    try:
        file, reasons = untrusted(os.path.abspath(path))
        if reasons:
            raise PluginError("\n".join(f"plugins.{name}.path: {reason}" for reason in reasons))
        with open(file, "rb") as stream:
            source = stream.read()
    except FileNotFoundError:
        raise PluginError(f"plugins.{name}.path: {path} is no file") from None
    except OSError as error:
        at = "" if error.filename in (None, path) else f" (at {error.filename})"
        raise PluginError(f"plugins.{name}.path: {path}: {error.strerror}{at}") from None
    from importlib.machinery import ModuleSpec

    # Two instances of one file are two modules: plugins share nothing by accident.
    module = ModuleType(f"kmetad_plugin_{name.replace('-', '_').replace('.', '_')}")
    module.__file__ = file
    module.__spec__ = ModuleSpec(module.__name__, None, origin=file)
    sys.modules[module.__name__] = module  # dataclasses and msgspec look their module up there
    try:
        # Not by Python's own loader: that would run what it finds in __pycache__, whoever put it there.
        exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)
    except BaseException as error:
        del sys.modules[module.__name__]
        if isinstance(error, KeyboardInterrupt):
            raise
        raise _raised(name, f"importing {path}", error) from error
    return module


def _wrong_version(version: Any) -> str:
    """What is wrong with a module's API_VERSION, completing a sentence that begins with the plugin; empty: nothing."""
    if version is None:
        return ""
    if type(version) is not int:
        return f"says API_VERSION = {version!r}, which is no whole number; write API_VERSION = {API_VERSION}"
    was = f"was written for plugin API {version}, and this kmetad ({__version__}) has {API_VERSION}"
    if version > API_VERSION:
        return f"{was}: upgrade kmetad, or use an older version of the plugin"
    if version < OLDEST_API_VERSION:
        oldest = "" if OLDEST_API_VERSION == API_VERSION else f", and takes {OLDEST_API_VERSION} at least"
        return f"{was}{oldest}: use a newer version of the plugin, or an older kmetad"
    return ""


def _wrong_options(options_type: Any) -> list[str]:
    """What is wrong with a plugin's Options; each completes a sentence that begins with it."""
    from msgspec import Struct  # imported by whoever has Options

    if not (isinstance(options_type, type) and issubclass(options_type, Struct)):
        return ["is no msgspec.Struct; write class Options(msgspec.Struct, frozen=True)"]
    faults = []
    if not options_type.__struct_config__.frozen:
        faults.append("isn't frozen; write class Options(msgspec.Struct, frozen=True)")
    taken = [key for key in options_type.__struct_encode_fields__ if key in RESERVED_KEYS]
    faults += (f"has {key}, which in every plugin's table is kmetad's own; rename it" for key in taken)
    return faults


def _raised(name: str, doing: str, error: BaseException) -> PluginError:
    return PluginError(f"plugins.{name}: {doing} raised {type(error).__name__}: {error}{where(error)}")
