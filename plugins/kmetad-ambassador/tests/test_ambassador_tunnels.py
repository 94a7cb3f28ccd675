"""Protocols that aren't HTTP."""

from __future__ import annotations

import random

import pytest
from kmetad_ambassador.line import HIGH

from tests.cli import eventually
from tests.proxied import (
    CHUNKED,
    ENTERED,
    EXEC,
    KERNEL,
    SPDY,
    SWITCHED,
    Aside,
    Gone,
    Inside,
    Start,
    Upstream,
    Wire,
    answering,
    asking,
    chunked,
    client,
    hours,
    nobody_left,
)
from tests.proxying import Proxied


def switched(upstream: Upstream, sock: Wire, *, behind: bytes = b"", first: bytes = b"") -> Wire:
    """The server's side of a tunnel. ``behind``: what the client says at once, ``first``: the server."""
    sock.send(asking("POST", EXEC, *SPDY) + behind)
    server = upstream.accept()
    head = server.head()
    assert (head.method, head.target) == ("POST", EXEC)
    assert (head.get("Connection"), head.get("Upgrade"), head.get("Content-Length")) == (
        "Upgrade",
        "SPDY/3.1",
        "0",
    )
    server.send(SWITCHED + first)
    answer = sock.head()
    assert (answer.status, answer.get("Connection"), answer.get("Upgrade")) == (101, "Upgrade", "SPDY/3.1")
    return server


@pytest.fixture
def proxy(upstream: Upstream, start: Start) -> Proxied:
    """One that lets exec pass."""
    return start(upstream.server, allow=ENTERED)


def test_a_tunnel(upstream: Upstream, proxy: Proxied) -> None:
    """Both ways, byte for byte, also what would end something in HTTP; then it is one line in the log."""
    with client(proxy) as sock:
        server = switched(upstream, sock)
        for data in (b"\0", b"\r\n\r\n", b"0\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 1000):
            sock.send(data)
            assert server.exactly(len(data)) == data
            server.send(data[::-1])
            assert sock.exactly(len(data)) == data[::-1]
        sock.close()
        assert server.ended()
    total = 1 + 4 + 5 + 18 + 256_000
    line = proxy.log.wait_for("ambassador.request")
    assert (line["status"], line["bytes"], line["resource"]) == (101, total, "pods/exec")
    assert (proxy.running.tally.came, proxy.running.tally.sent) == (total, total)


def test_websockets(upstream: Upstream, proxy: Proxied) -> None:
    """A GET, whose headers come along, but for a token among the protocols."""
    with client(proxy) as sock:
        sock.ask(
            "GET",
            EXEC,
            "Connection: keep-alive, Upgrade",
            "Upgrade: WebSocket",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: v5.channel.k8s.io, base64url.bearer.authorization.k8s.io.c2VjcmV0",
        )
        server = upstream.accept()
        head = server.head()
        assert head.get("Upgrade") == "websocket"
        assert head.get("Sec-WebSocket-Key") == "dGhlIHNhbXBsZSBub25jZQ=="
        assert head.get("Sec-WebSocket-Protocol") == "v5.channel.k8s.io"
        server.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: v5.channel.k8s.io\r\n\r\n"
        )
        answer = sock.head()
        assert answer.get("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert answer.get("Sec-WebSocket-Protocol") == "v5.channel.k8s.io"
        sock.send(b"\x81\x85....hello")
        assert server.exactly(11) == b"\x81\x85....hello"


def test_what_is_said_right_behind_the_heads(upstream: Upstream, proxy: Proxied) -> None:
    """In one write with the request, and in one with the 101."""
    with client(proxy) as sock:
        server = switched(upstream, sock, behind=b"too early", first=b"at once")
        assert sock.exactly(7) == b"at once"
        assert server.exactly(9) == b"too early"


def test_what_is_said_while_the_server_thinks(upstream: Upstream, proxy: Proxied) -> None:
    """Waits, as far as it is little; of more the client notices that nobody takes it."""
    inside = Inside(proxy)
    with client(proxy) as sock:
        sock.ask("POST", EXEC, *SPDY)
        server = upstream.accept()
        server.head()
        piece = random.Random(1).randbytes(65_536)
        sent = sock.fill(piece, lambda: inside.held >= HIGH)
        assert sent < KERNEL
        assert inside.held <= HIGH + 65_536
        assert not server.waits()
        server.send(SWITCHED)
        sock.head()
        whole = piece * (sent // len(piece) + 1)
        assert server.exactly(sent) == whole[:sent]


def test_a_head_in_pieces(upstream: Upstream, proxy: Proxied) -> None:
    """Of the request as of the answer, with what comes behind it."""
    whole = asking("POST", EXEC, *SPDY)
    with client(proxy) as sock:
        sock.send(*(whole[at : at + 1] for at in range(len(whole) - 1)), whole[-1:] + b"behind")
        server = upstream.accept()
        server.head()
        assert not server.waits()
        server.send(*(SWITCHED[at : at + 1] for at in range(len(SWITCHED) - 1)), SWITCHED[-1:] + b"first")
        sock.head()
        assert sock.exactly(5) == b"first"
        assert server.exactly(6) == b"behind"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_tunnel_whose_client_goes(upstream: Upstream, proxy: Proxied, how: str) -> None:
    """The server notices, after all that the client has said."""
    with client(proxy) as sock:
        server = switched(upstream, sock)
        sock.send(b"last words")
        assert server.exactly(10) == b"last words"
        getattr(sock, how)()
        assert server.ended()
    eventually(lambda: Inside(proxy).servers == 0)


@pytest.mark.parametrize("how", ["close", "tear", "reset"])
def test_a_tunnel_whose_server_goes(upstream: Upstream, proxy: Proxied, how: str) -> None:
    """The client notices."""
    with client(proxy) as sock:
        server = switched(upstream, sock)
        server.send(b"last words")
        assert sock.exactly(10) == b"last words"
        getattr(server, how)()
        assert sock.ended()
    eventually(lambda: Inside(proxy).clients == 0)


def test_a_server_that_goes_with_the_switch(upstream: Upstream, proxy: Proxied) -> None:
    """What it said comes before its end."""
    with client(proxy) as sock:
        sock.ask("POST", EXEC, *SPDY)
        server = upstream.accept()
        server.head()
        server.send(SWITCHED + b"no such container")
        server.close()
        assert sock.head().status == 101
        assert sock.rest() == b"no such container"


def test_back_pressure_to_the_client(upstream: Upstream, proxy: Proxied) -> None:
    """A server that says more than the client takes has to wait; nothing is lost, not even at its end."""
    inside = Inside(proxy)
    piece = random.Random(2).randbytes(100_000)
    with client(proxy, receive=32_768) as sock:
        server = switched(upstream, sock)
        written = server.fill(piece, lambda: inside.waiting >= HIGH)
        assert written < KERNEL
        assert inside.waiting < HIGH + 8 * 65_536
        behind = len(piece) - written % len(piece)

        def end() -> None:
            server.send(piece[len(piece) - behind :])
            server.close()

        ending = Aside(end)
        got = sock.rest()
        ending.join()
        assert got == piece * ((written + behind) // len(piece))


def test_a_tunnel_whose_client_is_cut_while_the_server_takes_nothing(plain: Upstream, start: Start) -> None:
    """Likewise: what runs in the container isn't to go on for ever."""
    proxy = start(plain.server, allow=ENTERED, idle_timeout=hours(1))
    inside = Inside(proxy)
    with client(proxy) as sock:
        server = switched(plain, sock)
        sock.fill(b"t" * 100_000, lambda: inside.sending >= HIGH)
        sock.reset()
        for _ in range(3):
            inside.pass_time(3600.0)
        assert (inside.clients, inside.active, inside.servers) == (0, 0, 0)
        with pytest.raises(Gone):
            server.exactly(1 << 30)


def test_back_pressure_to_the_server(upstream: Upstream, proxy: Proxied) -> None:
    """Likewise the other way."""
    inside = Inside(proxy)
    piece = random.Random(3).randbytes(100_000)
    with client(proxy) as sock:
        server = switched(upstream, sock)
        sent = sock.fill(piece, lambda: inside.sending >= HIGH)
        assert sent < KERNEL
        assert inside.sending < HIGH + 2 * 65_536
        behind = len(piece) - sent % len(piece)

        def end() -> None:
            sock.send(piece[len(piece) - behind :])
            sock.close()

        ending = Aside(end)
        whole = piece * ((sent + behind) // len(piece))
        assert server.exactly(len(whole)) == whole
        ending.join()
        assert server.ended()


def test_both_ways_at_once(upstream: Upstream, proxy: Proxied) -> None:
    """As much as each side can; neither blocks the other."""
    up, down = random.Random(4).randbytes(3 << 20), random.Random(5).randbytes(3 << 20)
    with client(proxy) as sock:
        server = switched(upstream, sock)
        there = Aside(lambda: check(server.both(down, len(up)) == up))
        assert sock.both(up, len(down)) == down
        there.join()


def check(true: bool) -> None:
    """It has to be."""
    assert true


@pytest.mark.parametrize("status", [200, 400, 403, 500])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_server_that_does_not_switch(upstream: Upstream, proxy: Proxied, status: int, framing: str) -> None:
    """Its answer is passed on, and the connection ends, for what comes on it is no HTTP."""
    with client(proxy) as sock:
        sock.send(asking("POST", EXEC, *SPDY) + b"not HTTP")
        server = upstream.accept()
        server.head()
        if framing == "length":
            server.send(answering(status, b"no"))
        else:
            server.send(answering(status, b"", CHUNKED) + chunked(b"no", last=True))
        got = sock.message()
        assert (got.status, got.body, got.head.get("Connection")) == (status, b"no", "close")
        assert sock.ended()
        assert not server.waits() or server.ended()


def test_a_switch_to_another_protocol(upstream: Upstream, proxy: Proxied) -> None:
    """Than that which was asked for: nobody would know what to make of it."""
    with client(proxy) as sock:
        sock.ask("POST", EXEC, *SPDY)
        server = upstream.accept()
        server.head()
        server.send(SWITCHED.replace(b"SPDY/3.1", b"websocket") + b"evil")
        assert sock.message().status == 502
        assert sock.ended()
        assert server.ended()


def test_a_server_that_hangs_up_instead_of_switching(upstream: Upstream, proxy: Proxied) -> None:
    """502, once: nothing is sent again."""
    with client(proxy) as sock:
        sock.ask("POST", EXEC, *SPDY)
        server = upstream.accept()
        server.head()
        server.close()
        assert sock.message().status == 502
    assert upstream.nobody()


def test_a_switch_that_is_refused_here(upstream: Upstream, start: Start) -> None:
    """Without a rule that names it."""
    proxy = start(upstream.server)
    with client(proxy) as sock:
        sock.send(asking("POST", EXEC, *SPDY) + b"not HTTP")
        assert sock.message().status == 403
        assert sock.ended()
    assert upstream.nobody()


def test_a_tunnel_on_a_connection_that_was_used(upstream: Upstream, proxy: Proxied) -> None:
    """After requests on the same connections, also in one write with it."""
    with client(proxy) as sock:
        sock.send(asking() + asking("POST", EXEC, *SPDY) + b"behind")
        server = upstream.accept()
        server.message()
        server.send(answering(200, b"before"))
        assert sock.message().body == b"before"
        server.head()
        server.send(SWITCHED)
        assert sock.head().status == 101
        assert server.exactly(6) == b"behind"
        server.send(b"said")
        assert sock.exactly(4) == b"said"
        sock.close()
        assert server.ended()
    assert upstream.connections == 1


def test_a_tunnel_is_never_idle(upstream: Upstream, proxy: Proxied) -> None:
    """However long nothing is said."""
    inside = Inside(proxy)
    with client(proxy) as sock:
        server = switched(upstream, sock)
        for _ in range(3):
            inside.pass_time(100_000.0)
            sock.send(b"still")
            assert server.exactly(5) == b"still"
            server.send(b"here")
            assert sock.exactly(4) == b"here"


def test_a_tunnel_whose_client_takes_nothing_at_its_end(plain: Upstream, start: Start) -> None:
    """What waits for it is dropped after ``idle_timeout``."""
    proxy = start(plain.server, allow=ENTERED, idle_timeout=hours(1))
    inside = Inside(proxy)
    with client(proxy, receive=32_768) as sock:
        server = switched(plain, sock)
        piece = b"z" * 16_000
        count = 0
        while inside.waiting < HIGH // 2:
            server.send(piece)
            count += 1
            eventually(lambda: inside.tunnelled == count * len(piece))  # noqa: B023 - called at once
        server.close()
        eventually(lambda: not inside.active)
        assert inside.clients == 1
        nobody_left(inside)
