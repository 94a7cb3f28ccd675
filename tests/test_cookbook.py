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
    text = recipes()[title]
    run = '[run]\ncommand = ["app"]\n'
    toml.write_text(text.replace("[run]\n", run) if "[run]\n" in text else run + text)
    done = inside("check", "-c", str(toml))
    assert done.returncode == 0, done.stderr
    for line in done.stderr.splitlines():
        assert re.search("is not there|isn't there|is no directory|matches nothing|is the key of no", line), (
            line
        )


@pytest.mark.parametrize(("cpu", "workers"), [("500m", 3), ("1500m", 5), ("2", 5)])
def test_workers_are_counted_from_the_limit(cpu: str, workers: int, tmp_path: Path) -> None:
    """As the page's ``gunicorn.conf.py`` has it."""
    (block,) = re.findall(r"^```py\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    (tmp_path / "cpu").write_text(cpu)
    found: dict[str, object] = {}
    exec(block.replace("/run/web", str(tmp_path)), found)
    assert found["workers"] == workers
