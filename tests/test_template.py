"""Texts with fields of the Pod in them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad.errors import FieldMissing, FieldPathError
from kmetad.metadata import Snapshot
from kmetad.template import Template, parse_template


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", (("", "", None),)),
        ("plain", (("plain", "", None),)),
        ("{metadata.name}", (("", "metadata.name", None),)),
        ("{metadata.name:-}", (("", "metadata.name", ""),)),
        ("{ metadata.name :- no:-name }", (("", "metadata.name", " no:-name "),)),
        (
            "v{metadata.labels['a.b/c']}-{ metadata.uid }!",
            (("v", "metadata.labels['a.b/c']", None), ("-", "metadata.uid", None), ("!", "", None)),
        ),
        ("{{}}", (("{}", "", None),)),
        ("{{{metadata.name}}}", (("{", "metadata.name", None), ("}", "", None))),
    ],
)
def test_parts(text: str, parts: tuple[tuple[str, str, str | None], ...]) -> None:
    """Literals and field paths take turns; doubled braces are literal."""
    template = parse_template(text)
    assert template == Template(text, parts)
    assert template.paths == tuple(path for _, path, _ in parts if path)


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
    assert parse_template(text.replace("{", "{{").replace("}", "}}")).parts == ((text, "", None),)


POD = Snapshot(labels={"app": "web", "none": ""})


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("v{metadata.labels['app']}!", "vWEB!"),
        ("{metadata.labels['app']:-other}", "WEB"),
        ("{metadata.labels['none']:-other}", ""),
        ("{metadata.labels['tier']:-gold}", "GOLD"),
        ("{metadata.labels['tier']:-}", ""),
    ],
)
def test_filled_in(text: str, filled: str) -> None:
    """Fields, or their defaults where there are none now; a conversion is for both, not for the literal text."""
    template = parse_template(text)
    assert template.missing(POD) == ()
    assert template.render(POD, str.upper) == filled


def test_a_field_that_is_missing() -> None:
    """It is named, with all others that are."""
    template = parse_template("{metadata.labels['x']}{metadata.uid:-y}{metadata.name}")
    assert template.missing(POD) == ("metadata.labels['x']", "metadata.name")
    with pytest.raises(FieldMissing, match=r"there is no metadata.labels\['x'\] and no metadata.name now"):
        template.render(POD)
