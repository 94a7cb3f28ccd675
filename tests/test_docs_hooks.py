"""docs/reference/hooks.md says what kmetad.hookspecs says, of every hook."""

from __future__ import annotations

import inspect
import re

import pytest

from kmetad import hookspecs
from kmetad._plugins.hooks import SPECS
from tests import hooks_page
from tests.test_packaging import ROOT

PAGE = ROOT / "docs" / "reference" / "hooks.md"


def test_the_page_is_the_one_that_is_written() -> None:
    """``python -m tests.hooks_page > docs/reference/hooks.md`` after each change of the contract."""
    assert PAGE.read_text() == hooks_page.page()


def test_there_are_no_others() -> None:
    """It is said of each hook, and of nothing else, when it is called and what raising does."""
    assert set(hooks_page.HOOKS) == set(SPECS)
    assert list(hooks_page.specs()) == list(SPECS)


@pytest.mark.parametrize("hook", sorted(SPECS))
def test_each_hook_has_its_section(hook: str) -> None:
    """With its arguments, its docstring's first line, when it is called and what raising does."""
    (section,) = re.findall(rf"^## {hook}\n(.*?)(?=^## )", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert f"def {hook}({', '.join(['self', *SPECS[hook]])})" in section
    documented = inspect.getdoc(getattr(hookspecs, hook))
    assert documented is not None
    assert documented.partition("\n")[0].replace("``", "`") in section
    for argument in SPECS[hook]:
        assert f"- `{argument}`: " in section
    assert "- When: " in section
    assert "- If it raises: " in section


def test_links_lead_somewhere() -> None:
    """To headings of the page itself."""
    text = PAGE.read_text()
    headings = {heading.lower() for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    links = set(re.findall(r"\]\(#([^)]+)\)", text))
    assert links
    assert links <= headings
