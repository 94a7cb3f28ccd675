"""A file that is watched beside the sources, by the same thread and the same descriptor.

No snapshot knows it. As for a source, content is truth and a notification is a hint:
whatever the hint, the file is read, and only another content is told.
"""

from __future__ import annotations

from collections.abc import Callable

from kmetad._sources.file import File
from kmetad._watch.followed import POLL_SECONDS, identity
from kmetad._watch.hints import Hint, Hints
from kmetad.errors import SourceError

News = bytes | str
"""What is in the file now; or, as a text, why it can't be read."""


class Aside:
    """See the module. ``known`` is what was read of it before; None if it could not be."""

    def __init__(self, file: File, known: bytes | None, told: Callable[[News], object], hints: Hints) -> None:
        self.next_poll: float | None = None
        """When to look at it although nobody tells of it: while it can't be read, or isn't watched."""
        self._file = file
        self._news: News | None = known
        self._told = told
        self._hints = hints
        # By the path that the hints know; whether as a swapped directory, and which it was.
        self._watched: dict[str, tuple[bool, tuple[int, int] | None]] = {}

    def heed(self, hint: Hint, now: float, *, modest: bool) -> None:
        """Look at the file if the hint is about it, or it is time to.

        ``modest``: a source has no notifications now, so none are asked for here: the kernel's last one is for it.
        """
        ended = self._watched.keys() & hint.ended
        for path in ended:
            self._unwatch(path)  # one made anew at the path may well have the same inode
        about_it = hint.everything or hint.mounts or ended or not hint.touched.isdisjoint(self._watched)
        if about_it or (self.next_poll is not None and now >= self.next_poll):
            self._look(now, modest)

    def _look(self, now: float, modest: bool) -> None:
        all_watched = self._watch(modest)
        news: News
        try:
            news = self._file.read()
        except SourceError as error:
            news = str(error)
        self.next_poll = None if all_watched and isinstance(news, bytes) else now + POLL_SECONDS
        if news != self._news:
            self._news = news
            self._told(news)

    def _watch(self, modest: bool) -> bool:
        """Have every directory watched in which a change would show; False if one of them can't be.

        Before the file is read, so that nothing falls between. Until there is nothing to add:
        a link may have been changed just before it was watched, and leads elsewhere.
        """
        while True:
            # By another name than a source may have for it: each gives its own up.
            wanted = {f"{path}/.": swapped for path, swapped in self._file.directories().items()}
            for path in self._watched.keys() - wanted.keys():
                self._unwatch(path)
            added = False
            for path, swapped in wanted.items():
                it_is = swapped, identity(path)
                if self._watched.get(path) == it_is:
                    continue
                self._unwatch(path)
                if modest:
                    continue
                try:
                    self._hints.add(path, swapped=swapped)
                except OSError:  # not there, no permission, or the kernel has no more to give
                    continue
                self._watched[path] = it_is
                added = True
            if not added:
                return self._watched.keys() == wanted.keys()

    def _unwatch(self, path: str) -> None:
        if self._watched.pop(path, None) is not None:
            self._hints.remove(path)
