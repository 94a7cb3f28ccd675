"""``python container/environment.py DIRECTORY``: an environment to bundle, of nothing but what the lock files name.

Needs nothing but Python with venv and the network: it makes what container.bundle runs in.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    """Make it anew; the first command that fails ends this."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    target = Path(sys.argv[1])
    if target.exists() and any(target.iterdir()) and not (target / "pyvenv.cfg").exists():
        print(f"environment: {target} isn't empty; name a directory that isn't there yet", file=sys.stderr)
        sys.exit(2)
    venv.create(target, clear=True, with_pip=True)
    pip = [str(target / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    locked = [*pip, "--only-binary", ":all:", "--require-hashes"]
    projects = [".", *sorted(f"./{path.relative_to(ROOT)}" for path in ROOT.glob("plugins/*/"))]
    for command in (
        [*locked, "--requirement", "requirements/build.txt"],
        [*locked, "--requirement", "requirements/run.txt"],
        [*locked, "--constraint", "requirements/tools.txt", "--group", "bundle"],
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", *projects],
    ):
        if subprocess.run(command, cwd=ROOT).returncode:
            sys.exit(f"{' '.join(command)} failed, as said above")


if __name__ == "__main__":
    main()
