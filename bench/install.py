"""kmetad as a user has it: installed from the checkout into an environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from dataclasses import dataclass

from bench.contenders import ROOT


@dataclass(frozen=True, slots=True)
class Installed:
    """Where kmetad is: its command, and the interpreter beside it."""

    script: str
    python: str
    fault: str | None = None
    """Why it is not the clean environment but the bench's own."""


def install(directory: str) -> Installed:
    """``pip install .`` by the pip that comes with Python, in a new environment under ``directory``.

    The bench's own is no measure: editable installs and development tools slow each start of its interpreter.
    It is taken all the same if packages can't be fetched.
    """
    home = os.path.join(directory, "clean")
    python = os.path.join(home, "bin", "python")
    try:
        venv.create(home, with_pip=True)
        _pip(python, ROOT)
    except subprocess.CalledProcessError as failed:
        return _own(failed)
    return Installed(os.path.join(home, "bin", "kmetad"), python)


def with_plugin(installed: Installed, name: str) -> Installed:
    """The same with one of the plugins of ``plugins/``, or the bench's own if that can't be fetched."""
    if installed.fault is None:
        try:
            _pip(installed.python, os.path.join(ROOT, "plugins", name))
        except subprocess.CalledProcessError as failed:
            return _own(failed)
    return installed


def _pip(python: str, project: str) -> None:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input")
    subprocess.run(
        [python, "-m", "pip", "install", *quiet, project], check=True, capture_output=True, text=True
    )


def _own(failed: subprocess.CalledProcessError) -> Installed:
    said = str(failed.stderr or failed.stdout or failed).strip().splitlines()
    beside = os.path.join(os.path.dirname(sys.executable), "kmetad")
    return Installed(beside, sys.executable, said[-1] if said else "pip failed")
