"""``python -m container.bundle``: kmetad with its own interpreter, as a tree for a fixed place.

It carries what runs it: this interpreter with its standard library, the shared libraries that these need
down to the C library and its loader, and those distributions of the environment it runs in that are kmetad,
its plugins, and what they require. So whoever makes the environment decides what is in the bundle.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

from container import distributions, libraries, licences, stdlib

PREFIX = "/opt/kmetad"
EPOCH = 315532800  # seconds: 1980, before which some archives can't hold a time
HERE = Path(__file__).parent
ROOT = Path("build/bundle")
COMPILERS = 2
"""Processes that compile. A constant: what one has compiled before shows in the next file's code."""


def epoch() -> int:
    """The time of all files, in seconds since 1970 (https://reproducible-builds.org/docs/source-date-epoch/)."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or EPOCH)


def build(root: Path, prefix: str = PREFIX) -> Path:
    """Make the bundle for ``prefix`` under ``root``, where nothing must be; answers the tree's own directory.

    Raises libraries.Missing, which says what to install, and OSError.
    """
    tree = root / prefix.lstrip("/")
    (tree / "bin").mkdir(parents=True)
    # Beside the real file, whose directory then is sys.prefix: this and nothing else is where modules come
    # from, whatever the app's PYTHONPATH and PYTHONHOME say, and without `site`, which costs a quarter of
    # the interpreter's start (https://docs.python.org/3/library/sys_path_init.html#pth-files).
    interpreter = tree / "python3"
    library, packages = stdlib.place(tree), stdlib.place(tree) / "site-packages"
    shutil.copy(stdlib.interpreter(), interpreter)
    (tree / "bin" / "python3").symlink_to("../python3")
    paths = (library, library / "lib-dynload", packages)
    (tree / "python3._pth").write_text("".join(f"{path.relative_to(tree)}\n" for path in paths))

    origins = {interpreter: stdlib.interpreter()}
    origins |= stdlib.copy(library)
    carried = distributions.carried()
    for distribution in carried:
        origins |= distributions.copy(distribution, packages)
    # -I: python3._pth is read too late to keep it from PYTHONHASHSEED, PYTHONINSPECT and the like.
    for script in (Path(sysconfig.get_path("scripts"), "kmetad"), HERE / "kmetad-copy"):
        _, _, body = script.read_text().partition("\n")
        (tree / "bin" / script.name).write_text(f"#!{prefix}/bin/python3 -I\n{body}")

    binaries = {file: origin for file, origin in origins.items() if libraries.is_elf(file)}
    shared = libraries.copy(binaries, tree, prefix)
    licences.write(tree, carried, shared)
    _compile(tree, prefix)
    _settle(root)
    return tree


def _compile(tree: Path, prefix: str) -> None:
    """Compile everything, to code that is never compared with its source: its times may be anything."""
    sources = [str(path) for path in sorted(tree.rglob("*.py"))]
    command = [sys.executable, "-I", "-m", "compileall", "-q", "-f", "--invalidation-mode=unchecked-hash"]
    command += ["-s", str(tree), "-p", prefix, "-i", "-"]
    environ = {"PYTHONHASHSEED": "0"}
    running = []
    for number in range(COMPILERS):
        process = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, text=True)
        running.append((process, "\n".join(sources[number::COMPILERS])))
    for process, mine in running:
        process.communicate(mine)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)


def _settle(root: Path) -> None:
    """One time and plain modes for all files: who built it, and when, makes no difference."""
    when = epoch()
    for path in (*root.rglob("*"), root):
        if not path.is_symlink():
            runs = path.is_dir() or path.parent.name == "bin" or path.name == "python3" or ".so" in path.name
            path.chmod(0o755 if runs else 0o644)
        os.utime(path, (when, when), follow_symlinks=False)


def archive(root: Path, file: Path) -> None:
    """Write all that is under ``root`` as a tar, .gz or not by the file's name, in one order and with no owner."""
    when = epoch()

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = when
        if member.isdir():
            member.mode = 0o755
        return member

    def write(stream: object) -> None:
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for path in _sorted(root):
                tar.add(path, str(path.relative_to(root)), recursive=False, filter=plain)

    with file.open("wb") as stream:
        if file.suffix == ".gz":
            with gzip.GzipFile("", "wb", fileobj=stream, compresslevel=6, mtime=0) as packed:
                write(packed)
        else:
            write(stream)


def _sorted(root: Path) -> Iterator[Path]:
    """Directories before what is in them, each by name."""
    yield from sorted(root.rglob("*"))


def size(tree: Path) -> int:
    """Bytes in all files."""
    return sum(path.lstat().st_size for path in tree.rglob("*") if not path.is_dir())


def main() -> int:
    """Build it; 0, or 1 if something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m container.bundle", description=__doc__, allow_abbrev=False
    )
    parser.add_argument(
        "--prefix", default=PREFIX, help="the place it is for (%(default)s): it works nowhere else"
    )
    parser.add_argument(
        "--root", type=Path, default=ROOT, help="build it under this (%(default)s, which is made anew)"
    )
    parser.add_argument("--archive", type=Path, metavar="DIRECTORY", help="write an archive of it there, too")
    options = parser.parse_args()
    if not options.prefix.startswith("/") or any(map(str.isspace, options.prefix)):
        parser.error("--prefix: an absolute path, without blanks: the first line of a script can't hold them")
    if options.root != ROOT and options.root.exists() and any(options.root.iterdir()):
        parser.error(f"--root: {options.root} isn't empty; name a directory that isn't there yet")
    shutil.rmtree(options.root, ignore_errors=True)
    try:
        tree = build(options.root, options.prefix)
    except libraries.Missing as missing:
        print(f"container.bundle: {missing}", file=sys.stderr)
        return 1
    print(f"{tree}: {size(tree) / 1e6:.1f} MB")
    if options.archive:
        options.archive.mkdir(parents=True, exist_ok=True)
        version = distributions.version("kmetad")
        file = options.archive / f"kmetad-{version}-linux-{platform.machine()}.tar.gz"
        archive(options.root, file)
        print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
