"""docs/reference, made from the code: ``make reference`` writes it, tests/test_reference.py compares it.

It lives beside the tests, which need it, and is in no wheel. What a page says comes from the types, the parsers and
their docstrings: to mend a sentence, mend it there.
"""

from __future__ import annotations

from pathlib import Path

from tests import hooks_page
from tests.reference import commands, configuration, events, options, schema

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "reference"
PAGES = {
    "configuration.md": configuration.page,
    "plugin-options.md": options.page,
    "commands.md": commands.page,
    "events.md": events.page,
    "hooks.md": hooks_page.page,
    "kmetad.schema.json": schema.page,
}
"""Each file, and the function that makes its text."""
