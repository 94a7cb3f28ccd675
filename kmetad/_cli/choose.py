"""Which sources a command looks at: ``--volume``, the configuration, or what is found by convention."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kmetad.errors import ConfigError, SourceLost, SourceUnreadable

if TYPE_CHECKING:
    from kmetad._config import Config, Loaded
    from kmetad._sources.content import Content, Source
    from kmetad.metadata import Snapshot, SourceStatus


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options that choose."""
    parser.add_argument(
        "--volume",
        action="append",
        default=[],
        metavar="[NAME=]DIR",
        help="look at this volume instead of those that are configured or found; repeatable",
    )
    configuration(parser)


def configuration(parser: argparse.ArgumentParser) -> None:
    """The option that names the TOML."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="the configuration; else $KMETAD_CONFIG, else /etc/kmetad/kmetad.toml if it is there",
    )


def load(args: argparse.Namespace) -> Loaded:
    """The configuration, with everything that is wrong with it."""
    from kmetad import _config

    return _config.load(_config.find(args.config, os.environ))


def sources(args: argparse.Namespace) -> tuple[Config, list[Source]]:
    """The configuration and the sources that the options choose.

    Raises ConfigError if there is no going on with the configuration; of lesser
    faults standard error tells.
    """
    import msgspec

    from kmetad import _config

    loaded = load(args)
    if loaded.fatal:
        raise ConfigError(tuple(map(str, loaded.problems)))
    for problem in loaded.problems:
        print(f"kmetad: {problem}", file=sys.stderr)
    config = loaded.config
    if args.volume:
        volumes: dict[str, _config.Volume] = {}
        for option in args.volume:
            name, volume = _config.volume_option(option, volumes)
            volumes[name] = volume
        config = msgspec.structs.replace(config, volumes=volumes)
    return config, _config.build_sources(config, os.environ, os.urandom(32))


def look(sources: Sequence[Source]) -> Snapshot:
    """Read each source once, without watching it."""
    from kmetad._sources.content import NOTHING
    from kmetad._sources.merge import merge
    from kmetad.metadata import Snapshot, SourceState

    readings: list[tuple[str, SourceState, Content]] = []
    for source in sources:
        content: Content = NOTHING
        status: SourceStatus = "healthy"
        try:
            content = source.read(NOTHING)
            faults = content.unreadable + content.faults
            status = "unreadable" if content.unreadable else "healthy"
        except SourceLost as error:
            status, faults = "lost", (str(error),)
        except SourceUnreadable as error:
            status, faults = "unreadable", (str(error),)
        readings.append((source.name, SourceState(status, bool(faults), "; ".join(faults)), content))
    return merge(readings, Snapshot())


def tell_faults(snapshot: Snapshot) -> None:
    """Why something may be missing, on standard error."""
    from kmetad._cli.text import escape

    for name, state in snapshot.sources.items():
        if state.error:
            print(f"kmetad: {escape(name)}: {escape(state.error)}", file=sys.stderr)
