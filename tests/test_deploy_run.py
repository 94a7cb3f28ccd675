"""The Pods of deploy/ run: in the order of their containers, with the rights of their roles (tests/deploying.py)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.apiserver import ApiServer
from tests.cli import eventually
from tests.deploying import OVERLAYS, Pod, Running, rendered, rights

KMETAD = "/opt/kmetad/bin/kmetad"
SOME_PORT = {"port = 8001": "port = 0", "port = 9478": "port = 0"}
Pods = Callable[..., Pod]


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """The cluster's."""
    with ApiServer() as running:
        yield running


@pytest.fixture
def pods(tmp_path: Path, server: ApiServer) -> Iterator[Pods]:
    """Makes a Pod, which ends with the test."""
    made: list[Pod] = []

    def make(name: str, edits: Mapping[str, str] = SOME_PORT) -> Pod:
        made.append(Pod(rendered(name), tmp_path / name, server, edits))
        return made[-1]

    yield make
    for pod in made:
        pod.close()


def status(pod: Pod, name: str) -> dict[str, Any]:
    """What ``kmetad status -o json`` says in a container."""
    told = pod.run(pod.container(name), [KMETAD, "status", "-o", "json"]).stdout
    answer: dict[str, Any] = json.loads(told or '{"ready": false}')
    return answer


def listening(pod: Pod, plugin: str) -> str:
    """The port at which a plugin of the sidecar listens."""
    (lane,) = (lane for lane in status(pod, "kmetad")["lanes"] if lane["name"] == plugin)
    return str(lane["last"]["detail"]["listens"]).rpartition(":")[2]


def checked(pod: Pod, name: str) -> list[str]:
    """What ``kmetad check --strict`` warns of in a container."""
    done = pod.run(pod.container(name), [KMETAD, "check", "--strict"])
    warnings = done.stderr.splitlines()
    assert done.returncode == (1 if warnings else 0), done.stdout
    return warnings


def asked(server: ApiServer) -> set[str]:
    """What the API server was asked for, but for paths that are no resources."""
    return {f"{request.verb} {request.resource}" for request in server.requests if request.resource}


def test_a_sidecar_reloads_and_reports(pods: Pods, server: ApiServer) -> None:
    """It is up before there is an app, and asks for exactly what its role allows: no verb is missing, none is idle."""
    pod = pods("sidecar", {"[plugins.settings]": '[plugins.settings]\nlane.retry = { max = "1s" }'})
    kmetad, app = pod.container("kmetad"), pod.container("web")
    pod.begin(kmetad)
    pod.started(kmetad)
    assert checked(pod, "kmetad") == []

    pod.configure("web", "gunicorn.conf.py", "workers = 3")  # which nobody can be told of yet
    server.wait_for("patch events")
    pod.begin(app)
    out = pod.running["web"].out
    assert out.line() == "started, version None"  # its environment isn't kmetad's here
    assert out.line() == "reloaded: workers = 3"

    pod.label("version", "2")
    eventually(lambda: noted(server).get("kmetad.dev/applied-version") == "2", "the annotation")
    assert asked(server) == rights(pod.objects)


def noted(server: ApiServer) -> dict[str, str]:
    """The Pod's, as the server has them."""
    found = server.get("Pod", "lab", "web-0")
    assert found is not None
    return found["metadata"].get("annotations") or {}


def test_a_sidecar_keeps_no_app_waiting_for_the_cluster(pods: Pods, server: ApiServer) -> None:
    """All containers start although the API server is away."""
    pod = pods("sidecar")
    server.close()
    pod.start()
    assert pod.running["web"].out.line() == "started, version None"


def test_a_rule_that_needs_the_app_at_its_start_holds_it_back(pods: Pods) -> None:
    """The one way in which the startupProbe and the app would wait for each other, of which the page warns."""
    pod = pods("sidecar", {"[plugins.settings]": "[plugins.settings]\nat_start = true"})
    pod.begin(pod.container("kmetad"))
    eventually(lambda: "unready" in status(pod, "kmetad"), "an answer")
    (reason,) = eventually(lambda: status(pod, "kmetad")["unready"], "a reason")
    assert reason.startswith("plugin settings: on_start hasn't succeeded yet: /run/web/pid can't be read")


@pytest.mark.parametrize("name", ["wrapper", *(name for name in OVERLAYS if name.startswith("wrapper"))])
def test_a_wrapped_app_reloads_and_restarts(name: str, pods: Pods, server: ApiServer) -> None:
    """With its settings by a signal, with its version anew; and it gets every end of the Pod. No cluster is asked."""
    pod = pods(name)
    pod.start()
    out = pod.running["web"].out
    assert out.line() == "started, version 1"
    pod.running["web"].err.until('"kmetad.started"')  # what changes from now on is a change
    pod.configure("web", "gunicorn.conf.py", "workers = 3")
    assert out.line() == "reloaded: workers = 3"
    pod.label("version", "2")
    assert out.line() == "started, version 2"
    assert status(pod, "web")["ready"]
    pod.running["web"].close()
    assert pod.running["web"].process.returncode == 0
    assert server.requests == []


def test_the_copy_is_made_again(pods: Pods) -> None:
    """Init containers may run twice: over what is there already."""
    pod = pods("wrapper")
    copying = pod.container("kmetad")
    for _ in range(2):
        done = pod.run(copying, copying["command"])
        assert (done.returncode, done.stderr) == (0, "")
    # What is copied there also says what it thinks of the TOML, which can't know of the command line.
    assert all("without a command behind `kmetad run --`" in warning for warning in checked(pod, "web"))


def test_an_ambassador_asks_for_its_app(pods: Pods, server: ApiServer) -> None:
    """By curl, without credentials, and with the role's rights alone: each is used, and more isn't to be had."""
    pod = pods("ambassador")
    pod.start()
    app = pod.container("web")
    assert checked(pod, "kmetad") == []
    there = f"http://localhost:{listening(pod, 'ambassador')}/api/v1/namespaces/lab"

    def curl(path: str, *options: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(pod.run(app, ["curl", "-sS", *options, there + path]).stdout)
        return answer

    assert curl("/pods/web-0")["metadata"]["name"] == "web-0"
    assert [item["metadata"]["name"] for item in curl("/pods")["items"]] == ["web-0"]
    watching = Running(pod.command(app, ["curl", "-sSN", f"{there}/pods?watch=1"]))
    try:
        assert json.loads(watching.out.line())["type"] == "ADDED"
    finally:
        watching.close()
    assert curl("/secrets")["code"] == curl("/pods/web-0", "-X", "DELETE")["code"] == 403
    assert asked(server) == rights(pod.objects)

    account = "/var/run/secrets/kubernetes.io/serviceaccount/token"
    assert pod.run(pod.container("kmetad"), ["test", "-r", account]).returncode == 0
    assert pod.run(app, ["test", "-e", account]).returncode == 1
    before = status(pod, "kmetad")["generation"]
    pod.label("version", "2")
    eventually(lambda: status(pod, "kmetad")["generation"] > before, "the label's change")


def test_an_overlay_runs(pods: Pods, server: ApiServer) -> None:
    """The user's app is reloaded, the report is the same, and Prometheus finds it counted."""
    pod = pods("example")
    pod.start()
    url = f"http://localhost:{listening(pod, 'status')}/metrics"
    (warning,) = checked(pod, "kmetad")
    assert "plugins.status: address 0.0.0.0 is reached from other machines" in warning
    out = pod.running["web"].out
    assert out.line() == "started, version None"
    pod.configure("web", "shop.toml", 'currency = "CHF"')
    assert out.line() == 'reloaded: currency = "CHF"'
    eventually(lambda: noted(server).get("kmetad.dev/applied-version") == "42", "the annotation")
    metrics = pod.run(pod.container("web"), ["curl", "-sSf", url])
    assert metrics.returncode == 0, metrics.stderr
    assert "\nkmetad_" in metrics.stdout
