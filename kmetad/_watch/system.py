"""Which backend this system has."""

from __future__ import annotations

import sys

from kmetad._watch.hints import Hints


def system_hints(platform: str = sys.platform) -> Hints:
    """The best backend of this system."""
    if platform == "linux":
        from kmetad._watch.inotify import InotifyHints

        return InotifyHints()
    from kmetad._watch.observer import ObserverHints

    return ObserverHints()
