"""New configurations: seen or asked for, found free of faults, and only then given to the next daemon.

HUP has the file read at once. One that changed by itself is left to settle: an editor
writes in several steps, and each new configuration costs a check and a start.

What was checked is what the next daemon takes, byte by byte, whatever the file holds
by then; if it isn't the same, that one will see.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from kmetad._config import Loaded
from kmetad._daemon.arguments import Arguments
from kmetad._sources.file import File
from kmetad.errors import SourceError

SETTLE = 1.0
"""Seconds for which a file that changed has to stay as it is before it is checked."""
LONGEST = 10.0
"""Seconds after which it is checked even though it still changes."""

_PATIENCE = 60.0
"""Seconds that a check may take: a plugin's import may hang."""


class Renewal:
    """What becomes of the configuration while a daemon runs. For the main thread, but for ``seen``.

    ``loaded`` is in force. ``named`` answers which file HUP is about; ``wrapped``: there is an
    app. ``wake`` is called, on another thread, when the main one has to ``proceed``; ``refused``
    with what is wrong with the newest version of the file, a sentence each, and with nothing once it is mended.
    """

    def __init__(
        self,
        loaded: Loaded,
        named: Callable[[], str | None],
        wake: Callable[[], object],
        refused: Callable[[Sequence[str]], object],
        log: Any,
        *,
        wrapped: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.file: str | None = None
        """The file that was found free of faults; None: there is none, so the defaults are to come into force."""
        self.content: int | None = None
        """A descriptor of what was in it then; None where the system has no memory files."""
        self._in_force = loaded.content
        self._named = named
        self._wake = wake
        self._refused = refused
        self._log = log
        self._wrapped = wrapped
        self._clock = clock
        self._watched = loaded.file
        self._news: bytes | str | None = None
        self._heard: bytes | str | None = None
        self._lost = ""  # why the file can't be read, if that was said
        self._since: float | None = None  # when it began to change; None: it has settled
        self._settled_at = 0.0
        self._asked = False
        self._check: _Check | None = None
        self._is_refused = False
        self._faulty: bytes | None = None  # what was refused; None also where it couldn't be read

    def seen(self, news: bytes | str) -> None:
        """The file has another content than before; or, as a text, why it can't be read. From any thread."""
        self._news = news
        self._wake()

    def ask(self) -> None:
        """The file is to be read now, whatever is in it."""
        self._asked = True

    def patience(self) -> float | None:
        """In how many seconds there is something to do although nobody wakes; None: never."""
        if self._since is None or self._check is not None:
            return None
        return max(0.0, self._settled_at - self._clock())

    def proceed(self) -> bool:
        """Do what is to be done now; True once ``file`` is to take the place of what is in force."""
        if self._news is not self._heard:
            self._heard = self._news
            now = self._clock()
            self._since = now if self._since is None else self._since
            self._settled_at = min(now + SETTLE, self._since + LONGEST)
        if self._check is not None:
            if not self._check.done:
                return False
            check, self._check = self._check, None
            if self._conclude(check):
                return True
        if self._asked:
            self._asked = False
            self._begin(self._named())
        elif self._since is not None and self._clock() >= self._settled_at:
            self._since = None
            self._settled()
        return False

    def _settled(self) -> None:
        """The watched file is as it is to be."""
        news = self._heard
        if isinstance(news, str):
            if news != self._lost:
                self._log.error("config.lost", error=news, effect="what was read before stays in force")
            self._lost = news
            return
        if self._lost:
            self._lost = ""
            self._log.info("config.found", file=self._watched)
        if news == self._in_force:
            if self._is_refused:
                self._is_refused, self._faulty = False, None
                self._refused(())
                self._log.info("config.mended", file=self._watched, effect="it is again what is in force")
        elif news != self._faulty:
            self._begin(self._watched)

    def _begin(self, file: str | None) -> None:
        self._check = _Check(file, self._wrapped, self._wake)
        try:
            self._check.start()
        except RuntimeError as error:  # the kernel gives no thread
            self._check.fail(error)

    def _conclude(self, check: _Check) -> bool:
        if not check.faults:
            self._log.info("config.reloading", file=check.file)
            self.file, self.content = check.file, check.descriptor
            return True
        check.close()
        if self._asked:
            return False  # the file may be another by now
        for fault in check.faults:
            self._log.error("config.fault", fault=fault)
        self._log.error(
            "config.kept", reason="the new configuration has faults; the one before stays in force"
        )
        self._is_refused, self._faulty = True, check.content
        self._refused(check.faults)
        return False


class _Check(threading.Thread):
    """Reads and checks a file, and calls ``wake``."""

    def __init__(self, file: str | None, wrapped: bool, wake: Callable[[], object]) -> None:
        super().__init__(name="kmetad-check", daemon=True)
        self.file = file
        self.content: bytes | None = None
        """What was in the file; None if it can't be read."""
        self.descriptor: int | None = None
        """The same, as a file."""
        self.faults: list[str] = []
        """What is wrong, one sentence each; once it is ``done``."""
        self.done = False
        self._wrapped = wrapped
        self._wake = wake

    def run(self) -> None:
        """See the class."""
        try:
            if self.file is not None:
                self.content = File(self.file).read()
                self.descriptor = _memory_file(self.content)
            self._end(self._find())
        except SourceError as error:
            self._end([str(error)])
        except Exception as error:  # whatever it is, it is no reason to end
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """It can't be done."""
        self._end([f"{self.file} can't be checked: {error!r}"])

    def _end(self, faults: list[str]) -> None:
        self.faults = faults
        self.done = True
        self._wake()

    def close(self) -> None:
        """Give back what was borrowed."""
        if self.descriptor is not None:
            os.close(self.descriptor)

    def _find(self) -> list[str]:
        process = Arguments(self.file or "", content=self.descriptor, check=True, wrapped=self._wrapped)
        checked = subprocess.run(
            process.argv(),
            pass_fds=() if self.descriptor is None else (self.descriptor,),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
        if checked.returncode == 0:
            faults: list[str] = json.loads(checked.stdout)
            return faults
        last_words = checked.stderr.decode("utf-8", "backslashreplace").splitlines()[-1:]
        return [f"{self.file}: its check ended with {checked.returncode}: {' '.join(last_words)}"]


def _memory_file(content: bytes) -> int | None:
    try:
        descriptor = os.memfd_create("kmetad-config")
    except (AttributeError, OSError):
        return None  # not with this C library or kernel: the next daemon reads the file itself
    with open(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return descriptor
