"""Writes the lock files beside this one, by uv, from every pyproject.toml here; ``make lock`` runs it.

A version that a lock file has already stays as long as it fits; what is given to this program
is given to uv, as ``--upgrade`` or ``--upgrade-package NAME``. docs/supply.md says what each file is for.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent

PROJECTS = [
    "pyproject.toml",
    *sorted(f"{path.relative_to(ROOT)}/pyproject.toml" for path in ROOT.glob("plugins/*")),
]

COMPILE = f"""
    {sys.executable} -m uv pip compile --quiet --no-header --no-annotate --no-emit-package kmetad
    --generate-hashes --universal --python-version 3.11
"""
"""One result for each Python from 3.11 on and each kind of machine."""

AGE = "7 days"
"""Younger releases are left aside: most that somebody has slipped in are found and withdrawn sooner."""


def compiled(*arguments: str, old: str = "", lines: Iterable[str] = ()) -> str:
    """What uv finds for these arguments and requirements, with what fits of the old; says why if it finds nothing."""
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder, "new.txt")
        new.write_text(old)
        command = [
            *COMPILE.split(),
            "--exclude-newer",
            AGE,
            "--output-file",
            str(new),
            *sys.argv[1:],
            *arguments,
        ]
        if subprocess.run(command, cwd=ROOT, input="\n".join(lines), text=True).returncode:
            raise SystemExit("uv says above why it finds no versions.")
        found = new.read_text().splitlines(keepends=True)
    return "".join(line for line in found if line.strip() and not line.startswith("#"))


def write(name: str, about: str, *arguments: str, lines: Iterable[str] = ()) -> None:
    """Lock these arguments and requirements in a file here."""
    path = HERE / name
    old = path.read_text() if path.exists() else ""
    text = f"# {about}\n# `make lock` writes this file.\n" + compiled(*arguments, old=old, lines=lines)
    if text != old:  # an unchanged file has nothing installed again
        path.write_text(text)
        print(f"requirements/{name} is new")


def main() -> None:
    """Write all of them; each is held to the versions of the one before."""
    tables = [tomllib.loads((ROOT / path).read_text()) for path in PROJECTS]
    build = [
        "editables~=0.3",
        *sorted({name for table in tables for name in table["build-system"]["requires"]}),
    ]
    groups = [f"--group={name}" for name in tables[0]["dependency-groups"]]
    everything = ["--all-extras", *PROJECTS]

    write("build.txt", "What installs and what builds.", "-", lines=["pip", *build])
    write("run.txt", "What kmetad and its plugins need to run.", *PROJECTS)
    same = [f"--constraint={HERE / name}" for name in ("build.txt", "run.txt")]
    about = "What kmetad and its plugins need to run, with every extra and every tool of a developer."
    write("tools.txt", about, *same, *groups, *everything)

    with tempfile.NamedTemporaryFile("w", suffix=".txt") as lowest:
        lowest.write(compiled("--resolution=lowest-direct", *everything, "-", lines=build))
        lowest.flush()
        about = "The lowest versions that the projects allow, and what tests them."
        write(
            "lowest.txt", about, f"--constraint={lowest.name}", "--group=test", *everything, "-", lines=build
        )


if __name__ == "__main__":
    main()
