"""Whichever kubectl there is, at the tests' API server with nothing in between."""

from __future__ import annotations

import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.apiserver import ApiServer, pod
from tests.apiserver.containers import PAGE
from tests.apiserver.kubeconfig import kubeconfig
from tests.apiserver.kubectl import Kubectl, line

ADMIN = "kubernetes-admin"
CONTAINER = {"name": "main", "image": "lab.local/base:1"}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A server with a Pod that runs, and one who may do everything."""
    with ApiServer() as server:
        server.put({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "lab"}})
        server.put(pod("web", "lab", labels={"app": "web"}))
        server.allow_all(ADMIN)
        yield server


def user(server: ApiServer, directory: Path, name: str) -> Kubectl:
    """kubectl of a user."""
    return Kubectl(kubeconfig(server, server.token(name), "lab"), directory)


@pytest.fixture
def kubectl(server: ApiServer, tmp_path: Path) -> Kubectl:
    """kubectl of the one who may do everything; skips where there is none."""
    return user(server, tmp_path, ADMIN)


def test_kubectl_reads(server: ApiServer, kubectl: Kubectl) -> None:
    """get, describe with the Events, logs and cluster-info say what there is."""
    web = server.get("Pod", "lab", "web")
    assert web is not None
    about = {"kind": "Pod", "name": "web", "namespace": "lab", "uid": web["metadata"]["uid"]}
    server.put(
        {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": "web.1", "namespace": "lab"},
            "involvedObject": about,
            "reason": "Pulled",
            "message": "it is here",
            "type": "Normal",
        }
    )
    server.log("lab", "web", "one", "two")
    assert re.search(r"^web +1/1 +Running +0 ", kubectl.says("get", "pods"), re.MULTILINE)
    assert json.loads(kubectl.says("get", "pod", "web", "-o", "json"))["metadata"]["name"] == "web"
    described = kubectl.says("describe", "pod", "web")
    assert re.search(r"^Labels: +app=web$", described, re.MULTILINE)
    assert re.search(r"^ +Normal +Pulled .*it is here$", described, re.MULTILINE)
    assert kubectl.says("logs", "web", "--tail=1") == "two\n"
    assert server.url in kubectl.says("cluster-info")


def test_kubectl_watches(server: ApiServer, kubectl: Kubectl) -> None:
    """``get -w`` shows every change as it comes."""
    with kubectl.running(
        "get", "pods", "-w", "--output-watch-events", "--show-labels", "--no-headers"
    ) as seen:
        assert line(seen).split()[:2] == ["ADDED", "web"]
        server.label("lab", "web", rack="r2")
        assert line(seen).endswith("app=web,rack=r2")
        server.remove("Pod", "lab", "web")
        assert line(seen).split()[:2] == ["DELETED", "web"]


def test_kubectl_changes(server: ApiServer, kubectl: Kubectl, tmp_path: Path) -> None:
    """``apply -f`` creates a Pod, changes its labels, and leaves it alone; ``delete`` waits until it has gone."""
    made = tmp_path / "pod.json"
    for labels, word in (
        ({"rack": "r1"}, "created"),
        ({"rack": "r2", "zone": "a"}, "configured"),
        ({"rack": "r2", "zone": "a"}, "unchanged"),
        ({"zone": "a"}, "configured"),
    ):
        metadata = {"name": "made", "labels": labels}
        whole = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": {"containers": [CONTAINER]}}
        made.write_text(json.dumps(whole), "utf-8")
        assert kubectl.says("apply", "-f", str(made)) == f"pod/made {word}\n"
        found = server.get("Pod", "lab", "made")
        assert found is not None and found["metadata"]["labels"] == labels
    assert kubectl.says("delete", "pod", "made").startswith('pod "made" deleted')
    assert server.get("Pod", "lab", "made") is None
    assert kubectl.says("create", "-f", str(made)) == "pod/made created\n"


def test_kubectl_follows_logs(server: ApiServer, kubectl: Kubectl) -> None:
    """``logs -f`` shows each line as it is written, and ends with the Pod."""
    server.log("lab", "web", "before")
    with kubectl.running("logs", "-f", "web") as following:
        assert line(following) == "before"
        for word in ("one", "two"):
            server.log("lab", "web", word)
            assert line(following) == word
        server.remove("Pod", "lab", "web")
        assert (line(following), following.wait(60)) == ("", 0)


@pytest.mark.parametrize(
    ("command", "stdin", "out", "code"),
    [
        (["echo", "hello", "a  Pod"], None, "hello a  Pod\n", 0),
        (["cat"], b"", "", 0),
        (["cat"], b"some words\nand more", "some words\nand more", 0),
        (["cat"], None, "", 0),
        (["true"], None, "", 0),
        (["false"], None, "", 1),
        (["exit", "42"], b"not read", "", 42),
        (["sh", "-c", "echo 'a b'"], None, "a b\n", 0),
        (["cat", "/etc/motd"], None, "welcome\n", 0),
        (["nosuch"], None, "", 127),
    ],
)
def test_kubectl_exec(
    server: ApiServer, kubectl: Kubectl, command: list[str], stdin: bytes | None, out: str, code: int
) -> None:
    """A command's output and its exit code are kubectl's."""
    server.files["lab", "web"] = {"/etc/motd": b"welcome\n"}
    flags = [] if stdin is None else ["-i"]
    given = kubectl("exec", *flags, "web", "--", *command, stdin=stdin or b"")
    assert given[:2] == (code, out)
    assert (f"command terminated with exit code {code}" in given[2]) == bool(code)
    assert server.requests[-1].switched in ("SPDY/3.1", "websocket")


def test_kubectl_exec_of_much(server: ApiServer, kubectl: Kubectl) -> None:
    """Megabytes come back as they went."""
    much = "".join(f"{number}\n" for number in range(400_000))
    assert kubectl.says("exec", "-i", "web", "--", "cat", stdin=much.encode()) == much


def test_kubectl_writes_to_stderr(kubectl: Kubectl) -> None:
    """What a command says of its errors comes on stderr alone."""
    code, out, err = kubectl("exec", "web", "--", "cat", "/nosuch")
    assert (code, out) == (1, "")
    assert "cat: /nosuch: No such file or directory\n" in err


def test_kubectl_copies(server: ApiServer, kubectl: Kubectl, tmp_path: Path) -> None:
    """``cp`` brings a file and a directory into the Pod, and back."""
    (tmp_path / "here" / "deep").mkdir(parents=True)
    (tmp_path / "here" / "one").write_bytes(b"\0\1\2" * 50_000)
    (tmp_path / "here" / "deep" / "two").write_bytes(b"two")
    kubectl.says("cp", "here/one", "web:/tmp/one")
    assert server.files["lab", "web"] == {"/tmp/one": b"\0\1\2" * 50_000}
    kubectl.says("cp", "here", "web:/srv")
    assert server.files["lab", "web"]["/srv/deep/two"] == b"two"
    kubectl.says("cp", "web:/srv", "there")
    assert (tmp_path / "there" / "one").read_bytes() == b"\0\1\2" * 50_000
    assert (tmp_path / "there" / "deep" / "two").read_bytes() == b"two"


def test_kubectl_attaches(server: ApiServer, kubectl: Kubectl) -> None:
    """``attach`` shows what the container writes from then on; with -i the container writes what is typed."""
    server.log("lab", "web", "before")
    with kubectl.running("attach", "web") as attached:
        server.wait_for(lambda request: request.resource == "pods/attach" and bool(request.switched))
        server.log("lab", "web", "after")
        assert line(attached) == "after"
        server.remove("Pod", "lab", "web")
        assert (line(attached), attached.wait(60)) == ("", 0)
    server.put(pod("web", "lab"))
    assert kubectl.says("attach", "-i", "web", stdin=b"typed") == "typed"


def test_kubectl_forwards_ports(server: ApiServer, kubectl: Kubectl) -> None:
    """``port-forward`` reaches what is on each port, several times."""
    server.ports[9] = None
    with kubectl.running("port-forward", "--address=127.0.0.1", "web", ":80", ":7", ":9") as forwarding:
        http, echo, refused = (int(line(forwarding).split(":")[1].split()[0]) for _ in range(3))
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", http), 30) as one:
                one.sendall(b"GET / HTTP/1.1\r\nHost: web\r\n\r\n")
                assert everything(one) == PAGE
            with socket.create_connection(("127.0.0.1", echo), 30) as other:
                much = os.urandom(1_000_000)
                sending = threading.Thread(
                    target=lambda to=other, data=much: (to.sendall(data), to.shutdown(socket.SHUT_WR))
                )
                sending.start()
                assert everything(other) == much
                sending.join()
        with socket.create_connection(("127.0.0.1", refused), 30) as third:
            assert everything(third) == b""
    assert server.requests[-1].switched in ("SPDY/3.1", "websocket")


def test_kubectl_proxy_in_front(server: ApiServer, kubectl: Kubectl) -> None:
    """Through ``kubectl proxy`` it is the same, exec too if that isn't rejected."""
    with kubectl.running("proxy", "--port=0", "--reject-paths=^$") as proxy:
        url = f"http://{line(proxy).rpartition(' ')[2]}"
        assert kubectl.says("-s", url, "get", "pods", "-o", "name") == "pod/web\n"
        assert kubectl.says("-s", url, "exec", "-i", "web", "--", "cat", stdin=b"there") == "there"


def test_kubectl_may_not(server: ApiServer, tmp_path: Path) -> None:
    """Without the right to create pods/exec there is no switch; with it alone there is, by SPDY."""
    server.allow("some", ["get"], ["pods", "pods/exec"], namespace="lab")
    some = user(server, tmp_path, "some")
    code, _, err = some("exec", "web", "--", "echo", "hello")
    assert code == 1
    assert 'User "some" cannot create resource "pods/exec" in API group "" in the namespace "lab"' in err
    assert [request.switched for request in server.requests if request.switched] == []
    server.allow("other", ["get"], ["pods"], namespace="lab")
    server.allow("other", ["create"], ["pods/exec"], namespace="lab")
    assert user(server, tmp_path, "other").says("exec", "web", "--", "echo", "hello") == "hello\n"
    assert server.requests[-1].switched == "SPDY/3.1"


def everything(sock: socket.socket) -> bytes:
    """What comes on a connection until its end, or until it is cut."""
    found = b""
    try:
        while data := sock.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found
