"""The cookbook's recipes, so that what is tested is what is on the page."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "cookbook.md"


def recipes() -> dict[str, str]:
    """By heading, the TOML of each."""
    found = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        title, _, text = section.partition("\n")
        blocks = re.findall(r"^```toml\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        if blocks:
            found[title.strip()] = "\n".join(blocks)
    return found


def moved(title: str, places: dict[str, str]) -> str:
    """One of them, with these texts replaced; each has to be there."""
    toml = recipes()[title]
    for old, new in places.items():
        assert old in toml, f"the recipe {title!r} has no {old}"
        toml = toml.replace(old, new)
    return toml
