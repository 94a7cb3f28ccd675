"""Texts of docstrings and types as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from json import dumps
from typing import Any

from msgspec import inspect

from kmetad._config.documented import documented
from kmetad._config.expected import described, kind, options
from kmetad._config.schema import _default

GENERATED = "<!-- Made by `make reference` from the code; mend it there. -->"


def prose(text: str) -> str:
    """A docstring's text: code in single backticks."""
    return text.replace("``", "`")


def cell(text: str) -> str:
    """A table's cell: nothing in it ends it."""
    return prose(text).replace("|", "\\|").replace("\n", " ")


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *([cell(text) for text in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def code(text: str) -> str:
    """Inline code, whatever backticks it holds; empty for nothing."""
    return f"`{text}`" if text else ""


def form(info: inspect.Type) -> str:
    """What a key's value looks like in the TOML."""
    if kind(info) is not None:
        return described(info)
    match info:
        case inspect.Metadata():
            return form(info.type) if isinstance(info.type, inspect.DictType) else described(info)
        case inspect.StructType():
            return f"a table {info.cls.__name__}"
        case inspect.DictType():
            return f"a table, each value {form(info.value_type)}"
        case inspect.UnionType():
            return " or ".join(form(option) for option in options(info))
        case inspect.ListType() | inspect.VarTupleType() if not _plain(info.item_type):
            return f"an array, each entry {form(info.item_type)}"
        case inspect.AnyType():
            return "any value"
    return described(info)


def _plain(info: inspect.Type) -> bool:
    return not isinstance(info, (inspect.StructType, inspect.UnionType, inspect.DictType))


def keys(struct: type, defaults: dict[str, str] | None = None, skip: Sequence[str] = ()) -> str:
    """A table of a Struct's keys. ``defaults``: what stands where the Struct's own says too little."""
    info: Any = inspect.type_info(struct)
    meanings = documented(struct)
    rows = []
    for field in info.fields:
        if field.name in skip:
            continue
        default = _default(field)
        shown = code(dumps(default["default"], ensure_ascii=False)) if default else ""
        shown = "required" if field.required else shown
        shown = (defaults or {}).get(field.encode_name, shown)
        rows.append((code(field.encode_name), form(field.type), shown, meanings[field.name]))
    return table(("key", "type", "default", "meaning"), rows)


def inner(info: inspect.Type) -> list[type]:
    """The Structs that a type holds, in order."""
    match info:
        case inspect.Metadata():
            return inner(info.type)
        case inspect.StructType():
            return [info.cls]
        case inspect.DictType():
            return inner(info.value_type)
        case inspect.UnionType():
            return [cls for option in info.types for cls in inner(option)]
        case inspect.ListType() | inspect.VarTupleType():
            return inner(info.item_type)
    return []
