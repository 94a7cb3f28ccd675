"""The standard streams of a daemon: there are always three, and what is printed goes where the log goes."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper


def have_streams() -> None:
    """Whoever closed standard error wants no log; but no other file may get its number. Before any is opened."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, errors="backslashreplace"))  # noqa: SIM115  # for life


def redirect_stdout() -> None:
    """Standard output is the app's: what a plugin prints goes where the log goes, line by line."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
