"""The walk over types: whatever the TOML holds, it ends in values and problems, never in an exception."""

from __future__ import annotations

import copy
import tomllib
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kmetad._config.check import FAULT, Check
from kmetad._config.model import Config, PluginKeys
from kmetad._config.problems import Path as At
from kmetad._config.rules import RULES

BLOCK = (Path(__file__).parent / "data" / "config" / "interface.toml").read_text(encoding="utf-8")
PLUGINS = tomllib.loads(BLOCK)["plugins"]["nginx"]
REST = {key: value for key, value in tomllib.loads(BLOCK).items() if key != "plugins"}
VALUES = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.floats(), st.text(max_size=8), st.datetimes(), st.dates()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: Any, path: At = ()) -> list[At]:
    """The paths of everything in a document."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


def replaced(document: Any, path: At, value: Any) -> Any:
    """A copy of a document with another value at a path."""
    document = copy.deepcopy(document)
    at = document
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return document


@given(st.sampled_from(places(REST)), VALUES)
def test_any_value_anywhere(path: At, value: Any) -> None:
    """Whatever stands in one place, the rest of the configuration is what it was."""
    whole = Check(rules=RULES).table(Config, REST)
    check = Check(rules=RULES)
    config = check.table(Config, replaced(REST, path, value))
    assert isinstance(config, Config)
    for table in REST.keys() - {path[0]}:
        assert getattr(config, table) == getattr(whole, table)
    for problem in check.problems:
        assert problem.place.startswith(str(path[0]))
        assert problem.fatal == (path[0] in ("run", "daemon"))
        assert str(problem).isprintable()


@given(st.sampled_from(places(PLUGINS)), VALUES)
def test_any_value_in_a_plugin(path: At, value: Any) -> None:
    """The same for the reserved keys of a plugin."""
    keys = {key: item for key, item in PLUGINS.items() if key != "signal"}
    if path[0] == "signal":
        return
    check = Check(rules=RULES)
    made = check.table(PluginKeys, replaced(keys, path, value), ("plugins", "x"))
    assert isinstance(made, PluginKeys) or made is FAULT
    assert not any(problem.fatal for problem in check.problems)


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_unknown_keys(document: dict[str, Any]) -> None:
    """Every key that nobody knows is told, each once."""
    check = Check()
    check.table(Config, document)
    unknown = {key for key in document if key not in Config.__struct_fields__}
    told = [problem for problem in check.problems if problem.found == "an unknown key"]
    assert len(told) >= len(unknown)
