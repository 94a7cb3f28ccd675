"""A virtual environment above this one: all that is installed here, and what a test installs on top of it."""

from __future__ import annotations

import os
import sysconfig
import venv
from pathlib import Path

from tests.test_packaging import plain_environment


def above(folder: Path) -> dict[str, str]:
    """Make one, and answer the environment variables in which ``python`` and ``kmetad`` are its own.

    pip builds there without an isolated environment, so that it needs no network.
    """
    venv.create(folder, symlinks=True)
    here = sysconfig.get_path("purelib")
    there = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    # A site directory, not only a path: what is installed here in editable form stands in files of its own.
    (there / "above.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    command = folder / "bin" / "kmetad"
    command.write_text(f'#!/bin/sh\nexec "{folder}/bin/python" -m kmetad "$@"\n')
    command.chmod(0o755)
    env = plain_environment()
    env |= {name: value for name, value in os.environ.items() if name.startswith("COV")}
    env |= {
        "PATH": f"{folder / 'bin'}{os.pathsep}{env['PATH']}",
        "PIP_NO_BUILD_ISOLATION": "false",  # sic: pip takes what is false for what the option says
        "PIP_NO_DEPS": "true",
        "PIP_NO_INDEX": "true",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "KMETAD_CONFIG": "",
        "PYTHONDONTWRITEBYTECODE": "1",
        # Else a pytest that is run there makes this one's directories private again, to which other users have to get.
        "PYTEST_DEBUG_TEMPROOT": str(folder),
    }
    return env
