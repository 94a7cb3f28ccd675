"""Options that make sense, and those that don't, which are told with their place in the TOML."""

from __future__ import annotations

from typing import Any

import pytest
from kmetad_reload import Plugin
from kmetad_reload.options import refused

from kmetad import ConfigError
from kmetad.testing import Host

SIGNAL = {"signal": "HUP"}
URL = "http://127.0.0.1:1/"


@pytest.mark.parametrize(
    "options",
    [
        SIGNAL,
        {"signal": 1},
        {"signal": "sighup", "pid_file": "/run/x.pid"},
        {"restart": True},
        {"none": True},
        {"exec": ["true"]},
        {"exec": {"command": ["true"], "timeout": "5s"}},
        {"http": URL},
        {"http": {"url": URL, "method": "PUT"}},
        {"write": {"file": "/run/x"}},
        {"actions": [SIGNAL, {"exec": ["true"]}, {"none": True}]},
        {**SIGNAL, "validate": ["true"], "verify": URL, "on_failure": ["true"]},
        {**SIGNAL, "verify": ["true"], "on_failure": {"restart": True}},
        {
            **SIGNAL,
            "validate": {"command": ["true"], "timeout": "1s"},
            "verify": {"exec": ["true"], "within": "3s"},
        },
        {**SIGNAL, "values": {"level": ["a"], "annotation:x/level": ["a"]}, "at_start": True},
    ],
)
def test_options_that_make_sense(options: dict[str, Any]) -> None:
    """Each form that the README has."""
    assert Host(Plugin, **options).plugin


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "set exactly one of signal, restart"),
        ({**SIGNAL, "exec": ["true"]}, "found signal, exec"),
        ({"actions": []}, "actions is empty"),
        ({**SIGNAL, "actions": [SIGNAL]}, "found signal beside actions"),
        ({"pid_file": "/x", "actions": [SIGNAL]}, "found pid_file beside actions"),
        ({"actions": [{}]}, "an action has exactly one"),
        ({"actions": [{**SIGNAL, "restart": True}]}, "found signal, restart"),
        ({"actions": [{"exec": []}]}, "command is empty"),
        ({"exec": []}, "exec: command is empty"),
        ({"exec": [""]}, "exec: command is empty"),
        ({"exec": ["a\0b"]}, "holds a NUL"),
        ({"exec": {"command": ["true"], "timeout": "0s"}}, "more than nothing"),
        ({"restart": True, "pid_file": "/x"}, "pid_file is for signal only"),
        ({**SIGNAL, "pid_file": ""}, "pid_file is empty"),
        ({"signal": "NOSUCH"}, "signal: found 'NOSUCH', expected a name"),
        ({"signal": 4242}, "signal: found 4242"),
        ({"http": "ftp://x"}, "http"),
        ({"write": {"file": "/x", "fields": {"A": "metadata.nmae"}}}, "metadata.name"),
        ({"write": {"file": "/x", "format": "template", "template": "{metadata.nmae}"}}, "metadata.name"),
        ({**SIGNAL, "validate": []}, "validate: command is empty"),
        ({**SIGNAL, "verify": {}}, "exactly one of exec and http"),
        ({**SIGNAL, "verify": {"exec": ["true"], "http": URL}}, "exactly one of exec and http"),
        ({**SIGNAL, "verify": {"exec": ["true"], "interval": "0s"}}, "interval has to be more"),
        ({**SIGNAL, "on_failure": ["true"]}, "set verify"),
        ({"restart": True, "at_start": True}, "whenever kmetad starts"),
        ({**SIGNAL, "values": {"file:x": ["a"]}}, "begins with none of label"),
        ({**SIGNAL, "values": {"level": "debug"}}, "plugins.test.values"),
        ({**SIGNAL, "singal": "HUP"}, "did you mean"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    """They are refused by ``kmetad check`` already, with their place."""
    with pytest.raises(ConfigError, match=r"plugins\.test") as caught:
        Host(Plugin, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("level", "a", None),
        ("level", "b", ["a"]),
        ("example.com/level", "b", ["a"]),
        ("example.com/other", "b", None),
        ("example.com/own", "b", None),
        ("example.com/own", "a", ["b"]),
    ],
)
def test_what_a_value_may_be(key: str, value: str, allowed: list[str] | None) -> None:
    """By the whole key before its last part; other keys may be anything."""
    values = {"level": ["a"], "own": ["a"], "annotation:example.com/own": ["b"]}
    assert refused(values, "annotation", key, value) == allowed
    assert refused(values, "file", key, value) is None


def test_one_fault_is_told_once() -> None:
    """An action that is written wrong isn't also one that is missing."""
    with pytest.raises(ConfigError) as caught:
        Host(Plugin, http={"url": URL, "mehtod": "PUT"})
    (problem,) = caught.value.problems
    assert "plugins.test.http.mehtod: found an unknown key" in problem
    with pytest.raises(ConfigError) as caught:
        Host(Plugin, command=["true"])
    (problem,) = caught.value.problems
    assert "plugins.test.command: found an unknown key" in problem
