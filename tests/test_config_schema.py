"""The JSON Schema agrees with the checks."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from kmetad._config import json_schema, parse

DATA = Path(__file__).parent / "data" / "config"
TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "boolean": (bool,),
}


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """The part of JSON Schema's semantics that the schema uses; an unknown word fails."""
    described = {"$schema", "title", "description", "default"}
    for word, rule in schema.items():
        match word:
            case "type":
                names = rule if isinstance(rule, list) else [rule]
                fine = any(isinstance(value, TYPES[name]) for name in names)
                fine = fine and ("boolean" in names or not isinstance(value, bool))
            case "enum":
                fine = value in rule
            case "pattern":
                fine = not isinstance(value, str) or re.search(rule, value) is not None
            case "minimum":
                fine = value >= rule
            case "maximum":
                fine = value <= rule
            case "minItems":
                fine = len(value) >= rule
            case "items":
                fine = all(accepts(rule, item) for item in value)
            case "anyOf":
                fine = any(accepts(option, value) for option in rule)
            case "not":
                fine = not accepts(rule, value)
            case "required":
                fine = not isinstance(value, dict) or all(key in value for key in rule)
            case "propertyNames":
                fine = not isinstance(value, dict) or all(accepts(rule, key) for key in value)
            case "properties":
                fine = not isinstance(value, dict) or all(
                    accepts(rule[key], item) for key, item in value.items() if key in rule
                )
            case "additionalProperties":
                others = (
                    {k: v for k, v in value.items() if k not in schema.get("properties", {})}
                    if isinstance(value, dict)
                    else {}
                )
                fine = all(
                    rule if isinstance(rule, bool) else accepts(rule, item) for item in others.values()
                )
            case _:
                assert word in described, word
                fine = True
        if not fine:
            return False
    return True


def test_is_json() -> None:
    """It can be printed."""
    assert json.loads(json.dumps(json_schema())) == json_schema()


@pytest.mark.parametrize("name", ["interface", "run-fine", "empty"])
def test_accepts_what_is_right(name: str) -> None:
    """What the checks take, the schema takes."""
    assert accepts(json_schema(), tomllib.loads((DATA / f"{name}.toml").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "name",
    ["durations", "unknown-keys", "run", "daemon", "tables", "volumes", "match", "api", "run-command-empty"],
)
def test_refuses_what_is_wrong(name: str) -> None:
    """What has the wrong form is refused as well."""
    assert not accepts(json_schema(), tomllib.loads((DATA / f"{name}.toml").read_text(encoding="utf-8")))


def defaults(schema: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every default in a schema, by its keys."""
    found = [(path, schema["default"])] if "default" in schema else []
    for key, inner in schema.get("properties", {}).items():
        found += defaults(inner, (*path, key))
    return found


def test_defaults_are_defaults() -> None:
    """A TOML that writes every default down means the same as an empty one."""
    lines = [f"{'.'.join(path)} = {json.dumps(value)}" for path, value in defaults(json_schema())]
    assert 'run.stop_signal = "TERM"' in lines
    assert 'daemon.memory_limit = "128Mi"' in lines
    assert 'watch.rescan = "5m"' in lines
    loaded = parse("\n".join(line for line in lines if not line.startswith("token.")), "kmetad.toml")
    assert loaded.problems == ()
    assert loaded.config == parse("", "").config
