"""The client, against an API server over TLS."""

from __future__ import annotations

import json
import math
import os
import socket
import ssl
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from kmetad.api import (
    BadAnswer,
    Client,
    Conflict,
    CredentialsError,
    Forbidden,
    Gone,
    NotFound,
    Server,
    TimedOut,
    Unauthorized,
    Unreachable,
    find_server,
    path_of,
)
from tests.apiserver import ApiServer, Authority, behaviour, pod
from tests.cli import eventually

APP = "system:serviceaccount:lab:app"
PODS = path_of("pods", namespace="lab")
WEB = path_of("pods", "web", namespace="lab")
STATUS = path_of("pods", "web", namespace="lab", subresource="status")


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """One that has a Pod, and a user who may do everything with Pods."""
    with ApiServer() as running:
        running.put(pod("web", "lab", labels={"app": "web"}))
        running.allow(APP, ["*"], ["pods", "pods/status", "events"], namespace="lab")
        yield running


@pytest.fixture
def client(server: ApiServer, tmp_path: Path) -> Iterator[Client]:
    """In a Pod of it."""
    with Client(in_pod(server, tmp_path)) as made:
        yield made


def in_pod(server: ApiServer, directory: Path) -> Server:
    """What a Pod with a service account finds."""
    server.mount(directory / "account", APP)
    environ = {"KUBERNETES_SERVICE_HOST": server.host, "KUBERNETES_SERVICE_PORT": str(server.port)}
    return find_server(environ=environ, token_path=str(directory / "account"))


def test_nothing_is_imported_before_the_first_call(tmp_path: Path) -> None:
    """Importing it, making a client and asking it where it is brings neither HTTP nor TLS along."""
    (tmp_path / "token").write_text("a.b.c")
    program = (
        "import sys\n"
        "from kmetad.api import Client, find_server\n"
        f"client = Client(find_server(url='https://127.0.0.1:1', token_path={str(tmp_path)!r}))\n"
        "client.namespace, client.server\n"
        "print(sorted({'urllib3', 'ssl', 'http.client', 'msgspec', 'yaml', 'kubernetes'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_get(client: Client, server: ApiServer) -> None:
    """An object as it is, asked for over verified TLS with the mounted token."""
    assert client.get(WEB)["metadata"]["labels"] == {"app": "web"}
    assert client.namespace == "lab"
    (request,) = server.requests
    assert request.user == APP
    assert request.header("Accept") == "application/json"
    assert (request.header("User-Agent") or "").startswith("kmetad/")
    claims = client.token()
    assert claims is not None and claims.expires is not None


def test_connections_are_kept(client: Client, server: ApiServer) -> None:
    """Calls one after the other share one, also when one of them was refused."""
    client.get(WEB)
    with pytest.raises(NotFound, match='pods "nope" not found'):
        client.get(path_of("pods", "nope", namespace="lab"))
    client.get(WEB)
    assert {request.connection for request in server.requests} == {1}


def test_what_has_gone_from_a_kept_connection_is_no_fault(client: Client, server: ApiServer) -> None:
    """A server closes what is idle whenever it likes."""
    client.get(WEB)
    server.hang_up()
    assert client.get(WEB)["kind"] == "Pod"


def test_a_kept_connection_that_breaks_as_it_is_taken(client: Client, server: ApiServer) -> None:
    """What may be done twice is tried again on another; what may not, isn't."""
    for behave in (behaviour.close, behaviour.reset):
        client.get(WEB)
        script = server.script("GET", behave)
        assert client.get(WEB)["kind"] == "Pod"
        assert script.used == 1
    for call, verb in (
        (lambda: client.create(path_of("events", namespace="lab"), {}), "POST"),
        (lambda: client.patch(WEB, [], type="json"), "PATCH"),
    ):
        client.get(WEB)
        script = server.script(verb, behaviour.close, times=2)
        with pytest.raises(Exception, match="broke before an answer came"):
            call()
        assert script.used == 1
        script.stop()


def test_list_in_pages(client: Client, server: ApiServer) -> None:
    """All of them, in one List, with the version to watch from."""
    for number in range(7):
        server.put(pod(f"p{number}", "lab", labels={"n": str(number % 2)}))
    listed = client.list(PODS, page_size=3)
    assert [item["metadata"]["name"] for item in listed["items"]] == [f"p{n}" for n in range(7)] + ["web"]
    assert len(server.requests) == 3
    assert listed["metadata"]["resourceVersion"]
    assert not {"continue", "remainingItemCount"} & set(listed["metadata"])
    odd = client.list(PODS, {"labelSelector": "n=1"})
    assert [item["metadata"]["name"] for item in odd["items"]] == ["p1", "p3", "p5"]


def test_a_list_that_expires_on_the_way(client: Client, server: ApiServer) -> None:
    """It is asked for at once, as a whole, and isn't half of one and half of another."""
    for number in range(7):
        server.put(pod(f"p{number}", "lab"))
    server.script(lambda request: "continue=" in request.path, "410-continue-expired")
    listed = client.list(PODS, page_size=3)
    assert len(listed["items"]) == 8
    assert "limit" not in server.requests[-1].path
    server.script("list", "410-list-exact-compacted")
    with pytest.raises(Gone, match="list again"):
        client.list(PODS)


def test_what_is_no_list(client: Client) -> None:
    """A single object can't be listed."""
    with pytest.raises(BadAnswer, match="expected a List, got Pod"):
        client.list(WEB)


def test_a_list_without_an_end(client: Client, server: ApiServer) -> None:
    """A server that always says `continue` with the same word; one that finds ever new ones has the call's time."""
    page = {"kind": "PodList", "metadata": {"resourceVersion": "1", "continue": "again"}, "items": []}
    script = server.script("list", behaviour.body(json.dumps(page).encode()), times=math.inf)
    with pytest.raises(BadAnswer, match="round in circles"):
        client.list(PODS)
    assert script.used == 2
    script.stop()

    def ever_new(exchange: behaviour.Exchange) -> None:
        page["metadata"] = {"resourceVersion": "1", "continue": str(len(server.requests))}
        behaviour.body(json.dumps(page).encode())(exchange)

    server.script("list", ever_new, times=math.inf)
    client.timeout = 0.5
    with pytest.raises(TimedOut):
        client.list(PODS)


def test_a_list_keeps_its_selector(client: Client, server: ApiServer) -> None:
    """Also where it is asked for at once in the end."""
    for number in range(4):
        server.put(pod(f"p{number}", "lab", labels={"n": str(number % 2)}))
    server.script(lambda request: "continue=" in request.path, "410-continue-expired")
    listed = client.list(PODS, {"labelSelector": "n=1"}, page_size=1)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["p1", "p3"]


def test_create_and_delete(client: Client, server: ApiServer) -> None:
    """An object comes and goes; its name may be the server's to find."""
    made = client.create(PODS, {"metadata": {"generateName": "job-"}, "spec": pod("x", "lab")["spec"]})
    name = made["metadata"]["name"]
    assert name.startswith("job-") and server.get("Pod", "lab", name)
    with pytest.raises(Conflict) as caught:
        client.create(PODS, {"metadata": {"name": "web"}, "spec": pod("x", "lab")["spec"]})
    assert caught.value.reason == "AlreadyExists"
    client.delete(path_of("pods", name, namespace="lab"), {"gracePeriodSeconds": 0})
    assert server.get("Pod", "lab", name) is None


def test_a_merge_patch(client: Client, server: ApiServer) -> None:
    """Null removes. A value that was no UTF-8 goes as JSON has it, and whoever reads it makes of it what it can."""
    client.patch(WEB, {"metadata": {"labels": {"app": None, "v": "2"}}})
    stored = server.get("Pod", "lab", "web")
    assert stored is not None and stored["metadata"]["labels"] == {"v": "2"}
    server.script("PATCH", behaviour.body(b"{}"))
    client.patch(WEB, {"metadata": {"annotations": {"odd": "\udcff"}}})
    assert server.requests[-1].body == rb'{"metadata":{"annotations":{"odd":"\udcff"}}}'


def test_a_json_patch(client: Client, server: ApiServer) -> None:
    """A list of operations."""
    client.patch(WEB, [{"op": "replace", "path": "/metadata/labels/app", "value": "x"}], type="json")
    stored = server.get("Pod", "lab", "web")
    assert stored is not None and stored["metadata"]["labels"] == {"app": "x"}


def test_a_strategic_patch(client: Client, server: ApiServer) -> None:
    """Conditions are merged by their type, where a merge patch would replace the list."""
    for kind in ("One", "Two"):
        condition = {"type": kind, "status": "True", "lastTransitionTime": None}
        client.patch(STATUS, {"status": {"conditions": [condition]}}, type="strategic")
    stored = server.get("Pod", "lab", "web")
    assert stored is not None
    assert {"One", "Two"} <= {condition["type"] for condition in stored["status"]["conditions"]}


def test_apply(client: Client, server: ApiServer) -> None:
    """What a manager no longer applies goes; what another has is a Conflict, unless it is forced."""

    def annotations(manager: str, force: bool = False, **values: str) -> None:
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "annotations": values}}
        client.patch(WEB, body, type="apply", field_manager=manager, force=force)

    annotations("one", a="1", b="1")
    annotations("one", a="1")
    annotations("two", c="2")
    with pytest.raises(Conflict, match=r'conflict with "one".*take it over with force'):
        annotations("two", a="2", c="2")
    annotations("two", force=True, a="2", c="2")
    stored = server.get("Pod", "lab", "web")
    assert stored is not None and stored["metadata"]["annotations"] == {"a": "2", "c": "2"}


def test_raw(client: Client, server: ApiServer) -> None:
    """Bytes as they are; what the client owns can't be said otherwise."""
    answer = client.raw("GET", "/healthz")
    assert (answer.status, answer.body) == (200, b"ok")
    assert client.raw("GET", WEB).json()["kind"] == "Pod"
    assert client.raw("GET", WEB, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}).json()[
        "kind"
    ] == "Table"  # fmt: skip
    for name in ("Authorization", "host", "Content-Length"):
        with pytest.raises(ValueError, match="itself"):
            client.raw("GET", WEB, headers={name: "x"})
    with pytest.raises(Forbidden):
        client.raw("GET", path_of("secrets", namespace="lab"))


def test_plain_http(tmp_path: Path) -> None:
    """As behind ``kubectl proxy``: it works, and no token goes over it, though one is mounted."""
    with ApiServer(tls=False) as server:
        server.put(pod("web", "lab"))
        server.allow("kubectl-proxy", ["get"], ["pods"], namespace="lab")
        server.mount(tmp_path / "account", APP)
        with Client(find_server(url=server.url, token_path=str(tmp_path / "account"))) as client:
            assert client.get(WEB)["kind"] == "Pod"
            assert client.token() is None
        assert server.requests[0].header("Authorization") is None


def test_insecure(server: ApiServer, tmp_path: Path) -> None:
    """Anybody may answer, so no token is sent; the answer says that."""
    mounted = server.mount(tmp_path / "account", APP)
    with Client(find_server(url=server.url, insecure=True, token_path=str(mounted.path))) as client:
        assert client.get("/version")["major"]
        with pytest.raises(Forbidden, match="no credentials were sent"):
            client.get(WEB)
    assert {request.header("Authorization") for request in server.requests} == {None}


def test_without_a_token(server: ApiServer, tmp_path: Path) -> None:
    """A mount that holds none yet is told of, and nothing is sent; once it is there, it is used."""
    mounted = server.mount(tmp_path / "account", APP)
    token = mounted.token
    mounted.rotate(token="")
    with Client(find_server(url=server.url, token_path=str(mounted.path))) as client:
        with pytest.raises(CredentialsError, match="token holds no whole token"):
            client.get(WEB)
        assert server.requests == []
        mounted.rotate(token=token)
        assert client.get(WEB)["kind"] == "Pod"


def test_a_prefix(server: ApiServer, tmp_path: Path) -> None:
    """A URL may have a path in front of all others, as behind a gateway."""
    mounted = server.mount(tmp_path / "account", APP)
    server.script("/clusters/one/*", behaviour.body(json.dumps({"kind": "Pod"}).encode()))
    with Client(find_server(url=f"{server.url}/clusters/one/", token_path=str(mounted.path))) as client:
        assert client.get(WEB) == {"kind": "Pod"}
    assert server.requests[0].where == f"/clusters/one{WEB}"


def test_another_audience(client: Client, server: ApiServer, tmp_path: Path) -> None:
    """A token that isn't for this server is a 401, which says what to look at."""
    server.mount(tmp_path / "account", token=server.token(APP, audiences=("vault",)), namespace="lab")
    with pytest.raises(Unauthorized, match="for another server or audience"):
        client.get(WEB)


def test_warnings(server: ApiServer, tmp_path: Path) -> None:
    """What the server says of an answer that is none the worse for it."""
    said: list[str] = []
    with Client(in_pod(server, tmp_path), warn=said.append) as client:
        client.patch(WEB, {"metadata": {"lables": {"a": "b"}}})
        assert said == ['unknown field "metadata.lables"']
        several = '299 - "one \\"quoted\\" word", 299 - "two"'
        head = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nWarning: %b\r\nWarning: 299 - "3"\r\n\r\n{}'
        server.script("GET", behaviour.raw(head % several.encode()))
        client.get(WEB)
    assert said[1:] == ['one "quoted" word', "two", "3"]


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), 1e30])
def test_time_that_cannot_be_waited(client: Client, seconds: float) -> None:
    """It is refused, since it would be none, or for ever."""
    client.timeout = seconds
    with pytest.raises(ValueError, match="expected seconds"):
        client.get(WEB)
    with pytest.raises(ValueError, match="expected seconds"):
        client.raw("GET", WEB, timeout=seconds)


def test_force_is_for_apply(client: Client) -> None:
    """No other patch asks whose a field is."""
    with pytest.raises(ValueError, match="for type='apply' alone"):
        client.patch(WEB, {}, force=True)


def test_what_a_body_may_hold(client: Client, server: ApiServer) -> None:
    """Any mapping; what JSON hasn't is refused before it is sent."""
    client.patch(WEB, {"metadata": {"labels": MappingProxyType({"v": "3"})}})
    stored = server.get("Pod", "lab", "web")
    assert stored is not None and stored["metadata"]["labels"]["v"] == "3"
    with pytest.raises(TypeError, match="set has no form in JSON"):
        client.patch(WEB, {"metadata": {1, 2}})


def test_raw_has_bounds_of_its_own(client: Client, server: ApiServer) -> None:
    """Of bytes, to the very last, and of time."""
    server.script("GET", behaviour.body(b"x" * 1000), times=2)
    assert len(client.raw("GET", WEB, max_bytes=1000).body) == 1000
    with pytest.raises(BadAnswer, match="longer than"):
        client.raw("GET", WEB, max_bytes=999)
    server.script("GET", behaviour.hang)
    with pytest.raises(TimedOut):
        client.raw("GET", WEB, timeout=0.2)


def test_nothing_is_sent_compressed_that_was_not_asked_for(client: Client, server: ApiServer) -> None:
    """A cluster's own network gains nothing by it."""
    client.get(WEB)
    assert server.requests[0].header("Accept-Encoding") == "identity"


def test_a_delete_is_not_tried_again(client: Client, server: ApiServer) -> None:
    """The second would find that there is nothing."""
    client.get(WEB)
    script = server.script("DELETE", behaviour.close, times=2)
    with pytest.raises(Unreachable):
        client.delete(WEB)
    assert script.used == 1


def test_kept_connections_that_all_have_gone(client: Client, server: ApiServer) -> None:
    """However many there are: none of them is the fault of a server that answers."""
    barrier = threading.Barrier(4)

    def together(exchange: behaviour.Exchange) -> None:
        barrier.wait(60)
        exchange.serve()

    server.script("GET", together, times=4)
    threads = [threading.Thread(target=client.get, args=(WEB,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.connections == 4
    broken = set(range(1, 5))
    server.script(lambda request: request.connection in broken, behaviour.close, times=math.inf)
    assert client.get(WEB)["kind"] == "Pod"


def test_a_call_that_has_its_answer_cuts_nobody(client: Client, server: ApiServer) -> None:
    """Its connection is kept, and may be another call's by now."""
    with client._transport.call(60.0) as first:
        client._transport.get(first, WEB)
        with client._transport.call(60.0) as second:
            client._transport.get(second, WEB)
            first.cut()
            assert client._transport.get(second, WEB)["kind"] == "Pod"
    assert client.create(path_of("events", namespace="lab"), event())["kind"] == "Event"
    assert {request.connection for request in server.requests} == {1}


def event() -> dict[str, Any]:
    """One that the server takes."""
    return {
        "metadata": {"generateName": "e-"},
        "involvedObject": {"kind": "Pod", "namespace": "lab", "name": "web"},
    }


def test_one_call_over_several_connections(client: Client, server: ApiServer) -> None:
    """Whichever it is on now is the one that is cut."""
    with client._transport.call(60.0) as call:
        client._transport.get(call, WEB)
        with client._transport.call(60.0) as other:  # takes the connection, and keeps it busy
            stream = client._transport.stream(other, f"{PODS}?watch=1&resourceVersion=1", patience=60.0)
            client._transport.get(call, WEB)
            stream.__exit__()
        script = server.script("GET", behaviour.trickle_body())
        thread = threading.Thread(target=lambda: (server.wait_for("GET", times=4), call.cut()))
        thread.start()
        with pytest.raises(Unreachable, match="stopped"):
            client._transport.get(call, WEB)
        thread.join()
        assert script.used == 1


def test_no_kernel_has_every_family(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address of a family that this one hasn't is passed over."""
    real = socket.getaddrinfo

    def several(host: str, port: int, **more: Any) -> list[Any]:
        return [(999, socket.SOCK_STREAM, 6, "", (host, port)), *real(host, port, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", several)
    assert client.get(WEB)["kind"] == "Pod"


def test_a_server_of_several_addresses(
    client: Client, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first that answers is taken; those before it that are refused cost nothing."""
    real = socket.getaddrinfo

    def several(host: str, port: int, **more: Any) -> list[Any]:
        return [*real("127.0.0.3", port, **more), *real("127.0.0.2", port, **more), *real(host, port, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", several)
    assert client.get(WEB)["kind"] == "Pod"


def test_over_ipv6(tmp_path: Path) -> None:
    """An address in brackets, on a real socket."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listening:
        thread = threading.Thread(target=answer_once, args=(listening,))
        thread.start()
        with Client(Server(f"http://[::1]:{listening.getsockname()[1]}")) as client:
            assert client.get("/version") == {"a": 1}
        thread.join()


def answer_once(listening: socket.socket) -> None:
    """An object, to whoever comes."""
    connection, _ = listening.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n{"a":1}')


def test_after_a_fork(client: Client, server: ApiServer) -> None:
    """The child has connections and deadlines of its own, whatever the parent had under way."""
    client.get(WEB)
    server.script(f"GET {WEB}/log", behaviour.trickle_body())
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of the server, which the child hasn't
        child = os.fork()
    if child == 0:
        try:
            client.get(WEB)
            client.timeout = 0.3
            client.get(f"{WEB}/log")
        except TimedOut:
            os.write(writing, b"in time")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        assert pipe.read() == b"in time"
    os.waitpid(child, 0)
    assert client.get(WEB)["kind"] == "Pod"
    ours, theirs, log = (request.connection for request in server.requests[:3])
    assert ours != theirs == log
    assert server.requests[3].connection == ours


def test_closed_and_used_again(client: Client, server: ApiServer) -> None:
    """Closing gives back connections, no more."""
    client.get(WEB)
    client.close()
    eventually(lambda: server.connections == 0)
    assert client.get(WEB)["kind"] == "Pod"
    assert {request.connection for request in server.requests} == {1, 2}


def test_a_name_for_tls(server: ApiServer, tmp_path: Path) -> None:
    """The certificate may be for another name than the one that is connected to."""
    mounted = server.mount(tmp_path / "account", APP)
    found = find_server(url=server.url, token_path=str(mounted.path))
    named = Server(found.url, found.credentials, tls_name="localhost")
    with Client(named) as client:
        assert client.get(WEB)["kind"] == "Pod"
    wrong = Server(found.url, found.credentials, tls_name="example.com")
    with Client(wrong) as client, pytest.raises(Exception, match="another name"):
        client.get(WEB)


def test_authorities_that_are_not_strict(tmp_path: Path) -> None:
    """A CA that Python 3.13's own contexts refuse is a cluster's CA all the same."""
    with ApiServer(authority=Authority(strict=False)) as server, Client(in_pod(server, tmp_path)) as client:
        assert client.get("/version")["major"]
        strict = ssl.create_default_context(cadata=server.authority.pem.decode())
        strict.verify_flags |= ssl.VERIFY_X509_STRICT
        with socket.create_connection((server.host, server.port)) as sock, pytest.raises(ssl.SSLError):
            strict.wrap_socket(sock, server_hostname=server.host)


def test_requests_are_counted(tmp_path: Path) -> None:
    """Each that was sent, with the status of its answer; None where nobody answered."""
    counted: list[tuple[str, int | None]] = []
    with ApiServer() as server:
        server.put(pod("web", "lab"))
        server.allow(APP, ["get", "patch"], ["pods"], namespace="lab")
        client = Client(in_pod(server, tmp_path), counted=lambda *call: counted.append(call))
        client.get(WEB)
        with pytest.raises(NotFound):
            client.get(path_of("pods", "nobody", namespace="lab"))
        client.patch(WEB, {"metadata": {"labels": {"a": "b"}}})
        assert counted == [("GET", 200), ("GET", 404), ("PATCH", 200)]
    client.close()
    with pytest.raises(Unreachable):
        client.get(WEB)
    assert counted[3:]
    assert set(counted[3:]) == {("GET", None)}
    client.close()
