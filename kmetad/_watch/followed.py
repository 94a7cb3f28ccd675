"""One source as the watching thread follows it: how it is watched, what was read of it last, and how it is."""

from __future__ import annotations

import errno
import os

from kmetad._sources.content import Source
from kmetad._sources.merge import Reading, last_of
from kmetad._watch.hints import Hints
from kmetad.errors import SourceLost, SourceUnreadable
from kmetad.metadata import Snapshot, SourceState, SourceStatus

POLL_SECONDS = 1.0
"""From one look to the next at what nobody tells of."""

_EXHAUSTED = {
    errno.EMFILE: (
        "inotify has no instance left (fs.inotify.max_user_instances of the node, or this process's limit of "
        "open files): compared once a second until there is one; raise the limit, or stop what else is watching"
    ),
    errno.ENFILE: (
        "the node has no open file left for inotify (fs.file-max): compared once a second until there is one"
    ),
    errno.ENOSPC: (
        "inotify has no watch left (fs.inotify.max_user_watches of the node): compared once a second until "
        "there is one; raise the limit, or stop what else is watching"
    ),
    errno.ENOMEM: "the kernel has no memory left for inotify: compared once a second until there is some",
}


class Followed:
    """See the module. ``at``: its place in the declared order. ``before``: what a process before this one knew."""

    def __init__(self, at: int, source: Source, hints: Hints, before: Snapshot) -> None:
        self.at = at
        self.source = source
        self.path = source.path
        self.content = last_of(source.name, before)
        self.state = before.sources.get(source.name, SourceState())
        self.next_poll: float | None = None
        self._hints = hints
        self._watched: bool | None = None  # whether as a swapped directory; None: not at all
        self._identity: tuple[int, int] | None = None

    @property
    def reading(self) -> Reading:
        """What was read last, and how the source is."""
        return self.source.name, self.state, self.content

    def look(
        self, now: float, *, anew: bool = False, lost_hints: bool = False, replaced: bool = False
    ) -> None:
        """Have it watched, read it, and judge its health.

        Watched before it is read, so that nothing falls between. ``anew``: the path may
        lead to another directory than the one that is watched, or the kernel may have
        dropped the watch and lost the notification that says so. ``replaced``: the
        directory that was watched is no longer there.
        """
        if anew:
            replaced = replaced or (self._identity is not None and self.is_elsewhere())
            if replaced or self._watched is None:
                self.unwatch()
            else:
                self._watch(swapped=self._watched)
        status: SourceStatus = "healthy"
        faults: tuple[str, ...] = ()
        try:
            exhausted = self._read()
        except SourceLost as error:
            status, faults = "lost", (str(error),)
        except SourceUnreadable as error:
            status, faults = "unreadable", (str(error),)
        else:
            faults = self.content.faults
            if self.content.unreadable:
                status, faults = "unreadable", self.content.unreadable + faults
            elif exhausted:
                status, faults = "polling", (exhausted, *faults)
        # One that was there and is there again had a fault between, if nobody has counted it yet.
        returned = replaced and self.state.speaks and status in ("healthy", "polling")
        self._judge(status, "; ".join(faults), lost_hints or returned)
        # A source that isn't watched for whatever reason is looked at again soon.
        unwatched = self.path is not None and self._watched is None
        self.next_poll = now + POLL_SECONDS if unwatched or status != "healthy" else None

    def poll(self, now: float) -> bool:
        """Once a second while it is lost or unwatched: the cheapest look that can tell. True if it was read."""
        if self.state.status == "polling":
            if not self._watch(swapped=self.source.swapped):
                self.look(now)
                return True
            try:
                same = self.source.fingerprint() == self.content.fingerprint
            except (SourceLost, SourceUnreadable):
                same = False
            if same:
                self.next_poll = now + POLL_SECONDS
                return False
        self.look(now, anew=True)
        return True

    def is_elsewhere(self) -> bool:
        """Whether the path leads to another directory than the one that is watched (mounted over, replaced)."""
        return self.path is not None and self._identity != identity(self.path)

    def _read(self) -> str:
        """Watch and read. Answers why the kernel gives no notifications, or nothing if it does."""
        if self.path is None:
            self.content = self.source.read(self.content)
            return ""
        exhausted = "" if self._watched is not None else self._watch(swapped=True)
        self.content = self.source.read(self.content)
        if self._watched is not None and self._watched is not self.source.swapped:
            # Not published as it was, or not looked at yet: another mask, and read again behind it.
            self.unwatch()
            exhausted = self._watch(swapped=self.source.swapped)
            self.content = self.source.read(self.content)
        return exhausted

    def _watch(self, *, swapped: bool) -> str:
        """Ask for notifications. Answers why there are none, unless the source itself is to blame."""
        assert self.path is not None
        self._watched = None
        try:
            self._identity = identity(self.path)
            self._hints.add(self.path, swapped=swapped)
        except OSError as error:
            if error.errno in _EXHAUSTED:
                return _EXHAUSTED[error.errno]
            return ""  # not there, or no permission: reading says it better
        self._watched = swapped
        return ""

    def unwatch(self) -> None:
        """It isn't watched any more; the next look asks for it again."""
        if self.path is not None:
            self._hints.remove(self.path)
        self._watched = None

    def _judge(self, status: SourceStatus, error: str, passed: bool) -> None:
        """``passed``: there was a fault that is over already."""
        before = self.state
        if (status, error) == (before.status, before.error) and not passed:
            return
        fault = passed or bool(error)
        self.state = SourceState(status, before.faults + fault, error)


def identity(path: str) -> tuple[int, int] | None:
    """Which directory a path leads to now; None if to none."""
    try:
        entry = os.stat(path)
    except OSError:
        return None
    return entry.st_dev, entry.st_ino
