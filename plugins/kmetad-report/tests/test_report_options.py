"""What the table may hold."""

from __future__ import annotations

from typing import Any

import pytest
from kmetad_report import Options, Plugin

from kmetad import ConfigError, Context
from kmetad.testing import Host

VERSION = "metadata.labels['version']"


def test_what_it_holds() -> None:
    """All of it, and what is there by default."""
    all_of_it = {
        "applied": {"version": VERSION, "Cpu_limit.now": "limits.cpu"},
        "after": ["nginx"],
        "condition": "kmetad.dev/Applied",
        "events": "all",
        "container": "web",
    }
    Host(Plugin, **all_of_it)
    options = Options(applied={"version": VERSION})
    assert (options.after, options.condition, options.events, options.container) == (None, None, "none", None)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, "nothing to report: set applied"),
        ({"applied": {"": VERSION}}, "can't end an annotation's key"),
        ({"applied": {"a" * 56: VERSION}}, "at most 55 letters"),
        ({"applied": {"-a": VERSION}}, "can't end an annotation's key"),
        ({"applied": {"a/b": VERSION}}, "can't end an annotation's key"),
        ({"applied": {"a\n": VERSION}}, "can't end an annotation's key"),
        (
            {"applied": {"version": "metadata.lables['version']"}},
            r"Did you mean metadata.labels\['version'\]",
        ),
        ({"applied": {"all": "metadata.annotations"}}, "each report would make a new one"),
        ({"applied": {"a": "metadata.annotations['kmetad.dev/applied-b']"}}, "is itself a report"),
        ({"applied": {"a": VERSION}, "after": []}, "after is empty"),
        ({"applied": {"a": VERSION}, "after": ["test"]}, "is the report itself"),
        ({"condition": "Ready"}, "as kmetad.dev/Applied"),
        ({"condition": "/Ready"}, "as kmetad.dev/Applied"),
        ({"condition": "a..b/Ready"}, "as kmetad.dev/Applied"),
        ({"condition": "a/b/Ready"}, "as kmetad.dev/Applied"),
        ({"condition": "kmetad.dev/-"}, "as kmetad.dev/Applied"),
        ({"events": "some"}, "failures"),
        ({"events": "all", "container": "Web"}, "can't be the name of a container"),
        ({"events": "all", "forse": True}, "forse"),
    ],
)
def test_options_that_mean_nothing(options: dict[str, Any], told: str) -> None:
    """Each error says what would."""
    with pytest.raises((ConfigError, Exception), match=told):
        Host(Plugin, **options)


def test_longest_name() -> None:
    """The key's part behind the slash has 63 characters then."""
    assert Options(applied={"a" * 55: VERSION}).applied == {"a" * 55: VERSION}


def test_made_without_a_server() -> None:
    """What is only checked asks nobody."""

    def nobody() -> Any:
        raise AssertionError("asked for the API server")

    Plugin(Options(events="all"), Context("report", None, api=nobody))
