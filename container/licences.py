"""What a bundle carries, in which version and under which licence: the file LICENSES, and the texts in licenses/."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution
from pathlib import Path

from container import distributions, stdlib

HEAD = """What is in this directory, beside kmetad itself, and under which licence it is.
Texts of Python's and of the libraries' are in licenses/, those of Python distributions in their .dist-info.

"""


def write(tree: Path, carried: Iterable[Distribution], libraries: Mapping[Path, Path]) -> None:
    """Write both; ``libraries`` are the shared ones, each with the file it was copied from."""
    texts = tree / "licenses"
    texts.mkdir()
    version = ".".join(map(str, sys.version_info[:3]))
    rows = [("Python", version, "PSF-2.0", _python(texts))]
    for one in carried:
        folder = distributions.information(one)
        rows.append(
            (one.name, one.version, _licence(one), f"{stdlib.place(Path()) / 'site-packages' / folder}")
        )
    for (package, version), files in sorted(_packages(libraries).items()):
        rows.append((package, version, ", ".join(sorted(files)), _copyright(package, texts)))
    (tree / "LICENSES").write_text(HEAD + "".join("\t".join(row) + "\n" for row in rows))


def _licence(distribution: Distribution) -> str:
    """As its metadata say: an SPDX expression, else a name."""
    said = distribution.metadata
    classifiers = [
        text.rpartition(" :: ")[2] for text in said.get_all("Classifier", []) if text.startswith("License")
    ]
    named = said["License"].partition("\n")[0] if "License" in said else ""
    return (
        next(iter(said.get_all("License-Expression", [])), "")
        or ", ".join(classifiers)
        or named
        or "see its metadata"
    )


def _python(texts: Path) -> str:
    for text in (stdlib.home() / "LICENSE.txt", Path(f"/usr/share/doc/{stdlib.VERSION}/copyright")):
        if text.exists():
            shutil.copyfile(text, texts / "python")
            return "licenses/python"
    return "https://docs.python.org/3/license.html"


def _packages(libraries: Mapping[Path, Path]) -> dict[tuple[str, str], set[str]]:
    """The Debian packages that the shared libraries are of, with their files' names; Python's own isn't told."""
    packages: dict[tuple[str, str], set[str]] = {}
    for copied, origin in libraries.items():
        if copied.name.startswith("libpython"):
            continue
        packages.setdefault(_package(origin), set()).add(copied.name)
    return packages


def _package(file: Path) -> tuple[str, str]:
    for path in dict.fromkeys((str(file), os.path.realpath(file), f"/usr{file}")):
        if owner := _dpkg("-S", path).partition(": ")[0].partition(":")[0]:
            return owner, _dpkg("-f", "${Version}", "-W", owner)
    return "unknown", ""


def _dpkg(*arguments: str) -> str:
    try:
        return subprocess.run(["dpkg-query", *arguments], capture_output=True, text=True).stdout
    except FileNotFoundError:  # no Debian
        return ""


def _copyright(package: str, texts: Path) -> str:
    text = Path("/usr/share/doc", package, "copyright")
    if not text.exists():
        return "-"
    shutil.copyfile(text, texts / package)
    return f"licenses/{package}"
