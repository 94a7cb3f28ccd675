"""``kmetad plugins list``: what each plugin can do, in words that fit a terminal."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest

from kmetad import hookimpl
from kmetad._cli.plugins import details, options
from kmetad._cli.plugins.list import WIDTH
from kmetad._plugins import Loaded, installed, load
from kmetad.hookspecs import API_VERSION
from tests.cli import inside

SMALL = """
import msgspec
from kmetad import hookimpl

ROLE = {"get pods": "to see who else is there"}

class Options(msgspec.Struct, frozen=True):
    tier: str
    \"\"\"Which one; ``gold``
    is the best.\"\"\"

class Plugin:
    @hookimpl
    def kmetad_on_label(self, change):
        \"\"\"Say it.\"\"\"
"""


def listed() -> dict[str, str]:
    """Each installed plugin's part of ``kmetad plugins list -v``, by name."""
    done = inside("plugins", "list", "-v")
    assert (done.stderr, done.returncode) == ("", 0)
    return {part.split()[0]: part for part in done.stdout.split("\n\n")}


def test_every_plugin_is_told_of() -> None:
    """A part for each, which says all its hooks and options."""
    parts = listed()
    assert list(parts) == [plugin.name for plugin in installed()]
    for name, part in parts.items():
        found = load(name)
        hooks = [hook for hook in dir(found.plugin) if hook.startswith("kmetad_")]
        assert re.findall(r"^  hook +(\S+)", part, re.MULTILINE) == hooks
        keys = found.options_type.__struct_encode_fields__ if found.options_type else ()  # type: ignore[attr-defined]
        assert re.findall(r"^  option +(\S+)", part, re.MULTILINE) == list(keys)


def test_every_plugin_says_what_it_was_written_for() -> None:
    """Those that kmetad comes with are for this contract."""
    for name, part in listed().items():
        assert re.findall(r"^  api +(.*)", part, re.MULTILINE) == [str(API_VERSION)], name


def test_it_fits_a_terminal() -> None:
    """No line is wider than 100 columns."""
    assert WIDTH == 100
    lines = inside("plugins", "list", "-v").stdout.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert max(map(len, lines)) > WIDTH - 10  # and that is used


def test_commands_are_told_of() -> None:
    """Those of the same distribution, and what they do."""
    parts = listed()
    assert re.search(
        r"^  command +kmetad proxy +answer for the API server", parts["ambassador"], re.MULTILINE
    )
    assert "command" not in parts["report"]


def test_roles_are_told_of() -> None:
    """Each as ``kmetad api can-i`` takes it, and why; or that there is none."""
    parts = listed()
    roles = dict(re.findall(r"^  role +(\S+ \S+) +(\S.*)", parts["report"], re.MULTILINE))
    assert list(roles) == list(load("report").role) == ["patch pods/status", "create events", "patch events"]
    assert all(roles.values())
    assert re.search(
        r"^  role +none +it asks the API server for nothing by itself", parts["ambassador"], re.MULTILINE
    )
    assert "  role" not in parts["reload"]


def test_what_the_toml_names(tmp_path: Path) -> None:
    """With ``-c`` also plugins that nobody has installed: by path, or by module."""
    (tmp_path / "small.py").write_text(SMALL)
    (tmp_path / "broken.py").write_text("import nothing_like_this")
    toml = tmp_path / "kmetad.toml"
    toml.write_text(
        f'[plugins.small]\npath = "{tmp_path}/small.py"\ntier = "gold"\n'
        f'[plugins.broken]\npath = "{tmp_path}/broken.py"\n'
        '[plugins.mod]\nmodule = "kmetad_reload"\nrestart = true\n'
        '[plugins.nginx]\nuse = "reload"\nsignal = "HUP"\n'
    )
    done = inside("plugins", "list", "-v", "-c", str(toml))
    assert (done.stderr, done.returncode) == ("", 0)
    parts = {part.split()[0]: part.splitlines() for part in done.stdout.split("\n\n")}
    assert list(parts)[-3:] == ["small", "broken", "mod"]
    assert [re.sub(" +", " ", line).strip() for line in parts["small"]] == [
        f"small - {tmp_path}/small.py",
        "api 1 (it doesn't say which one it was written for)",
        "hook kmetad_on_label Say it.",
        "option tier str, required",
        "Which one; `gold` is the best.",
        "role get pods to see who else is there",
    ]
    assert "nothing_like_this" in " ".join(parts["broken"])
    assert any("option  restart" in line for line in parts["mod"])


def test_a_toml_that_cannot_be_read(tmp_path: Path) -> None:
    """It is said why, and nothing is listed."""
    (tmp_path / "kmetad.toml").write_text("[plugins")
    done = inside("plugins", "list", "-c", str(tmp_path / "kmetad.toml"))
    assert (done.stdout, done.returncode) == ("", 2)
    assert "kmetad.toml:1" in done.stderr


def test_the_same_without_the_word_list() -> None:
    """``kmetad plugins -v``, and with the option on either side."""
    told = inside("plugins", "list", "-v").stdout
    assert inside("plugins", "-v").stdout == told
    assert inside("plugins", "-v", "list").stdout == told
    assert inside("plugins").stdout == inside("plugins", "list").stdout != told


class Limits(msgspec.Struct, frozen=True):
    """Inherited by the next one."""

    most: int = 3
    """How many."""


class Several(Limits, frozen=True, rename="kebab", kw_only=True):
    """Every way to say what an option is for."""

    every: timedelta = timedelta(minutes=1)
    """Of ``time``
    and more."""
    none_said: bool = False
    meta: Annotated[str, msgspec.Meta(description="By its metadata.")] = ""
    nested: Limits | None = None
    last: list[str]
    """Behind the others."""

    def __post_init__(self) -> None:
        """No option."""


def test_options_are_told_of() -> None:
    """By the TOML's name: type and default, then what is written below it, wherever it was inherited from."""
    assert dict(options.rows(Several)) == {
        "most": "int, default 3\nHow many.",
        "every": 'duration, default "1m"\nOf `time` and more.',
        "none-said": "bool, default false",
        "meta": 'str, default ""\nBy its metadata.',
        "nested": "table",
        "last": "list[str], required\nBehind the others.",
    }


def test_options_without_a_source() -> None:
    """As of a class that was made by code: their types alone."""
    made = msgspec.defstruct("Made", [("port", int, 8001)], frozen=True)
    assert list(options.rows(made)) == [("port", "int, default 8001")]
    assert list(options.rows(None)) == []


class Quiet:
    """A plugin that says nothing of itself."""

    @hookimpl
    def kmetad_on_stop(self) -> None: ...


@pytest.mark.parametrize(
    ("role", "row"),
    [
        (None, None),
        ({}, "role none it asks the API server for nothing by itself"),
        ({"get pods": "``x``\n  and y"}, "role get pods `x` and y"),
        (["get pods"], 'role ? ROLE is a list, expected a dict such as {"patch pods": "why"}'),
        (
            {"pods": "x"},
            """role ? ROLE has 'pods', expected "VERB RESOURCE" and why, as in {"patch pods": "why"}""",
        ),
        (
            {"get pods": 1},
            """role ? ROLE has 'get pods', expected "VERB RESOURCE" and why, as in {"patch pods": "why"}""",
        ),
        (
            {1: "x"},
            """role ? ROLE has 1, expected "VERB RESOURCE" and why, as in {"patch pods": "why"}""",
        ),
    ],
    ids=str,
)
def test_roles(role: Any, row: str | None) -> None:
    """What a role is, and what is none: that is said where it would stand."""
    lines = details.of(Loaded(Quiet, None, "here", 1, role), [], 200)
    assert (" ".join(lines[2].split()) if len(lines) > 2 else None) == row


def test_words_are_never_cut() -> None:
    """A name that is longer than the line leaves its own line too long, and no other."""
    lines = details.of(Loaded(Quiet, None, "here"), [("x" * 120, "two words")], 80)
    assert [line.split() for line in lines[-1:]] == [["command", "kmetad", "x" * 120, "two", "words"]]


def test_a_plugin_for_another_contract_is_listed(tmp_path: Path) -> None:
    """With why it can't be used."""
    (tmp_path / "new.py").write_text(f"API_VERSION = {API_VERSION + 1}\n{SMALL}")
    toml = tmp_path / "kmetad.toml"
    toml.write_text(f'[plugins.new]\npath = "{tmp_path}/new.py"\ntier = "gold"\n')
    done = inside("plugins", "list", "-v", "-c", str(toml))
    assert done.returncode == 0
    assert "was written for plugin API 2" in " ".join(done.stdout.split())
