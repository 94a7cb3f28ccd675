"""What a plugin's table in the TOML takes: each option's type and default, and what its author says of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin


def rows(options_type: type | None) -> Iterator[tuple[str, str]]:
    """By option, two lines: type and default, in the TOML's terms; and what is written below it in the source."""
    if options_type is None:
        return
    from msgspec import structs

    from kmetad._config.documented import documented

    told = documented(options_type)
    for field in structs.fields(options_type):
        default = "required" if field.required else _shown(field.default)
        typed = _type(field.type) + (f", {default}" if default else "")
        about = _of_meta(field.type) or told.get(field.name, "")
        yield field.encode_name, f"{typed}\n{about.replace('``', '`')}".rstrip()


def _of_meta(type_: Any) -> str:
    """What ``Annotated[…, msgspec.Meta(description=…)]`` says."""
    if get_origin(type_) is not Annotated:
        return ""
    told = (getattr(meta, "description", None) for meta in type_.__metadata__)
    return next((" ".join(text.split()) for text in told if text), "")


def _type(type_: Any) -> str:
    """An option's type in the TOML's terms: ``list[str]``, ``duration``, ``table``, ``"a" | "b"``."""
    origin, parts = get_origin(type_), get_args(type_)
    if origin in (Union, UnionType):
        return " | ".join(_type(part) for part in parts if part is not NoneType)
    if origin is Literal:
        return " | ".join(f'"{value}"' if isinstance(value, str) else str(value) for value in parts)
    if origin is Annotated:
        return _type(parts[0])
    if origin is not None:
        name = "list" if origin is tuple else origin.__name__
        return f"{name}[{', '.join(_type(part) for part in parts if part is not Ellipsis)}]"
    if type_ is timedelta:
        return "duration"
    return str(type_.__name__) if type_.__module__ == "builtins" else "table"  # a Struct of the plugin's


def _shown(default: Any) -> str:
    """An option's default as the TOML has it; empty for one that may be left out and then means nothing."""
    if isinstance(default, timedelta):
        from kmetad._config import format_duration

        default = format_duration(default.total_seconds())
    if isinstance(default, (tuple, list)):
        items = [_shown(item).removeprefix("default ") for item in default]
        return f"default [{', '.join(items)}]" if items and all(items) else ""
    return f"default {json.dumps(default)}" if isinstance(default, (str, int, float)) else ""
