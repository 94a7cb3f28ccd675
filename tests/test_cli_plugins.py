"""``kmetad plugins``"""

from __future__ import annotations

from tests.cli import inside, kmetad


def test_installed_plugins_are_listed() -> None:
    """Name, version and distribution; ``list`` is what it does anyway."""
    done = kmetad("plugins")
    assert (done.stderr, done.returncode) == ("", 0)
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["reload", "kmetad-reload"] in [[row[0], row[2]] for row in rows]
    assert kmetad("plugins", "list").stdout == done.stdout


def test_with_hooks_and_options() -> None:
    """What it hooks into, and what its table takes, with defaults as the TOML has them."""
    done = inside("plugins", "list", "-v")
    assert (done.stderr, done.returncode) == ("", 0)
    _, _, details = done.stdout.partition("reload ")
    lines = [line.split(None, 2) for line in details.splitlines()[1:]]
    assert ["hook", "kmetad_on_change"] in [line[:2] for line in lines]
    assert ["option", "restart", "bool, default false"] in lines
    assert ["option", "verify", "str | list[str] | table"] in lines
    assert ["option", "write", "table"] in lines
    assert ["option", "pid_file", "str"] in lines


def test_the_values_that_an_option_may_have() -> None:
    """In the TOML's terms."""
    lines = [line.split(None, 2) for line in inside("plugins", "list", "-v").stdout.splitlines()]
    assert ["option", "text", '"untouched" | "prefix" | "json", default "untouched"'] in lines
    assert ["option", "streams", 'list["stdout" | "stderr"], default ["stdout", "stderr"]'] in lines
    assert ["option", "preset", '"otel"'] in lines
    assert ["option", "tags", "dict[str, str]"] in lines
