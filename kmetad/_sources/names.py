"""Names for volumes that nobody named."""

from __future__ import annotations

import os
from collections.abc import Container


def unique_name(path: str, taken: Container[str]) -> str:
    """The last part of a path (``/etc/podinfo``: ``podinfo``), with a number if that is taken."""
    base = os.path.basename(os.path.abspath(path)) or "root"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name
