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
    target = Path(sys.argv[1])
    venv.create(target, clear=True, with_pip=True)
    pip = [str(target / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    locked = [*pip, "--only-binary", ":all:", "--require-hashes", "-r"]
    projects = [".", *sorted(f"./{path.relative_to(ROOT)}" for path in ROOT.glob("plugins/*/"))]
    for command in (
        [*locked, "requirements/build.txt"],
        [*locked, "requirements/run.txt"],
        [*pip, "--constraint", "requirements/tools.txt", "--group", "bundle"],
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", *projects],
    ):
        if subprocess.run(command, cwd=ROOT).returncode:
            sys.exit(f"{' '.join(command)} failed, as said above")


if __name__ == "__main__":
    main()
