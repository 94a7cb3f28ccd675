"""Answers that come before all of the request, and what a client waits for."""

from __future__ import annotations

import pytest
from kmetad_ambassador.exchange import REPEATABLE
from kmetad_ambassador.front import LINGER
from kmetad_ambassador.line import HIGH

from tests.cli import eventually
from tests.proxied import (
    CHUNKED,
    PODS,
    WEB,
    Inside,
    Start,
    Upstream,
    answering,
    asking,
    chunked,
    client,
    echo,
    hold_back,
    told,
)


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
