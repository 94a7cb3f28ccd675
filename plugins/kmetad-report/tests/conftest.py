"""What the tests of reports share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apiserver import ApiServer
from tests.reporting import Cluster, Pods


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """An API server."""
    with ApiServer() as made:
        yield made


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    """With the Pod and its role."""
    made = Cluster(server, tmp_path / "account")
    yield made
    made.client.close()


@pytest.fixture
def report(cluster: Cluster) -> Iterator[Callable[..., Pods]]:
    """Starts reports, and ends them."""
    made: list[Pods] = []

    def start(**options: Any) -> Pods:
        made.append(Pods(cluster.client, **{"uid": cluster.uid, **options}))
        return made[-1]

    yield start
    for one in made:
        one.stop()
    names = [f"report-{one.plugin._context.name}" for one in made]
    assert [thread.name for thread in threading.enumerate() if thread.name in names] == []
