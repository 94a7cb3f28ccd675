"""Which sources a command looks at: ``--volume``, else the configuration, else what is found by convention."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kmetad.errors import SourceLost, SourceUnreadable
from kmetad.metadata import Snapshot, SourceState, SourceStatus

if TYPE_CHECKING:
    from kmetad._config import Config
    from kmetad._sources.content import Content, Source


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options that choose."""
    parser.add_argument(
        "--volume",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="look at this volume, and at the environment, instead of what is configured; repeatable",
    )
    configuration(parser)


def configuration(parser: argparse.ArgumentParser) -> None:
    """The option that names the TOML."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="the TOML; else $KMETAD_CONFIG, else /etc/kmetad/kmetad.toml if it is there",
    )


def look(sources: Sequence[Source]) -> Snapshot:
    """Read each source once, without watching it."""
    from kmetad._sources.content import NOTHING
    from kmetad._sources.merge import merge

    readings: list[tuple[str, SourceState, Content]] = []
    for source in sources:
        content, status, error = NOTHING, "healthy", ""
        try:
            content = source.read(NOTHING)
        except (SourceLost, SourceUnreadable) as fault:
            status, error = ("lost" if isinstance(fault, SourceLost) else "unreadable"), str(fault)
        else:
            error = "; ".join(content.unreadable + content.faults)
        readings.append((source.name, SourceState(status, int(bool(error)), error), content))
    return merge(readings, Snapshot())
