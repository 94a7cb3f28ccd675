"""The status socket: whoever connects gets one JSON document, and then the end of the connection.

Only the user who runs the daemon may connect, and root. One thread answers, asleep in
accept(2) until somebody comes; who doesn't read makes others wait for a moment, never the daemon.

Of several daemons one has the name: the one that holds the lock beside it. So what a dead
one left behind is known for that, even where two that start at once find it.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from kmetad._daemon.places import FALLBACK, NAME, Place, reach

_QUEUE = 16
"""Clients that wait in the kernel until it is their turn."""

_LOCK = f"{NAME}.lock"


class _Taken(Exception):
    """The name is somebody else's, and ``kmetad status`` would ask them first."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.remedy = remedy


class StatusSocket:
    """See the module. ``document`` makes what is sent; it is called on the socket's own thread.

    ``patience``: seconds that somebody has for taking it, beyond what the kernel buffers (200 KiB or so).
    """

    def __init__(
        self, places: Iterable[Place], document: Callable[[], bytes], log: Any, *, patience: float = 1.0
    ) -> None:
        self._places = places
        self._document = document
        self._log = log
        self._patience = patience
        self._held: _Held | None = None
        self._closing = False

    def start(self) -> None:
        """Take the first place where that is possible, and answer from there; says so where there is none."""
        reasons = []
        for place in self._places:
            try:
                self._held = _Held(place)
                self._thread(self._held.listener).start()
            except _Taken as taken:
                self._log.warning("status.unavailable", reason=str(taken), remedy=taken.remedy)
                return
            except OSError as error:
                reasons.append(f"{place}: {error.strerror}")
                continue
            except RuntimeError as error:  # no thread can be started: the kernel's limits say so
                self.close()
                self._log.warning("status.unavailable", reason=str(error))
                return
            self._log.debug("status.listening", socket=f"{place.directory}/{NAME}")
            return
        self._log.info(
            "status.unavailable",
            reason=f"no directory can hold its socket: {'; '.join(reasons)}",
            remedy=f"for `kmetad status`, set [state] dir, or mount an emptyDir at {FALLBACK}",
        )

    def close(self) -> None:
        """Give the place back."""
        self._closing = True
        if self._held is not None:
            self._held.release()
            self._held = None

    def _thread(self, listener: socket.socket) -> threading.Thread:
        return threading.Thread(target=self._serve, args=(listener,), name="kmetad-status", daemon=True)

    def _serve(self, listener: socket.socket) -> None:
        failed = False
        while True:
            try:
                connection, _ = listener.accept()
                with connection:
                    self._answer(connection)
                failed = False
            except Exception as error:  # no descriptor or no memory is left, say
                if self._closing:
                    return
                if not failed:
                    self._log.error("status.failed", error=f"{type(error).__name__}: {error}", exc_info=True)
                    failed = True
                time.sleep(self._patience)  # who waits in the queue is still there then

    def _answer(self, connection: socket.socket) -> None:
        document = self._document()
        connection.settimeout(self._patience)
        try:
            connection.sendall(document)
        except OSError:
            pass  # whoever asked has gone, or doesn't read


class _Held:
    """The name in a directory, bound for as long as this process holds the lock.

    Raises OSError where no socket can be made, and ``_Taken``.
    """

    def __init__(self, place: Place) -> None:
        directory = place.directory
        if not place.named_by:  # what somebody named is theirs to make
            try:
                os.mkdir(directory, 0o700)
            except FileExistsError:
                pass
        self._path = f"{directory}/{NAME}"
        self._lock = _locked(directory)
        try:
            _remove_dead(self._path)
            self.listener = _listening(directory)
        except BaseException:
            os.close(self._lock)
            raise
        self._identity = _identity(self._path)

    def release(self) -> None:
        """Remove the name, if it is still this one's; then let go of the lock, whose file stays for the next."""
        try:
            if self._identity is not None and _identity(self._path) == self._identity:
                os.unlink(self._path)
        except OSError:
            pass  # somebody was faster, or the volume has gone
        try:
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes accept(2), which close(2) doesn't
        except OSError:
            pass
        self.listener.close()
        os.close(self._lock)


def _locked(directory: str) -> int:
    """The lock's descriptor, with the lock.

    A record lock (fcntl_locking(2)) ends with the process, or where it becomes another by exec,
    and never sooner or later: what a plugin has forked inherits the socket, but not the lock.
    """
    path = f"{directory}/{_LOCK}"
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise _Taken(
            f"another daemon of kmetad has {directory}/{NAME}",
            "give each a directory of its own: [state] dir, or in a Pod an emptyDir for each container",
        ) from None
    except OSError:
        os.close(lock)
        raise
    return lock


def _remove_dead(path: str) -> None:
    """The socket of a daemon that was killed. Whoever has the lock knows that it is nobody's."""
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise _Taken(f"{path} is no socket, so it isn't kmetad's", "remove it, or set another [state] dir")
    os.unlink(path)


def _listening(directory: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # bind(2) makes the name with the mode of the socket: nobody else may connect from its first moment on.
        os.fchmod(listener.fileno(), 0o600)
        reach(directory, listener.bind)
        listener.listen(_QUEUE)
    except BaseException:
        listener.close()
        raise
    return listener


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
