"""Texts with fields of the Pod in them: ``v{metadata.labels['version']}``, as in ``[run] env``."""

from __future__ import annotations

from dataclasses import dataclass

from kmetad.errors import FieldPathError
from kmetad.fieldpath import parse as parse_path


@dataclass(frozen=True, slots=True)
class Template:
    """A text whose placeholders are known to be field paths."""

    text: str
    """As it was written."""
    parts: tuple[tuple[str, str], ...]
    """What it consists of, in order: a literal text, and the field path that follows it (empty: none)."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The field paths that it asks for."""
        return tuple(path for _, path in self.parts if path)


def parse_template(text: str) -> Template:
    """Read a text; ``{{`` and ``}}`` stand for the braces themselves.

    Raises ValueError for a brace that isn't closed or opened, and FieldPathError
    (a ValueError) for a placeholder that names no field.
    """
    parts: list[tuple[str, str]] = []
    literal, at = "", 0
    while at < len(text):
        char = text[at]
        if char not in "{}":
            literal, at = literal + char, at + 1
        elif text[at + 1 : at + 2] == char:
            literal, at = literal + char, at + 2
        elif char == "}":
            raise ValueError("a '}' that nothing opened; write '}}' for the brace itself")
        else:
            end = text.find("}", at)
            if end < 0:
                raise ValueError("a '{' that nothing closes; write '{{' for the brace itself")
            path = text[at + 1 : end].strip()
            if not path:
                raise FieldPathError(
                    "a placeholder without a field path; write '{{}}' for the braces themselves"
                )
            parse_path(path)
            parts.append((literal, path))
            literal, at = "", end + 1
    if literal or not parts:
        parts.append((literal, ""))
    return Template(text, tuple(parts))
