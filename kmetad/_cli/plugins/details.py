"""What a plugin can do, as lines: its hooks, options, commands, contract and role."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from textwrap import wrap
from typing import Any

from kmetad._cli import text
from kmetad._cli.plugins import options
from kmetad._plugins import Loaded
from kmetad.hookspecs import API_VERSION

_NARROWEST = 30
"""Columns that are left for words, however long the names beside them are."""

Row = tuple[str, str, str]
"""What kind of thing it is, its name, and a sentence or two, each on a line of its own."""


def of(plugin: Loaded, commands: Iterable[tuple[str, str]], width: int) -> list[str]:
    """A plugin's lines, none longer than ``width`` columns unless a single word is."""
    rows = [
        _contract(plugin.api_version),
        *(("hook", name, doc) for name, doc in _hooks(plugin.plugin)),
        *(("option", name, about) for name, about in options.rows(plugin.options_type)),
        *(("command", f"kmetad {name}", summary) for name, summary in commands),
        *(("role", asked, why) for asked, why in _role(plugin.role)),
    ]
    return _aligned(rows, width)


def commands(distribution: str) -> list[tuple[str, str]]:
    """The commands that a distribution brings, each with what it does."""
    from kmetad._cli.brought import brought

    found = []
    for command in brought():
        by = f"({command.origin})"
        if command.origin.partition(" ")[0] == distribution:
            found.append((command.name, command.summary().removesuffix(by).rstrip()))
    return found


def wrapped(sentence: str, width: int) -> list[str]:
    """A text as lines; a word is never cut."""
    return wrap(sentence, width, break_long_words=False, break_on_hyphens=False)


def plain(documented: str) -> str:
    """The first paragraph of a docstring in one line, without what marks code in reStructuredText."""
    paragraph = inspect.cleandoc(documented).partition("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "`")


def _aligned(rows: list[Row], width: int) -> list[str]:
    kinds, names = (max(len(row[at]) for row in rows) for at in (0, 1))
    room = max(_NARROWEST, width - kinds - names - 4)
    cells: list[tuple[str, str, str]] = []
    for kind, name, sentences in rows:
        lines = [line for sentence in sentences.split("\n") for line in wrapped(sentence, room)] or [""]
        cells.append((kind, name, lines[0]))
        cells += (("", "", line) for line in lines[1:])
    return text.table(cells)


def _contract(version: int | None) -> Row:
    if version is None:
        return "api", str(API_VERSION), "(it doesn't say which one it was written for)"
    return "api", str(version), ""


def _hooks(plugin: type) -> Iterator[tuple[str, str]]:
    for name in dir(plugin):
        if name.startswith("kmetad_"):
            yield name, _first_line(getattr(plugin, name))


def _role(role: Any) -> Iterator[tuple[str, str]]:
    """What ``ROLE`` says; or that it says nothing that anybody could use."""
    if role is None:
        return
    if role == {}:
        yield "none", "it asks the API server for nothing by itself"
        return
    if not isinstance(role, Mapping):
        yield "?", f'ROLE is a {type(role).__name__}, expected a dict such as {{"patch pods": "why"}}'
        return
    for asked, why in role.items():
        words = asked.split() if isinstance(asked, str) else ()
        if len(words) != 2 or not isinstance(why, str):
            yield "?", f'ROLE has {asked!r}, expected "VERB RESOURCE" and why, as in {{"patch pods": "why"}}'
        else:
            yield asked, plain(why)


def _first_line(documented: object) -> str:
    told = (getattr(documented, "__doc__", None) or "").strip().partition("\n")[0]
    return plain(told)
