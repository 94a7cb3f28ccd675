"""Texts with fields of the Pod in them: ``v{metadata.labels['version']}``, as in ``[run] env``.

``{metadata.labels['version']:-none}`` has a default, for where there is no such field now.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kmetad.errors import FieldMissing, FieldPathError
from kmetad.fieldpath import parse as parse_path
from kmetad.metadata import Snapshot


@dataclass(frozen=True, slots=True)
class Template:
    """A text whose placeholders are known to be field paths."""

    text: str
    """As it was written."""
    parts: tuple[tuple[str, str, str | None], ...]
    """What it consists of, in order: a literal text, the field path that follows it (empty: none), its default."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The field paths that it asks for."""
        return tuple(path for _, path, _ in self.parts if path)

    def missing(self, snapshot: Snapshot) -> tuple[str, ...]:
        """The field paths without which it can't be filled in now."""
        return tuple(
            path for _, path, default in self.parts if path and default is None and snapshot.get(path) is None
        )

    def render(self, snapshot: Snapshot, value: Callable[[str], str] = str) -> str:
        """The text with its fields filled in, each as ``value`` makes of it. Raises FieldMissing."""
        if missing := self.missing(snapshot):
            raise FieldMissing(missing)
        made = []
        for literal, path, default in self.parts:
            made.append(literal)
            if path:
                found = snapshot.get(path)
                made.append(value(found if found is not None else default or ""))
        return "".join(made)


def parse_template(text: str) -> Template:
    """Read a text; ``{{`` and ``}}`` stand for the braces themselves.

    Raises ValueError for a brace that isn't closed or opened, and FieldPathError
    (a ValueError) for a placeholder that names no field.
    """
    parts: list[tuple[str, str, str | None]] = []
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
            path, has_default, default = text[at + 1 : end].partition(":-")
            path = path.strip()
            if not path:
                raise FieldPathError(
                    "a placeholder without a field path; write '{{}}' for the braces themselves"
                )
            parse_path(path)
            parts.append((literal, path, default if has_default else None))
            literal, at = "", end + 1
    if literal or not parts:
        parts.append((literal, "", None))
    return Template(text, tuple(parts))
