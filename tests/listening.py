"""A service manager of the test's own: the socket that ``$NOTIFY_SOCKET`` names, and what is said to it."""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path

from tests.cli import DEADLINE


class Listening:
    """See the module. ``path`` is the socket's: of a file, or behind ``@`` an abstract one."""

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        self.heard: list[dict[str, str]] = []
        """Every message, its values by their names."""
        self.pids: list[int] = []
        """Who said each."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.settimeout(DEADLINE)
        self._socket.bind(self.path.replace("@", "\0", 1) if self.path.startswith("@") else self.path)

    def hear(self) -> dict[str, str]:
        """The next message; fails the test if none comes."""
        data, ancillary, _, _ = self._socket.recvmsg(4096, socket.CMSG_SPACE(12))
        self.pids.append(int.from_bytes(ancillary[0][2][:4], "little"))
        self.heard.append(dict(line.partition("=")[::2] for line in data.decode().splitlines()))
        return self.heard[-1]

    def until(self, name: str, value: str | None = None) -> dict[str, str]:
        """The next message that has this name in it, with a value that begins so."""
        while True:
            message = self.hear()
            if name in message and message[name].startswith(value or ""):
                return message

    def waiting(self) -> bool:
        """Whether there is a message that nobody has heard yet."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()
        if not self.path.startswith("@"):
            os.unlink(self.path)
