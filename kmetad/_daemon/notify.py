"""sd_notify(3): what a service says to the service manager that started it, a datagram a message.

Nothing here is systemd's own code: whoever sets ``$NOTIFY_SOCKET`` is spoken to (systemd, and others
that do as it does).
"""

from __future__ import annotations

import socket
from collections.abc import MutableMapping
from typing import Any

_SOCKET, _USEC, _PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"

_PATIENCE = 5.0
"""Seconds that a manager has for taking a message, where its queue is full."""


class Notify:
    """The socket that ``environ`` names; none is no fault: then nothing is said.

    The variables are taken out, so that what plugins start doesn't speak in the daemon's name; ``hand_over``
    puts them back. From any thread.
    """

    def __init__(self, environ: MutableMapping[str, str], log: Any) -> None:
        self._environ = environ
        self._taken = {name: environ.pop(name) for name in (_SOCKET, _USEC, _PID) if name in environ}
        self._path = _address(self._taken.get(_SOCKET, ""))
        self._log = log
        self._failed = False

    def __bool__(self) -> bool:
        """Whether there is somebody to speak to."""
        return bool(self._path)

    def watchdog_usec(self, pid: int) -> int:
        """Microseconds within which this process has to say WATCHDOG=1, again and again; 0: it needn't.

        As sd_watchdog_enabled(3): where $WATCHDOG_PID says another process, that one is meant.
        """
        usec, meant = self._taken.get(_USEC, ""), self._taken.get(_PID, "")
        if not self._path or (meant and meant != str(pid)):
            return 0
        return int(usec) if usec.isascii() and usec.isdigit() else 0

    def say(self, **fields: str | int) -> bool:
        """Say ``NAME=value`` for each; True if it was said. A failure is logged, once until it works again."""
        if not self._path:
            return False
        message = "\n".join(f"{name}={value}" for name, value in fields.items())
        try:
            # Connected, so that a full queue can be waited for; a new one each time, as the manager may be, too.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
                to.settimeout(_PATIENCE)
                to.connect(self._path)
                to.send(message.encode("utf-8", "replace"))
            self._failed = False
            return True
        except OSError as error:
            if not self._failed:
                self._failed = True
                self._log.warning(
                    "notify.failed",
                    socket=self._taken[_SOCKET],
                    error=str(error),
                    effect="the service manager doesn't get to know how kmetad is",
                )
            return False

    def hand_over(self) -> None:
        """The program that this process is replaced with is to find the variables as they were."""
        self._environ.update(self._taken)


def _address(named: str) -> str:
    """As the kernel has it: a path, or behind ``@`` an abstract name (unix(7)). Anything else is none."""
    if named.startswith("@") and len(named) > 1:
        return f"\0{named[1:]}"
    return named if named.startswith("/") else ""
