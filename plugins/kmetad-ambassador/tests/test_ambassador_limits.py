"""How much may be asked at once, and how large it may be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from kmetad_ambassador.exchange import REPEATABLE
from kmetad_ambassador.line import HIGH

from tests.cli import eventually
from tests.proxied import (
    CHUNKED,
    ENTERED,
    EVENT,
    GET,
    PODS,
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
    chunked,
    client,
    echo,
    told,
)

HOUR = timedelta(hours=1)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """In the API server's place."""
    with Upstream() as made:
        yield made


# -- requests at once ----------------------------------------------------------------


Way = Callable[[Wire, Wire, Inside], None]


def answered(sock: Wire, server: Wire, inside: Inside) -> None:
    """In order."""
    server.send(answering(200, b"done"))
    assert sock.message().body == b"done"


def ended(sock: Wire, server: Wire, inside: Inside) -> None:
    """A stream, in order."""
    server.send(answering(200, b"", CHUNKED), chunked(EVENT % 1, last=True))
    sock.message()


def hung_up(sock: Wire, server: Wire, inside: Inside) -> None:
    """No answer."""
    server.close()
    assert sock.message().status == 502


def torn(sock: Wire, server: Wire, inside: Inside) -> None:
    """Half an answer."""
    server.send(answering(200, b"", CHUNKED), chunked(EVENT % 1))
    sock.head()
    sock.chunk()
    server.close()
    assert sock.ended()


def no_http(sock: Wire, server: Wire, inside: Inside) -> None:
    """Something else."""
    server.send(b"* OK IMAP4rev1\r\n")
    assert sock.message().status == 502


def client_gone(sock: Wire, server: Wire, inside: Inside) -> None:
    """Before its answer."""
    sock.close()
    assert server.ended()


def client_gone_later(sock: Wire, server: Wire, inside: Inside) -> None:
    """In the middle of its answer."""
    server.send(answering(200, b"", CHUNKED), chunked(EVENT % 1))
    sock.head()
    sock.reset()
    assert server.ended()


def client_cut(sock: Wire, server: Wire, inside: Inside) -> None:
    """It took nothing."""
    server.send(answering(200, b"", CHUNKED))
    server.fill(chunked(b"x" * 100_000), lambda: inside.waiting >= HIGH)
    for _ in range(2):  # the kernel may have moved something after the first look
        inside.pass_time(3600.0)


def early(sock: Wire, server: Wire, inside: Inside) -> None:
    """An answer before the body is there."""
    server.send(answering(413, b"no"))
    assert sock.message().status == 413
    assert sock.ended()


def body_gone(sock: Wire, server: Wire, inside: Inside) -> None:
    """The client goes in its body."""
    sock.close()


def body_late(sock: Wire, server: Wire, inside: Inside) -> None:
    """Nothing more of the body comes."""
    inside.pass_time(3600.0)
    assert sock.message().status == 408
    assert sock.ended()


def body_long(sock: Wire, server: Wire, inside: Inside) -> None:
    """More comes than may."""
    sock.send(chunked(b"x" * 100_000))
    assert sock.message().status == 413


def body_bad(sock: Wire, server: Wire, inside: Inside) -> None:
    """No chunks come."""
    sock.send(b"no chunk\r\n")
    assert sock.message().status == 400


def not_switched(sock: Wire, server: Wire, inside: Inside) -> None:
    """An answer instead."""
    server.send(answering(403, b"no"))
    assert sock.message().status == 403


def tunnel_client(sock: Wire, server: Wire, inside: Inside) -> None:
    """A tunnel, by the client."""
    server.send(SWITCHED)
    sock.head()
    sock.close()
    assert server.ended()


def tunnel_server(sock: Wire, server: Wire, inside: Inside) -> None:
    """A tunnel, by the server."""
    server.send(SWITCHED)
    sock.head()
    server.close()
    assert sock.ended()


POST = asking("POST", PODS, CHUNKED) + chunked(b"x")


WAYS: list[tuple[bytes, Way]] = [
    *(
        (GET, way)
        for way in (answered, ended, hung_up, torn, no_http, client_gone, client_gone_later, client_cut)
    ),
    *((POST, way) for way in (early, body_gone, body_late, body_long, body_bad, hung_up, torn)),
    *((UPGRADE, way) for way in (not_switched, hung_up, no_http, tunnel_client, tunnel_server, client_gone)),
]


@pytest.mark.parametrize(
    ("request_", "way"), WAYS, ids=[f"{data[:4].decode()}{way.__name__}" for data, way in WAYS]
)
def test_more_requests_than_may_be(upstream: Upstream, start: Start, request_: bytes, way: Way) -> None:
    """Get 429 until one has ended, however it has; and their connections are kept for another try."""
    proxy = start(upstream.server, allow=ENTERED, max_requests=1, idle_timeout=HOUR, max_body="10")
    inside = Inside(proxy)
    with client(proxy, receive=32_768) as sock, client(proxy) as other:
        sock.send(request_)
        server = upstream.accept()
        server.head()
        for _ in range(2):
            got = other.get()
            assert (got.status, got.head.get("Retry-After"), got.head.get("Connection")) == (429, "1", None)
            status = json.loads(got.body)
            assert status["reason"] == "TooManyRequests"
            assert told(got) == "1 requests are under way already (--max-requests)"
        assert upstream.nobody()
        way(sock, server, inside)
        eventually(lambda: not inside.active)
    with client(proxy) as other:
        kept = inside.kept
        other.ask()
        server = upstream.take(new=not kept)
        server.message()
        server.send(answering(200, b"free"))
        assert other.message().body == b"free"
    eventually(lambda: not inside.active)


def test_refused_requests_do_not_count(upstream: Upstream, start: Start) -> None:
    """Neither those that aren't allowed, nor those that ask the proxy itself."""
    proxy = start(upstream.server, max_requests=1)
    with client(proxy) as busy, client(proxy) as sock:
        busy.ask("GET", WATCH)
        upstream.accept().head()
        for _ in range(3):
            assert sock.get("/healthz").body == b"ok"
            sock.ask("DELETE", WEB)
            assert sock.message().status == 403


def test_a_request_whose_body_has_not_come_counts(upstream: Upstream, start: Start) -> None:
    """For it holds what has come of it."""
    proxy = start(upstream.server, allow_write=True, max_requests=1)
    with client(proxy) as busy, client(proxy) as sock:
        busy.send(asking("POST", PODS, "Content-Length: 5"), b"1234")
        eventually(lambda: Inside(proxy).active)
        assert sock.get().status == 429


# -- the size of requests ------------------------------------------------------------


DELIVERIES: dict[str, Callable[[bytes], list[bytes]]] = {
    "in one": lambda data: [data],
    "first line apart": lambda data: [data[: data.index(b"\n") + 1], data[data.index(b"\n") + 1 :]],
    "in two": lambda data: [data[: len(data) // 2], data[len(data) // 2 :]],
    "ends apart": lambda data: [data[:1], data[1:-1], data[-1:]],
}


PADDINGS: dict[str, Callable[[int], tuple[str, ...]]] = {
    "a value": lambda size: ("X-Long: " + "v" * (size - 10),),
    "a name": lambda size: ("n" * (size - 5) + ": v",),
    "many headers": lambda size: ("X: y",) * (size // 6 - 2) + ("X: y" + "y" * (size % 6 + 6),),
}


def padded(size: int, padding: str) -> bytes:
    """A request whose head has so many bytes."""
    short = len(asking())
    data = asking("GET", WEB, *PADDINGS[padding](size - short))
    assert len(data) == size
    return data


@pytest.mark.parametrize("padding", PADDINGS)
def test_the_size_of_a_head(upstream: Upstream, start: Start, padding: str) -> None:
    """What fits into max_head is passed on, and what doesn't is not; the same wherever it is cut."""
    proxy = start(upstream.server, max_head="1Ki")
    upstream.serve(echo)
    inside = Inside(proxy)

    def fits(size: int, cut: Callable[[bytes], list[bytes]]) -> bool:
        with client(proxy) as sock:
            for piece in cut(padded(size, padding)):
                sock.send(piece)
                inside.all_read()
            got = sock.message()
        assert got.status in (200, 431)
        return got.status == 200

    found: dict[str, int] = {}
    for name, cut in DELIVERIES.items():
        low, high = 512, 2048  # fits, doesn't
        assert fits(low, cut)
        assert not fits(high, cut)
        while high - low > 1:
            middle = (low + high) // 2
            if fits(middle, cut):
                low = middle
            else:
                high = middle
        found[name] = low
    assert len({*found.values()}) == 1, found
    assert 1024 <= found["in one"] <= 1024 + len("GET  HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize(
    "begun", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nX", b"GET / HTTP/1.1\r\nX:"]
)
@pytest.mark.parametrize("more", [b"x", b"x: y\r\n", b" ", b"\t"])
def test_a_head_without_an_end(upstream: Upstream, start: Start, begun: bytes, more: bytes) -> None:
    """Is refused when it is longer than may be and what is read at once, and not when it ends."""
    proxy = start(upstream.server, max_head="1Ki")
    with client(proxy) as sock:
        sock.send(begun)
        sent = 0
        while not sock.waits():
            try:
                sent += sock.sock.send(more * (1000 // len(more)))
            except OSError:
                break
            Inside(proxy).look(lambda: None)
            assert sent < 1 << 20
        assert sock.message().status in (400, 431)
    assert upstream.nobody()


def test_what_is_said_of_a_head_that_is_too_long(upstream: Upstream, start: Start) -> None:
    """431, a Status, and the end of the connection; the bytes that may be are named."""
    proxy = start(upstream.server, max_head="1Ki")
    with client(proxy) as sock:
        sock.ask("GET", WEB, "X: " + "y" * 5000)
        got = sock.message()
        assert (got.status, got.head.get("Connection")) == (431, "close")
        assert "have more than 1024 bytes" in told(got)
        assert sock.ended()
    assert proxy.log.wait_for("ambassador.refused")["kind"] == "limit"


def test_head_and_body_are_counted_apart(upstream: Upstream, start: Start) -> None:
    """Also those of requests before it."""
    proxy = start(upstream.server, allow_write=True, max_head="1Ki")
    upstream.serve(echo)
    with client(proxy) as sock:
        for _ in range(5):
            sock.send(asking("POST", PODS, "X: " + "y" * 800, body=b"b" * 5000) + padded(1000, "a value"))
        for _ in range(5):
            assert sock.message().body == b"b" * 5000
            assert sock.message().status == 200


@pytest.mark.parametrize("limit", [0, 1, 1000, REPEATABLE, REPEATABLE + 1, 2 * REPEATABLE])
def test_the_size_of_a_body(upstream: Upstream, start: Start, limit: int) -> None:
    """Of exactly max_body bytes passes, with a length or in chunks; one byte more gets 413."""
    proxy = start(upstream.server, allow_write=True, max_body=str(limit))
    upstream.serve(echo)
    fits, more = b"f" * limit, b"m" * (limit + 1)
    with client(proxy) as sock:
        for _ in range(2):
            sock.send(asking("POST", PODS, f"Content-Length: {limit}"), fits)
            assert sock.message().body == fits
            sock.send(asking("POST", PODS, CHUNKED), chunked(*([fits] if fits else []), last=True))
            assert sock.message().body == fits
            if limit > 1:
                sock.send(asking("POST", PODS, CHUNKED), chunked(fits[:-1], fits[-1:], last=True))
                assert sock.message().body == fits
        sock.send(asking("POST", PODS, f"Content-Length: {limit + 1}"))
        got = sock.message()
        assert (got.status, got.head.get("Connection")) == (413, "close")
        assert json.loads(got.body)["reason"] == "RequestEntityTooLarge"
        assert str(limit) in told(got)
    for pieces in ((more,), (fits, b"m") if limit else (b"m",), (b"m", fits) if limit else (b"m",)):
        with client(proxy) as sock:
            sock.send(asking("POST", PODS, CHUNKED), chunked(*pieces))
            got = sock.message()
            assert (got.status, got.head.get("Connection")) == (413, "close")
            assert str(limit) in told(got)


def test_a_body_that_becomes_too_long_is_not_whole_at_the_server(upstream: Upstream, start: Start) -> None:
    """What of it has been sent ends without an end."""
    proxy = start(upstream.server, allow_write=True, max_body="10")
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, CHUNKED), chunked(b"x" * 10))
        server = upstream.accept()
        server.head()
        assert server.chunk() == b"x" * 10
        sock.send(chunked(b"y"))
        assert sock.message().status == 413
        assert server.ended()


def test_a_body_that_becomes_too_long_under_an_answer(upstream: Upstream, start: Start) -> None:
    """It is too late to say so: nothing is written into an answer that has begun, which is cut."""
    proxy = start(upstream.server, allow_write=True, max_body="10")
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, CHUNKED), chunked(b"x" * 10))
        server = upstream.accept()
        server.head()
        assert server.chunk() == b"x" * 10
        server.send(answering(200, b"half", "Content-Length: 1000"))
        sock.head()
        assert sock.exactly(4) == b"half"
        sock.send(chunked(b"y"))
        assert sock.ended()
        assert server.ended()
