"""docs/cookbook.md: every recipe loads, and its plugins are made, as ``kmetad check`` does it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli import inside
from tests.programs.recipes import PAGE, recipes

TITLES = (
    "nginx",
    "gunicorn",
    "Prometheus",
    "Log level",
    "Feature flags",
    "CPU limit",
    "TLS certificates",
)


def test_the_recipes_that_are_promised() -> None:
    """Each has its TOML."""
    assert tuple(recipes()) == TITLES


@pytest.mark.parametrize("title", TITLES)
def test_a_recipe_has_no_fault(title: str, tmp_path: Path) -> None:
    """What isn't there on this machine is a warning, never an error; nothing else is said."""
    toml = tmp_path / "kmetad.toml"
    toml.write_text('[run]\ncommand = ["app"]\n' + recipes()[title])
    done = inside("check", "-c", str(toml))
    assert done.returncode == 0, done.stderr
    for line in done.stderr.splitlines():
        assert re.search("is not there|isn't there|is no directory|matches nothing|is the key of no", line), (
            line
        )


def test_its_programs_are_python() -> None:
    """They can be read, at least."""
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL):
        compile(block, "cookbook", "exec")
