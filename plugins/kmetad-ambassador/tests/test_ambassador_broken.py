"""Answers that are torn, and what a client gets where there is none."""

from __future__ import annotations

import gzip
import socket
from contextlib import suppress
from http.client import HTTPConnection, IncompleteRead

import pytest
from kmetad_ambassador import connect

from kmetad.api import Server
from tests.apiserver.tls import Authority
from tests.proxied import (
    CHUNKED,
    PODS,
    TRUSTING,
    WEB,
    Gone,
    Inside,
    Start,
    Upstream,
    Wire,
    answering,
    chunked,
    client,
    echo,
    told,
)
from tests.proxying import DEADLINE

# -- torn answers --------------------------------------------------------------------


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


# -- where there is no answer --------------------------------------------------------


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
