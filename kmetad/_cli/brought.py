"""Commands that plugins bring: found by their entry points, loaded when they are asked for. See kmetad.commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from kmetad.errors import PluginError

GROUP = "kmetad.commands"
"""The entry-point group; each entry is a module."""

KNOWN = {"proxy": ("kmetad-ambassador", "kmetad_ambassador.command")}
"""Commands of kmetad's own plugins: the distribution that brings each, and its module."""


@dataclass(frozen=True, slots=True)
class Brought:
    """A command, and the distribution that brings it."""

    name: str
    module: str
    origin: str
    """``kmetad-ambassador 0.1.0``"""

    def load(self) -> Any:
        """Its module. Raises PluginError where that can't be imported, or is no command."""
        from kmetad._plugins.place import where

        try:
            module = import_module(self.module)
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and f"{self.module}.".startswith(f"{error.name}."):
                raise self._fault(f"there is no module {self.module}; install {self.origin} again") from None
            raise self._fault(
                f"importing {self.module} raised {type(error).__name__}: {error}{where(error)}"
            ) from error
        lacking = [name for name in ("arguments", "run") if not callable(getattr(module, name, None))]
        if lacking:
            raise self._fault(
                f"{self.module} has no function {' and no function '.join(lacking)}; "
                "kmetad.commands says what a command is made of"
            )
        return module

    def summary(self) -> str:
        """What it does, in one line; or why nobody can say."""
        try:
            module = self.load()
        except PluginError as error:
            return str(error).partition("\n")[0]
        told: object = getattr(module, "SUMMARY", None) or (module.__doc__ or "").strip()
        return f"{str(told).partition(chr(10))[0].rstrip('.')} ({self.origin})"

    def _fault(self, what: str) -> PluginError:
        return PluginError(f"the command {self.name} of {self.origin}: {what}")


def known(name: str) -> Brought | None:
    """One of kmetad's own plugins', where that is installed, without asking all distributions."""
    from importlib.util import find_spec

    distribution, module = KNOWN.get(name, ("", ""))
    there = module and find_spec(module.partition(".")[0]) is not None
    return Brought(name, module, distribution) if there else None


def brought() -> list[Brought]:
    """All there are, by name; one name twice where two distributions bring it."""
    # 60 ms and 3 MB, so only for what isn't known: a proxy would keep them for as long as it runs.
    from importlib.metadata import entry_points

    found = set()
    for point in entry_points(group=GROUP):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.module
        found.add((point.name, point.module, origin))
    return [Brought(*each) for each in sorted(found)]


def find(name: str, there: Sequence[Brought]) -> Brought | None:
    """The one of this name among them. Raises PluginError where two distributions bring it, or a known one doesn't."""
    matching = [command for command in there if command.name == name]
    if len(matching) > 1:
        origins = " and ".join(command.origin for command in matching)
        raise PluginError(f"{origins} both bring a command {name}; uninstall one of them")
    if not matching and name in KNOWN:
        by, _ = KNOWN[name]
        raise PluginError(f"there is no command {name}; it comes with {by}: pip install {by}")
    return matching[0] if matching else None
