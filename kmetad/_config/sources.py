"""The sources that a configuration names, and for what it says nothing about, those found by convention."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

from kmetad._config.kinds import RESERVED, check_source_name
from kmetad._config.model import Config, EnvItem, Item, Volume
from kmetad._config.problems import Wrong, quoted
from kmetad._sources.content import Source
from kmetad._sources.discover import discover
from kmetad._sources.environment import Environment
from kmetad._sources.items import Item as SourceItem
from kmetad._sources.names import unique_name
from kmetad._sources.serviceaccount import ServiceAccount
from kmetad._sources.volume import Volume as VolumeSource
from kmetad.errors import ConfigError


def build_sources(
    config: Config, environ: Mapping[str, str], digest_key: bytes, *, root: str = "/"
) -> list[Source]:
    """Volumes in declared order, then the environment, then the service account.

    ``environ`` is what the ``env`` source reads; ``digest_key`` keys the digests of
    contents (law: secrets never appear). ``root`` is for tests: where what is found by
    convention is looked for. Nothing is read here.
    """
    found = discover(environ, digest_key=digest_key, root=root)
    volumes: Sequence[Source] = [
        VolumeSource(name, volume.path, kind=volume.kind, items=_items(volume.items), digest_key=digest_key)
        for name, volume in config.volumes.items()
    ] or [source for source in found if isinstance(source, VolumeSource)]
    accounts: Sequence[Source] = [source for source in found if isinstance(source, ServiceAccount)]
    if config.token is not None:
        accounts = [ServiceAccount("token", config.token.path, digest_key)]
    variables = {
        name: item if isinstance(item, EnvItem) else EnvItem(field=item) for name, item in config.env.items()
    }
    return [*volumes, Environment("env", environ, _items(variables)), *accounts]


def volume_option(text: str, taken: Collection[str] = ()) -> tuple[str, Volume]:
    """Name and volume of ``--volume NAME=DIR`` or ``--volume DIR``.

    ``taken`` are the names given before. Without a name it is the last part of the
    path, made unique; a relative path is meant from here. Raises ConfigError.
    """
    name, equals, directory = text.partition("=")
    named = bool(equals) and "/" not in name  # a path may hold a "=" too
    directory = directory if named else text
    if not directory:
        raise ConfigError((f"--volume {quoted(text)}: found no directory, expected [NAME=]DIR",))
    volume = Volume(path=os.path.abspath(directory))
    if not named:
        return unique_name(volume.path, {*taken, *RESERVED}), volume
    try:
        check_source_name(name)
    except Wrong as wrong:
        message = f"--volume {quoted(text)}: found the name {quoted(name)}, expected {wrong.expected}"
        raise ConfigError((message,)) from None
    if name in taken:
        message = f"--volume {quoted(text)}: found the name {quoted(name)} again, expected each name once"
        raise ConfigError((message,))
    return name, volume


def _items(items: Mapping[str, Item]) -> dict[str, SourceItem]:
    return {key: SourceItem(i.field, i.resource, i.container, i.divisor) for key, i in items.items()}
