"""Texts with fields of the Pod in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._config.template import Template, parse_template
from kmetad.errors import FieldPathError


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", (("", ""),)),
        ("plain", (("plain", ""),)),
        ("{metadata.name}", (("", "metadata.name"),)),
        (
            "v{metadata.labels['a.b/c']}-{ metadata.uid }!",
            (("v", "metadata.labels['a.b/c']"), ("-", "metadata.uid"), ("!", "")),
        ),
        ("{{}}", (("{}", ""),)),
        ("{{{metadata.name}}}", (("{", "metadata.name"), ("}", ""))),
    ],
)
def test_parts(text: str, parts: tuple[tuple[str, str], ...]) -> None:
    """Literals and field paths take turns; doubled braces are literal."""
    template = parse_template(text)
    assert template == Template(text, parts)
    assert template.paths == tuple(path for _, path in parts if path)


@pytest.mark.parametrize("text", ["{", "a{metadata.name", "}", "a}b", "{metadata.name}}"])
def test_lonely_braces(text: str) -> None:
    """A brace that nothing closes or opens is a fault, with the way to write it."""
    with pytest.raises(ValueError, match="for the brace itself"):
        parse_template(text)


@pytest.mark.parametrize("text", ["{}", "{ }", "{metadata.nmae}", "{a b}"])
def test_no_field(text: str) -> None:
    """A placeholder must name a field."""
    with pytest.raises(FieldPathError):
        parse_template(text)


@given(st.text())
def test_literal_round_trip(text: str) -> None:
    """Any text can be written with its braces doubled."""
    assert parse_template(text.replace("{", "{{").replace("}", "}}")).parts == ((text, ""),)
