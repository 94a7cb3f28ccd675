"""Makes typed values of what tomllib read, and collects everything that is wrong on the way.

``msgspec.convert`` stops at the first fault and knows no lines. So the types are
walked here (``msgspec.inspect``); only what this walk has no words for, a
plugin's more unusual options, is left to msgspec.

A faulty key of a table keeps its default. What has a name (a volume, an item, a
variable) is taken whole or left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import inspect

from kmetad._config.expected import described, fits, kind, may_be, options, python_type, sized, suggestion
from kmetad._config.kinds import Kind
from kmetad._config.lines import Lines
from kmetad._config.problems import Path, Problem, Wrong, did_you_mean, nearest, place, secret, shown

FAULT = object()
"""Stands for a value that can't be had; the problem has been noted."""

Rule = Callable[["Check", Path, Any, Mapping[str, Any]], Any]
"""Looks at a whole table in which no key is wrong: the checker, where it stands, the Struct
made of it, what was in the TOML. Answers the Struct to use."""

_STEP = re.compile(r"\.([^.\[\]`]+)|\[([0-9]+)\]")


class Check:
    """One checking of one file; ``problems`` grows in the order of finding."""

    def __init__(
        self,
        lines: Lines | None = None,
        rules: Mapping[type, Rule] | None = None,
        also: Mapping[Path, Sequence[str]] = {},
    ) -> None:
        """``also``: keys that a table may have beside those that this checking is about."""
        self.problems: list[Problem] = []
        self._lines = lines
        self._rules = rules or {}
        self._also = also

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
        """A Struct of a table, or FAULT where a key that must be there isn't or is wrong."""
        return self.value(inspect.type_info(cls), value, path)

    def value(self, info: inspect.Type, value: Any, path: Path) -> Any:
        """Whatever the type says, or FAULT."""
        own = kind(info)
        if own is not None:
            return self.scalar(own, value, path)
        match info:
            case inspect.Metadata():
                return self.value(info.type, value, path)
            case inspect.AnyType():
                return value
            case inspect.StructType(array_like=False):
                return self._struct(info, value, path)
            case inspect.DictType():
                return self._dict(info, value, path)
            case inspect.UnionType():
                return self._union(info, value, path)
            case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
                return self._array(info, value, path)
            case inspect.TupleType():
                return self._tuple(info, value, path)
        fitting = fits(info, value)
        if fitting is None:
            return self._by_msgspec(info, value, path)
        if not fitting:
            return self.wrong(path, value, described(info), suggestion(info, value))
        if isinstance(info, inspect.EnumType):
            return info.cls(value)
        return float(value) if isinstance(info, inspect.FloatType) else value

    def scalar(self, own: Kind, value: Any, path: Path) -> Any:
        """A value of one of kmetad's own kinds, or FAULT."""
        try:
            return own.parse(value)
        except Wrong as wrong:
            return self.wrong(path, value, wrong.expected, wrong.suggestion)

    def unknown(self, path: Path, known: Sequence[str]) -> None:
        """Note that a table has a key, the last of the path, that isn't known."""
        near = nearest(str(path[-1]), known)
        expected = f"one of {', '.join(known)}" if known else "none"
        self.problem(path, "an unknown key", expected, did_you_mean(near) if near else "")

    def _struct(self, info: inspect.StructType, value: Any, path: Path) -> Any:
        if not isinstance(value, dict):
            return self.wrong(path, value, "a table")
        before = len(self.problems)
        fields = {field.encode_name: field for field in info.fields}
        known = [*fields] if info.tag_field is None else [info.tag_field, *fields]
        values: dict[str, Any] = {}
        for key, item in value.items():
            if key in fields:
                converted = self.value(fields[key].type, item, (*path, key))
                if converted is not FAULT:
                    values[fields[key].name] = converted
            elif key not in known:
                self.unknown((*path, key), [*known, *self._also.get(path, ())])
        for key, field in fields.items():
            if field.required and key not in value:
                self.problem(path, f"no {key}", described(field.type))
        if any(field.required and field.name not in values for field in info.fields):
            return FAULT
        try:
            struct = info.cls(**values)
        except (ValueError, TypeError) as error:  # from __post_init__ of a plugin's Options
            if len(self.problems) > before:
                return FAULT  # that what is wrong is missed is no further fault
            return self.problem(path, f"the plugin refuses this: {_without_secrets(str(error), value, path)}")
        rule = self._rules.get(info.cls)
        return rule(self, path, struct, value) if rule and len(self.problems) == before else struct

    def _dict(self, info: inspect.DictType, value: Any, path: Path) -> Any:
        if not isinstance(value, dict):
            return self.wrong(path, value, "a table")
        converted: dict[Any, Any] = {}
        for text, item in value.items():
            before, at = len(self.problems), (*path, text)
            key = self._key(info.key_type, text, at)
            new = self.value(info.value_type, item, at)
            if len(self.problems) > before:
                continue
            if key in converted:  # TERM and SIGTERM
                self.problem(at, "the same key once more, written differently", "each key once")
            else:
                converted[key] = new
        return self._sized(info, converted, value, path)

    def _key(self, info: inspect.Type, text: str, path: Path) -> Any:
        """A table's key as its type."""
        plain = info.type if isinstance(info, inspect.Metadata) else info
        number = (
            kind(info) is None and isinstance(plain, inspect.IntType) and re.fullmatch(r"-?[0-9]{1,18}", text)
        )
        return self.value(info, int(text) if number else text, path)

    def _array(self, info: Any, value: Any, path: Path) -> Any:
        if not isinstance(value, list):
            return self.wrong(path, value, described(info), suggestion(info, value))
        items = [self.value(info.item_type, item, (*path, index)) for index, item in enumerate(value)]
        if any(item is FAULT for item in items):
            return FAULT
        made = {inspect.VarTupleType: tuple, inspect.SetType: set, inspect.FrozenSetType: frozenset}
        return self._sized(info, made.get(type(info), list)(items), value, path)

    def _tuple(self, info: inspect.TupleType, value: Any, path: Path) -> Any:
        if not isinstance(value, list) or len(value) != len(info.item_types):
            return self.wrong(path, value, described(info))
        pairs = zip(info.item_types, value, strict=True)
        items = [self.value(item_type, item, (*path, index)) for index, (item_type, item) in enumerate(pairs)]
        return FAULT if any(item is FAULT for item in items) else tuple(items)

    def _sized(self, info: Any, converted: Any, value: Any, path: Path) -> Any:
        if sized(info, value):
            return converted
        return self.problem(path, f"{len(value)} entries", described(info))

    def _union(self, info: inspect.UnionType, value: Any, path: Path) -> Any:
        """The first option that takes the value; if none does, what the only likely one says of it."""
        likely = [option for option in options(info) if may_be(option, value)]
        if len(likely) == 1:
            return self.value(likely[0], value, path)
        for option in likely:
            trial = Check(rules=self._rules)
            converted = trial.value(option, value, path)
            if not trial.problems:
                return converted
        if len(options(info)) == 1:
            return self.value(options(info)[0], value, path)
        return self.wrong(path, value, described(info))

    def _by_msgspec(self, info: inspect.Type, value: Any, path: Path) -> Any:
        """A type that only msgspec knows; its fault is told in our words."""
        python = python_type(info)
        if python is None:
            return value
        try:
            return msgspec.convert(value, python, str_keys=True)
        except msgspec.ValidationError as error:
            text, _, inner = str(error).partition(" - at `$")
            inner = inner.partition("[...")[0]  # a key of a mapping, which msgspec doesn't name
            for key, index in _STEP.findall(inner):
                step: Any = int(index) if index else key
                path = (*path, step)
                value = value[step] if isinstance(value, (dict, list)) else value
            return self.wrong(path, value, _in_words(text) if inner else described(info))


def _in_words(text: str) -> str:
    """What msgspec expected inside of a type that only it knows."""
    names = {"str": "a string", "int": "an integer", "float": "a number", "bool": "true or false"}
    names |= {"array": "an array", "object": "a table"}
    found = re.match(r"Expected `([^`|]+)`", text)
    return names.get(found[1], f"a valid {found[1]}") if found else "another value"


def _without_secrets(text: str, value: Any, path: Path) -> str:
    """A plugin's own sentence about its options, with secrets taken out."""
    inner: list[tuple[Path, Any]] = []
    if isinstance(value, dict):
        inner = [((*path, key), item) for key, item in value.items()]
    elif isinstance(value, list):
        inner = [((*path, index), item) for index, item in enumerate(value)]
    elif secret(path, value) and str(value):
        return text.replace(str(value), "…")
    for at, item in inner:
        text = _without_secrets(text, item, at)
    return text
