"""What the app's log lines carry: put together from what instances give (``kmetad_log_tags``), as bytes to splice.

The values come from whoever may patch the Pod. As JSON in ASCII, and in text quoted wherever they hold
more than plain characters, none of them can end a line, or look like another one's value.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from json import dumps
from typing import Any, get_args

from kmetad.hookspecs import LogTags, StreamName

LONGEST = 16 * 1024
"""Bytes. Tags are in each line; whoever has more to say has taken the wrong field."""

Rendered = dict[str, tuple[bytes, str, bytes]]
"""By stream: JSON members, what becomes of text, the prefix of text. As ``kmetad._supervisor.splice.Tags`` takes it."""

_PLAIN = re.compile(r"[!#-<>-\[\]-~]+")  # ASCII that can be seen, but for `"`, `=` and the backslash
_SURROGATE = re.compile("[\ud800-\udfff]")


class Tagging:
    """See the module. ``say`` is told what differs, and whether everybody has given something by now.

    ``instances`` are in the TOML's order: of two that give one name, the later wins. One that has
    given nothing is waited for so many seconds (``patience``). Safe for use from several threads.
    """

    def __init__(
        self, instances: Iterable[str], say: Callable[[Rendered, bool], object], patience: float
    ) -> None:
        self._say = say
        self._patience = threading.Timer(patience, self._wait_no_longer)
        self._patience.name = "kmetad-tags"
        self._patience.daemon = True
        self._given: dict[str, LogTags | None] = dict.fromkeys(instances)
        self._rendered: Rendered = {}
        self._refused: dict[str, LogTags | None] = {}
        """What an instance has given, and there was no room for."""
        self._awaited: set[str] = set()
        self._said: tuple[Rendered, bool] | None = None
        self._lock = threading.Lock()

    def expect(self, instance: str) -> None:
        """It will give something."""
        self._awaited.add(instance)

    def begin(self) -> None:
        """All who will are expected by now. Where that is nobody, lines have nothing to wait for."""
        with self._lock:
            if self._awaited:
                self._patience.start()
            else:
                self._tell()

    def take(self, instance: str, tags: LogTags | None) -> str:
        """What an instance gives from now on. Answers why it was refused, and what it gave before stays; or nothing."""
        with self._lock:
            self._awaited.discard(instance)
            self._refused.pop(instance, None)
            size = self._try(instance, tags)
            if size > LONGEST:
                self._refused[instance] = tags
            for other, refused in [*self._refused.items()]:  # there may be room for it now
                if other != instance and self._try(other, refused) <= LONGEST:
                    del self._refused[other]
            self._tell()
        if size <= LONGEST:
            return ""
        return f"with them all tags take {size} bytes in each line, and no more than {LONGEST} are allowed"

    def _try(self, instance: str, tags: LogTags | None) -> int:
        """Let these be an instance's, unless all together are too much then. Answers how many bytes they are."""
        given = {**self._given, instance: tags}
        rendered = render(tags for tags in given.values() if tags is not None)
        size = max((len(members) + len(prefix) for members, _, prefix in rendered.values()), default=0)
        if size <= LONGEST:
            self._given, self._rendered = given, rendered
        return size

    def _wait_no_longer(self) -> None:
        with self._lock:
            self._awaited.clear()
            if self._rendered:  # else the tags that a daemon before this one gave are better
                self._tell()

    def _tell(self) -> None:
        if not self._awaited:
            self._patience.cancel()
        now = self._rendered, not self._awaited
        if now != self._said:
            self._said = now
            # With the lock held: of two threads that say something, the later has the last word.
            self._say(*now)


def render(given: Iterable[LogTags]) -> Rendered:
    """The tags of each stream that has any."""
    given = list(given)
    rendered: Rendered = {}
    for stream in get_args(StreamName):
        members: dict[str, Any] = {}
        text = "untouched"
        for tags in given:
            if stream in tags.streams:
                _merge(members, tags)
                text = tags.text if tags.text != "untouched" else text
        if members or text == "json":
            json = dumps(members, separators=(",", ":"))[1:-1].encode("ascii")
            rendered[stream] = json, text, _prefix(members) if text == "prefix" else b""
    return rendered


def _merge(members: dict[str, Any], tags: LogTags) -> None:
    fields = {_valid(name): _valid(value) for name, value in tags.fields.items()}
    if not tags.key:
        members |= fields
    elif fields:
        there = members.get(tags.key)
        members[_valid(tags.key)] = (there if isinstance(there, dict) else {}) | fields


def _valid(value: Any) -> Any:
    """Bytes that were no UTF-8 are surrogates by now, at which some stores refuse the whole line."""
    return _SURROGATE.sub("\ufffd", value) if isinstance(value, str) else value


def _prefix(members: Mapping[str, Any], of: str = "") -> bytes:
    """``pod.name=web-0 pod.note="two words" ``"""
    made = b""
    for name, value in members.items():
        if isinstance(value, dict):
            made += _prefix(value, f"{of}{name}.")
        else:
            made += b"%b=%b " % (
                _quoted(of + name),
                _quoted(value if isinstance(value, str) else dumps(value)),
            )
    return made


def _quoted(text: str) -> bytes:
    return (text if _PLAIN.fullmatch(text) else dumps(text)).encode("ascii")
