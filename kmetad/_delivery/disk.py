"""Keeps what the lanes remember on disk as well, as ``[state] dir`` asks for.

A lane waits for its own write, not for others': of several that come at once, one writes for all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from kmetad._delivery.record import State, Unreadable, decode
from kmetad._delivery.statefile import StateFile
from kmetad.status import StateStatus


class Disk:
    """See the module. Where the directory fails, the lanes go on without it; ``log`` says so, once.

    ``encode`` answers the record's content as it is now; it is called by one thread at a time.
    """

    def __init__(self, directory: str, encode: Callable[[], bytes], log: Any) -> None:
        self.directory = directory
        self.error = ""
        """Why nothing can be kept now; empty if it is."""
        self._encode = encode
        self._log = log
        self._file: StateFile | None = None
        self._asking = threading.Lock()
        self._writing = threading.Lock()
        self._asked = self._written = 0
        try:
            self._file = StateFile(directory)
        except BlockingIOError:
            self._fail(
                "another process of kmetad uses it",
                "give each its own directory: `dir` in [state]",
            )
        except OSError as error:
            self._fail(_said(error), "mount a volume there that kmetad's user may write, such as an emptyDir")

    def status(self) -> StateStatus:
        """How it is."""
        return StateStatus(self.directory, self.error)

    def read(self) -> State | None:
        """What a container before this one remembered; None where there is nothing, or nothing of use."""
        file = self._file
        if file is None:
            return None
        try:
            content = file.read()
            if content is None:
                return None
            state = decode(content)
        except (OSError, Unreadable) as error:
            self._set_aside(file, _said(error) if isinstance(error, OSError) else str(error))
            return None
        for lane in state.lanes:
            lane.crashes, lane.in_tell = 0, b""  # those of another container
        return state

    def save(self) -> None:
        """Returns when all that the lanes remember by now is there, or can't be."""
        with self._asking:
            self._asked += 1
            mine = self._asked
        with self._writing:
            if self._file is None or self._written >= mine:
                return
            covered = self._asked
            try:
                self._file.write(self._encode())
            except (OSError, MemoryError) as error:
                self._fail(_said(error), "it is tried again with the next delivery")
            else:
                self._written = covered
                if self.error:
                    self.error = ""
                    self._log.info("state.recovered", dir=self.directory)

    def close(self) -> None:
        """Write no more, and leave the directory to others."""
        with self._writing:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _set_aside(self, file: StateFile, reason: str) -> None:
        try:
            kept = file.set_aside()
        except OSError as error:
            kept = f"where it was: {_said(error)}"
        self._log.error(
            "state.unreadable", file=file.path, reason=reason, kept=kept, effect="every plugin starts afresh"
        )

    def _fail(self, error: str, remedy: str) -> None:
        if not self.error:
            self._log.error(
                "state.failed",
                dir=self.directory,
                error=error,
                effect="a restart of the container may tell plugins again what they know",
                remedy=remedy,
            )
        self.error = error


def _said(error: BaseException) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return type(error).__name__
