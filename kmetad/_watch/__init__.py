"""Watching sources: the only package that knows watchdog.

``watch`` is the whole of it. The daemon uses it, and so may any app, in its own
process and without a daemon.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from kmetad._watch.watcher import RESCAN_SECONDS, Watch

__all__ = ["Watch", "awatch", "watch"]


def watch(*paths: str | os.PathLike[str], rescan: float = RESCAN_SECONDS) -> Watch:
    """Tell what the Pod is, then every change of it, as an endless iterator of batches.

    ``paths`` are volumes' directories; with none, kmetad finds volumes, variables and
    the service account by convention. The first batch comes at once and holds all
    there is as added; the next ones come as the kubelet swaps, each from the last
    one's ``current``. A directory that isn't there (yet) is waited for: it is in
    ``batch.current.sources`` as ``lost``.

    Iterating blocks. ``stop()`` of the returned ``Watch`` ends it from another thread
    or a signal handler; leaving its ``with`` block closes it. ``rescan``, in seconds, is
    how often everything is read although the kernel told of nothing.

    >>> with kmetad.watch("/etc/podinfo") as batches:  # doctest: +SKIP
    ...     for batch in batches:
    ...         print(batch.current.labels)
    """
    from kmetad._sources.discover import discover
    from kmetad._sources.names import unique_name
    from kmetad._sources.volume import Volume

    key = os.urandom(32)
    if not paths:
        return Watch(discover(os.environ, digest_key=key), rescan=rescan)
    volumes: dict[str, Volume] = {}
    for path in paths:
        path = os.fspath(path)
        name = unique_name(path, volumes)
        volumes[name] = Volume(name, path, digest_key=key)
    return Watch(list(volumes.values()), rescan=rescan)


async def awatch(*paths: str | os.PathLike[str], rescan: float = RESCAN_SECONDS) -> AsyncIterator:  # type: ignore[type-arg]
    """``watch`` for asyncio: ``async for batch in kmetad.awatch("/etc/podinfo")``.

    Waits on a thread of the loop's default executor, which is freed as soon as the
    iteration ends or is cancelled.
    """
    import asyncio

    with watch(*paths, rescan=rescan) as batches:
        loop = asyncio.get_running_loop()
        while (batch := await asyncio.shield(loop.run_in_executor(None, next, batches, None))) is not None:
            yield batch
