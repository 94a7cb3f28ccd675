"""What the tests of kmetad-status share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kmetad_status import Plugin

from kmetad.testing import Host


@pytest.fixture
def serve() -> Iterator[Callable[..., tuple[Host, str]]]:
    """Starts the plugin with these options, at any port that is free, and stops it; nothing is left then."""
    made: list[Host] = []

    def begin(**options: Any) -> tuple[Host, str]:
        host = Host(Plugin, **({"port": 0} if "unix_socket" not in options else {}), **options)
        host.start(labels={"app": "web"}, annotations={"note": "a"})
        made.append(host)
        return host, str(host.outcomes[-1].detail["listens"])

    yield begin
    for host in made:
        host.stop()
    assert [one.name for one in threading.enumerate() if one.name.startswith("status-")] == []


@pytest.fixture
def host(serve: Callable[..., tuple[Host, str]]) -> tuple[Host, str]:
    """The plugin with the defaults, but for its port, and where it listens."""
    return serve()
