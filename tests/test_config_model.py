"""The defaults of the configuration are those that INTERFACE documents."""

from __future__ import annotations

import re
import signal
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kmetad._config import Config, Lane, parse
from kmetad._config.model import Token
from kmetad._config.units import parse_duration, parse_size

BLOCK = (Path(__file__).parent / "data" / "config" / "interface.toml").read_text(encoding="utf-8")
EXAMPLES = {"run.command", "run.env"}
"""What can't have a default, although it has no comment that says ``none``."""


def documented() -> dict[str, Any]:
    """Each documented default by its place, as INTERFACE's block writes it; None for none."""
    defaults: dict[str, Any] = {}
    table = ""
    for line in BLOCK.splitlines():
        if header := re.match(r"\[(.+?)\]", line):
            table = header[1]
        elif table in ("run", "daemon", "log", "state", "watch", "token") or table.endswith(".lane"):
            assignment = re.match(r"(\w+) = (.*?)(?:  +# (.*))?$", line)
            if assignment is None:
                continue
            key, text, comment = assignment.groups()
            comment = comment or ""
            place = f"{table.rpartition('.')[2]}.{key}"
            if comment.startswith("none"):
                defaults[place] = None
            elif re.fullmatch(r'"\w+"', comment):
                defaults[place] = comment.strip('"')
            elif comment.startswith("10 × debounce"):
                defaults[place] = "0s"  # 10 × its default
            elif place not in EXAMPLES:
                defaults[place] = tomllib.loads(f"value = {text}")["value"]
    return defaults


def as_toml_reads(value: Any, text: Any) -> Any:
    """A documented default as the program has it."""
    if text is None:
        return type(value)() if value is not None else None
    if isinstance(text, dict):
        return {key: as_toml_reads(value, item) for key, item in text.items()}
    if isinstance(value, tuple):
        return tuple(text)
    if isinstance(value, float) or (isinstance(text, str) and re.fullmatch(r"[0-9]+(ms|s|m)", text)):
        return parse_duration(text)
    if text == "TERM":
        return signal.SIGTERM
    return parse_size(text) if isinstance(value, int) else text


def test_documented_defaults() -> None:
    """Every default of the block is the program's."""
    defaults = documented()
    assert len(defaults) == 25
    for place, text in defaults.items():
        table, _, key = place.partition(".")
        structs = {"lane": Lane(), "token": Token()}
        value = getattr(structs.get(table) or getattr(Config(), table), key)
        if isinstance(value, msgspec.Struct):
            value = msgspec.structs.asdict(value)
        assert value == as_toml_reads(value, text), place


def test_every_key_is_documented() -> None:
    """No option of these tables is missing from the block."""
    places = documented().keys() | EXAMPLES
    for table in ("run", "daemon", "log", "state", "watch"):
        for key in type(getattr(Config(), table)).__struct_fields__:
            assert f"{table}.{key}" in places
    for key in Lane.__struct_fields__:
        assert f"lane.{key}" in places


def test_the_block_itself() -> None:
    """The documented block is a valid configuration and means what it says."""
    loaded = parse(BLOCK, "kmetad.toml")
    assert loaded.problems == ()
    config = loaded.config
    assert config.run.command == ("gunicorn", "app:app")
    assert config.run.rewrite_signals == {signal.SIGTERM: signal.SIGQUIT}
    assert config.run.exit_codes == {143: 0}
    assert config.run.start == "after-sync"  # run.env implies it
    assert config.run.env["APP_VERSION"].paths == ("metadata.labels['version']",)
    assert config.daemon.memory_limit == 128 * 1024 * 1024
    assert config.state.dir == "/var/lib/kmetad"
    assert list(config.volumes) == ["podinfo", "settings"]
    cpu = config.volumes["podinfo"].items["cpu_limit"]
    assert (cpu.resource, cpu.container, str(cpu.divisor)) == ("limits.cpu", "app", "1m")
    assert config.volumes["podinfo"].items["zone"].field == "metadata.labels['topology.kubernetes.io/zone']"
    assert config.volumes["settings"].kind == "files"
    assert config.env["POD_IP"] == "status.podIP"
    assert config.token == Token()
    nginx = config.plugins["nginx"]
    assert (nginx.use, nginx.module, nginx.path) == ("reload", None, None)
    assert nginx.match == ("file:settings/*",)
    assert nginx.options == {"signal": "HUP"}
    assert (nginx.lane.debounce, nginx.lane.max_wait) == (0.2, 2.0)


@pytest.mark.parametrize(
    ("lane", "max_wait"),
    [
        ("", 0.0),
        ('debounce = "0s"', 0.0),
        ('debounce = "200ms"', 2.0),
        ('debounce = "200ms"\nmax_wait = "1s"', 1.0),
        ('debounce = "200ms"\nmax_wait = "0s"', 0.0),
        ('max_wait = "1s"', 1.0),
    ],
)
def test_max_wait(lane: str, max_wait: float) -> None:
    """It is 10 × debounce unless it is given."""
    config = parse(f"[plugins.x.lane]\n{lane}\n", "kmetad.toml").config
    assert config.plugins["x"].lane.max_wait == max_wait


@pytest.mark.parametrize(
    ("table", "use"),
    [("", "nginx"), ('use = "reload"', "reload"), ('module = "a.b"', None), ('path = "/x.py"', None)],
)
def test_use(table: str, use: str | None) -> None:
    """A plugin is found by the instance's name where nothing says otherwise."""
    assert parse(f"[plugins.nginx]\n{table}\n", "kmetad.toml").config.plugins["nginx"].use == use


def test_options_are_what_is_not_reserved() -> None:
    """Reserved keys are kmetad's, all others the plugin's, and their values are in no repr."""
    text = '[plugins.x]\nmatch = ["label:*"]\nlane = {}\nkey = "hunter2"\nother = [1]\n'
    table = parse(text, "kmetad.toml").config.plugins["x"]
    assert table.options == {"key": "hunter2", "other": [1]}
    assert "hunter2" not in repr(table)


def test_declared_order_is_kept() -> None:
    """Volumes and instances stay in the order of the file: the first speaks."""
    text = "".join(f'[volumes.{name}]\npath = "/{name}"\n[plugins.{name}]\n' for name in "zaybxc")
    config = parse(text, "kmetad.toml").config
    assert "".join(config.volumes) == "".join(config.plugins) == "zaybxc"


def test_frozen() -> None:
    """A configuration can't be changed."""
    with pytest.raises(AttributeError):
        Config().log.level = "debug"  # type: ignore[misc]
