"""How kmetad's interpreter is started for another process of kmetad's own."""

from __future__ import annotations

import os
import sys


def options() -> list[str]:
    """So that it finds the same modules, and none that happen to lie where the app runs (-P, python(1))."""
    if sys.flags.isolated:
        return ["-I"]
    home = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    try:
        in_checkout = os.path.samefile(home, ".")  # one that isn't installed
    except OSError:
        in_checkout = False
    return [] if in_checkout else ["-P"]
