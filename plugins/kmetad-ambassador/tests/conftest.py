"""What the tests of the proxy share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kmetad.api import Server
from tests.apiserver import ApiServer
from tests.proxied import Upstream
from tests.proxying import Lab, Proxied
from tests.trusted import Config, Login


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """An API server with TLS, and the account of a Pod."""
    with ApiServer() as server:
        yield Lab(server, tmp_path)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Proxied]]:
    """Starts proxies with these options, and stops them; each leaves nothing behind."""
    made: list[Proxied] = []

    def begin(server: Server, **options: Any) -> Proxied:
        made.append(Proxied(server, **options))
        return made[-1]

    yield begin
    for one in made:
        one.stop()
    assert [thread.name for thread in threading.enumerate() if thread.name == "ambassador"] == []


@pytest.fixture
def proxy(lab: Lab, start: Callable[..., Proxied]) -> Proxied:
    """A proxy with the defaults, but for its port, in front of the lab's API server."""
    return start(lab.server)


@pytest.fixture(params=["http", "https"])
def upstream(request: pytest.FixtureRequest) -> Iterator[Upstream]:
    """In the API server's place."""
    with Upstream(tls=request.param == "https") as made:
        yield made


@pytest.fixture
def plain() -> Iterator[Upstream]:
    """The same without TLS, for what doesn't depend on it."""
    with Upstream() as made:
        yield made


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """What clients have to send."""
    path = tmp_path / "token"
    path.write_text("open-sesame\n")
    return path


@pytest.fixture
def config(lab: Lab, tmp_path: Path) -> Config:
    """A kubeconfig for the lab's API server."""
    return Config(tmp_path, lab.api)


@pytest.fixture
def login(tmp_path: Path) -> Iterator[Login]:
    """An exec plugin."""
    made = Login(tmp_path / "login")
    yield made
    made.close()
