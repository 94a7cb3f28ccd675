"""The environment: what a process was told at its start, which never changes afterwards."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from types import MappingProxyType

from kmetad._sources.content import Content
from kmetad._sources.items import BY_OTEL, BY_VARIABLE, PREFIXES, Item, is_integer
from kmetad.metadata import Resource


class Environment:
    """A Source: variables as ``declared``, and all others by the names that people already use.

    Declared variables come first where two carry one key. A declared resource that
    isn't a bare integer is a fault; a conventional name with an unlikely value is
    somebody else's variable.
    """

    path: str | None = None
    swapped = False

    def __init__(
        self, name: str, environ: Mapping[str, str], declared: Mapping[str, Item] | None = None
    ) -> None:
        self.name = name
        self._environ = environ
        self._declared = dict(declared or {})

    def fingerprint(self) -> Hashable:
        """Always the same: nobody can change a running process's environment from outside."""
        return None

    def read(self, previous: Content) -> Content:
        """All variables that are known."""
        fields: dict[str, str] = {}
        resources: dict[str, Resource] = {}
        faults: list[str] = []
        for variable, item in self._declared.items():
            value = self._environ.get(variable)
            if value is None:
                faults.append(
                    f"the variable {variable} isn't set; declare it in the container's env, "
                    "or take it out of [env]"
                )
            elif item.resource is None:
                fields.setdefault(item.key, value)
            elif is_integer(value):
                resources.setdefault(item.key, Resource(int(value), item.divisor))
            else:
                faults.append(f"the variable {variable} is no bare integer, as the kubelet writes resources")
        for item, value in self._conventional():
            if item.resource is not None:
                resources.setdefault(item.key, Resource(int(value)))
            else:
                fields.setdefault(item.key, value)
        return Content(
            fields=previous.fields if previous.fields == fields else MappingProxyType(fields),
            resources=previous.resources if previous.resources == resources else MappingProxyType(resources),
            faults=tuple(faults),
        )

    def _conventional(self) -> list[tuple[Item, str]]:
        found = []
        for prefix in PREFIXES:
            for name, (item, fits) in BY_VARIABLE.items():
                variable = prefix + name
                value = self._environ.get(variable, "")
                if variable not in self._declared and value and fits(value):
                    found.append((item, value))
        for name, value in _otel(self._environ.get("OTEL_RESOURCE_ATTRIBUTES", "")):
            known = BY_OTEL.get(name)
            if known is not None and known[1](value):
                found.append((known[0], value))
        return found


def _otel(text: str) -> list[tuple[str, str]]:
    """``k=v,k=v`` with percent-encoded values (OpenTelemetry's specification of the Resource SDK)."""
    if not text:
        return []
    from urllib.parse import unquote

    pairs = (pair.partition("=") for pair in text.split(","))
    return [(key.strip(), unquote(value.strip())) for key, equals, value in pairs if equals]
