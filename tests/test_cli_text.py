"""What a person reads on a terminal."""

from __future__ import annotations

import io
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._cli import text
from kmetad.events import (
    AnnotationChange,
    Batch,
    FileChange,
    LabelChange,
    ResourceChange,
    SourceChange,
    TokenChange,
)
from kmetad.metadata import Digest, Resource, Snapshot, SourceState, Token
from kmetad.quantity import Quantity


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """As a terminal does."""
        return True


ANY_TEXT = st.text(st.characters(codec=None))  # lone surrogates too: bytes that were no UTF-8


@given(ANY_TEXT, ANY_TEXT, ANY_TEXT)
def test_no_value_can_forge_a_line(key: str, old: str, new: str) -> None:
    """A change is one printable line that an encoder takes, whatever its key and values hold."""
    line = text.Lines(colour=False).changes([AnnotationChange(key, old, new, "podinfo")])[0]
    assert line.isprintable()
    assert line.encode("utf-8")


@given(ANY_TEXT)
def test_a_shown_value_can_be_told_from_every_other(value: str) -> None:
    """Short values that differ are shown differently."""
    for other in (value + " ", " " + value, f'"{value}"', value + "\\n", value + "\n", value.strip()):
        if other != value and max(len(value), len(other)) <= text.LONGEST:
            assert text.show(other) != text.show(value)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("v1", "v1"),
        ("two words", "two words"),
        ("", '""'),
        (" v1", '" v1"'),
        ("a → b", '"a → b"'),
        ("line\nforged", '"line\\nforged"'),
        ("\x1b[31mred", '"\\x1b[31mred"'),
        ("\udcff", '"\\xff"'),
        ("\u202e", '"\\u202e"'),
        ("\U000e0001", '"\\U000e0001"'),
        ('say "x"', '"say \\"x\\""'),
        ("ümlaut 🦊", "ümlaut 🦊"),
    ],
)
def test_values_are_quoted_only_where_they_could_be_misread(value: str, shown: str) -> None:
    """Plain text stays plain; ends, arrows and control characters show themselves."""
    assert text.show(value) == shown


def test_a_huge_value_is_cut_and_says_so() -> None:
    """256 KiB of annotation don't fill the terminal."""
    assert text.show("x" * 262144) == "x" * text.LONGEST + "… (262144 characters)"


@pytest.mark.parametrize(
    ("stream", "environ", "coloured"),
    [
        (Terminal(), {"TERM": "xterm"}, True),
        (Terminal(), {}, True),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colour_only_on_a_terminal(stream: io.StringIO, environ: dict[str, str], coloured: bool) -> None:
    """Pipes and files get no escape codes, nor does anybody who set NO_COLOR."""
    assert text.colours(stream, environ) is coloured


def test_lines_of_a_batch_are_aligned() -> None:
    """Signs, types, keys and values stand below each other."""
    lines = text.Lines(colour=False).changes(
        [
            SourceChange("podinfo", SourceState(), SourceState("lost", 1, "it isn't there"), "podinfo"),
            AnnotationChange("note", None, "hello", "podinfo"),
            FileChange("settings/app.conf", Digest(b"a"), Digest(b"b"), "settings"),
            LabelChange("tier", "gold", None, "podinfo"),
            ResourceChange(
                "app.limits.cpu", Resource(500, Quantity("1m")), Resource(2000, Quantity("1m")), "podinfo"
            ),
            ResourceChange("app.limits.memory", Resource(1), Resource(2), "podinfo"),
            TokenChange("token", None, Token(0, ("api",), Digest(b"t")), "token"),
            TokenChange("token", Token(None, (), Digest(b"t")), None, "token"),
        ]
    )
    assert lines == [
        "~ source      podinfo            healthy → lost: it isn't there",
        "+ annotation  note               hello",
        "~ file        settings/app.conf  changed",
        "- label       tier               gold",
        "~ resource    app.limits.cpu     500m → 2",
        "~ resource    app.limits.memory  1 → 2",
        "+ token       token              until 1970-01-01T00:00:00Z",
        "- token       token              of unknown end",
    ]


def test_columns_only_grow() -> None:
    """A short key after a long one stays in line with it, since what was printed can't be moved."""
    lines = text.Lines(colour=False)
    first = lines.changes([LabelChange("app.kubernetes.io/name", None, "web", "podinfo")])[0]
    second = lines.changes([LabelChange("app", None, "web", "podinfo")])[0]
    assert first.index("web") == second.index("web")


def test_a_line_of_a_batch_tells_the_time() -> None:
    """Time of day with milliseconds, as a clock in the same place shows it."""
    batch = Batch(
        (LabelChange("app", None, "b", "podinfo"),), Snapshot(), Snapshot(), 1_767_323_045_123_456_789
    )
    line = text.Lines(colour=False).of(batch)[0]
    assert line.split("  ")[0].endswith("05.123")
    assert line.endswith("  + label       app  b")


def test_colours_change_nothing_but_colour() -> None:
    """Without the escape codes a coloured line is the plain one."""
    changes = [LabelChange("app", "a", "b", "podinfo"), LabelChange("t", None, "b", "podinfo")]
    coloured = text.Lines(colour=True).changes(changes)
    assert all("\033[" in line for line in coloured)
    assert [re.sub("\033\\[[0-9]*m", "", line) for line in coloured] == text.Lines(colour=False).changes(
        changes
    )


@given(st.text(st.characters(codec="utf-8")))
def test_padding_fills_up_to_the_width(value: str) -> None:
    """A padded text takes the columns that were asked for, wide characters and accents counted as shown."""
    assert text.columns(text.pad(value, 40)) == max(40, text.columns(value))


def test_wide_characters_take_two_columns() -> None:
    """Fox and Kanji are two wide; a combining accent takes none."""
    assert text.columns("狐") == 2
    assert text.columns(unicodedata.normalize("NFD", "é")) == 1


def test_a_table_is_aligned_and_its_last_column_isn_t_filled() -> None:
    """Cells stand below each other; no line ends with blanks."""
    assert text.table([("a", "bb", "c"), ("aaa", "b", ""), ("a", "b", "cc")]) == [
        "a    bb  c",
        "aaa  b",
        "a    b   cc",
    ]


def test_a_blank_key_shows() -> None:
    """A key of blanks can be seen."""
    assert text.key(FileChange(" ", None, Digest(b""), "x")) == '" "'


def test_escape_keeps_what_it_is_told_to() -> None:
    """One field on a terminal may have lines of its own."""
    assert text.escape("a\n\x1bb", keep="\n") == "a\n\\x1bb"
