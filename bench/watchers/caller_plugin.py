"""A plugin that calls the API server at its start, or doesn't. The bench copies this file."""

from __future__ import annotations

import msgspec

from kmetad import hookimpl


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``done`` is a file that says that all calls have been made."""

    calls: int
    done: str


class Plugin:
    """Gets one Pod, again and again."""

    def __init__(self, options: Options, context: object) -> None:
        self._options = options
        self._context = context

    @hookimpl
    def kmetad_on_start(self, snapshot: object) -> None:
        """All calls, one after the other."""
        for _ in range(self._options.calls):
            self._context.api().get("/api/v1/namespaces/lab/pods/web")  # type: ignore[attr-defined]
        with open(self._options.done, "w"):
            pass
