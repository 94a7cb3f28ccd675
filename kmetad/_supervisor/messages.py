"""What the wrapper itself has to say: lines on standard error that start with ``kmetad: ``."""

from __future__ import annotations

import os

_STDERR = 2
_LONGEST = 4096
"""Bytes. So much goes into a pipe at once or not at all, and fits where poll(2) says that there is room (pipe(7))."""


def say(text: str) -> None:
    """Write a message. It is dropped where it would block: nobody reads, and the app's signals can't wait for that."""
    import select

    data = "".join(f"kmetad: {line}\n" for line in text.splitlines()).encode("utf-8", "backslashreplace")
    poll = select.poll()
    poll.register(_STDERR, select.POLLOUT)
    try:
        if poll.poll(0):
            os.write(_STDERR, data if len(data) <= _LONGEST else data[: _LONGEST - 4] + b"...\n")
    except OSError:
        pass  # whoever read has gone
