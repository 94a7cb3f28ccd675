"""docs/reference says what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.reference import FOLDER, PAGES
from tests.reference.official import NAMES, distributions


@pytest.mark.parametrize("name", PAGES)
def test_is_what_the_code_says(name: str) -> None:
    """Each page is as the generator writes it now."""
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), "run make reference"


def test_every_plugin_of_the_repository_is_there() -> None:
    """None is missing because it isn't installed."""
    assert sorted(distributions().values()) == NAMES, "pip install --editable plugins/NAME"


def test_the_index_names_every_page() -> None:
    """README.md links each, and nothing that isn't there."""
    index = (FOLDER / "README.md").read_text()
    linked = set(re.findall(r"\]\(([\w.-]+\.(?:md|json))", index))
    assert linked == set(PAGES) == {file.name for file in Path(FOLDER).iterdir()} - {"README.md"}


def test_no_cell_is_empty_that_says_what_a_key_means() -> None:
    """Every key of the TOML, and every option of a plugin, has a meaning."""
    for name in ("configuration.md", "plugin-options.md"):
        for line in (FOLDER / name).read_text().splitlines():
            if line.startswith("| `"):
                assert not line.endswith("|  |"), f"{name}: document it below its field: {line}"
