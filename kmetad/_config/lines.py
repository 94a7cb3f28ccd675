"""Where in a TOML text a value stands: tomllib doesn't say.

The text is known to be valid by then, so this reader needs no errors: it only
follows what opens and closes. It is first asked when there is a problem to tell.
"""

from __future__ import annotations

import re
from functools import cached_property

from kmetad._config.problems import Path

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))[ \t]*(\.?)""")
_TEXT = re.compile(
    r"""(?:\"{3}(?:[^\\]|\\.)*?\"{3,5}(?!")|'{3}.*?'{3,5}(?!')|"(?:[^"\\]|\\.)*"|'[^']*')""",
    re.DOTALL,
)
_PLAIN = re.compile(r"[^,\]}#\n]*")


class Lines:
    """The lines of one file: ``lines.of(("plugins", "nginx", "lane"))``."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self._text = text

    def of(self, path: Path) -> int:
        """The line, from 1, of a value, or of what it would stand in; 0 for the whole file."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 0)

    @cached_property
    def _lines(self) -> dict[Path, int]:
        return _Reader(self._text).read()


class _Reader:
    """Goes once through the text, and notes where each path is first seen."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")  # as tomllib counts
        self._at = 0
        self._counted = (0, 1)  # a position, and its line
        self._lines: dict[Path, int] = {}
        self._tables: dict[Path, int] = {}  # of each array of tables, how many there were

    def read(self) -> dict[Path, int]:
        header: Path = ()
        while self._skip_blank():
            if self._taken("[["):
                header = self._header(append=True)
            elif self._taken("["):
                header = self._header(append=False)
            else:
                self._assignment(header)
        return self._lines

    def _header(self, *, append: bool) -> Path:
        path: Path = ()
        keys = self._key()
        for number, key in enumerate(keys, 1):
            path = (*path, key)
            if append and number == len(keys):
                self._note(path)
                self._tables[path] = self._tables.get(path, -1) + 1
            if path in self._tables:
                path = (*path, self._tables[path])
            self._note(path)
        self._at = self._text.index("]", self._at) + (2 if append else 1)
        return path

    def _assignment(self, table: Path) -> None:
        path = table
        for key in self._key():
            path = (*path, key)
            self._note(path)
        self._at = self._text.index("=", self._at) + 1
        self._skip_blank()
        self._value(path)

    def _value(self, path: Path) -> None:
        if self._taken("["):
            index = 0
            while self._skip_blank() and not self._taken("]"):
                self._note((*path, index))
                self._value((*path, index))
                index += 1
                self._skip_blank()
                self._taken(",")
        elif self._taken("{"):
            while self._skip_blank() and not self._taken("}"):
                self._assignment(path)
                self._skip_blank()
                self._taken(",")
        else:
            found = _TEXT.match(self._text, self._at) or _PLAIN.match(self._text, self._at)
            self._at = found.end() if found else len(self._text)

    def _key(self) -> list[str]:
        """A dotted key."""
        keys = []
        while found := _KEY.match(self._text, self._at):
            self._at = found.end()
            basic, literal, bare, more = found.groups()
            keys.append(_unescaped(basic) if basic is not None else bare if literal is None else literal)
            if not more:
                break
        return keys

    def _note(self, path: Path) -> None:
        if path not in self._lines:
            position, line = self._counted
            line += self._text.count("\n", position, self._at)
            self._counted = (self._at, line)
            self._lines[path] = line

    def _skip_blank(self) -> bool:
        """Go on to the next character that says something; False at the end."""
        found = _BLANK.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._at < len(self._text)

    def _taken(self, text: str) -> bool:
        if not self._text.startswith(text, self._at):
            return False
        self._at += len(text)
        return True


def _unescaped(text: str) -> str:
    """The key that stands in quotation marks."""
    if "\\" not in text:
        return text
    import tomllib

    return str(tomllib.loads(f'value = "{text}"')["value"])
