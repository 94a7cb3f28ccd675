"""What a type expects, in words, and whether a scalar is of it.

The types are those of ``msgspec.inspect``. A ``Kind`` hangs on its type as
``Meta(extra={"kind": …})``.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from msgspec import inspect

from kmetad._config.kinds import QUANTITY, TIMEDELTA, Kind
from kmetad._config.problems import did_you_mean, kind_of, nearest, one_of, quoted
from kmetad.quantity import Quantity

Array = inspect.ListType | inspect.VarTupleType | inspect.SetType | inspect.FrozenSetType
_PLURALS = {"a string": "strings", "an integer": "integers", "a number": "numbers", "a table": "tables"}
_SPECIAL: dict[type[inspect.Type], Any] = {
    inspect.DateTimeType: datetime.datetime,
    inspect.DateType: datetime.date,
    inspect.TimeType: datetime.time,
    inspect.UUIDType: uuid.UUID,
    inspect.DecimalType: Decimal,
    inspect.BytesType: bytes,
}


def kind(info: inspect.Type) -> Kind | None:
    """The kind of a scalar, if it is one that msgspec itself doesn't know."""
    if isinstance(info, inspect.Metadata):
        found = (info.extra or {}).get("kind")
        return found if isinstance(found, Kind) else kind(info.type)
    if isinstance(info, inspect.TimeDeltaType):
        return TIMEDELTA
    return QUANTITY if isinstance(info, inspect.CustomType) and info.cls is Quantity else None


def described(info: inspect.Type) -> str:
    """``an integer from -20 to 19``"""
    own = kind(info)
    if own is not None:
        return own.expected
    match info:
        case inspect.Metadata():
            return described(info.type)
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"an integer{_bounds(info)}"
        case inspect.FloatType():
            return f"a number{_bounds(info)}"
        case inspect.StrType(pattern=str(pattern)):
            return f"a string that matches {pattern}"
        case inspect.StrType():
            return f"a string{_lengths(info, 'characters')}"
        case inspect.LiteralType() | inspect.EnumType():
            return one_of(quoted(value) if isinstance(value, str) else str(value) for value in choices(info))
        case inspect.StructType() | inspect.DictType() | inspect.DataclassType() | inspect.TypedDictType():
            return "a table"
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            item = described(info.item_type)
            return f"an array of {_PLURALS.get(item, item)}{_lengths(info, 'entries')}"
        case inspect.TupleType():
            return f"an array of {' and '.join(map(described, info.item_types))}"
        case inspect.UnionType():
            return one_of(described(option) for option in options(info))
        case inspect.DateTimeType() | inspect.DateType() | inspect.TimeType():
            return kind_of(None)
    return f"a valid {python_type(info).__name__}" if python_type(info) else "another value"


def options(info: inspect.UnionType) -> list[inspect.Type]:
    """What a union allows in TOML, which has no null."""
    return [option for option in info.types if not isinstance(option, inspect.NoneType)]


def choices(info: inspect.LiteralType | inspect.EnumType) -> list[Any]:
    """The values that may stand in the TOML."""
    return (
        list(info.values) if isinstance(info, inspect.LiteralType) else [member.value for member in info.cls]
    )


def fits(info: inspect.Type, value: Any) -> bool | None:
    """Whether a scalar is of its type; None where the type isn't one of the plain ones."""
    match info:
        case inspect.BoolType():
            return type(value) is bool
        case inspect.IntType():
            return type(value) is int and _in_bounds(info, value)
        case inspect.FloatType():
            return type(value) in (int, float) and _in_bounds(info, value)
        case inspect.StrType():
            return (
                isinstance(value, str)
                and _in_lengths(info, value)
                and (info.pattern is None or re.search(info.pattern, value) is not None)
            )
        case inspect.LiteralType() | inspect.EnumType():
            return any(type(value) is type(choice) and value == choice for choice in choices(info))
    return None


def may_be(info: inspect.Type, value: Any) -> bool:
    """Whether a value has at least the TOML type that a member of a union wants."""
    if kind(info) is not None:
        return not isinstance(value, (dict, list))
    match info:
        case inspect.Metadata():
            return may_be(info.type, value)
        case inspect.StructType():
            tagged = info.tag_field is None or (
                isinstance(value, dict) and value.get(info.tag_field) == info.tag
            )
            return isinstance(value, dict) and tagged
        case inspect.DictType() | inspect.DataclassType() | inspect.TypedDictType():
            return isinstance(value, dict)
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            return isinstance(value, list)
        case inspect.TupleType():
            return isinstance(value, list) and len(value) == len(info.item_types)
        case inspect.BoolType():
            return type(value) is bool
        case inspect.IntType():
            return type(value) is int
        case inspect.FloatType():
            return type(value) in (int, float)
        case inspect.StrType():
            return isinstance(value, str)
        case inspect.LiteralType() | inspect.EnumType():
            return type(value) in map(type, choices(info))
    return True


def suggestion(info: inspect.Type, value: Any) -> str:
    """What somebody may have meant: the nearest choice, or the same value as another TOML type."""
    match info:
        case inspect.LiteralType() | inspect.EnumType() if isinstance(value, str):
            near = nearest(value, [choice for choice in choices(info) if isinstance(choice, str)])
            return did_you_mean(near) if near else ""
        case inspect.BoolType() if str(value).lower() in ("true", "false"):
            return f"did you mean {str(value).lower()}?"
        case inspect.IntType() if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
            return f"did you mean {value}?" if fits(info, int(value)) else ""
        case inspect.StrType() if type(value) in (int, float):
            return did_you_mean(str(value))
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType() | inspect.FrozenSetType():
            single = isinstance(value, str) and may_be(info.item_type, value)
            return f"did you mean [{quoted(value)}]?" if single else ""
    return ""


def sized(info: Any, value: Any) -> bool:
    """Whether an array or a table has as many entries as its type allows."""
    return _in_lengths(info, value)


def python_type(info: inspect.Type) -> Any:
    """The Python type of what only msgspec converts; None where even that isn't known."""
    return _SPECIAL.get(type(info)) or getattr(info, "cls", None)


def _bounds(info: inspect.IntType | inspect.FloatType) -> str:
    if info.ge is not None and info.le is not None:
        return f" from {info.ge} to {info.le}"
    limits: Iterator[tuple[str, Any]] = iter(
        [("at least", info.ge), ("more than", info.gt), ("at most", info.le), ("less than", info.lt)]
    )
    words = [f"{word} {limit}" for word, limit in limits if limit is not None]
    words += [f"a multiple of {info.multiple_of}"] if info.multiple_of is not None else []
    return f" that is {' and '.join(words)}" if words else ""


def _in_bounds(info: inspect.IntType | inspect.FloatType, value: float) -> bool:
    return (
        (info.ge is None or value >= info.ge)
        and (info.gt is None or value > info.gt)
        and (info.le is None or value <= info.le)
        and (info.lt is None or value < info.lt)
        and (info.multiple_of is None or value % info.multiple_of == 0)
    )


def _lengths(info: Any, unit: str) -> str:
    least, most = info.min_length, info.max_length
    if least is not None and most is not None:
        return f" of {least} to {most} {unit}"
    if most is not None:
        return f" of at most {most} {unit}"
    return f" of at least {least} {unit}" if least is not None else ""


def _in_lengths(info: Any, value: Any) -> bool:
    least, most = info.min_length, info.max_length
    return (least is None or len(value) >= least) and (most is None or len(value) <= most)
