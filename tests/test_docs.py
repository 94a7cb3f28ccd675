"""The documents: their links lead somewhere, and CONTRIBUTING's map is that of the code."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.test_packaging import ROOT

PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("plugins/*/README.md")),
    ROOT / "bench" / "README.md",
]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def anchors(page: Path) -> set[str]:
    """What a link can name behind its ``#``: headings, as GitHub makes anchors of them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = sum(
            each == plain or re.fullmatch(rf"{re.escape(plain)}-\d+", each) is not None for each in found
        )
        found.add(f"{plain}-{number}" if number else plain)
    return found


def links(page: Path) -> list[str]:
    """All that lead to files of the repository: of Markdown, and of pictures in HTML."""
    text = re.sub(r"^```.*?^```$|^    .*$|`[^`\n]*`", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link is to a file or directory that is there, and to a heading that it has."""
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        if target.is_dir() and (target / "README.md").exists():
            target /= "README.md"
        if anchor:
            assert anchor in anchors(target), f"{link}: there is no such heading"


def test_every_page_is_in_the_index() -> None:
    """docs/README.md leads to each page of docs/, and to each plugin."""
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    pages = {page for page in ROOT.glob("docs/*.md") if page != index}
    assert pages | {file.parent for file in ROOT.glob("plugins/*/README.md")} <= linked


def test_the_map_is_that_of_the_code() -> None:
    """CONTRIBUTING's layers are those of the import linter, in its order, and all that kmetad/ holds."""
    section = CONTRIBUTING.partition("## The map of kmetad/")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (layers,) = (contract["layers"] for contract in linter["contracts"] if contract["id"] == "layers")
    assert told == [name for layer in layers for name in layer.split(" : ")]
    there = {path.stem for path in (ROOT / "kmetad").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert set(told) == there - {"__init__", "__pycache__"}


def test_the_targets_are_those_of_make() -> None:
    """CONTRIBUTING names no target that the Makefile hasn't, and every one that checks or makes something."""
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))
    told = set(re.findall(r"`make ([a-z]+)`", CONTRIBUTING))
    assert told <= targets
    assert targets - told <= {"help", "demo", "clean"}


def test_the_picture_reads_without_being_seen() -> None:
    """The README's picture has a title, a description and an alternative text."""
    picture = (ROOT / "docs" / "images" / "flow.svg").read_text()
    assert "<title" in picture and "<desc" in picture
    for alt in re.findall(r"!\[([^\]]*)\]\(|<img [^>]*alt=\"([^\"]*)\"", (ROOT / "README.md").read_text()):
        assert any(alt)
    assert not re.search(r"<script|href=|url\((?!#)", picture), "it loads nothing"
