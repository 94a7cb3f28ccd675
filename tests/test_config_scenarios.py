"""Configurations with faults, and what is said of them: tests/data/config holds a TOML and a text for each.

The text has one message a line; a leading ``! `` marks those after which not even
the app may be started. A new case is two new files.
"""

from __future__ import annotations

import datetime
import enum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from kmetad._config import Loaded, OptionsError, Problem, options, parse
from kmetad.quantity import Quantity

DATA = Path(__file__).parent / "data" / "config"


class Color(enum.Enum):
    """A choice that isn't a Literal."""

    GREEN = "green"
    RED = "red"


class Deep(Struct, frozen=True):
    """A table in a table in a table."""

    secret_number: int = 0
    number: int = 0


class Nested(Struct, frozen=True):
    """A table in the plugin's table; it doesn't forbid unknown keys itself."""

    height: int = 0
    deep: Deep = Deep()


class Sample(Struct, frozen=True, forbid_unknown_fields=True):
    """What a plugin may ask for."""

    greeting: str
    signal: str = "HUP"
    token: str = ""
    password: str = ""
    api_key: str = ""
    wait: datetime.timedelta = datetime.timedelta(0)
    size: Quantity | None = None
    retries: Annotated[int, Meta(ge=0, le=10)] = 0
    mode: Literal["fast", "careful"] = "fast"
    hosts: list[str] = []
    nested: Nested = Nested()
    either: int | str = 0
    target: int = 0
    tries: tuple[int, ...] = ()
    on: bool = False
    when: datetime.datetime | None = None
    ratio: float = 0.5
    color: Color = Color.RED
    levels: dict[str, int] = {}

    def __post_init__(self) -> None:
        if "refuse" in self.greeting:
            raise ValueError(f"no such greeting: {self.greeting}, {self.api_key}")


def problems(text: str) -> tuple[Loaded, list[Problem]]:
    """The faults of a text, those in the options of plugins that use ``sample`` included."""
    loaded = parse(text, "kmetad.toml")
    found = list(loaded.problems)
    for table in loaded.config.plugins.values():
        if "sample" in (table.use, table.name):
            try:
                options(Sample, table.options, table.name, table.lines)
            except OptionsError as error:
                found += error.found
    return loaded, sorted(found, key=lambda problem: problem.line)


@pytest.mark.parametrize("file", sorted(DATA.glob("*.toml")), ids=lambda file: file.stem)
def test_messages(file: Path) -> None:
    """Every fault is told, in file order, with its line and place, and nothing else is."""
    _, found = problems(file.read_text(encoding="utf-8"))
    expected = file.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    assert [("! " if problem.fatal else "") + str(problem) for problem in found] == expected


@pytest.mark.parametrize("file", sorted(DATA.glob("*.toml")), ids=lambda file: file.stem)
def test_secrets_never_appear(file: Path) -> None:
    """The password of the scenarios is in no message and no repr."""
    loaded, found = problems(file.read_text(encoding="utf-8"))
    assert "hunter2" not in repr(found) + repr(loaded.config.plugins)


def test_every_text_has_its_toml() -> None:
    """No expectation is left over that nothing checks."""
    assert {file.stem for file in DATA.glob("*.txt")} == {file.stem for file in DATA.glob("*.toml")}


def test_what_is_whole_stays() -> None:
    """What has a name and a fault is left out; the rest has its default and stays usable."""
    loaded, _ = problems((DATA / "volumes.toml").read_text(encoding="utf-8"))
    assert list(loaded.config.volumes) == ["fine"]
    loaded, _ = problems((DATA / "plugins.toml").read_text(encoding="utf-8"))
    assert list(loaded.config.plugins) == ["fine"]
    loaded, _ = problems((DATA / "tables.toml").read_text(encoding="utf-8"))
    assert msgspec.structs.asdict(loaded.config) == msgspec.structs.asdict(parse("", "").config)
