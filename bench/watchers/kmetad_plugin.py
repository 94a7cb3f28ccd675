"""The plugin of the measured daemon: all that it does is to report what it was told.

The bench copies this file beside the volumes and names it in a TOML by ``path``.
"""

from __future__ import annotations

import os
import time

import msgspec

from kmetad import hookimpl


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``report`` is the named pipe."""

    report: str


class Plugin:
    """Told of a batch, it writes the marker and when it was told."""

    def __init__(self, options: Options) -> None:
        self._descriptor = os.open(options.report, os.O_WRONLY | os.O_CLOEXEC)

    @hookimpl
    def kmetad_on_change(self, batch):  # type: ignore[no-untyped-def]
        now = time.monotonic_ns()
        for change in batch.changes:
            if change.type == "label" and change.key.endswith(".bench/marker"):
                os.write(self._descriptor, f"{change.new} {now}\n".encode())
