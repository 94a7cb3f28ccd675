"""What the tests with real programs share."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon

Started = Callable[..., Daemon]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """Starts ``kmetad run``; DIR in the TOML is the test's directory. Ends it at last."""
    daemons: list[Daemon] = []

    def start(toml: str, *arguments: str) -> Daemon:
        daemon = Daemon(tmp_path, '[log]\nformat = "json"\n' + toml, *arguments)
        daemons.append(daemon)
        daemon.line("kmetad.started")
        return daemon

    yield start
    for daemon in daemons:
        if daemon.process.poll() is None:
            daemon.end()
        daemon.close()


@pytest.fixture
def port() -> int:
    """A free one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def program(name: str) -> str:
    """The path of an installed program; skips the test where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed; .ci/run installs it")
    return path
