"""kubectl through the proxy: whichever there is, with nothing but the proxy's address."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.apiserver.containers import PAGE
from tests.apiserver.kubeconfig import kubeconfig
from tests.apiserver.kubectl import Kubectl, line
from tests.proxying import USER, Lab, Proxied

CONTAINER = {"name": "main", "image": "lab.local/base:1"}
WEB = "/api/v1/namespaces/lab/pods/web"
Through = Callable[..., Kubectl]


@pytest.fixture
def through(lab: Lab, start: Callable[..., Proxied], tmp_path: Path) -> Through:
    """kubectl without credentials, at a proxy with these options."""

    def begin(**options: object) -> Kubectl:
        proxy = start(lab.server, **options)
        context = {"cluster": "c", "user": "", "namespace": "lab"}
        return Kubectl(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "c", "cluster": {"server": proxy.url}}],
                    "contexts": [{"name": "c", "context": context}],
                    "current-context": "c",
                }
            ),
            tmp_path,
        )

    return begin


def pod_file(directory: Path, **labels: str) -> str:
    """A manifest of the Pod ``made``."""
    path = directory / "pod.json"
    metadata = {"name": "made", "labels": labels}
    whole = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"containers": [CONTAINER]}}
    path.write_text(json.dumps(whole))
    return str(path)


def test_reads(lab: Lab, through: Through) -> None:
    """get, describe with its Events, logs and cluster-info, with the proxy's defaults and no credentials of its own."""
    lab.api.log("lab", "web", "one", "two")
    kubectl = through()
    assert re.search(r"^web +1/1 +Running +0 ", kubectl.says("get", "pods"), re.MULTILINE)
    assert json.loads(kubectl.says("get", "pod", "web", "-o", "json"))["metadata"]["name"] == "web"
    described = kubectl.says("describe", "pod", "web")
    assert re.search(r"^Labels: +app=web$", described, re.MULTILINE)
    assert kubectl.says("logs", "web", "--tail=1") == "two\n"
    assert "is running at" in kubectl.says("cluster-info")
    assert {request.user for request in lab.api.requests} == {USER}


def test_watches(lab: Lab, through: Through) -> None:
    """``get -w`` shows every change as it comes."""
    kubectl = through()
    with kubectl.running(
        "get", "pods", "-w", "--output-watch-events", "--show-labels", "--no-headers"
    ) as seen:
        assert line(seen).split()[:2] == ["ADDED", "web"]
        for rack in ("r1", "r2", "r3"):
            lab.api.label("lab", "web", rack=rack)
            assert line(seen).endswith(f"app=web,rack={rack}")
        lab.api.remove("Pod", "lab", "web")
        assert line(seen).split()[:2] == ["DELETED", "web"]


def test_follows_logs(lab: Lab, through: Through) -> None:
    """``logs -f`` shows each line as it is written, and ends with the Pod."""
    lab.api.log("lab", "web", "before")
    with through().running("logs", "-f", "web") as following:
        assert line(following) == "before"
        for word in ("one", "two"):
            lab.api.log("lab", "web", word)
            assert line(following) == word
        lab.api.remove("Pod", "lab", "web")
        assert (line(following), following.wait(60)) == ("", 0)


def test_writes_nothing_by_default(lab: Lab, through: Through, tmp_path: Path) -> None:
    """apply, delete and label are refused, with a message that says what would allow it; nothing reaches the server."""
    kubectl = through()
    code, _, told = kubectl("apply", "-f", pod_file(tmp_path))
    assert code == 1
    assert "kmetad proxy: create pods in namespace lab" in told
    assert "--allow-write" in told
    assert kubectl("delete", "pod", "web")[0] == 1
    assert kubectl("label", "pod", "web", "a=b")[0] == 1
    assert {request.method for request in lab.api.requests} == {"GET"}
    assert lab.api.get("Pod", "lab", "web")


@pytest.mark.parametrize(
    "options", [{"allow_write": True}, {"allow": ("get,list,watch,create,patch,delete:pods:lab",)}]
)
def test_writes_when_allowed(lab: Lab, through: Through, tmp_path: Path, options: dict[str, object]) -> None:
    """``apply -f`` creates a Pod, changes it, and leaves it alone; ``delete`` waits until it has gone."""
    kubectl = through(**options)
    for labels, word in (
        ({"rack": "r1"}, "created"),
        ({"rack": "r2", "zone": "a"}, "configured"),
        ({"rack": "r2", "zone": "a"}, "unchanged"),
    ):
        assert kubectl.says("apply", "-f", pod_file(tmp_path, **labels)) == f"pod/made {word}\n"
        found = lab.api.get("Pod", "lab", "made")
        assert found is not None and found["metadata"]["labels"] == labels
    assert kubectl.says("delete", "pod", "made").startswith('pod "made" deleted')


@pytest.mark.parametrize("options", [{}, {"allow_write": True}, {"allow": ("*:*",)}])
def test_enters_no_container_by_default(lab: Lab, through: Through, options: dict[str, object]) -> None:
    """exec, attach, cp and port-forward are refused, whatever else is allowed: nothing switches."""
    lab.api.files["lab", "web"] = {"/etc/motd": b"welcome\n"}
    kubectl = through(**options)
    code, out, told = kubectl("exec", "web", "--", "echo", "hi")
    assert (code, out) == (1, "")
    assert "pods/exec in namespace lab" in told
    assert kubectl("attach", "web")[0] == 1
    assert kubectl("cp", "web:/etc/motd", "here")[0] == 1
    assert kubectl("port-forward", "web", ":80")[0] == 1
    assert not any(re.search("/(exec|attach|portforward)", request.path) for request in lab.api.requests)


@pytest.mark.parametrize(
    ("command", "stdin", "out", "code"),
    [
        (["echo", "hello", "a  Pod"], None, "hello a  Pod\n", 0),
        (["cat"], b"some words\nand more", "some words\nand more", 0),
        (["cat"], b"x" * 3_000_000, "x" * 3_000_000, 0),
        (["exit", "42"], b"not read", "", 42),
        (["nosuch"], None, "", 127),
    ],
    ids=["echo", "cat", "3 MB through cat", "exit code", "no such command"],
)
def test_exec_when_allowed(
    lab: Lab, through: Through, command: list[str], stdin: bytes | None, out: str, code: int
) -> None:
    """A command's input, output and exit code, by SPDY or WebSocket, as this kubectl speaks it."""
    kubectl = through(allow=("get,list:pods:lab", "create,get:pods/exec:lab"))
    flags = [] if stdin is None else ["-i"]
    given = kubectl("exec", *flags, "web", "--", *command, stdin=stdin or b"")
    assert given[:2] == (code, out)
    assert lab.api.requests[-1].switched in ("SPDY/3.1", "websocket")
    assert lab.api.requests[-1].user == USER


def test_exec_by_spdy(lab: Lab, through: Through) -> None:
    """A kubectl that would rather speak WebSocket is made to speak SPDY."""
    kubectl = through(allow=("get:pods:lab", "create:pods/exec:lab"))
    kubectl.env["KUBECTL_REMOTE_COMMAND_WEBSOCKETS"] = "false"
    assert kubectl.says("exec", "-i", "web", "--", "cat", stdin=b"over there") == "over there"
    assert lab.api.requests[-1].switched == "SPDY/3.1"


def test_copies_when_allowed(lab: Lab, through: Through, tmp_path: Path) -> None:
    """``cp`` is an exec of tar."""
    lab.api.files["lab", "web"] = {"/etc/motd": b"welcome\n"}
    kubectl = through(allow=("get:pods:lab", "create,get:pods/exec:lab:web"))
    kubectl.says("cp", "web:/etc/motd", "here")
    assert (tmp_path / "here").read_bytes() == b"welcome\n"


def test_forwards_ports_when_allowed(lab: Lab, through: Through) -> None:
    """A connection to a port of this machine comes out at the Pod's."""
    kubectl = through(allow=("get:pods:lab", "create,get:pods/portforward"))
    with kubectl.running("port-forward", "web", ":80") as forwarding:
        found = re.search(r"127\.0\.0\.1:(\d+) -> 80", line(forwarding))
        assert found is not None
        with socket.create_connection(("127.0.0.1", int(found[1])), 30) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            assert PAGE in sock.recv(65536)


def test_behind_a_prefix(lab: Lab, through: Through) -> None:
    """As with kubectl proxy: the server's URL has the prefix in it."""
    kubectl = through(api_prefix="/k8s/")
    config = Path(kubectl.command[2])
    config.write_text(re.sub(r"(http://[^\"]*)", r"\1/k8s", config.read_text()))
    assert "web" in kubectl.says("get", "pods")
    assert all(request.path.startswith(("/api", "/version")) for request in lab.api.requests)


# -- what the README says of kubectl proxy


@pytest.fixture
def kubectl_proxy(lab: Lab, tmp_path: Path) -> Iterator[str]:
    """A ``kubectl proxy`` with its defaults, and the same account."""
    kubectl = Kubectl(kubeconfig(lab.api, lab.mount.token, "lab"), tmp_path)
    with kubectl.running("proxy", "--port=0") as process:
        yield line(process).split()[-1]


def curl(*args: str) -> int:
    """The status that a request gets."""
    done = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", *args], stdout=subprocess.PIPE
    )
    return int(done.stdout)


@pytest.mark.parametrize(
    ("args", "kubectls", "ours"),
    [
        ([WEB], 200, 200),
        (["-X", "DELETE", WEB], 200, 403),
        (["/api/v1/namespaces/lab/secrets"], 200, 403),
        (["-X", "POST", f"{WEB}/exec?command=true"], 403, 403),
        (["-X", "POST", f"{WEB}/portforward"], 400, 403),
        (["/healthz", "-H", "Host: evil.example"], 403, 200),
        ([WEB, "-H", "Host: evil.example"], 403, 403),
        ([WEB, "-H", "Origin: http://evil.example"], 200, 403),
        ([WEB, "-H", "Authorization: Bearer of-somebody-else"], 401, 200),
        ([WEB, "-H", "Impersonate-User: nobody"], 200, 200),
    ],
    ids=lambda value: " ".join(value[-2:]) if isinstance(value, list) else None,
)
def test_beside_kubectl_proxy(
    lab: Lab, kubectl_proxy: str, proxy: Proxied, args: list[str], kubectls: int, ours: int
) -> None:
    """What each of the two does with the same request: the README's table, and its reasons."""
    lab.api.put({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "db", "namespace": "lab"}})

    def at(address: str) -> list[str]:
        return [f"{address}{arg}" if arg.startswith("/") else arg for arg in args]

    assert (curl(*at(proxy.where)), curl(*at(kubectl_proxy))) == (ours, kubectls)


def test_whom_to_act_as(lab: Lab, kubectl_proxy: str, proxy: Proxied) -> None:
    """kubectl proxy passes it on, and here it is taken out."""
    for address, there in ((kubectl_proxy, "nobody"), (proxy.where, None)):
        curl(f"{address}{WEB}", "-H", "Impersonate-User: nobody")
        assert lab.api.requests[-1].header("Impersonate-User") == there
