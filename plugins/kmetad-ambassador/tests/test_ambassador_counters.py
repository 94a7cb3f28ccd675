"""What is said about it all: health, counters, and the log."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import eventually
from tests.proxied import (
    CHUNKED,
    ENTERED,
    EXEC,
    FOLLOW,
    PODS,
    SPDY,
    SWITCHED,
    UPGRADE,
    WATCH,
    WEB,
    Inside,
    Start,
    Upstream,
    Wire,
    answering,
    asking,
    bearer,
    chunked,
    client,
    echo,
    lines,
)
from tests.proxying import Proxied

SECRET = "c2VjcmV0-of-nobody"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """In the API server's place."""
    with Upstream() as made:
        yield made


# -- health --------------------------------------------------------------------------


def health(proxy: Proxied, **headers: str) -> dict[str, int]:
    """The counters that it tells."""
    lines = proxy.get("/healthz?verbose", **headers).body.decode().split("\n")
    assert lines[-2:] == ["", "ok"]
    return {name: int(count) for name, _, count in (line.rpartition(" ") for line in lines[:-2])}


def test_health(upstream: Upstream, start: Start, token_file: Path) -> None:
    """Whoever asks, by whatever name of it: the proxy's alone."""
    proxy = start(upstream.server, token_file=str(token_file))
    with client(proxy) as sock:
        sock.send(b"GET /healthz HTTP/1.1\r\nHost: 10.0.0.1:8001\r\n\r\n")
        got = sock.message()
        assert (got.status, got.body) == (200, b"ok")
        assert got.head.get("Content-Type") == "text/plain; charset=utf-8"
        assert got.head.get("Cache-Control") == "no-store"
        sock.ask("HEAD", "/healthz")
        got = sock.message(to="HEAD")
        assert (got.status, got.head.get("Content-Length")) == (200, "2")
        sock.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert sock.message().body == b"ok"
        assert sock.ended()
    assert upstream.nobody()
    assert proxy.log.lines == []
    assert health(proxy, Authorization=f"Bearer {token_file.read_text().strip()}")["requests"] == 0


def test_counters_are_for_whom_it_serves(upstream: Upstream, start: Start, token_file: Path) -> None:
    """A page that was led here by another name sees none of them, nor does who lacks the token."""
    proxy = start(upstream.server)
    assert proxy.get("/healthz?verbose", Host="elsewhere.test").status == 403
    assert proxy.get("/healthz?verbose", Origin="http://elsewhere.test").status == 403
    assert start(upstream.server, token_file=str(token_file)).get("/healthz?verbose").status == 401
    assert health(proxy)["refused host"] == 1


def test_health_of_the_server(upstream: Upstream, start: Start) -> None:
    """Its own /livez and /readyz are passed on; to write to /healthz isn't allowed."""
    proxy = start(upstream.server)
    upstream.serve(echo)
    for path in ("/livez", "/readyz", "/livez/ping"):
        with client(proxy) as sock:
            assert sock.get(path).status == 200
            sock.ask("POST", "/healthz")
            assert sock.message().status == 403
    assert health(proxy)["status 200"] == 3


def test_counters(upstream: Upstream, start: Start) -> None:
    """Are what has happened, each time."""
    proxy = start(upstream.server, allow=ENTERED, max_requests=2)
    inside = Inside(proxy)
    zero = {"requests": 0, "active": 0, "bytes_sent": 0, "bytes_received": 0}
    assert health(proxy) == {**zero, "server_connections": 0, "token_renewals": 0}
    with client(proxy) as sock, client(proxy) as other:
        sock.ask("POST", PODS, body=b"12345")
        server = upstream.accept()
        server.message()
        assert health(proxy)["active"] == 1
        server.send(answering(201, b"1234567"))
        sock.message()
        for status in (200, 404, 404):
            sock.ask()
            server.message()
            server.send(answering(status, b"abc"))
            sock.message()
        for target in ("/a//b", "/api/v1/secrets"):
            sock.get(target)
        sock.ask("GET", WEB, "Origin: https://evil.example")
        assert sock.message().status == 403
        sock.send(b"GET /api HTTP/1.1\r\n\r\n")
        assert sock.message().status == 403
        assert health(proxy) == {
            "requests": 8,
            "active": 0,
            "status 200": 1,
            "status 201": 1,
            "status 400": 1,
            "status 403": 3,
            "status 404": 2,
            "refused host": 1,
            "refused origin": 1,
            "refused rule": 1,
            "refused target": 1,
            "bytes_sent": 16,
            "bytes_received": 5,
            "server_connections": 1,
            "token_renewals": 0,
        }
        other.ask("GET", WATCH)
        server.message()
        sock.ask("GET", FOLLOW)
        second = upstream.accept()
        second.message()
        third = client(proxy)
        assert third.get().status == 429
        assert health(proxy)["active"] == 2
        other.close()
        assert server.ended()
        second.close()
        assert sock.message().status == 502
        third.send(asking("POST", EXEC, *SPDY) + b"123")
        server = upstream.accept()
        server.head()
        server.send(SWITCHED + b"4567")
        third.head()
        third.exactly(4)
        assert server.exactly(3) == b"123"
        third.close()
        assert server.ended()
        with client(proxy) as last:
            last.send(b"no HTTP at all\r\n\r\n")
            assert last.message().status == 400
        eventually(lambda: not inside.active)
        found = health(proxy)
    assert {
        name: found[name] for name in found if name.startswith(("refused", "active", "requests", "server"))
    } == {
        "requests": 13,
        "active": 0,
        "refused host": 1,
        "refused limit": 1,
        "refused origin": 1,
        "refused request": 1,
        "refused rule": 1,
        "refused server": 1,
        "refused target": 1,
        "server_connections": 3,
    }
    assert {name: found[name] for name in found if name.startswith("status")} == {
        "status none": 1,
        "status 101": 1,
        "status 200": 1,
        "status 201": 1,
        "status 400": 2,
        "status 403": 3,
        "status 404": 2,
        "status 429": 1,
        "status 502": 1,
    }
    assert (found["bytes_sent"], found["bytes_received"]) == (20, 8)


# -- the log -------------------------------------------------------------------------


def test_lines(upstream: Upstream, start: Start) -> None:
    """One for each request, when it has ended, with what was asked for, and of the query the names alone."""
    proxy = start(upstream.server, allow_write=True)
    upstream.serve(echo)
    with client(proxy) as sock:
        sock.get("/version")
        sock.get(f"{PODS}?limit=500&labelSelector=app%3Dweb&limit=1")
        sock.ask("PATCH", "/apis/apps/v1/namespaces/lab/deployments/web/scale?fieldManager=me", body=b"12345")
        sock.message()
        sock.ask("DELETE", "/apis/apps/v1/deployments")
        sock.message()
        sock.get("/api/v1/nodes/n1/proxy/metrics?x=y")
        sock.get("/a/../b?x=y")
        sock.ask("OPTIONS", "/api")
        sock.message()
    eventually(lambda: len(proxy.log.lines) == 7)
    found = lines(proxy)
    assert "nodes/proxy" in found[4].pop("reason")
    assert found == [
        {
            "event": "ambassador.request",
            "method": "GET",
            "path": "/version",
            "verb": "get",
            "status": 200,
            "bytes": 0,
        },
        {
            "event": "ambassador.request",
            "method": "GET",
            "path": PODS,
            "query": "limit&labelSelector",
            "verb": "list",
            "resource": "pods",
            "namespace": "lab",
            "status": 200,
            "bytes": 0,
        },
        {
            "event": "ambassador.request",
            "method": "PATCH",
            "path": "/apis/apps/v1/namespaces/lab/deployments/web/scale",
            "query": "fieldManager",
            "verb": "patch",
            "resource": "deployments.apps/scale",
            "namespace": "lab",
            "name": "web",
            "status": 200,
            "bytes": 5,
        },
        {
            "event": "ambassador.request",
            "method": "DELETE",
            "path": "/apis/apps/v1/deployments",
            "verb": "deletecollection",
            "resource": "deployments.apps",
            "status": 200,
            "bytes": 0,
        },
        {
            "event": "ambassador.refused",
            "method": "GET",
            "path": "/api/v1/nodes/n1/proxy/metrics",
            "verb": "get",
            "resource": "nodes/proxy",
            "name": "n1",
            "status": 403,
            "kind": "rule",
        },
        {
            "event": "ambassador.refused",
            "method": "GET",
            "path": "/a/../b",
            "status": 400,
            "kind": "target",
            "reason": "the path has a part . or .. that leads to another path; write that path itself",
        },
        {
            "event": "ambassador.refused",
            "method": "OPTIONS",
            "path": "/api",
            "status": 405,
            "kind": "method",
            "reason": "the API has no method 'OPTIONS'; it has GET, HEAD, POST, PUT, PATCH, DELETE",
        },
    ]


def test_lines_of_what_did_not_end_well(upstream: Upstream, start: Start) -> None:
    """Say what ended it, and how much had come by then."""
    proxy = start(upstream.server)
    with client(proxy) as sock:
        sock.ask("GET", WATCH)
        server = upstream.accept()
        server.message()
        server.send(answering(200, b"", CHUNKED), chunked(b"12345"))
        sock.head()
        sock.chunk()
        server.close()
        assert sock.ended()
    with client(proxy) as sock:
        sock.ask()
        server = upstream.accept()
        server.message()
        sock.close()
        assert server.ended()
    eventually(lambda: len(proxy.log.lines) == 2)
    torn_, gone = lines(proxy)
    assert (torn_["status"], torn_["bytes"], torn_["fault"]) == (200, 5, "the connection broke")
    assert (gone["status"], gone["bytes"], "fault" in gone) == (0, 0, False)


@pytest.mark.parametrize(("log_requests", "events"), [("all", 2), ("refused", 1), ("none", 0)])
def test_fewer_lines(upstream: Upstream, start: Start, log_requests: str, events: int) -> None:
    """As log_requests says; the counters go on."""
    proxy = start(upstream.server, log_requests=log_requests)
    upstream.serve(echo)
    with client(proxy) as sock:
        sock.get()
        sock.get("/api/v1/secrets")
    eventually(lambda: len(proxy.log.lines) == events)
    assert health(proxy)["requests"] == 2


def test_no_secret_is_ever_logged(upstream: Upstream, start: Start, token_file: Path) -> None:
    """Neither a query's value, nor a header, nor a body, nor an answer, nor what is no request at all."""
    token_file.write_text(SECRET)
    proxy = start(upstream.server, token_file=str(token_file), allow=ENTERED, max_head="1Ki", max_body="100")
    mine = bearer(SECRET)

    def act(wire: Wire) -> None:
        seen = wire.message()
        if "torn" in seen.head.target:
            wire.send(answering(200, SECRET.encode(), "Content-Length: 1000", f"X: {SECRET}"))
        elif "garbage" in seen.head.target:
            wire.send(f"{SECRET} is no HTTP\r\n\r\n".encode())
        else:
            wire.send(answering(500, SECRET.encode(), f"Set-Cookie: a={SECRET}"))

    upstream.serve(act)
    asked = [
        asking("GET", f"{WEB}?token={SECRET}&labelSelector={SECRET}%20{SECRET}", mine),
        asking("GET", f"{WEB}?torn={SECRET}", mine),
        asking("GET", f"{WEB}?garbage={SECRET}", mine),
        asking("GET", f"{WEB}?a=b&a={SECRET}&={SECRET}", mine),
        asking("GET", f"{PODS}?fieldSelector=status.phase={SECRET}&watch={SECRET}", mine),
        asking("GET", f"{PODS}?fieldSelector={SECRET}&fieldSelector={SECRET}", mine),
        asking("GET", f"{WEB}?bad=%zz{SECRET}", mine),
        asking("GET", f"{WEB}?bad={SECRET};{SECRET}", mine),
        asking("GET", f"{WEB}?bad={SECRET}#{SECRET}", mine),
        asking("GET", f"{WEB}?bad=%ff{SECRET}", mine),
        asking("GET", f"/a//b?x={SECRET}", mine),
        asking("GET", WEB, bearer(f"{SECRET}x")),
        asking("GET", WEB, f"Cookie: {SECRET}"),
        asking("GET", WEB, mine, f"Impersonate-User: {SECRET}"),
        asking("GET", WEB, mine, f"X-Long: {SECRET * 100}"),
        asking("GET", WEB, mine, f"Expect: {SECRET}"),
        asking("GET", WEB, mine, f"Transfer-Encoding: {SECRET}"),
        asking("GET", WEB, mine, f"Content-Length: {SECRET}"),
        asking("GET", WEB, mine, f"{SECRET} : x"),
        asking("POST", PODS, mine, body=SECRET.encode()),
        asking("POST", PODS, mine, body=SECRET.encode() * 100),
        asking("POST", PODS, mine, CHUNKED) + chunked(SECRET.encode() * 100),
        asking("POST", PODS, mine, CHUNKED) + SECRET.encode() + b"\r\n",
        asking("GET", f"{EXEC}&command={SECRET}", mine, "Connection: Upgrade", f"Upgrade: {SECRET}"),
        asking(
            "GET",
            EXEC,
            mine,
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Protocol: {SECRET}",
        ),
        f"{SECRET} / HTTP/1.1\r\n\r\n".encode(),
        f"GET / {SECRET}\r\n\r\n".encode(),
        f"\x16\x03\x01{SECRET}\r\n\r\n".encode("latin-1"),
    ]
    for data in asked:
        before = proxy.running.tally.requests
        with client(proxy) as sock:
            sock.send(data)
            sock.wait()
            eventually(lambda before=before: proxy.running.tally.requests > before)  # type: ignore[misc]
    assert len(proxy.log.lines) >= len(asked)
    for line in proxy.log.lines:
        assert SECRET not in repr(line)
        assert line["event"] in ("ambassador.request", "ambassador.refused")


def test_a_url_with_a_password_is_not_logged(upstream: Upstream, start: Start) -> None:
    """As somebody sends it who takes this for an HTTP proxy; nor what stands behind a #."""
    proxy = start(upstream.server)
    for target in (f"http://user:{SECRET}@localhost{WEB}", f"{WEB}#access_token={SECRET}"):
        with client(proxy) as sock:
            assert sock.get(target).status == 400
    eventually(lambda: len(proxy.log.lines) == 2)
    assert SECRET not in repr(proxy.log.lines)


def test_nothing_fails_inside(upstream: Upstream, start: Start) -> None:
    """Whatever a client does to its own connection at whatever moment, no fault of the proxy's is logged."""
    proxy = start(upstream.server, allow=ENTERED)
    whole = asking("POST", PODS, body=b"12345") + asking("GET", WATCH) + UPGRADE + b"more"
    upstream.serve(echo)
    for at in range(1, len(whole), 7):
        for how in ("close", "reset", "shut"):
            with client(proxy) as sock:
                sock.send(whole[:at])
                getattr(sock, how)()
    eventually(lambda: not Inside(proxy).active)
    eventually(lambda: Inside(proxy).clients == 0)
    assert proxy.log.of("ambassador.fault") == []
