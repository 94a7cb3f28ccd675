"""What goes through the proxy, in both directions, and how."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kmetad_ambassador.exchange import REPEATABLE

from tests.cli import eventually
from tests.proxied import (
    CHUNKED,
    PODS,
    WEB,
    Gone,
    Head,
    Inside,
    Message,
    Start,
    Upstream,
    Wire,
    answering,
    asking,
    chunked,
    client,
)
from tests.proxying import Lab, Proxied

PROTOBUF = b'k8s\x00\n\x09\n\x02v1\x12\x03Pod\x12\x04\r\n\r\n\x1a\x00"\x00'
"""The beginning of a message as the API server writes it, and what HTTP could take for an end."""


# -- requests ------------------------------------------------------------------------


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


# -- answers -------------------------------------------------------------------------


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


# -- all of it, in any form ----------------------------------------------------------


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
