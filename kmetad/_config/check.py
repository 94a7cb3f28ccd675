"""Makes typed values of what tomllib read, and collects everything that is wrong on the way.

``msgspec.convert`` stops at the first fault and knows no lines. So the types are
walked here (``msgspec.inspect``), and only what this walk has no words for, a
plugin's more unusual options, is left to msgspec.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

import msgspec
from msgspec import inspect

from kmetad._config.kinds import QUANTITY, Kind, Wrong
from kmetad._config.kinds import Duration as _Duration
from kmetad._config.lines import Lines
from kmetad._config.problems import (
    Path,
    Problem,
    did_you_mean,
    kind_of,
    nearest,
    one_of,
    place,
    quoted,
    secret,
    shown,
)
from kmetad.quantity import Quantity

FAULT = object()
"""Stands for a value that can't be had; the problem has been noted."""

Rule = Callable[["Check", Path, Any, Mapping[str, Any]], Any]
"""Looks at a whole table: the checker, where it stands, the Struct made of it, what was in the TOML.
Answers the Struct to use, or FAULT."""

_AFTER_PATH = re.compile(r"^(.*?)(?: - at `(?:key in )?\$(.*)`)?$", re.DOTALL)
_PATH_PART = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_TYPE_NAMES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "a table",
}
_PLURALS = {"a string": "strings", "an integer": "integers", "a number": "numbers", "a table": "tables"}


class Check:
    """One checking of one file; ``problems`` grows in the order of finding."""

    def __init__(self, lines: Lines | None = None, rules: Mapping[type, Rule] | None = None) -> None:
        self.problems: list[Problem] = []
        self._lines = lines
        self._rules = rules or {}

    def problem(self, path: Path, found: str, expected: str = "", suggestion: str = "") -> Any:
        """Note what is wrong at a place; answers FAULT."""
        line = self._lines.of(path) if self._lines else 0
        file = self._lines.file if self._lines else ""
        fatal = path[:1] in (("run",), ("daemon",))
        self.problems.append(Problem(file, line, place(path), found, expected, suggestion, fatal))
        return FAULT

    def wrong(self, path: Path, value: Any, expected: str, suggestion: str = "") -> Any:
        """Note that a value isn't what was expected, without showing secrets; answers FAULT."""
        return self.problem(path, shown(path, value), expected, "" if secret(path, value) else suggestion)

    def table(self, cls: type, value: Any, path: Path = ()) -> Any:
        """A Struct of a table, or FAULT. Faulty keys are noted and keep their defaults."""
        return self._value(inspect.type_info(cls), value, path)

    def _value(self, info: inspect.Type, value: Any, path: Path) -> Any:
        kind = _kind(info)
        if kind is not None:
            return self._scalar(kind, value, path)
        match info:
            case inspect.Metadata():
                return self._value(info.type, value, path)
            case inspect.StructType() if not info.array_like:
                return self._struct(info, value, path)
            case inspect.DictType():
                return self._dict(info, value, path)
            case inspect.UnionType():
                return self._union(info, value, path)
            case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
                return self._array(info, value, path)
            case inspect.AnyType():
                return value
        expected = described(info)
        if not expected:
            return self._by_msgspec(info, value, path)
        if not _fits(info, value):
            return self.wrong(path, value, expected, _retyped(info, value))
        return float(value) if isinstance(info, inspect.FloatType) else value

    def _scalar(self, kind: Kind, value: Any, path: Path) -> Any:
        try:
            return kind.parse(value)
        except Wrong as wrong:
            return self.wrong(path, value, wrong.expected, wrong.suggestion)

    def _key(self, info: inspect.Type, key: str, path: Path) -> Any:
        """A table's key as its type; what is wrong with it is told at the key."""
        kind = _kind(info)
        if kind is not None:
            return self._scalar(kind, key, path)
        if isinstance(info, inspect.Metadata):
            return self._key(info.type, key, path)
        if isinstance(info, inspect.IntType) and re.fullmatch(r"-?[0-9]{1,18}", key):
            key_value: Any = int(key)
        else:
            key_value = key
        return self._value(info, key_value, path)

    def _struct(self, info: inspect.StructType, value: Any, path: Path) -> Any:
        if isinstance(value, info.cls):  # made by another checking
            return value
        if not isinstance(value, dict):
            return self.wrong(path, value, "a table")
        fields = {field.encode_name: field for field in info.fields}
        known = [*fields, info.tag_field] if info.tag_field else list(fields)
        values: dict[str, Any] = {}
        complete = True
        for key, item in value.items():
            if key in fields:
                converted = self._value(fields[key].type, item, (*path, key))
                if converted is not FAULT:
                    values[fields[key].name] = converted
                else:
                    complete = complete and not fields[key].required
            elif key not in known:
                near = nearest(key, (k for k in known if k not in value))
                self.problem(
                    (*path, key),
                    "an unknown key",
                    one_of(known) if known else "no keys at all",
                    did_you_mean(near) if near else "",
                )
        for key, field in fields.items():
            if field.required and key not in value:
                what = described(field.type) or "a value"
                self.problem(path, f"no {key}", what if _kind(field.type) is None else _expected(field.type))
                complete = False
        return self._made(info.cls, values, value, path) if complete else FAULT

    def _made(self, cls: Callable[..., Any], values: dict[str, Any], table: Mapping[str, Any], path: Path) -> Any:
        try:
            struct = cls(**values)
        except (ValueError, TypeError) as error:  # __post_init__ of a plugin's Options
            return self.problem(path, f"options that the plugin refuses: {_without_secrets(str(error), table, path)}")
        rule = self._rules.get(type(struct))
        return rule(self, path, struct, table) if rule else struct

    def _dict(self, info: inspect.DictType, value: Any, path: Path) -> Any:
        if not isinstance(value, dict):
            return self.wrong(path, value, "a table")
        converted: dict[Any, Any] = {}
        for text, item in value.items():
            before = len(self.problems)
            at = (*path, text)
            key = self._key(info.key_type, text, at)
            new = self._named(text, info.value_type, item, at)
            if key is FAULT or new is FAULT:
                continue
            if key in converted:
                self.problem(at, "the same once more", "each only once")
            elif len(self.problems) == before or not _all_or_nothing(info.value_type):
                converted[key] = new
        return self._sized(info, converted, value, path)

    def _named(self, name: str, info: inspect.Type, value: Any, path: Path) -> Any:
        """A value of a table that knows its own name, as plugins do."""
        if isinstance(info, inspect.DataclassType) and info.cls in self._rules:
            return self._rules[info.cls](self, path, name, value)
        return self._value(info, value, path)

    def _array(self, info: Any, value: Any, path: Path) -> Any:
        item_type = info.item_type
        if not isinstance(value, list):
            single = isinstance(value, str) and _kind_or_text(item_type)
            suggestion = f"did you mean [{quoted(value)}]?" if single else ""
            return self.wrong(path, value, described(info), suggestion)
        items = [self._value(item_type, item, (*path, index)) for index, item in enumerate(value)]
        if any(item is FAULT for item in items):
            return FAULT
        made = {inspect.VarTupleType: tuple, inspect.SetType: set, inspect.FrozenSetType: frozenset}
        return self._sized(info, made.get(type(info), list)(items), value, path)

    def _sized(self, info: Any, converted: Any, value: Any, path: Path) -> Any:
        least, most = info.min_length or 0, info.max_length
        if len(value) < least or (most is not None and len(value) > most):
            entries = f"{least} to {most}" if most is not None else f"at least {least}"
            return self.problem(path, f"{len(value)} entries", f"{entries}")
        return converted

    def _union(self, info: inspect.UnionType, value: Any, path: Path) -> Any:
        options = [option for option in info.types if not isinstance(option, inspect.NoneType)]
        if len(options) > 1:
            fitting = [option for option in options if _same_shape(option, value)]
            for option in fitting:
                trial = Check(self._lines, self._rules)
                converted = trial._value(option, value, path)
                if not trial.problems:
                    return converted
            if len(fitting) != 1:
                return self.wrong(path, value, one_of(_expected(option) for option in options))
            options = fitting
        return self._value(options[0], value, path)

    def _by_msgspec(self, info: inspect.Type, value: Any, path: Path) -> Any:
        """What is beyond this walk: msgspec's own conversion, and its fault in our words."""
        python = _python_type(info)
        if python is None:
            return value
        try:
            return msgspec.convert(value, python, str_keys=True)
        except msgspec.ValidationError as error:
            found = _AFTER_PATH.match(str(error))
            text, inner = (found[1], found[2] or "") if found else (str(error), "")
            for key, index in _PATH_PART.findall(inner):
                step: Any = int(index) if index else key
                path = (*path, step)
                value = value[step] if isinstance(value, (dict, list)) else value
            return self.wrong(path, value, _in_our_words(text))


def described(info: inspect.Type) -> str:
    """What is expected, for people: ``an integer from -20 to 19``; empty for types without words."""
    match info:
        case inspect.Metadata():
            return _kind_words(info) or described(info.type)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType() | inspect.FloatType():
            return ("an integer" if isinstance(info, inspect.IntType) else "a number") + _bounds(info)
        case inspect.StrType():
            return "a string" + _text_bounds(info)
        case inspect.LiteralType():
            return one_of(quoted(v) if isinstance(v, str) else str(v) for v in info.values)
        case inspect.EnumType():
            return one_of(quoted(str(member.value)) for member in info.cls)
        case inspect.TimeDeltaType():
            return 'a duration such as "200ms"'
        case inspect.StructType() | inspect.DictType():
            return "a table"
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            item = described(info.item_type)
            return f"an array of {_PLURALS.get(item, item)}" if item else "an array"
        case inspect.UnionType():
            return one_of(filter(None, (described(option) for option in info.types)))
        case inspect.CustomType() if info.cls is Quantity:
            return QUANTITY.expected
    return ""
