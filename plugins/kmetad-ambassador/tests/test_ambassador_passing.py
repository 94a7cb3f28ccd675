"""What goes through the proxy, in both directions, and what a client gets where nothing can."""

from __future__ import annotations

import gzip
import json
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPConnection, IncompleteRead

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kmetad_ambassador import connect
from kmetad_ambassador.back import KEPT
from kmetad_ambassador.exchange import REPEATABLE
from kmetad_ambassador.front import LINGER
from kmetad_ambassador.line import HIGH

from kmetad.api import Server
from tests.apiserver.tls import Authority
from tests.proxied import (
    CHUNKED,
    PODS,
    TRUSTING,
    WEB,
    Aside,
    Gone,
    Head,
    Hold,
    Inside,
    Message,
    Upstream,
    Wire,
    answering,
    asking,
    chunked,
    client,
    echo,
    eventually,
    hold_back,
)
from tests.proxying import DEADLINE, Lab, Proxied

Start = Callable[..., Proxied]

PROTOBUF = b'k8s\x00\n\x09\n\x02v1\x12\x03Pod\x12\x04\r\n\r\n\x1a\x00"\x00'
"""The beginning of a message as the API server writes it, and what HTTP could take for an end."""


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


# -- requests --------------------------------------------------------------------------

BODIES = {
    "none": b"",
    "small": b'{"kind":"Pod"}',
    "repeatable": b"r" * REPEATABLE,
    "streamed": bytes(range(256)) * (REPEATABLE // 256) + b"!",
    "large": b"0123456789abcdef" * (3 << 16),
}


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
def test_bodies(plain: Upstream, start: Start, method: str, body: str) -> None:
    """Of any method and size, whole and unchanged, with a length or in chunks; several on one connection."""
    proxy = start(plain.server, allow_write=True)
    seen: list[Message] = []

    def act(wire: Wire) -> None:
        while True:
            seen.append(wire.message())
            wire.send(answering(200, seen[-1].body))

    plain.serve(act)
    data = BODIES[body]
    pieces = [data[at : at + 70_000] for at in range(0, len(data), 70_000)]
    with client(proxy) as sock:
        for _ in range(2):
            sock.ask(method, WEB, body=data)
            got = sock.message()
            assert got.body == data
            assert [(name.lower(), value) for name, value in got.head.headers] == [
                ("content-length", str(len(data)))
            ]
            sock.send(asking(method, WEB, CHUNKED), chunked(*pieces, last=True))
            assert sock.message().body == data
    assert [(each.head.method, each.head.target, each.body) for each in seen] == [(method, WEB, data)] * 4
    assert {each.head.get("Host") for each in seen} == {plain.host}


def test_a_body_that_trickles(upstream: Upstream, start: Start) -> None:
    """A short one is sent when it is there whole; of a long one each piece goes on as it comes."""
    proxy = start(upstream.server, allow_write=True)
    inside = Inside(proxy)
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, "Content-Length: 6"))
        for count, piece in enumerate((b"a", b"b", b"c", b"d", b"e"), 1):
            sock.send(piece)
            eventually(lambda count=count: inside.came == count)  # type: ignore[misc]
        assert upstream.nobody()
        sock.send(b"f")
        server = upstream.accept()
        assert server.message().body == b"abcdef"
        server.send(answering())
        sock.message()

        sock.send(asking("PUT", WEB, f"Content-Length: {REPEATABLE + 1}"))
        assert server.head().get("Content-Length") == f"{REPEATABLE + 1}"
        for piece in (b"x", b"y" * REPEATABLE):
            sock.send(piece)
            assert server.exactly(len(piece)) == piece
        server.send(answering())
        sock.message()

        sock.send(asking("PATCH", WEB, CHUNKED))
        assert server.head().get("Transfer-Encoding") == "chunked"
        for piece in (b"1", b"22", b"333"):
            sock.send(chunked(piece))
            assert server.chunk() == piece
        sock.send(b"0\r\n\r\n")
        assert server.chunk() == b""
        server.send(answering(200, b"done"))
        assert sock.message().body == b"done"


def test_a_chunk_in_pieces(plain: Upstream, start: Start) -> None:
    """Of a chunk that isn't whole yet, what has come is passed on; a size or an end may be cut anywhere."""
    proxy = start(plain.server, allow_write=True)
    inside = Inside(proxy)
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, CHUNKED))
        server = plain.accept()
        server.head()
        sock.send(b"1", b"0\r", b"\nabc")
        assert server.chunk() == b"abc"
        sock.send(b"0123456789abc\r")
        assert server.chunk() == b"0123456789abc"
        sock.send(b"\n0", b"\r\n\r")
        eventually(lambda: inside.came == 16)
        sock.send(b"\n")
        assert server.chunk() == b""
        server.send(answering())
        sock.message()


def test_trailers_are_left_out(plain: Upstream, start: Start) -> None:
    """On both sides: whoever would rely on them could be told anything by them."""
    proxy = start(plain.server, allow_write=True)
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, CHUNKED), b"2\r\nhi\r\n0\r\nAuthorization: Bearer x\r\nX-A: b\r\n\r\n")
        server = plain.accept()
        assert server.message().body == b"hi"
        server.send(answering(200, b"", CHUNKED), b"2\r\nho\r\n0\r\nX-Trailer: t\r\n\r\n")
        assert sock.message().body == b"ho"
        sock.ask()
        assert server.message().head.get("X-A") is None
        server.send(answering())
        sock.message()


# -- answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 201, 404, 409, 422, 500, 503, 599])
@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
def test_answers(upstream: Upstream, start: Start, framing: str, status: int) -> None:
    """Whatever its status, whole, however the server says where it ends; the client may go on asking."""
    proxy = start(upstream.server)
    with client(proxy) as sock:
        for count in (1, 2):
            sock.ask()
            server = upstream.take(new=count == 1 or framing == "close")
            server.message()
            if framing == "length":
                server.send(answering(status, b"body", "X-Some: thing"))
            elif framing == "chunks":
                server.send(
                    answering(status, b"", CHUNKED, "X-Some: thing"),
                    chunked(b"bo"),
                    chunked(b"dy", last=True),
                )
            else:
                server.send(b"HTTP/1.1 %d Told\r\nX-Some: thing\r\n\r\nbo" % status, b"dy")
                server.close()
            got = sock.message()
            assert (got.status, got.body, got.head.get("X-Some")) == (status, b"body", "thing")
            assert got.head.first == f"HTTP/1.1 {status} Told"
            assert got.head.get("Connection") is None


def test_the_body_is_not_looked_at(plain: Upstream, start: Start) -> None:
    """What is compressed stays so, what is binary too; headers that describe it come along."""
    proxy = start(plain.server)
    bodies = {"gzip": gzip.compress(b"x" * 1000), "identity": PROTOBUF}
    with client(proxy) as sock:
        for count, (coding, body) in enumerate(bodies.items()):
            kind = "Content-Type: application/vnd.kubernetes.protobuf"
            sock.ask("GET", WEB, "Accept: application/vnd.kubernetes.protobuf", "Accept-Encoding: gzip")
            server = plain.take(new=count == 0)
            asked = server.message().head
            assert asked.get("Accept") == "application/vnd.kubernetes.protobuf"
            assert asked.get("Accept-Encoding") == "gzip"
            server.send(answering(200, body, kind, f"Content-Encoding: {coding}", "Vary: Accept-Encoding"))
            got = sock.message()
            assert got.body == body
            assert (got.head.get("Content-Encoding"), got.head.get("Vary")) == (coding, "Accept-Encoding")
            assert got.head.get("Content-Type") == "application/vnd.kubernetes.protobuf"


def test_nothing_is_compressed_that_was_not_asked_for(plain: Upstream, start: Start) -> None:
    """Accept-Encoding is the client's alone to say."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.ask()
        server = plain.accept()
        assert server.message().head.get("Accept-Encoding") is None
        server.send(answering())
        sock.message()


def test_a_list_of_the_api_server(lab: Lab, start: Start) -> None:
    """Compressed by the server where the client takes it, else not."""
    proxy = start(lab.server)
    for number in range(300):
        lab.api.put(
            {
                "kind": "ConfigMap",
                "apiVersion": "v1",
                "metadata": {"name": f"c{number}", "namespace": "lab"},
                "data": {"k": "v" * 1000},
            }
        )
    path = "/api/v1/namespaces/lab/configmaps"
    plain = proxy.get(path)
    packed = proxy.get(path, Accept_Encoding="gzip")
    assert "content-encoding" not in {name.lower() for name in plain.headers}
    assert {name.lower(): value for name, value in packed.headers.items()}["content-encoding"] == "gzip"
    assert len(packed.body) < len(plain.body)
    assert len(plain.json["items"]) == 300
    assert gzip.decompress(packed.body) == plain.body


@pytest.mark.parametrize("framing", ["Content-Length: 12345", CHUNKED, "X-No: framing"])
def test_head(upstream: Upstream, start: Start, framing: str) -> None:
    """No body, whatever the headers say of one. The client's connection goes on.

    The server's does if the answer had a length: else it may be at work with what it would stream.
    """
    proxy = start(upstream.server)
    keeps = framing.startswith("Content-Length")
    with client(proxy) as sock:
        for count in (1, 2):
            sock.ask("HEAD")
            server = upstream.take(new=count == 1 or not keeps)
            assert server.message().head.method == "HEAD"
            server.send(f"HTTP/1.1 200 OK\r\n{framing}\r\nEtag: a\r\n\r\n".encode())
            head = sock.head()
            assert (head.status, head.get("Etag")) == (200, "a")
            assert head.get("Content-Length") == ("12345" if keeps else None)
            assert keeps or server.ended()
        sock.ask()
        server = upstream.take(new=not keeps)
        server.message()
        server.send(answering(200, b"after"))
        assert sock.message().body == b"after"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("line", ["X: y", "Content-Length: 10", CHUNKED])
def test_answers_that_have_no_body(plain: Upstream, start: Start, status: int, line: str) -> None:
    """They end with their head; the connections go on."""
    if status == 204 and line == CHUNKED:
        pytest.skip("RFC 9112 6.1 forbids it, and nobody would know where it ends")
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.ask("GET", WEB, 'If-None-Match: "v1"')
        server = plain.accept()
        assert server.message().head.get("If-None-Match") == '"v1"'
        server.send(f"HTTP/1.1 {status} Told\r\n{line}\r\n\r\n".encode())
        assert sock.head().status == status
        sock.ask()
        if plain.nobody() and not server.waits():
            eventually(lambda: server.waits() or not plain.nobody())
        server = server if plain.nobody() else plain.accept()
        server.message()
        server.send(answering(200, b"after"))
        assert sock.message().body == b"after"


def test_what_comes_before_an_answer(plain: Upstream, start: Start) -> None:
    """1xx are between the proxy and the server, in one write with the answer or before it."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.ask()
        server = plain.accept()
        server.message()
        server.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        server.send(b"HTTP/1.1 102 Processing\r\n\r\n" + answering(200, b"a", "X: y"))
        got = sock.message()
        assert (got.status, got.body, got.head.get("X"), got.head.get("Link")) == (200, b"a", "y", None)
        sock.ask()
        server.message()
        server.send(answering(200, b"b"))
        assert sock.message().body == b"b"


def test_thousands_of_headers(plain: Upstream, start: Start) -> None:
    """Each comes through, in its order and not joined with others of its name, both ways."""
    proxy = start(plain.server, max_head="1Mi")
    pairs = [(f"x-many-{number % 100}", f"value {number}") for number in range(5000)]
    lines = [f"{name}: {value}" for name, value in pairs]

    def found(head: Head) -> list[tuple[str, str]]:
        named = [(name.lower(), value) for name, value in head.headers]
        return [pair for pair in named if pair[0].startswith("x-many")]

    with client(proxy) as sock:
        sock.ask("GET", WEB, *lines)
        server = plain.accept()
        assert found(server.message().head) == pairs
        server.send(answering(200, b"", *lines, "Content-Length: 0"))
        assert found(sock.message().head) == pairs


def test_an_answer_whose_head_has_no_end(plain: Upstream, start: Start) -> None:
    """Is given up at some point; the client is told."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.ask()
        server = plain.accept()
        server.message()
        server.send(b"HTTP/1.1 200 OK\r\n")
        with pytest.raises(Gone):  # noqa: PT012 - any of these writes
            while True:
                try:
                    server.send(b"X-Many: header\r\n" * 1000)
                except OSError as error:
                    raise Gone from error
        got = sock.message()
        assert got.status == 502
        assert b"its head" in got.body
        assert b"too long" in got.body


# -- torn answers ----------------------------------------------------------------------

TORN = {
    "length": answering(200, b"only a part", "Content-Length: 1000"),
    "chunks": answering(200, b"", CHUNKED) + chunked(b"only a part"),
    "in a chunk": answering(200, b"", CHUNKED) + b"ff\r\nonly a part",
    "in a size": answering(200, b"", CHUNKED) + chunked(b"only a part") + b"f",
    "in the last": answering(200, b"", CHUNKED) + chunked(b"only a part") + b"0\r\n\r",
}


@pytest.mark.parametrize("how", ["close", "tear", "reset"])
@pytest.mark.parametrize("torn", TORN)
def test_a_torn_answer_is_torn_for_the_client(upstream: Upstream, start: Start, torn: str, how: str) -> None:
    """Whoever counts notices, and everything that came before is there."""
    proxy = start(upstream.server)
    connection = HTTPConnection(proxy.host, proxy.port, timeout=DEADLINE)
    connection.request("GET", WEB)
    server = upstream.accept()
    server.message()
    server.send(TORN[torn])
    answer = connection.getresponse()
    assert answer.read(5) == b"only "
    getattr(server, how)()
    with pytest.raises((IncompleteRead, ConnectionResetError)):
        answer.read()
    connection.close()
    line = proxy.log.wait_for("ambassador.request")
    assert "broke" in line["fault"]


@pytest.mark.parametrize("how", ["tear", "reset"])
def test_a_torn_answer_that_ends_with_the_connection(start: Start, how: str) -> None:
    """TLS tells an end from a cut, and so does the client see it."""
    with Upstream(tls=True) as upstream:
        proxy = start(upstream.server)
        with client(proxy) as sock:
            sock.ask()
            server = upstream.accept()
            server.message()
            server.send(b"HTTP/1.1 200 OK\r\n\r\nonly a part")
            assert sock.head().get("Transfer-Encoding") == "chunked"
            assert sock.chunk() == b"only a part"
            getattr(server, how)()
            with pytest.raises(Gone):
                sock.chunk()


@pytest.mark.parametrize("used", [False, True], ids=["new connection", "kept connection"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_answer_that_is_cut_anywhere(plain: Upstream, start: Start, framing: str, used: bool) -> None:
    """At whatever byte: it is never whole for the client."""
    proxy = start(plain.server, allow_write=True)
    body = b"01234567"
    if framing == "length":
        data = answering(200, body, "X: y")
    else:
        data = answering(200, b"", CHUNKED, "X: y") + chunked(body[:3]) + chunked(body[3:], last=True)
    for at in range(len(data)):
        with client(proxy) as sock:
            if used:
                sock.ask()
                server = plain.accept()
                server.message()
                server.send(answering())
                sock.message()
            sock.ask("POST", PODS, body=b"{}")
            server = server if used else plain.accept()
            server.message()
            server.send(data[:at])
            server.close()
            with suppress(Gone):
                assert sock.message().status == 502


def test_more_than_was_said(plain: Upstream, start: Start) -> None:
    """What comes behind an answer is nobody's: the client gets its answer, and the connection is given up."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        for extra in (b"more", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"):
            sock.ask()
            server = plain.accept()
            server.message()
            server.send(answering(200, b"mine") + extra)
            assert sock.message().body == b"mine"
            assert server.ended()


def test_an_answer_that_nobody_asked_for(plain: Upstream, start: Start) -> None:
    """On a connection that waits: it is given up, so that it is nobody's."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.ask()
        server = plain.accept()
        server.message()
        server.send(answering(200, b"mine"))
        assert sock.message().body == b"mine"
        server.send(answering(200, b"evil"))
        assert server.ended()
        sock.ask()
        server = plain.accept()
        server.message()
        server.send(answering(200, b"mine too"))
        assert sock.message().body == b"mine too"


# -- connections -----------------------------------------------------------------------


def test_a_client_that_closes(plain: Upstream, start: Start) -> None:
    """``Connection: close`` is the client's alone: the server's connection is kept."""
    proxy = start(plain.server)
    plain.serve(echo)
    for _ in range(5):
        with client(proxy) as sock:
            sock.ask("GET", WEB, "Connection: close")
            assert sock.message().head.get("Connection") == "close"
            assert sock.ended()
    assert plain.connections == 1


def test_a_server_that_closes(upstream: Upstream, start: Start) -> None:
    """Is the server's alone: the client's connection is kept."""
    proxy = start(upstream.server)
    with client(proxy) as sock:
        for _ in range(3):
            sock.ask()
            server = upstream.accept()
            server.message()
            server.send(answering(200, b"a", "Connection: close"))
            assert server.ended()
            got = sock.message()
            assert (got.body, got.head.get("Connection")) == (b"a", None)


def test_a_1_0_server(plain: Upstream, start: Start) -> None:
    """Its answer is passed on as HTTP/1.1's; its connection isn't used again."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        for _ in range(2):
            sock.ask()
            server = plain.accept()
            server.message()
            server.send(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi")
            assert server.ended()
            got = sock.message()
            assert (got.head.first, got.body) == ("HTTP/1.1 200 OK", b"hi")


@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
def test_a_1_0_client(plain: Upstream, start: Start, framing: str) -> None:
    """Knows no chunks: its answer ends where the connection does."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.send(f"GET {WEB} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        server = plain.accept()
        assert server.message().head.first == f"GET {WEB} HTTP/1.1"
        if framing == "length":
            server.send(answering(200, b"body"))
        elif framing == "chunks":
            server.send(answering(200, b"", CHUNKED), chunked(b"bo"), chunked(b"dy", last=True))
        else:
            server.send(b"HTTP/1.1 200 OK\r\n\r\nbody")
            server.close()
        head = sock.head()
        assert (head.get("Connection"), head.get("Transfer-Encoding")) == ("close", None)
        assert sock.rest() == b"body"


def test_a_1_0_client_that_asks_to_be_kept(plain: Upstream, start: Start) -> None:
    """Is told so, or its connection is closed: else it would wait for the end of an answer that is whole."""
    proxy = start(plain.server)
    plain.serve(echo)
    with client(proxy) as sock:
        sock.send(f"GET {WEB} HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n".encode())
        said = sock.message().head.get("Connection")
        assert (said or "").lower() in ("keep-alive", "close")
        if said == "close":
            assert sock.ended()


def test_a_1_0_client_expects_nothing(plain: Upstream, start: Start) -> None:
    """It doesn't know 1xx, so that Expect is to be ignored (RFC 9110, 10.1.1)."""
    proxy = start(plain.server, allow_write=True)
    plain.serve(echo)
    with client(proxy) as sock:
        head = f"POST {PODS} HTTP/1.0\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
        sock.send(head.encode())
        eventually(lambda: Inside(proxy).active)
        sock.send(b"hi")
        assert sock.message().status == 200


def test_connections_are_used_again(upstream: Upstream, start: Start) -> None:
    """One after another on one; as many as at once; and these are kept, too."""
    proxy = start(upstream.server)
    inside = Inside(proxy)
    clients = [client(proxy) for _ in range(3)]
    try:
        for _ in range(2):
            for sock in clients[:1] * 5:
                sock.ask()
                server = upstream.take(new=upstream.connections == 0)
                server.message()
                server.send(answering())
                sock.message()
        assert upstream.connections == 1
        clients[0].ask()
        server.message()
        others = []
        for sock in clients[1:]:
            sock.ask()
            others.append(upstream.accept())
            others[-1].message()
        for wire in (server, *others):
            wire.send(answering())
        for sock in clients:
            sock.message()
        eventually(lambda: inside.kept == 3)
        for sock in clients * 2:
            sock.ask()
            (ready,) = eventually(lambda: [wire for wire in (server, *others) if wire.waits()])
            ready.message()
            ready.send(answering())
            sock.message()
        assert upstream.connections == 3
        assert upstream.nobody()
    finally:
        for sock in clients:
            sock.close()


@pytest.mark.parametrize("how", ["close", "tear", "reset"])
def test_a_kept_connection_that_the_server_has_closed(upstream: Upstream, start: Start, how: str) -> None:
    """As soon as it is known nobody gets it, whatever the method."""
    proxy = start(upstream.server, allow_write=True)
    inside = Inside(proxy)
    with client(proxy) as sock:
        for method in ("GET", "POST", "DELETE"):
            sock.ask(method, WEB)
            server = upstream.accept()
            server.message()
            server.send(answering())
            assert sock.message().status == 200
            assert inside.kept == 1
            getattr(server, how)()
            eventually(lambda: inside.servers == 0)
    assert upstream.connections == 3


@pytest.mark.parametrize("how", ["close", "tear", "reset"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_a_kept_connection_that_the_server_closes_meanwhile(
    upstream: Upstream, start: Start, method: str, how: str
) -> None:
    """What only reads is sent again; what may have been done isn't, and the client is told."""
    proxy = start(upstream.server, allow_write=True)
    with client(proxy) as sock:
        sock.ask()
        server = upstream.accept()
        server.message()
        server.send(answering())
        sock.message()
        sock.ask(method, WEB, body=b"{}" if method in ("POST", "PUT", "PATCH") else b"")
        server.message()
        getattr(server, how)()
        if method in ("GET", "HEAD"):
            server = upstream.accept()
            assert server.message().head.method == method
            server.send(answering(200, b"" if method == "HEAD" else b"again", "Content-Length: 5"))
            got = sock.message(to=method)
            assert (got.status, got.body) == (200, b"" if method == "HEAD" else b"again")
        else:
            got = sock.message()
            assert got.status == 502
            assert (
                told(got) == f"the API server at {upstream.host}: the connection broke before an answer came"
            )
            assert upstream.nobody()


def test_a_get_is_sent_again_once(plain: Upstream, start: Start) -> None:
    """A server that hangs up each time isn't asked on and on."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.ask()
        server = plain.accept()
        server.message()
        server.send(answering())
        sock.message()
        sock.ask()
        server.message()
        server.close()
        server = plain.accept()
        server.message()
        server.close()
        assert sock.message().status == 502
        assert plain.nobody()


@pytest.mark.parametrize("framing", [CHUNKED, f"Content-Length: {REPEATABLE + 1000}"])
def test_a_get_whose_body_has_gone_is_not_sent_again(plain: Upstream, start: Start, framing: str) -> None:
    """Nobody has it any more: what was left of it would be taken for the whole."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.ask()
        server = plain.accept()
        server.message()
        server.send(answering())
        sock.message()
        piece = b"x" * 1000
        sock.send(asking("GET", WEB, framing), chunked(piece) if framing == CHUNKED else piece)
        server.head()
        assert (server.chunk() if framing == CHUNKED else server.exactly(1000)) == piece
        server.close()
        assert sock.message().status == 502
    assert plain.nobody()


def test_a_get_whose_answer_has_begun_is_not_sent_again(plain: Upstream, start: Start) -> None:
    """Even where nothing of it has reached the client."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.ask()
        server = plain.accept()
        server.message()
        server.send(answering())
        sock.message()
        sock.ask()
        server.message()
        server.send(b"HTTP/1.1 200 OK\r\nX-Half: ")
        server.close()
        assert sock.message().status == 502
        assert plain.nobody()


def test_pipelining(upstream: Upstream, start: Start) -> None:
    """Requests in one write are sent one after another, and answered in their order."""
    proxy = start(upstream.server, allow_write=True)
    with client(proxy) as sock:
        sock.send(
            asking("GET", f"{PODS}/a")
            + asking("POST", PODS, body=b"b" * 1000)
            + asking("DELETE", f"{PODS}/c")
            + asking("PUT", f"{PODS}/d", CHUNKED)
            + chunked(b"d", last=True)
            + asking("GET", "/nowhere/..")
            + asking("GET", f"{PODS}/e", "Connection: close")
        )
        server = upstream.accept()
        for name in "abcde":
            got = server.message()
            assert got.body == {"b": b"b" * 1000, "d": b"d"}.get(name, b"")
            assert got.head.method == {"a": "GET", "b": "POST", "c": "DELETE", "d": "PUT", "e": "GET"}[name]
            assert not server.waits()
            server.send(answering(200, name.encode()))
        for name in "abcd":
            assert sock.message().body == name.encode()
        assert sock.message().status == 400
        assert sock.message().body == b"e"
        assert sock.ended()
    assert upstream.connections == 1


def test_pipelining_byte_by_byte(plain: Upstream, start: Start) -> None:
    """Wherever requests are cut."""
    proxy = start(plain.server, allow_write=True)
    plain.serve(echo)
    whole = (
        asking("POST", PODS, body=b"one")
        + asking("PUT", WEB, CHUNKED)
        + chunked(b"two", last=True)
        + asking()
    )
    with client(proxy) as sock:
        sock.send(*(whole[at : at + 1] for at in range(len(whole))))
        assert [sock.message().body for _ in range(3)] == [b"one", b"two", b""]


def test_pipelining_a_lot(plain: Upstream, start: Start) -> None:
    """Small requests, far more than are read at once, so that reads begin and end anywhere in them."""
    proxy = start(plain.server)
    inside = Inside(proxy)
    held = Hold()

    def act(wire: Wire) -> None:
        while True:
            wire.message()
            held.wait()
            wire.send(answering(200, b"a"))

    plain.serve(act)
    count = 3000
    with client(proxy) as sock:
        sock.send(asking())
        eventually(lambda: inside.active)
        sending = Aside(lambda: sock.send(asking("GET", WEB, "X-Padding: some") * count))
        held.free()
        assert [sock.message().status for _ in range(1 + count)] == [200] * (1 + count)
        sending.join()


def test_a_hundred_clients_at_once(upstream: Upstream, start: Start) -> None:
    """Each gets its own answer."""
    proxy = start(upstream.server, allow_write=True)
    upstream.serve(echo)
    clients = [client(proxy) for _ in range(100)]
    for turn in range(3):
        for number, sock in enumerate(clients):
            sock.ask("POST", PODS, body=b"%d of turn %d" % (number, turn))
        for number, sock in enumerate(clients):
            assert sock.message().body == b"%d of turn %d" % (number, turn)
    for sock in clients:
        sock.close()
    assert upstream.connections <= 100 * 3


def test_connections_that_are_kept(plain: Upstream, start: Start) -> None:
    """Are not more than some, however many there were at once."""
    proxy = start(plain.server)
    inside = Inside(proxy)
    clients = [client(proxy) for _ in range(KEPT + 6)]
    servers = []
    for sock in clients:
        sock.ask()
        servers.append(plain.accept())
        servers[-1].message()
    for server in servers:
        server.send(answering())
    for sock in clients:
        assert sock.message().status == 200
        sock.close()
    eventually(lambda: (inside.active, inside.kept, inside.servers) == (0, KEPT, KEPT))


@pytest.mark.parametrize("seed", range(4))
def test_nobody_gets_anothers_answer(upstream: Upstream, start: Start, seed: int) -> None:
    """Whatever clients and servers do to each other at whatever moment: an answer that is whole is one's own."""
    proxy = start(upstream.server, allow_write=True)
    inside = Inside(proxy)
    whole = [0]

    def act(wire: Wire) -> None:
        chance = random.Random(upstream.connections * 10 + seed)
        while True:
            head = wire.head()
            body = wire.body(head) if chance.random() < 0.9 else b"early"
            said = head.target.encode() + b" " * chance.choice([0, 1, 20_000])
            data = (
                answering(200, said)
                if chance.random() < 0.5
                else answering(200, b"", CHUNKED) + chunked(said, last=True)
            )
            what = chance.random()
            if what < 0.03:
                return
            if what < 0.06:
                data = data[: chance.randrange(len(data))]
            elif what < 0.09:
                data += answering(200, b"evil")
            at = chance.randrange(len(data) + 1)
            wire.send(data[:at], data[at:])
            if what < 0.06 or body == b"early":
                return

    def ask(number: int) -> None:
        chance = random.Random(number * 10 + seed)
        sock = client(proxy)
        for count in range(40):
            names = [f"{PODS}/c{number}-{count}-{part}" for part in range(chance.choice([1, 1, 1, 3]))]
            body = b"b" * chance.choice([0, 1, 5_000])
            data = b"".join(asking(chance.choice(["GET", "PUT"]), name, body=body) for name in names)
            try:
                if chance.random() < 0.05:
                    sock.send(data[: chance.randrange(len(data))])
                    raise Gone
                sock.send(data)
                if chance.random() < 0.05:
                    raise Gone
                for name in names:
                    got = sock.message()
                    if got.status == 200:
                        assert got.body.rstrip() == name.encode()
                        whole[0] += 1
                    else:
                        assert got.status == 502
            except (Gone, OSError):
                (sock.close if chance.random() < 0.5 else sock.reset)()
                sock = client(proxy)
        sock.close()

    upstream.serve(act)
    clients = [Aside(lambda number=number: ask(number)) for number in range(8)]  # type: ignore[misc]
    for each in clients:
        each.join()
    eventually(lambda: (inside.active, inside.clients) == (0, 0))
    assert inside.kept == inside.servers
    assert proxy.log.of("ambassador.fault") == []
    assert whole[0] > 100


# -- answers that come early, and what a client waits for ------------------------------


@pytest.mark.parametrize("close", [True, False])
def test_an_answer_while_the_body_comes(upstream: Upstream, start: Start, close: bool) -> None:
    """The client gets it at once, and its connection ends, as nobody reads the rest; so does the server's."""
    proxy = start(upstream.server, allow_write=True)
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, f"Content-Length: {4 * REPEATABLE}"), b"x" * 1000)
        server = upstream.accept()
        server.head()
        server.exactly(1000)
        server.send(answering(413, b"too much", *(["Connection: close"] if close else [])))
        if close:
            server.shut() if upstream.server.url.startswith("http:") else None
        got = sock.message()
        assert (got.status, got.body, got.head.get("Connection")) == (413, b"too much", "close")
        sock.send(b"x" * 1000)
        assert sock.ended()
        assert server.ended()


def test_an_early_answer_reaches_who_reads_late(plain: Upstream, start: Start) -> None:
    """A client that sends its whole body before it reads, as most do, gets the answer as well."""
    proxy = start(plain.server, allow_write=True)
    body = b"x" * (2 << 20)
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, f"Content-Length: {len(body)}"), body[:1000])
        server = plain.accept()
        server.head()
        server.send(answering(413, b"too much"))
        sock.wait()
        sock.send(body[1000:])
        got = sock.message()
        assert (got.status, got.body) == (413, b"too much")


@pytest.mark.parametrize("size", [1000, 2 << 20])
def test_a_refusal_reaches_who_reads_late(plain: Upstream, start: Start, size: int) -> None:
    """Likewise what the proxy itself says: it mustn't answer the rest of a body with a reset."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, f"Content-Length: {size}"))
        sock.wait()
        sock.send(b"x" * size)
        got = sock.message()
        assert got.status == 403
        assert "--allow-write" in told(got)
        assert sock.ended()


def test_a_long_early_answer_to_a_slow_client(plain: Upstream, start: Start) -> None:
    """It has as long for it as for any other answer."""
    proxy = start(plain.server, allow_write=True)
    inside = Inside(proxy)
    with client(proxy, receive=4096) as sock:
        sock.send(asking("POST", PODS, CHUNKED), chunked(b"x"))
        server = plain.accept()
        server.head()
        server.send(answering(200, b"", CHUNKED))
        sent = hold_back(proxy, server, HIGH // 2)
        server.send(b"0\r\n\r\n")
        eventually(lambda: not inside.active)
        assert inside.waiting
        inside.pass_time(2 * LINGER)
        assert sock.message().body == sent


def test_a_client_that_stays_after_an_early_answer(plain: Upstream, start: Start) -> None:
    """Its connection is closed, whatever it does, if it has got all of it late or soon."""
    proxy = start(plain.server, allow_write=True)
    inside = Inside(proxy)
    with client(proxy, receive=4096) as sock:
        sock.send(asking("POST", PODS, CHUNKED), chunked(b"x"))
        server = plain.accept()
        server.head()
        server.send(answering(200, b"", CHUNKED))
        sent = hold_back(proxy, server, HIGH // 2)
        server.send(b"0\r\n\r\n")
        eventually(lambda: not inside.active)
        assert sock.message().body == sent
        assert inside.waiting == 0
        for _ in range(3):
            inside.pass_time(3600.0)
        assert inside.clients == 0


@pytest.mark.parametrize("framing", ["Content-Length: 5", CHUNKED, f"Content-Length: {REPEATABLE + 5}"])
def test_expect(plain: Upstream, start: Start, framing: str) -> None:
    """100 comes before the body does; the server is asked by nothing of that kind."""
    proxy = start(plain.server, allow_write=True)
    size = 5 if framing == CHUNKED else int(framing.rpartition(" ")[2])
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, framing, "Expect: 100-continue"))
        assert sock.head().first == "HTTP/1.1 100 Continue"
        body = b"b" * size
        sock.send(chunked(body, last=True) if framing == CHUNKED else body)
        server = plain.accept()
        got = server.message()
        assert (got.head.get("Expect"), got.body) == (None, body)
        server.send(answering(201, b"made"))
        assert sock.message().status == 201


def test_expect_of_what_is_refused(plain: Upstream, start: Start) -> None:
    """The refusal comes instead of 100, and nobody has to send the body."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, "Content-Length: 5", "Expect: 100-continue"))
        assert sock.message().status == 403
        assert sock.ended()
    assert plain.nobody()


def test_an_upgrade_that_is_not_known_is_ignored(plain: Upstream, start: Start) -> None:
    """As JDK's HttpClient asks for HTTP/2 with its first request, which may have a body (RFC 9110, 7.8)."""
    proxy = start(plain.server, allow_write=True)
    inside = Inside(proxy)
    plain.serve(echo)
    h2c = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
    with client(proxy) as sock:
        sock.ask("GET", WEB, *h2c)
        assert sock.message().status == 200
    with client(proxy) as sock:
        sock.ask("POST", PODS, *h2c, body=b"{}")
        got = sock.message()
        assert (got.status, got.body) == (200, b"{}")
    for lines, data in (
        (("Content-Length: 4",), b"abcd"),
        ((CHUNKED,), chunked(b"ab", b"cd", last=True)),
        ((f"Content-Length: {2 * REPEATABLE}",), b"abcd" * (REPEATABLE // 2)),
    ):
        whole = asking("PUT", WEB, *h2c, *lines)
        with client(proxy) as sock:
            sock.send(*(whole[at : at + 1] for at in range(len(whole))))
            eventually(lambda: inside.active)
            sock.send(data)
            assert sock.message().body[:4] == b"abcd"


# -- where there is no answer ----------------------------------------------------------


def told(got: Message) -> str:
    """The message of a Status that the proxy itself has written."""
    status = json.loads(got.body)
    assert got.head.get("Content-Type") == "application/json"
    assert (status["kind"], status["apiVersion"], status["status"]) == ("Status", "v1", "Failure")
    assert status["code"] == got.status
    message: str = status["message"]
    assert message.startswith("kmetad proxy: ")
    return message.removeprefix("kmetad proxy: ")


def test_nobody_listens(start: Start) -> None:
    """502; as soon as somebody does, all is well."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        proxy = start(Server(url))
        with client(proxy) as sock:
            for _ in range(2):
                got = sock.get()
                assert got.status == 502
                assert (
                    told(got)
                    == f"the API server at {url}: nobody listens there; is it up, and is this its port?"
                )
            listening.listen()
            sock.ask()
            with Wire(listening.accept()[0]) as server:
                server.message()
                server.send(answering(200, b"there"))
                assert sock.message().body == b"there"
    assert [line["kind"] for line in proxy.log.of("ambassador.refused")] == ["server"] * 2


def test_a_name_that_is_none(start: Start) -> None:
    """502."""
    proxy = start(Server("http://nobody.invalid:1"))
    got = Wire(proxy.connect())
    with got as sock:
        answer = sock.get()
    assert answer.status == 502
    assert "the name nobody.invalid can't be resolved" in told(answer)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the connection broke before an answer came"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "what it answered is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX-Half: ", "the connection broke"),
        (b"HTTP/1.1 999999 OK\r\n\r\n", "what it answered is no HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "what it answered is no HTTP",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "no HTTP"),
        (b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc", "what it answered is no HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 3\r\n\r\nabc", "what it answered is no HTTP"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", "the connection broke"),
        (b"\x15\x03\x01\x00\x02\x02\x0a", "what it answered is no HTTP"),
        (
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
            "it switched to a protocol that nobody had asked for",
        ),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "it switched to a protocol that nobody had asked for"),
    ],
)
def test_what_is_no_answer(plain: Upstream, start: Start, data: bytes, says: str) -> None:
    """502 with what was wrong; nothing of what came is passed on, and the client may go on."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.ask()
        server = plain.accept()
        server.message()
        server.send(data)
        server.close()
        got = sock.message()
        assert got.status == 502
        assert told(got).startswith(f"the API server at {plain.host}: ")
        assert says in told(got)
        sock.ask()
        server = plain.accept()
        server.message()
        server.send(answering(200, b"fine"))
        assert sock.message().body == b"fine"


def test_an_answer_in_a_coding_that_is_not_understood(plain: Upstream, start: Start) -> None:
    """A body of which nobody would say any more how it is coded isn't passed on as if it weren't."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.ask()
        server = plain.accept()
        server.message()
        packed = gzip.compress(b"text")
        server.send(answering(200, b"", "Transfer-Encoding: gzip, chunked"), chunked(packed, last=True))
        assert sock.message().status == 502


def test_no_tls_where_it_is_expected(start: Start) -> None:
    """502, both ways around."""
    with Upstream() as plain, Upstream(tls=True) as secure:
        plain.serve(lambda wire: wire.send(b"HTTP/1.0 400 Bad Request\r\n\r\nI speak HTTP\n"))
        proxy = start(Server(plain.server.url.replace("http", "https"), TRUSTING))
        with client(proxy) as sock:
            got = sock.get()
        assert got.status == 502
        assert "no TLS (" in told(got)
        assert told(got).endswith("is it plain http, or another port?")

        secure.serve(echo)
        proxy = start(Server(secure.server.url.replace("https", "http")))
        with client(proxy) as sock:
            got = sock.get()
        assert got.status == 502


def test_a_certificate_of_somebody_else(start: Start) -> None:
    """502, and nothing is sent."""
    with Upstream(tls=True, authority=Authority("else")) as upstream:
        proxy = start(upstream.server)
        with client(proxy) as sock:
            sock.ask()
            with pytest.raises((OSError, Gone)):
                upstream.accept()
            got = sock.message()
        assert got.status == 502
        assert "its certificate can't be verified (" in told(got)
        assert "nothing was sent" in told(got)


def test_a_handshake_that_does_not_come(start: Start) -> None:
    """504 after some seconds, which pass quickly here."""
    with Upstream(tls=True) as upstream:
        proxy = start(upstream.server)
        with client(proxy) as sock:
            sock.ask()
            server = upstream.begin()
            server.wait()
            Inside(proxy).pass_time(connect.SECONDS)
            got = sock.message()
            with pytest.raises(Gone):
                server.exactly(1 << 20)
        assert got.status == 504
        assert "no connection in time" in told(got)


def test_a_handshake_that_ends(start: Start) -> None:
    """502."""
    with Upstream(tls=True) as upstream:
        proxy = start(upstream.server)
        for how in ("tear", "reset"):
            with client(proxy) as sock:
                sock.ask()
                server = upstream.begin()
                getattr(server, how)()
                got = sock.message()
            assert got.status == 502
            assert told(got).startswith(f"the API server at {upstream.server.url}: ")


# -- all of it, in any form ------------------------------------------------------------

SIZES = st.sampled_from(
    [1, 2, 100, 16_384, 65_535, 65_536, 65_537, REPEATABLE - 1, REPEATABLE, REPEATABLE + 1]
)
PIECES = st.lists(
    st.one_of(
        st.binary(min_size=1, max_size=40),
        st.builds(lambda size, byte: bytes([byte]) * size, SIZES, st.integers(0, 255)),
    ),
    max_size=6,
)
FRAMINGS = st.sampled_from(["length", "chunks", "one chunk each byte"])


def framed(pieces: list[bytes], framing: str) -> tuple[str, list[bytes]]:
    """The header for a body, and what is written for it, piece by piece."""
    if framing == "length":
        return f"Content-Length: {sum(map(len, pieces))}", pieces
    if framing == "chunks":
        return CHUNKED, [*(chunked(piece) for piece in pieces), b"0\r\n\r\n"]
    bits = [
        piece if len(piece) > 200 else chunked(*(piece[at : at + 1] for at in range(len(piece))))
        for piece in pieces
    ]
    return CHUNKED, [
        *(chunked(bit) if len(bit) > 200 and not bit.startswith(b"1\r\n") else bit for bit in bits),
        b"0\r\n\r\n",
    ]


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_any_body_in_any_pieces(tls: bool) -> None:
    """Byte for byte the same, both ways, however it is cut and framed; several requests on the same connections."""
    answers: list[tuple[list[bytes], str]] = []
    seen: list[bytes] = []

    def act(wire: Wire) -> None:
        while True:
            seen.append(wire.message().body)
            pieces, framing = answers.pop()
            if framing == "close":
                wire.send(b"HTTP/1.1 200 OK\r\n\r\n", *pieces)
                return
            line, data = framed(pieces, framing)
            wire.send(answering(200, b"", line), *data)

    with Upstream(tls=tls) as upstream, Proxied(upstream.server, allow_write=True, port=0) as proxy:
        upstream.serve(act)
        with client(proxy) as sock:

            @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
            @given(PIECES, FRAMINGS, PIECES, FRAMINGS | st.just("close"), st.booleans())
            def passes(
                asked: list[bytes], framing: str, answered: list[bytes], back: str, together: bool
            ) -> None:
                answers.append((answered, back))
                line, data = framed(asked, framing)
                whole = [asking("POST", PODS, line), *data]
                sock.send(*([b"".join(whole)] if together else whole))
                got = sock.message()
                assert got.status == 200
                assert got.body == b"".join(answered)
                assert seen.pop() == b"".join(asked)

            passes()
        assert proxy.log.of("ambassador.fault") == []
