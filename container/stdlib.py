"""The interpreter and its standard library, but for what nothing in a container calls."""

from __future__ import annotations

import fnmatch
import os
import shutil
import sys
import sysconfig
from pathlib import Path

VERSION = f"python{sys.version_info[0]}.{sys.version_info[1]}"

LEFT_OUT = (
    "__pycache__",
    "site-packages",
    "dist-packages",
    "config-*",  # for those who link against Python
    "*.a",
    "EXTERNALLY-MANAGED",
    "*customize.py",  # the distribution's, for its own interpreter
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtle.py",
    "turtledemo",
    "lib2to3",
    "ensurepip",  # pip's wheels
    "venv",  # no use without it
    "distutils",
    "msilib",
    "pydoc_data",
    "curses",  # needs terminfo, which an empty image hasn't
    "_tkinter.*",
    "_curses*.so",
    "readline.*",  # GPL, and nobody types here
    "_gdbm.*",  # GPL
    "_dbm.*",
    "nis.*",
    "ossaudiodev.*",
    "_ctypes_test*",
    "_test*.so",
    "_xxtest*.so",
    "xxlimited*",
)
"""Names of files and directories. `dbm.dumb`, `sqlite3` and all else that a plugin may import stay."""


def interpreter() -> Path:
    """The real file of the interpreter that runs this, in an environment or not."""
    return Path(os.path.realpath(sys._base_executable))  # type: ignore[attr-defined]


def home() -> Path:
    """The directory of its standard library."""
    return Path(sysconfig.get_path("stdlib"))


def place(tree: Path) -> Path:
    """Where that is in a bundle."""
    return tree / "lib" / VERSION


def copy(target: Path) -> dict[Path, Path]:
    """Copy it; answers each file's origin."""
    origins = {}

    def one(source: str, copied: str) -> str:
        origins[Path(copied)] = Path(source)
        return shutil.copyfile(source, copied)

    shutil.copytree(home(), target, ignore=_left_out, copy_function=one)
    return origins


def _left_out(_: str, names: list[str]) -> set[str]:
    return {name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in LEFT_OUT)}
