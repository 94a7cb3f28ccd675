"""What a watcher is told by the operating system: hints, never truth.

A backend (``inotify`` on Linux, ``observer`` elsewhere) says which directories
may have changed. What did change is found by reading them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(slots=True)
class Hint:
    """What one wait brought; nothing at all after a timeout."""

    touched: set[str] = field(default_factory=set)
    """Directories in which something may have changed."""
    ended: set[str] = field(default_factory=set)
    """Directories that are no longer watched: deleted, moved, unmounted."""
    everything: bool = False
    """The kernel lost notifications; anything may have changed."""
    mounts: bool = False
    """The mount table changed: a path may lead to another directory now."""


class Hints(Protocol):
    """A backend. Not safe for use from several threads, except for ``wake`` and ``stop``."""

    def add(self, path: str, *, swapped: bool) -> None:
        """Watch a directory from now on; ``swapped`` if it is published by renaming ``..data``.

        Raises OSError as the kernel does: ENOENT, ENOTDIR, EACCES for the
        directory; EMFILE, ENOSPC, ENOMEM if the kernel has no more to give.
        """

    def remove(self, path: str) -> None:
        """Watch a directory no longer; harmless if it isn't watched."""

    def wait(self, timeout: float | None) -> Hint:
        """Sleep until something may have changed, for so many seconds at most (None: for ever)."""

    def wake(self) -> None:
        """End the present wait, or the next one, without a hint. From any thread."""

    def stop(self) -> None:
        """End the present wait, and every later one, at once. From any thread."""

    def stopped(self) -> bool:
        """True after ``stop``."""

    def close(self) -> None:
        """Give back what the kernel lent."""
