"""Connections: which are kept, on both sides, and for what."""

from __future__ import annotations

import random

import pytest
from kmetad_ambassador.back import KEPT
from kmetad_ambassador.exchange import REPEATABLE

from tests.cli import eventually
from tests.proxied import (
    CHUNKED,
    PODS,
    WEB,
    Aside,
    Gone,
    Hold,
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
