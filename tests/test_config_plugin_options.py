"""A plugin's own options; what is said of faulty ones is in test_config_scenarios."""

from __future__ import annotations

import datetime
import enum
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct, field

from kmetad._config import Lines, OptionsError, options
from kmetad.errors import ConfigError
from kmetad.quantity import Quantity

EITHER = "an integer that is at least 5, a number that is at least 5, a string or an array of integers"


class Level(enum.IntEnum):
    """A choice of numbers."""

    LOW = 1
    HIGH = 2


class Command(Struct, frozen=True, tag="command"):
    """One of two kinds of action."""

    argv: tuple[str, ...]


class Url(Struct, frozen=True, tag="url"):
    """The other."""

    url: str


@dataclass
class Plain:
    """A dataclass, which only msgspec converts."""

    number: int = 0


class Typed(TypedDict, total=False):
    """A typed table of tables, likewise."""

    deep: dict[str, dict[str, int]]


class Options(Struct, frozen=True):
    """Every type that a plugin may reasonably ask for."""

    text: str = ""
    number: Annotated[int, Meta(gt=0, multiple_of=2)] = 2
    ratio: Annotated[float, Meta(lt=1)] = 0.0
    wait: datetime.timedelta = datetime.timedelta(0)
    at: datetime.datetime | None = None
    day: datetime.date | None = None
    id: uuid.UUID | None = None
    price: Decimal | None = None
    amount: Quantity | None = None
    level: Level = Level.LOW
    mode: Literal["a", "b"] = "a"
    names: frozenset[str] = frozenset()
    some: Annotated[tuple[int, ...], Meta(min_length=1, max_length=2)] = (1,)
    pair: tuple[int, str] = (0, "")
    by_number: dict[int, str] = {}
    anything: Any = None
    action: Command | Url | None = None
    plain: Plain = Plain()
    short: Annotated[str, Meta(min_length=2, max_length=3)] = "ab"
    shaped: Annotated[str, Meta(pattern="^[a-z]+$")] = "a"
    renamed: int = field(default=0, name="other-name")
    mapping: dict[str, dict[str, int]] = {}
    titled: Annotated[int, Meta(title="a title")] = 0
    either: Annotated[int, Meta(ge=5)] | Annotated[float, Meta(ge=5)] | str | list[int] | None = None
    typed: Typed | None = None
    tens: Literal[10, 20] | str = 10
    list_: Annotated[list[str], Meta(min_length=1)] = field(default_factory=lambda: ["x"])
    few: Annotated[dict[str, int], Meta(max_length=1)] = {}


def test_good() -> None:
    """Each type is made of what TOML has for it."""
    time = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    made = options(
        Options,
        {
            "text": "x",
            "number": 4,
            "ratio": 0,
            "wait": "1m30s",
            "at": time,
            "day": datetime.date(2026, 1, 2),
            "id": "12345678-1234-5678-1234-567812345678",
            "price": "1.10",
            "amount": "250m",
            "level": 2,
            "mode": "b",
            "names": ["a", "b", "a"],
            "some": [1, 2],
            "pair": [1, "x"],
            "by_number": {"1": "one", "-2": "two"},
            "anything": {"what": ["ever"]},
            "action": {"type": "command", "argv": ["true"]},
            "plain": {"number": 5},
            "short": "abc",
            "shaped": "abc",
            "other-name": 7,
            "mapping": {"a": {"b": 1}},
        },
        "x",
    )
    assert made == Options(
        text="x",
        number=4,
        ratio=0.0,
        wait=datetime.timedelta(seconds=90),
        at=time,
        day=datetime.date(2026, 1, 2),
        id=uuid.UUID("12345678-1234-5678-1234-567812345678"),
        price=Decimal("1.10"),
        amount=Quantity("250m"),
        level=Level.HIGH,
        mode="b",
        names=frozenset("ab"),
        some=(1, 2),
        pair=(1, "x"),
        by_number={1: "one", -2: "two"},
        anything={"what": ["ever"]},
        action=Command(("true",)),
        plain=Plain(5),
        short="abc",
        shaped="abc",
        renamed=7,
        mapping={"a": {"b": 1}},
    )
    assert isinstance(made.ratio, float)
    assert isinstance(made.level, Level)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            {"number": 0},
            "plugins.x.number: found 0, expected an integer that is more than 0 and a multiple of 2",
        ),
        (
            {"number": 3},
            "plugins.x.number: found 3, expected an integer that is more than 0 and a multiple of 2",
        ),
        (
            {"number": True},
            "plugins.x.number: found true, expected an integer that is more than 0 and a multiple of 2",
        ),
        ({"ratio": 1}, "plugins.x.ratio: found 1, expected a number that is less than 1"),
        ({"at": "soon"}, 'plugins.x.at: found "soon", expected a date or time'),
        ({"id": "1"}, 'plugins.x.id: found "1", expected a valid UUID'),
        ({"price": []}, "plugins.x.price: found an empty array, expected a valid Decimal"),
        (
            {"amount": "1Q"},
            'plugins.x.amount: found "1Q", expected a Kubernetes quantity such as "1m" or "1Mi"',
        ),
        ({"level": 3}, "plugins.x.level: found 3, expected 1 or 2"),
        ({"mode": True}, 'plugins.x.mode: found true, expected "a" or "b"'),
        ({"names": [1]}, 'plugins.x.names[0]: found 1, expected a string — did you mean "1"?'),
        ({"some": []}, "plugins.x.some: found 0 entries, expected an array of integers of 1 to 2 entries"),
        ({"some": 1}, "plugins.x.some: found 1, expected an array of integers of 1 to 2 entries"),
        ({"pair": [1, 2]}, 'plugins.x.pair[1]: found 2, expected a string — did you mean "2"?'),
        ({"pair": [1]}, "plugins.x.pair: found an array, expected an array of an integer and a string"),
        ({"by_number": {"one": "x"}}, 'plugins.x.by_number.one: found "one", expected an integer'),
        ({"by_number": {"1": "x", "01": "y"}}, None),
        ({"action": {"type": "comand"}}, "plugins.x.action: found a table, expected a table or a table"),
        ({"action": {"type": "url"}}, "plugins.x.action: found no url, expected a string"),
        ({"plain": {"number": "x"}}, 'plugins.x.plain.number: found "x", expected an integer'),
        ({"plain": 1}, "plugins.x.plain: found 1, expected a table"),
        ({"short": "abcd"}, 'plugins.x.short: found "abcd", expected a string of 2 to 3 characters'),
        ({"shaped": "A"}, 'plugins.x.shaped: found "A", expected a string that matches ^[a-z]+$'),
        ({"renamed": 1}, None),
        ({"titled": "x"}, 'plugins.x.titled: found "x", expected an integer'),
        ({"either": 3}, f"plugins.x.either: found 3, expected {EITHER}"),
        ({"either": True}, f"plugins.x.either: found true, expected {EITHER}"),
        ({"either": [1, "x"]}, 'plugins.x.either[1]: found "x", expected an integer'),
        ({"typed": {"deep": {"a": {"b": "c"}}}}, "plugins.x.typed.deep: found a table, expected an integer"),
        ({"typed": 1}, "plugins.x.typed: found 1, expected a table"),
        ({"tens": 30}, "plugins.x.tens: found 30, expected 10 or 20"),
        (
            {"list_": []},
            "plugins.x.list_: found 0 entries, expected an array of strings of at least 1 entries",
        ),
        ({"few": {"a": 1, "b": 2}}, "plugins.x.few: found 2 entries, expected a table"),
        ({"mapping": {"a.b": {"c": "d"}}}, 'plugins.x.mapping."a.b".c: found "d", expected an integer'),
    ],
)
def test_bad(table: dict[str, Any], message: str | None) -> None:
    """Nothing of msgspec's own wording comes through."""
    with pytest.raises(OptionsError) as caught:
        options(Options, table, "x")
    assert isinstance(caught.value, ConfigError)
    if message is not None:
        assert caught.value.problems == (message,)
    assert not any(word in str(caught.value) for word in ("`", "$."))


def test_plugin_without_options() -> None:
    """A plugin that declares nothing takes nothing."""

    class Nothing(Struct, frozen=True):
        pass

    assert options(Nothing, {}, "x") == Nothing()
    with pytest.raises(OptionsError, match="plugins.x.a: found an unknown key, expected one of use, "):
        options(Nothing, {"a": 1}, "x")


def test_required() -> None:
    """What must be there and isn't is told at the table's line."""

    class Required(Struct, frozen=True):
        command: list[str]

    lines = Lines("f.toml", "\n[plugins.x]\n")
    with pytest.raises(OptionsError) as caught:
        options(Required, {}, "x", lines)
    assert caught.value.problems == ("f.toml:2: plugins.x: found no command, expected an array of strings",)


@pytest.mark.parametrize(("value", "made"), [(5, 5), (7.5, 7.5), ("x", "x"), ([1, 2], [1, 2])])
def test_unions(value: object, made: object) -> None:
    """Of several types the one that fits is taken."""
    assert options(Options, {"either": value}, "x").either == made


JSON = st.recursive(
    st.one_of(
        st.integers(), st.booleans(), st.floats(), st.text(max_size=8), st.datetimes(), st.dates(), st.times()
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(Options.__struct_encode_fields__), JSON, max_size=5))
def test_nothing_else_is_raised(table: dict[str, Any]) -> None:
    """Whatever the table holds, it becomes Options or an OptionsError."""
    try:
        assert isinstance(options(Options, table, "x"), Options)
    except OptionsError as error:
        said = error.problems
        assert said  # either outcome is right


@given(st.sampled_from(["token", "api_token", "PASSWORD", "client-secret", "key", "Authorization"]), JSON)
def test_secrets_are_never_shown(name: str, value: Any) -> None:
    """Of an option that is named like a secret only the type is told."""

    class Wanted(Struct, frozen=True, rename={"option": name}):
        option: Literal["nothing is this"]

    if value == "nothing is this":
        return
    with pytest.raises(OptionsError) as caught:
        options(Wanted, {name: value}, "x")
    kinds = ("string", "boolean", "integer", "float", "table", "array", "date or time")
    found = caught.value.found[0].found
    assert found.removeprefix("a ").removeprefix("an ").removeprefix("empty ") in kinds
    assert caught.value.found[0].suggestion == ""
