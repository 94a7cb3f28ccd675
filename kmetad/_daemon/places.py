"""Where the status socket is: the daemon takes the first place that it can, ``kmetad status`` asks in the same order.

Imports next to nothing: probes run ``kmetad status`` again and again.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NAME = "kmetad.sock"
FALLBACK = "/run/kmetad"
"""Where nothing else is said; the daemon makes it where it can."""

_LONGEST = 107
"""Bytes of a path that ``sun_path`` holds, without the NUL at its end (unix(7))."""


class Place:
    """A directory, and what names it: ``$XDG_RUNTIME_DIR``; empty for ``FALLBACK``, which nobody has to name."""

    __slots__ = ("directory", "named_by")

    def __init__(self, directory: str, named_by: str = "") -> None:
        self.directory = directory
        self.named_by = named_by

    def __str__(self) -> str:
        return f"{self.directory} ({self.named_by})" if self.named_by else self.directory


def places(state_dir: str | None, environ: Mapping[str, str], fallback: str = FALLBACK) -> list[Place]:
    """``[state] dir``, if there is one, and the runtime directories; each directory once.

    Relative paths in the environment mean nothing, as the XDG Base Directory Specification has it.
    """
    named = [Place(state_dir, "[state] dir")] if state_dir else []
    # Of several RuntimeDirectory= systemd.exec(5) makes one variable.
    named += [Place(path, "$RUNTIME_DIRECTORY") for path in environ.get("RUNTIME_DIRECTORY", "").split(":")]
    named += [Place(environ.get("XDG_RUNTIME_DIR", ""), "$XDG_RUNTIME_DIR"), Place(fallback)]
    found: dict[str, Place] = {}
    for place in named:
        if place.directory.startswith("/") and "\0" not in place.directory:
            found.setdefault(os.path.normpath(place.directory), place)
    return list(found.values())


def reach(directory: str, call: Callable[[str], object], *, descriptors: str = "/proc/self/fd") -> None:
    """Have a socket bound or connected, by ``call``, to the name in a directory, however long the path of that is.

    Raises what ``call`` does, and OSError where the path is too long and can't be made shorter.
    """
    path = f"{directory}/{NAME}"
    if len(os.fsencode(path)) <= _LONGEST:
        call(path)
        return
    if not os.path.isdir(descriptors):
        reason = f"its path is longer than a socket's may be ({_LONGEST} bytes), and there is no /proc"
        raise OSError(errno.ENAMETOOLONG, reason)
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        call(f"{descriptors}/{descriptor}/{NAME}")
    finally:
        os.close(descriptor)
