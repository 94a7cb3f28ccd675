"""Finds the TOML. Imports next to nothing: an app that has none waits for this."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_FILE = "/etc/kmetad/kmetad.toml"


def find(option: str | None, environ: Mapping[str, str], default: str = DEFAULT_FILE) -> str | None:
    """The file to load: ``-c``, else ``$KMETAD_CONFIG``, else the default if it is there. Empty: none."""
    named = environ.get("KMETAD_CONFIG") if option is None else option
    if named is not None:
        return named or None
    try:
        os.lstat(default)  # a link that leads nowhere is there, and is a fault
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError:
        pass  # loading it will tell why
    return default
