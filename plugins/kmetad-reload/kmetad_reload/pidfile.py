"""A signal to the process that a pid file names."""

from __future__ import annotations

import os
import signal

from kmetad import Fail

_LONGEST = 32
_LARGEST = 2**31 - 1  # pid_t


def send(number: signal.Signals, pid_file: str) -> int:
    """Send it; answers the process's number.

    Raises Fail, which says what to do, if the file or the process isn't as it should be.
    """
    pid = read_pid(pid_file)
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise Fail(
            f"no process {pid}, which {pid_file} names: the app has ended, or left a stale file"
        ) from None
    except PermissionError:
        raise Fail(
            f"not permitted to signal process {pid} of {pid_file}: it runs as another user; "
            f"run kmetad as the same user, or give it the capability KILL"
        ) from None
    return pid


def read_pid(pid_file: str) -> int:
    """The number in a pid file. Raises Fail."""
    try:
        # Not blocking: a named pipe would wait for a writer for ever.
        with open(os.open(pid_file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            text = (file.read(_LONGEST) or b"").strip()
    except OSError as error:
        raise Fail(
            f"{pid_file} can't be read: {error.strerror}; "
            f"is the app up, and in the same mount and process namespace?"
        ) from None
    if not text:
        raise Fail(f"{pid_file} is empty: the app is starting, or ended")
    if not text.isdigit():
        # Also refuses -1 and the like, which kill(2) takes for every process there is.
        raise Fail(f"{pid_file} holds no process number")
    pid = int(text)
    if pid > _LARGEST:
        raise Fail(f"{pid_file} holds no process number: it is too large for one")
    if pid == os.getpid():
        raise Fail(f"{pid_file} names process {pid}, which is kmetad itself: the app left a stale file")
    if pid == 0:
        raise Fail(f"{pid_file} names process 0, which is our own process group to kill(2)")
    return pid
