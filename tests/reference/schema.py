"""kmetad.schema.json: what ``kmetad check --schema`` prints where kmetad's own plugins are installed, and no others."""

from __future__ import annotations

from json import dumps

from kmetad._config import json_schema
from tests.reference.official import options_types


def page() -> str:
    """The text."""
    return dumps(json_schema(options_types()), indent=2, ensure_ascii=False) + "\n"
