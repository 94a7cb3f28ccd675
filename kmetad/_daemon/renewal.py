"""A new configuration: found free of faults, its plugins included, before it takes the place of the one in force."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable

from kmetad._supervisor import interpreter

_PATIENCE = 60.0
"""Seconds that a check may take: a plugin's import may hang."""

_ERROR = "error: "


class Renewal(threading.Thread):
    """Checks a file, and calls ``done``.

    ``kmetad check`` does it, in a process of its own: a plugin has to be imported to be
    checked, and what a process has imported, it keeps.
    """

    def __init__(self, file: str | None, done: Callable[[], object]) -> None:
        super().__init__(name="kmetad-check", daemon=True)
        self.file = file
        """None: there is none, so the defaults are to come into force."""
        self.outdated = False
        """Somebody asked again since, and the file may be another."""
        self.faults: list[str] = []
        """What is wrong, one sentence each; once it is done."""
        self._done = done

    def run(self) -> None:
        """See the class."""
        try:
            self.faults = _faults_of(self.file)
        except (OSError, subprocess.SubprocessError) as error:
            self.faults = [f"{self.file} can't be checked: {error}"]
        self._done()


def _faults_of(file: str | None) -> list[str]:
    checked = subprocess.run(
        [sys.executable, *interpreter.options(), "-m", "kmetad", "check", "--config", file or ""],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "NO_COLOR": "1"},
        timeout=_PATIENCE,
        check=False,
    )
    if checked.returncode in (0, 1):
        return []
    said = checked.stderr.decode("utf-8", "backslashreplace").splitlines()
    faults = [line.removeprefix(_ERROR) for line in said if line.startswith(_ERROR)]
    return faults or [f"`kmetad check` ended with {checked.returncode}", *said[-1:]]
