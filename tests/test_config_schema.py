"""The JSON Schema, judged by somebody else's validator: it agrees with the checks, as far as a schema can."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from kmetad._config import json_schema, options, parse
from kmetad._config.documented import documented
from kmetad.errors import ConfigError
from kmetad.events import TYPES
from tests.reference.official import options_types
from tests.test_packaging import ROOT

DATA = Path(__file__).parent / "data" / "config"
OFFICIAL = options_types()
SCHEMA = json_schema(OFFICIAL)
VALIDATOR = Draft202012Validator(SCHEMA)

Reload, Logtag = OFFICIAL["reload"], OFFICIAL["logtag"]


class Deep(msgspec.Struct, frozen=True):
    """A table that may hold itself."""

    name: str
    below: tuple[Deep, ...] = ()


class Options(msgspec.Struct, frozen=True, rename="kebab"):
    """Of a plugin that nobody here knows."""

    wait_for: timedelta = timedelta(seconds=5)
    """How long."""
    share: float = 0.5
    pair: tuple[str, int] = ("a", 1)
    deep: Deep | None = None
    anything: Any = None


def test_is_a_schema() -> None:
    """It is valid by the metaschema of its draft, and can be printed."""
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_nothing_of_kmetads_own_is_left_open() -> None:
    """Each key of the TOML that isn't a plugin's has a type, and an explanation."""
    own = {
        "Run",
        "Daemon",
        "Log",
        "State",
        "Watch",
        "Volume",
        "VolumeItem",
        "EnvItem",
        "Token",
        "Api",
        "Lane",
        "Retry",
    }
    assert own <= set(SCHEMA["$defs"])
    for name in own:
        for key, told in SCHEMA["$defs"][name]["properties"].items():
            assert {"type", "$ref", "enum", "anyOf"} & set(told), f"{name}.{key}"
            assert told.get("description"), f"{name}.{key}"


def examples() -> dict[str, str]:
    """Every whole TOML of the repository: files, and blocks of its pages."""
    found = {
        f"tests/data/config/{name}.toml": (DATA / f"{name}.toml").read_text()
        for name in ("interface", "run-fine", "empty")
    }
    pages = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("plugins/*/README.md"))]
    for page in pages:
        for number, block in enumerate(re.findall(r"^```toml\n(.*?)^```$", page.read_text(), re.M | re.S)):
            found[f"{page.relative_to(ROOT)}#{number}"] = block
    for file in sorted(ROOT.glob("deploy/**/kmetad*.toml")):
        found[str(file.relative_to(ROOT))] = file.read_text()
    return found


def test_accepts_every_example_of_the_repository() -> None:
    """What is shown to users, plugins' options included."""
    assert len(examples()) > 20
    for name, text in examples().items():
        faults = [
            f"{name}: {error.json_path}: {error.message}"
            for error in VALIDATOR.iter_errors(tomllib.loads(text))
        ]
        assert not faults


@pytest.mark.parametrize(
    "name",
    ["durations", "unknown-keys", "run", "daemon", "tables", "volumes", "match", "api", "run-command-empty"],
)
def test_refuses_what_is_wrong(name: str) -> None:
    """What has the wrong form is refused as well."""
    assert not VALIDATOR.is_valid(tomllib.loads((DATA / f"{name}.toml").read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("rnu = {}", "$"),
        ("[run]\nrestart = 'sometimes'", "$.run.restart"),
        ("[run]\nstop_timeout = 30", "$.run.stop_timeout"),
        ("[run]\ndrain_timeout = '-5s'", "$.run.drain_timeout"),
        ("[daemon]\nnice = 20", "$.daemon.nice"),
        ("[volumes.x]\nkind = 'files'", "$.volumes.x"),
        ("[volumes.x]\npath = 'etc'", "$.volumes.x.path"),
        ("[volumes.env]\npath = '/etc'", "$.volumes"),
        ("[volumes.x]\npath = '/e'\nitems.f = { feild = 'metadata.name' }", "$.volumes.x.items.f"),
        ("[plugins.x]\nmatch = ['lable:a']", "$.plugins.x.match[0]"),
        ("[plugins.x.lane]\nretry = { attempts = -1 }", "$.plugins.x.lane.retry.attempts"),
        ("[plugins.reload]\nsignl = 'HUP'", "$.plugins.reload"),
        ("[plugins.nginx]\nuse = 'reload'\nsignl = 'HUP'", "$.plugins.nginx"),
        ("[plugins.nginx]\nuse = 'reload'\nhttp = { ulr = 'http://x' }", "$.plugins.nginx.http"),
        ("[plugins.logtag]\ntext = 'perfix'", "$.plugins.logtag.text"),
        ("[plugins.ambassador]\nallow = [{ resources = ['pods'] }]", "$.plugins.ambassador.allow[0]"),
        ("[plugins.report]\nevents = true", "$.plugins.report.events"),
    ],
)
def test_says_where(text: str, where: str) -> None:
    """A typical mistake is found, at its place; the checks find it, too."""
    document = tomllib.loads(text)
    assert where in {error.json_path for error in VALIDATOR.iter_errors(document)}
    assert faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "[plugins.nginx]\nuse = 'somebody-elses'\nwhatever = 1",
        "[plugins.reload]\nuse = 'logtag'\ntags = { a = 'metadata.name' }",
        "[plugins.reload]\nmodule = 'mine'\nwhatever = 1",
        "[plugins.mine]\npath = '/etc/kmetad/mine.py'\nwhatever = 1",
        "[plugins.unknown]\nwhatever = 1",
    ],
)
def test_lets_pass_what_nobody_knows(text: str) -> None:
    """Options of a plugin that isn't installed here may be anything."""
    VALIDATOR.validate(tomllib.loads(text))


def test_options_of_a_strangers_plugin() -> None:
    """Other types, names of their own, tables that hold themselves: described as far as can be."""
    schema = json_schema({"mine": Options}, {"by path": Options, "bare": None})
    Draft202012Validator.check_schema(schema)
    check = Draft202012Validator(schema).is_valid
    fine = {"wait-for": "1m", "share": 1, "pair": ["b", 2], "deep": {"name": "a", "below": [{"name": "b"}]}}
    assert check(
        {"plugins": {"mine": fine, "by path": {"path": "/x.py", **fine}, "other": {"use": "mine", **fine}}}
    )
    assert check({"plugins": {"mine": {"anything": [1, "a"]}, "bare": {"module": "bare"}}})
    for wrong in (
        {"wait_for": "1m"},
        {"share": "all"},
        {"pair": ["b"]},
        {"deep": {"name": "a", "below": [{}]}},
    ):
        for name in ("mine", "by path"):
            assert not check({"plugins": {name: wrong}}), wrong
    assert not check({"plugins": {"bare": {"module": "bare", "option": 1}}})
    assert schema["$defs"]["plugin.mine"]["properties"]["wait-for"] == {
        "description": "How long.",
        "type": "string",
        "pattern": SCHEMA["$defs"]["Run"]["properties"]["stop_timeout"]["pattern"],
        "default": "5s",
    }


def test_what_is_documented_is_below_the_field() -> None:
    """Texts of base classes count; a class without a source has none."""
    assert documented(Options) == {"wait_for": "How long."}
    assert documented(msgspec.defstruct("Made", [("a", int)])) == {}
    assert Reload is not None
    assert "signal" in documented(Reload), "of its base class"


def faults(text: str) -> list[str]:
    """What the checks say, a plugin's own options included."""
    loaded = parse(text, "kmetad.toml")
    found = [str(problem) for problem in loaded.problems]
    for name, table in loaded.config.plugins.items():
        type_ = OFFICIAL.get(table.use or "")
        if type_ is not None:
            try:
                options(type_, table.options, name)
            except ConfigError as error:
                found += str(error).splitlines()
    return found


def toml(value: Any) -> str:
    """A value as TOML, tables inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value)


TEXTS = [
    *(
        "",
        "0",
        "0s",
        "-0s",
        "+1.5m",
        "5.s",
        ".5h",
        "1µs",
        "TERM",
        "sigint",
        "RTMIN+1",
        "/x",
        "x",
        "a/b",
        "..",
    ),
    *(
        "label:a",
        "label:\n",
        "*:*",
        "file:s/*",
        "1Mi",
        "128Mi",
        "2e6",
        "limits.cpu",
        "requests.hugepages-2Mi",
    ),
    *(
        "metadata.labels['a']",
        "metadata.name",
        "status.podIP",
        "{metadata.name}",
        "http://x",
        "https://",
        "\x7f",
        "é",
    ),
]
ODD = st.sampled_from(TEXTS)
SCALARS = ODD | st.integers(-2, 2**21) | st.booleans() | st.just(1.5)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(ODD, inner, max_size=2), max_leaves=4
)


def tables(schema: dict[str, Any], depth: int = 4) -> st.SearchStrategy[Any]:
    """Values that have often the form that a schema wants, and anything else otherwise."""
    if "$ref" in schema:
        return tables(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], depth)
    if depth == 0:
        return VALUES
    if "properties" in schema:
        keys = {key: tables(told, depth - 1) for key, told in schema["properties"].items()}
        required = {key: keys[key] for key in schema.get("required", ())}
        others = {key: value for key, value in keys.items() if key not in required}
        return st.fixed_dictionaries(required, optional=others) if depth > 3 else _few(required, others)
    if "anyOf" in schema:
        return st.one_of([tables(part, depth - 1) for part in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "array":
            return st.lists(tables(schema.get("items", {}), depth - 1), max_size=2)
        case "object":
            return st.dictionaries(ODD, tables(schema["additionalProperties"], depth - 1), max_size=2)
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(-20, 600)
        case "string":
            fitting = [text for text in TEXTS if re.search(schema.get("pattern", ""), text)]
            return st.sampled_from(fitting) | ODD
    return SCALARS


def _few(required: dict[str, Any], others: dict[str, Any]) -> st.SearchStrategy[Any]:
    """What has to be there, and one or two of what may."""
    more = st.lists(st.sampled_from(sorted(others)), max_size=2, unique=True) if others else st.just([])
    return more.flatmap(
        lambda names: st.fixed_dictionaries({**required, **{name: others[name] for name in names}})
    )


TABLES = {
    **{name: f"[{name}]" for name in ("run", "daemon", "log", "state", "watch", "token", "api")},
    "volume": "[volumes.x]\npath = '/x'",
    "volumeItem": "[volumes.x]\npath = '/x'\n[volumes.x.items.f]",
    "envItem": "[env.X]",
    "lane": "[plugins.x.lane]",
    "retry": "[plugins.x.lane.retry]",
}
"""By definition in the schema, how the table begins in the TOML."""


@pytest.mark.parametrize("name", TABLES)
def test_refuses_no_single_value_that_the_checks_accept(name: str) -> None:
    """Of every key every odd value: alone, in an array, or as key and value of a table, where that may be."""
    for key, told in SCHEMA["$defs"][name[0].upper() + name[1:]]["properties"].items():
        for scalar in (*TEXTS, -1, 0, 1, 2**21, 1.5, True):
            form = told.get("type")
            value = [scalar] if form == "array" else {str(scalar): scalar} if form == "object" else scalar
            text = f"{TABLES[name]}\n{key} = {toml(value)}"
            if name == "volume" and key == "path":
                text = f"[volumes.x]\npath = {toml(value)}"
            assert VALIDATOR.is_valid(tomllib.loads(text)) or faults(text), text


DOCUMENTS = st.sampled_from([name for name in SCHEMA["properties"] if name != "plugins"]).flatmap(
    lambda name: st.fixed_dictionaries({name: tables(SCHEMA["properties"][name], 3)})
) | st.sampled_from([name for name, type_ in OFFICIAL.items() if type_]).flatmap(
    lambda name: st.fixed_dictionaries(
        {"plugins": st.fixed_dictionaries({name: tables(SCHEMA["$defs"][f"plugin.{name}"], 3)})}
    )
)


@settings(max_examples=120)
@given(DOCUMENTS)
def test_accepts_what_the_checks_accept(document: dict[str, Any]) -> None:
    """No editor marks what kmetad takes."""
    text = "\n".join(f"{key} = {toml(value)}" for key, value in document.items())
    if not faults(text):
        VALIDATOR.validate(tomllib.loads(text))


def defaults(schema: dict[str, Any], path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every default in a schema, by its keys."""
    found = [(path, schema["default"])] if "default" in schema else []
    inner = SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    for key, told in inner.get("properties", {}).items():
        if path or key != "plugins":
            found += defaults(told, (*path, key))
    return found


def test_defaults_are_defaults() -> None:
    """A TOML that writes every default down means the same as an empty one."""
    lines = [f"{'.'.join(path)} = {json.dumps(value)}" for path, value in defaults(SCHEMA)]
    assert 'run.stop_signal = "TERM"' in lines
    assert 'daemon.memory_limit = "128Mi"' in lines
    assert 'watch.rescan = "5m"' in lines
    loaded = parse("\n".join(line for line in lines if not line.startswith("token.")), "kmetad.toml")
    assert loaded.problems == ()
    assert loaded.config == parse("", "").config


def test_match_names_every_type() -> None:
    """A type of change that is new is in the pattern."""
    (pattern,) = {SCHEMA["$defs"]["Watch"]["properties"]["ignore"]["items"]["pattern"]}
    for type_ in (*TYPES, "*"):
        assert re.search(pattern, f"{type_}:x")
