"""Lines of values in TOML texts."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._config.lines import Lines

TEXT = '''\
# comment = 1
top = 1

[a]
x = "# no comment" # a comment
y.z = [1, 2, # ]
  3]
multi = """
[not.a.table]
x = \\""" "" 2
"""""
after = \'\'\'
'' key = 1 ' # \'\'\'
inline = { p = 1, "q.r" = [ { s = 1 },
  { s = 2 } ] }

[[list]]
n = 1
[list.sub]
m = 1

[[list]]
[list.sub]
m = 2
[[list.inner]]
k = 1
[[list.inner]]
k = 2

[ "quo ted" . 'li.teral' ] # [x]
"\\u0061b\\"c" = 2000-01-01 00:00:00
""=-1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ((), 0),
        (("top",), 2),
        (("a",), 4),
        (("a", "x"), 5),
        (("a", "y"), 6),
        (("a", "y", "z"), 6),
        (("a", "y", "z", 1), 6),
        (("a", "y", "z", 2), 7),
        (("a", "multi"), 8),
        (("a", "after"), 12),
        (("a", "inline", "p"), 14),
        (("a", "inline", "q.r"), 14),
        (("a", "inline", "q.r", 0, "s"), 14),
        (("a", "inline", "q.r", 1, "s"), 15),
        (("list",), 17),
        (("list", 0), 17),
        (("list", 0, "n"), 18),
        (("list", 0, "sub", "m"), 20),
        (("list", 1), 22),
        (("list", 1, "sub"), 23),
        (("list", 1, "sub", "m"), 24),
        (("list", 1, "inner", 0, "k"), 26),
        (("list", 1, "inner", 1), 27),
        (("list", 1, "inner", 1, "k"), 28),
        (("quo ted",), 30),
        (("quo ted", "li.teral"), 30),
        (("quo ted", "li.teral", 'ab"c'), 31),
        (("quo ted", "li.teral", ""), 32),
        # what isn't there is looked for where it would stand
        (("a", "missing"), 4),
        (("a", "y", "z", 9), 6),
        (("missing", "key"), 0),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines(path: tuple[str | int, ...], line: int, end: str) -> None:
    """Every way to write a key leads to its line."""
    tomllib.loads(TEXT)
    assert Lines("file", TEXT.replace("\n", end)).of(path) == line


KEYS = st.text(max_size=5).filter(lambda key: "\x7f" not in key)
SCALARS = st.one_of(
    st.integers(-(10**6), 10**6),
    st.booleans(),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=10),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)


def quote(text: str, style: int) -> str:
    """A TOML string, in one of the four ways where the text allows it."""
    plain = all(c.isprintable() for c in text)
    if style == 1 and plain and "'" not in text:
        return f"'{text}'"
    if (
        style == 2
        and all(c.isprintable() or c == "\n" for c in text)
        and "''" not in text
        and text[-1:] != "'"
    ):
        return f"'''\n{text}'''"
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"""\n{escaped}"""' if style == 3 else f'"{escaped}"'


class Writer:
    """Writes TOML in drawn ways and notes on which line each path begins."""

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[tuple[str | int, ...], int] = {}

    def note(self, path: tuple[str | int, ...]) -> None:
        self.lines[path] = self.text.count("\n") + 1

    def blank(self) -> None:
        self.text += self.draw(st.sampled_from(["", " ", "\t", "\n", " # ]}=\" '\n"]))

    def key(self, key: str) -> None:
        self.text += quote(key, self.draw(st.integers(0, 1)))

    def value(self, path: tuple[str | int, ...], value: Any) -> None:
        if isinstance(value, list):
            self.text += "["
            for index, item in enumerate(value):
                self.blank()
                self.note((*path, index))
                self.value((*path, index), item)
                self.blank()
                self.text += ","
            self.text += "]"
        elif isinstance(value, dict):
            self.text += "{"
            for number, (key, item) in enumerate(value.items()):
                self.text += "," if number else ""
                self.note((*path, key))
                self.key(key)
                self.text += " = "
                self.value((*path, key), item)
            self.text += "}"
        elif isinstance(value, str):
            self.text += quote(value, self.draw(st.integers(0, 3)))
        else:
            self.text += str(value).lower()


@given(st.data(), st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=3), max_size=3))
def test_any_text(data: st.DataObject, document: dict[str, dict[str, Any]]) -> None:
    """Whatever is written, and however, each value is found on its line."""
    writer = Writer(data.draw)
    for name, table in document.items():
        writer.note((name,))
        writer.text += "["
        writer.key(name)
        writer.text += "]\n"
        for key, value in table.items():
            writer.note((name, key))
            writer.key(key)
            writer.text += " = "
            writer.value((name, key), value)
            writer.text += "\n"
            writer.blank()
        writer.text += "\n"
    assert tomllib.loads(writer.text) == document
    lines = Lines("file", writer.text)
    assert {path: lines.of(path) for path in writer.lines} == writer.lines
