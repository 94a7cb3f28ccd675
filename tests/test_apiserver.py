"""The tests' API server, held to what a real one answered."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apiserver import ApiServer, Authority, behaviour, pod
from tests.apiserver.kubeconfig import kubeconfig
from tests.apiserver.recorded import DATA, Recorded, recorded
from tests.apiserver.tls import Issued

APP = "system:serviceaccount:lab:app"
NOBODY = "system:serviceaccount:lab:noperm"
ADMIN = "kubernetes-admin"

Reply = tuple[int, list[tuple[str, str]], bytes]

# In the order in which they were recorded, as each changes what the next one sees.
_ORDER = """
    anon-healthz anon-version anon-403 401-garbage-token 401-badsig 401-empty-bearer basic-auth root api
    apis api-v1 apis-apps apis-apps-v1 api-aggregated apis-aggregated version healthz readyz-verbose
    oidc-config jwks plain-404 path-404 resource-404 405-method 406-accept 400-unknown-kind
    409-already-exists pods-list pods-list-label pods-list-limit1 pod-get app-pod-get pod-pending-get
    pod-404 pod-partialmeta pod-table 403-app-delete 403-app-other-ns 403-app-secrets
    403-app-tokenrequest 403-noperm-pod 403-noperm-patch watch-403 patch-merge-200 patch-merge-noop-200
    patch-merge-remove-200 patch-strategic-200 patch-json-200 patch-json-test-fails
    patch-json-missing-path patch-dryrun-200 warn-unknown-field strict-unknown-field patch-int-label
    400-bad-json 415-patch-type 422-bad-label 422-bad-label-key 409-conflict-rv 409-uid-precondition
    apply-200 409-apply-conflict 400-apply-no-manager event-core-201 event-core-no-ts-201 event-new-201
    event-new-422-badtype event-new-422-generatename-trailing-dot event-new-422-missing
    event-new-bad-time event-new-long-note event-wrong-ns ssr-app ssar-allowed ssar-denied ssrr-app
    tokenreview-bad 422-tokenrequest-short 400-bad-continue watch-bad-rv
"""
REPLAYED = _ORDER.split()

# What differs from one run to the next.
VARIES = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"), "TIME"),
    (re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"), "UID"),
    (re.compile(r"(demo[.-])[a-z0-9]{5}\b"), r"\1XXXXX"),
    (re.compile(r'"\d+[smhd]"'), '"AGE"'),
    (re.compile(r"127\.0\.0\.1:\d+"), "ADDRESS"),
)
ALWAYS_DIFFERENT = (
    "Audit-Id",
    "Content-Length",  # what varies in a body may have another length, too
    "Date",
    "X-Kubernetes-Pf-Flowschema-Uid",
    "X-Kubernetes-Pf-Prioritylevel-Uid",
)


class Client:
    """One connection, that says only what it is told to."""

    def __init__(self, server: ApiServer, certificate: Issued | None = None) -> None:
        context = ssl.create_default_context(cadata=server.authority.pem.decode())
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        if certificate is not None:
            certificate.load(context)
        self.http = http.client.HTTPSConnection(server.host, server.port, timeout=30, context=context)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def ask(self, method: str, path: str, body: bytes | str | None = None, **headers: str) -> Reply:
        """An answer's status, headers and body."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body.encode() if isinstance(body, str) else body
        self.http.request(method, path, data, named)
        answer = self.http.getresponse()
        return answer.status, answer.getheaders(), answer.read()

    def get(self, path: str, token: str) -> tuple[int, Any]:
        """An answer in JSON."""
        status, _, body = self.ask("GET", path, Authorization=f"Bearer {token}")
        return status, json.loads(body)


def as_then(server: ApiServer) -> dict[str, str]:
    """The recorded cluster's objects and users; the users' tokens."""
    for name, version in (("pod-pending-get", 298), ("pod-get", 308)):
        server.store.version = version - 1
        server.put(recorded(name).json)
    server.put({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "lab"}})
    server.store.version = 314
    server.allow(APP, ["get", "list", "watch", "patch"], ["pods"], namespace="lab")
    server.allow(APP, ["get", "patch"], ["pods/status"], namespace="lab")
    server.allow(APP, ["create", "patch"], ["events"], ["", "events.k8s.io"], namespace="lab")
    server.allow_all(ADMIN)
    return {"app": server.token(APP), "noperm": server.token(NOBODY), "admin": server.token(ADMIN)}


@pytest.fixture(scope="module")
def replayed() -> dict[str, Reply]:
    """What the server answers to the recorded requests."""
    with ApiServer() as server, Client(server) as client:
        tokens = as_then(server)
        answers = {}
        for name in REPLAYED:
            request = recorded(name).request
            headers = {key: value for key, value in request["headers"].items() if key != "Authorization"}
            who = request.get("as", "noperm")
            if who in tokens:
                headers["Authorization"] = f"Bearer {tokens[who]}"
            elif who == "literal":
                headers["Authorization"] = request["headers"]["Authorization"]
            answers[name] = client.ask(request["method"], request["path"], request["body"], **headers)
    return answers


def same(words: bytes) -> str:
    """Without what differs from one run to the next."""
    text = words.decode()
    for pattern, mark in VARIES:
        text = pattern.sub(mark, text)
    return text


def kept(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Headers in their order, without the values that always differ."""
    return [(name, "" if name in ALWAYS_DIFFERENT else value) for name, value in headers]


@pytest.mark.parametrize("name", REPLAYED)
def test_as_recorded(name: str, replayed: dict[str, Reply]) -> None:
    """A recorded request gets the recorded answer: the status, the headers, and every byte of the body."""
    then: Recorded = recorded(name)
    status, headers, body = replayed[name]
    assert (status, same(body)) == (then.status, same(then.body))
    assert kept(headers) == kept(then.headers)


def patched(
    client: Client,
    token: str,
    body: Any,
    path: str = "/api/v1/namespaces/lab/pods/demo",
    kind: str = "merge-patch+json",
) -> tuple[int, Any]:
    """A patch's answer in JSON."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Content-Type": f"application/{kind}",
        "User-Agent": "lab/1",
    }
    status, _, data = client.ask("PATCH", path, json.dumps(body), **headers)
    return status, json.loads(data)


def applied(client: Client, token: str, manager: str, more: dict[str, Any], **query: str) -> tuple[int, Any]:
    """A server-side apply's answer, to the Pod or (with ``sub``) its status."""
    path = f"/api/v1/namespaces/lab/pods/demo{query.pop('sub', '')}?fieldManager={manager}"
    path += "".join(f"&{key}={value}" for key, value in query.items())
    metadata = {"name": "demo", **more.get("metadata", {})}
    return patched(
        client,
        token,
        {"apiVersion": "v1", "kind": "Pod", **more, "metadata": metadata},
        path,
        "apply-patch+yaml",
    )


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """One with the recorded objects."""
    with ApiServer() as running:
        as_then(running)
        yield running


@pytest.fixture
def client(server: ApiServer) -> Iterator[Client]:
    """A connection to it."""
    with Client(server) as connected:
        yield connected


@pytest.fixture
def admin(server: ApiServer) -> str:
    """The token of one who may do everything."""
    return server.token(ADMIN)


def watched(client: Client, token: str, query: str) -> http.client.HTTPResponse:
    """A watch of the Pods, of which the headers have come."""
    headers = {"Authorization": f"Bearer {token}"}
    client.http.request("GET", f"/api/v1/namespaces/lab/pods?watch=1&{query}", headers=headers)
    return client.http.getresponse()


def shape(event: dict[str, Any]) -> tuple[str, str | None, list[str]]:
    """What of an event doesn't depend on when it was."""
    metadata = event["object"]["metadata"]
    return event["type"], metadata.get("name"), sorted(metadata.get("annotations", {}))


def test_sizes_are_limited(client: Client, admin: str) -> None:
    """Too large a body and too many annotations are refused as recorded."""
    status, body = patched(client, admin, {"a": "x" * 3_200_000})
    assert (status, body) == (413, recorded("413-too-large").json)
    status, body = patched(client, admin, {"metadata": {"annotations": {"a": "x" * 262_150}}})
    assert (status, body) == (422, recorded("422-annotations-too-long").json)


def test_the_spec_of_a_pod_is_fixed(client: Client, admin: str) -> None:
    """Its message is the recorded one but for the difference, which is shown of Go's structs."""
    status, body = patched(client, admin, {"spec": {"hostNetwork": True}})
    then = recorded("422-immutable-spec").json
    assert status == then["code"]
    assert body["message"].split("\n")[0] == then["message"].split("\n")[0]
    assert body["details"]["causes"][0]["field"] == "spec"


def test_a_watch_begins_with_what_there_is(server: ApiServer, client: Client, admin: str) -> None:
    """ADDED, then the bookmark that ends them, then what happens; and bookmarks when they are asked for."""
    with watched(client, admin, "fieldSelector=metadata.name%3Ddemo&allowWatchBookmarks=true") as stream:
        server.wait_for_watches()
        server.label("lab", "web", unseen="1")
        server.label("lab", "demo", a="1")
        server.bookmark()
        server.label("lab", "demo", a=None)
        server.bookmark()
        server.interrupt(behaviour.end)
        events = [json.loads(line) for line in stream]
    then = recorded("watch-3-events").events[:6]
    assert [(kind, name) for kind, name, _ in map(shape, events)] == [(e[0], e[1]) for e in map(shape, then)]
    mark = json.loads(
        json.dumps(then[1]).replace('"322"', f'"{events[1]["object"]["metadata"]["resourceVersion"]}"')
    )
    assert events[1] == mark
    server.wait_for_watches(0)


def test_an_object_leaves_the_selection(server: ApiServer, client: Client, admin: str) -> None:
    """It is DELETED for the watch, as it was last selected."""
    with watched(client, admin, "labelSelector=w%3D1&timeoutSeconds=60") as stream:
        server.wait_for_watches()
        server.label("lab", "demo", w="1")
        last = server.label("lab", "demo", w="2")
        server.interrupt(behaviour.end)
        events = [json.loads(line) for line in stream]
    assert [e["type"] for e in events] == [e["type"] for e in recorded("watch-label-leaves-selector").events]
    assert events[1]["object"]["metadata"]["labels"]["w"] == "1"
    assert events[1]["object"]["metadata"]["resourceVersion"] == last["metadata"]["resourceVersion"]


def test_the_past_is_forgotten(server: ApiServer, client: Client, admin: str) -> None:
    """After a compaction: 410 in a watch's stream, and for a list's continuation."""
    path = "/api/v1/namespaces/lab/pods"
    _, first = client.get(f"{path}?limit=1", admin)
    server.label("lab", "web", changed="1")
    _, second = client.get(f"{path}?limit=1&continue={first['metadata']['continue']}", admin)
    assert "changed" not in second["items"][0]["metadata"]["labels"]  # a list is of one moment
    server.store.version = 356
    server.compact()
    for version, name in (("100", "watch-410-in-stream-cluster"), ("1", "watch-410-in-stream")):
        with watched(client, admin, f"resourceVersion={version}") as stream:
            assert json.loads(stream.read()) == recorded(name).events[0]
    status, gone = client.get(f"{path}?limit=1&continue={first['metadata']['continue']}", admin)
    then = recorded("410-continue-expired").json
    assert (status, gone["message"], gone["reason"]) == (410, then["message"], then["reason"])
    _, second = client.get(f"{path}?limit=1&continue={gone['metadata']['continue']}", admin)
    assert second["items"][0]["metadata"]["name"] == "web"
    assert client.get(f"{path}?resourceVersion=2&resourceVersionMatch=Exact", admin) == (
        410,
        recorded("410-list-exact-compacted").json,
    )
    server.store.version = 339
    then = recorded("504-rv-too-large").json
    assert client.get(f"{path}?resourceVersion=99999999&resourceVersionMatch=NotOlderThan", admin) == (
        504,
        then,
    )


def test_apply_takes_and_leaves_fields(server: ApiServer, client: Client, admin: str) -> None:
    """What a manager no longer applies goes, unless another applies it, too; a no-op changes nothing."""
    _, one = applied(client, admin, "one", {"metadata": {"labels": {"a": "1", "b": "1"}}})
    _, again = applied(client, admin, "one", {"metadata": {"labels": {"a": "1", "b": "1"}}})
    assert again == one
    applied(client, admin, "two", {"metadata": {"labels": {"b": "1"}}})
    _, less = applied(client, admin, "one", {"metadata": {"labels": {"c": "1"}}})
    labels = less["metadata"]["labels"]
    assert ("a" in labels, labels["b"], labels["c"]) == (False, "1", "1")
    assert [entry["manager"] for entry in less["metadata"]["managedFields"]][:2] == ["one", "two"]
    status, refused = applied(client, admin, "one", {"metadata": {"labels": {"b": "2", "zone": "x"}}})
    assert status == 409
    assert refused["message"] == (
        'Apply failed with 2 conflicts: conflicts with "two":\n- .metadata.labels.b\n'
        'conflicts with "kubectl-client-side-apply" using v1:\n- .metadata.labels.zone'
    )
    status, forced = applied(
        client, admin, "one", {"metadata": {"labels": {"b": "2", "zone": "x"}}}, force="true"
    )
    assert (status, forced["metadata"]["labels"]["b"], forced["metadata"]["labels"]["zone"]) == (
        200,
        "2",
        "x",
    )
    assert "two" not in [entry["manager"] for entry in forced["metadata"]["managedFields"]]
    uid = {"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}}
    assert applied(client, admin, "one", uid)[0] == 409


def test_apply_of_a_condition(client: Client, admin: str) -> None:
    """Conditions are merged by their type, through the status only, and go with their manager's interest."""
    ready = {"type": "example.com/Ready", "status": "True"}
    _, shown = applied(client, admin, "gate", {"status": {"conditions": [ready]}})
    assert ready not in shown["status"]["conditions"]
    _, shown = applied(client, admin, "gate", {"status": {"conditions": [ready]}}, sub="/status")
    assert [each["type"] for each in shown["status"]["conditions"]] == ["PodScheduled", "example.com/Ready"]
    own = shown["metadata"]["managedFields"][0]
    key = 'k:{"type":"example.com/Ready"}'
    assert own["fieldsV1"] == {"f:status": {"f:conditions": {key: {".": {}, "f:status": {}, "f:type": {}}}}}
    assert own["subresource"] == "status"
    other = {"status": {"conditions": [{**ready, "status": "False"}]}}
    status, refused = applied(client, admin, "other", other, sub="/status")
    assert status == 409
    assert refused["details"]["causes"][0] == {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "gate" with subresource "status"',
        "field": '.status.conditions[type="example.com/Ready"].status',
    }
    _, shown = applied(client, admin, "gate", {}, sub="/status")
    assert [each["type"] for each in shown["status"]["conditions"]] == ["PodScheduled"]


def test_the_status_is_apart(client: Client, admin: str) -> None:
    """The status is changed through the status only, the spec never so; metadata are changed either way."""
    both = {"metadata": {"labels": {"q": "1"}}, "status": {"phase": "Failed"}, "spec": {"hostNetwork": True}}
    _, shown = patched(client, admin, {**both, "spec": {}})
    assert (shown["metadata"]["labels"]["q"], shown["status"]["phase"]) == ("1", "Pending")
    both["metadata"] = {"labels": {"q": "2"}}
    _, shown = patched(
        client, admin, both, "/api/v1/namespaces/lab/pods/demo/status", "strategic-merge-patch+json"
    )
    assert (shown["metadata"]["labels"]["q"], shown["status"]["phase"]) == ("2", "Failed")
    assert "hostNetwork" not in shown["spec"]
    synced = {"status": {"conditions": [{"type": "example.com/Synced", "status": "True"}]}}
    _, shown = patched(
        client, admin, synced, "/api/v1/namespaces/lab/pods/demo/status", "strategic-merge-patch+json"
    )
    assert len(shown["status"]["conditions"]) == 2
    _, shown = patched(client, admin, synced, "/api/v1/namespaces/lab/pods/demo/status")
    assert len(shown["status"]["conditions"]) == 1  # a JSON merge patch replaces lists


def test_apply_creates_only_with_the_right_to(server: ApiServer, client: Client) -> None:
    """Who may patch, but not create, gets the refusal to create."""
    server.remove("Pod", "lab", "demo")
    status, refused = applied(client, server.token(APP), "one", {})
    assert (status, "cannot create resource" in refused["message"]) == (403, True)
    server.allow(APP, ["create"], ["pods"], namespace="lab")
    assert applied(client, server.token(APP), "one", {})[0] == 201


def test_a_token_is_good_until_it_is_not(server: ApiServer, client: Client) -> None:
    """A revoked or an expired one is Unauthorized."""
    revoked = server.token(APP)
    assert client.get("/api/v1/namespaces/lab/pods/web", revoked)[0] == 200
    server.revoke(revoked)
    for bad in (revoked, server.token(APP, expires=1)):
        assert client.get("/api/v1/namespaces/lab/pods/web", bad) == (401, recorded("401-garbage-token").json)


def test_a_mount_follows_the_server(server: ApiServer, tmp_path: Path) -> None:
    """A rotated certificate is refused with the old CA, and taken with the one that is swapped in."""
    mounted = server.mount(tmp_path / "account", APP)
    with Client(server) as before:
        assert before.get("/api", mounted.token)[0] == 200
        server.rotate_certificate(Authority())
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            before.get("/api", mounted.token)
        old = ssl.create_default_context(cafile=tmp_path / "account" / "ca.crt")
        with (
            pytest.raises(ssl.SSLCertVerificationError),
            socket.create_connection((server.host, server.port)) as sock,
        ):
            old.wrap_socket(sock, server_hostname=server.host)
    assert mounted.rotate(ca=server.authority.pem, token=server.token(APP))
    context = ssl.create_default_context(cafile=tmp_path / "account" / "ca.crt")
    with socket.create_connection((server.host, server.port)) as sock:
        context.wrap_socket(sock, server_hostname=server.host).close()


def test_a_lax_authority_fails_the_strict_check_only() -> None:
    """Its certificates are good unless VERIFY_X509_STRICT is asked for."""
    with ApiServer(authority=Authority(strict=False)) as server:
        context = ssl.create_default_context(cadata=server.authority.pem.decode())
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        with socket.create_connection((server.host, server.port)) as sock:
            context.wrap_socket(sock, server_hostname=server.host).close()
        with pytest.raises(ssl.SSLCertVerificationError), Client(server) as strict:
            strict.ask("GET", "/healthz")


def test_a_client_certificate_is_a_user(server: ApiServer) -> None:
    """Its CN is the name, its Os are the groups."""
    server.allow("developers", ["get"], ["pods"], namespace="lab")
    issued = server.client_certificate("alice", ["developers"])
    with Client(server, certificate=issued) as client:
        assert client.ask("GET", "/api/v1/namespaces/lab/pods/web")[0] == 200
    assert server.requests[-1].user == "alice"


def test_behaviours_end_with_the_client_or_the_server() -> None:
    """Whatever is scripted: nothing is left over when the server is closed."""
    acts = [
        behaviour.hang,
        behaviour.hang_after_headers,
        behaviour.hang_in_body,
        behaviour.close,
        behaviour.reset,
        behaviour.reset_in_body,
        behaviour.trickle_headers(),
        behaviour.trickle_body(),
        behaviour.html(),
        behaviour.compressed,
        behaviour.bomb(),
        behaviour.large(),
        behaviour.redirect("https://example.com/"),
        behaviour.not_json,
        behaviour.nested(),
        behaviour.huge_headers(),
        behaviour.many_headers(),
        behaviour.too_short,
        behaviour.too_long,
        behaviour.not_http,
        behaviour.not_chunked,
        behaviour.silence,
        behaviour.watch_error(410),
        behaviour.end,
        behaviour.torn_line,
        behaviour.torn_connection,
        behaviour.unavailable,
        behaviour.too_many_requests(3),
        behaviour.bookmark,
        behaviour.switched(),
        behaviour.switched_and_ended(),
        behaviour.serve,
    ]
    clients = []
    with ApiServer() as server:
        server.put(pod("web", "lab"))
        for act in acts:
            script = server.script("get", act)
            client = Client(server)
            clients.append(client)
            client.http.request("GET", "/healthz")
            server.wait_for("get", len(clients))
            assert script.used == 1
    for client in clients:
        client.http.close()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("apiserver")] == []


def test_a_script_is_used_as_often_as_it_says(server: ApiServer, client: Client, admin: str) -> None:
    """Then requests get their own answers; others did all the time."""
    script = server.script("delete pods", "403-app-delete")
    server.script(lambda request: request.path.endswith("?odd"), behaviour.too_many_requests(3))
    status, headers, _ = client.ask("GET", "/version?odd")
    assert (status, dict(headers)["Retry-After"]) == (429, "3")
    for expected in (403, 200):
        assert client.get("/version", admin)[0] == 200
        path = "/api/v1/namespaces/lab/pods/web"
        assert client.ask("DELETE", path, Authorization=f"Bearer {admin}")[0] == expected
    assert script.used == 1
    assert server.wait_for("delete", 2).user == ADMIN


def test_chunks_may_cut_a_character(server: ApiServer, client: Client, admin: str) -> None:
    """What is sent byte by byte is the same in the end."""
    event = {"type": "MODIFIED", "object": pod("web", "lab", annotations={"note": "\N{SNOWMAN}"})}
    server.script("watch", behaviour.events(event, split=1))
    with watched(client, admin, "") as stream:
        assert json.loads(stream.read()) == event


def test_the_newer_events_are_the_older_ones(client: Client, admin: str) -> None:
    """An Event made in either group is seen in both, under each one's names."""
    then = recorded("event-new-201").request
    headers = {**then["headers"], "Authorization": f"Bearer {admin}"}
    assert client.ask("POST", then["path"], then["body"], **headers)[0] == 201
    _, found = client.get("/api/v1/namespaces/lab/events?fieldSelector=involvedObject.name%3Ddemo", admin)
    assert [(each["message"], each["reportingComponent"]) for each in found["items"]] == [("hi", "lab/x")]


def test_tokens_are_made_and_reviewed(client: Client, admin: str) -> None:
    """A requested token is of the recorded shape, and a review says whose it is, and for whom."""
    then = recorded("tokenrequest-201")
    headers = {"Authorization": f"Bearer {admin}", "Content-Type": "application/json", "User-Agent": "lab"}
    status, _, body = client.ask("POST", then.request["path"], then.request["body"], **headers)
    made = json.loads(body)
    assert (status, list(made), list(made["metadata"])) == (201, list(then.json), list(then.json["metadata"]))
    token = made["status"]["token"]
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert list(claims) == list(
        json.loads((DATA.parent / "kubelet" / "tokenrequest.claims.json").read_text())["claims"]
    )
    for name, asked in (("tokenreview-ok", {}), ("tokenreview-wrong-aud", {"audiences": ["other"]})):
        then = recorded(name)
        review = {**json.loads(then.request["body"]), "spec": {"token": token, **asked}}
        status, _, body = client.ask("POST", then.request["path"], json.dumps(review), **headers)
        expected = then.body.replace(b"REDACTED.JWT.TOKEN", token.encode())
        # the recorded token was for "lab", too
        expected = expected.replace(b',"lab"]', b"]").replace(b' \\"lab\\"]', b"]")
        assert (status, same(body)) == (201, same(expected))


def test_plain_http_is_as_behind_kubectl_proxy() -> None:
    """Whoever asks is the proxy's user, if the request is for this machine by its name."""
    with ApiServer(tls=False) as server:
        server.put(pod("web", "lab"))
        server.allow_all("kubectl-proxy")
        connection = http.client.HTTPConnection(server.host, server.port, timeout=30)
        for host, status in (("localhost:8001", 200), ("evil.example.com", 403)):
            connection.request("GET", "/api/v1/namespaces/lab/pods/web", headers={"Host": host})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status
        connection.close()


def test_kubectl(server: ApiServer, tmp_path: Path) -> None:
    """kubectl, where there is one, gets what it asks for."""
    program = shutil.which("kubectl")
    if program is None:
        pytest.skip("there is no kubectl here")
    config = tmp_path / "kubeconfig"
    config.write_text(kubeconfig(server, server.token(ADMIN), "lab"), "utf-8")

    def kubectl(*args: str) -> str:
        command = [program, "--kubeconfig", str(config), *args]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            env={"HOME": str(tmp_path), "PATH": os.defpath},
        )
        return done.stdout + done.stderr

    assert re.search(r"^web +1/1 +Running +0 ", kubectl("get", "pods"), re.MULTILINE)
    assert kubectl("label", "pod", "web", "rack=r2", "--overwrite") == "pod/web labeled\n"
    assert kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=30s") == "pod/web condition met\n"
    server.log("lab", "web", "hello")
    assert kubectl("logs", "web") == "hello\n"
    assert kubectl("auth", "can-i", "delete", "pods") == "yes\n"


def test_a_certificate_may_be_a_bad_one(server: ApiServer) -> None:
    """One that has expired, or is for another name, fails the client's check."""
    authority = server.authority
    for certificate in (authority.server(expired=True), authority.server("api.example.com")):
        server.rotate_certificate(authority, certificate=certificate)
        with pytest.raises(ssl.SSLCertVerificationError), Client(server) as refusing:
            refusing.ask("GET", "/healthz")
