"""Answers without an end of their own, and clients that don't keep up with them."""

from __future__ import annotations

import json
import random

import pytest
from kmetad_ambassador.line import HIGH

from tests.cli import eventually
from tests.proxied import (
    CHUNKED,
    ENTERED,
    EVENT,
    FOLLOW,
    KERNEL,
    PODS,
    WATCH,
    WEB,
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
    hold_back,
    hours,
    nobody_left,
)
from tests.proxying import Lab, Proxied


def watching(upstream: Upstream, sock: Wire, target: str = WATCH) -> Wire:
    """The server's side of a stream that has begun."""
    sock.ask("GET", target)
    server = upstream.accept()
    assert server.message().head.target == target
    server.send(answering(200, b"", CHUNKED))
    assert sock.head().status == 200
    return server


@pytest.fixture
def proxy(upstream: Upstream, start: Start) -> Proxied:
    """One that lets exec pass."""
    return start(upstream.server, allow=ENTERED)


# -- as it comes ---------------------------------------------------------------------


@pytest.mark.parametrize("target", [WATCH, FOLLOW])
def test_event_by_event(upstream: Upstream, start: Start, target: str) -> None:
    """The client has each before the next is written; the head comes before the first."""
    proxy = start(upstream.server)
    with client(proxy) as sock:
        server = watching(upstream, sock, target)
        for number in range(100):
            server.send(chunked(EVENT % number))
            assert sock.chunk() == EVENT % number
        server.send(b"0\r\n\r\n")
        assert sock.chunk() == b""


def test_halves_of_events(upstream: Upstream, start: Start) -> None:
    """What has come goes on, were it a half of an event, of a chunk or of a character."""
    proxy = start(upstream.server)
    event = (EVENT % 7).replace(b"MODIFIED", "Größe".encode())
    with client(proxy) as sock:
        server = watching(upstream, sock)
        data = chunked(event)
        got = b""
        for at in range(len(data)):
            server.send(data[at : at + 1])
            if at >= data.index(b"\n") + 1 and len(got) < len(event):
                got += sock.chunk()
                assert got == event[: len(got)]
        assert got == event


def test_a_stream_without_chunks(upstream: Upstream, start: Start) -> None:
    """One that ends with its connection, as behind some proxies, comes as it does, too."""
    proxy = start(upstream.server)
    with client(proxy) as sock:
        sock.ask("GET", FOLLOW)
        server = upstream.accept()
        server.message()
        server.send(b"HTTP/1.1 200 OK\r\n\r\n")
        sock.head()
        for line in (b"one\n", b"two", b"\nthree\n"):
            server.send(line)
            assert sock.chunk() == line
        server.close()
        assert sock.chunk() == b""


def test_a_1_0_client_has_streams_as_well(plain: Upstream, start: Start) -> None:
    """Without chunks, which it doesn't know."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        sock.send(f"GET {WATCH} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        server = plain.accept()
        server.message()
        server.send(answering(200, b"", CHUNKED))
        sock.head()
        for number in range(3):
            server.send(chunked(EVENT % number))
            assert sock.until(b"\n") == EVENT % number
        server.send(b"0\r\n\r\n")
        assert sock.rest() == b""


def test_a_watch_of_the_api_server(lab: Lab, start: Start) -> None:
    """Changes of a Pod, seen one by one."""
    proxy = start(lab.server)
    with client(proxy) as sock:
        sock.ask("GET", WATCH)
        sock.head()
        assert json.loads(sock.chunk())["type"] == "ADDED"
        for number in range(20):
            lab.api.label("lab", "web", number=str(number))
            event = json.loads(sock.chunk())
            assert event["object"]["metadata"]["labels"]["number"] == str(number)
        lab.api.remove("Pod", "lab", "web")
        assert json.loads(sock.chunk())["type"] == "DELETED"
    lab.api.wait_for_watches(0)


def test_logs_of_the_api_server(lab: Lab, start: Start) -> None:
    """A log that is followed, line by line."""
    proxy = start(lab.server)
    with client(proxy) as sock:
        lab.api.log("lab", "web", "first")
        sock.ask("GET", FOLLOW)
        sock.head()
        assert sock.chunk() == b"first\n"
        for number in range(20):
            lab.api.log("lab", "web", f"line {number}")
            assert sock.chunk() == b"line %d\n" % number


def test_two_hundred_watches_at_once(upstream: Upstream, start: Start) -> None:
    """Each with its own events, and other requests beside them; all are gone with their clients."""
    proxy = start(upstream.server)
    inside = Inside(proxy)
    pairs: list[tuple[Wire, Wire]] = []
    try:
        for number in range(200):
            sock = client(proxy)
            sock.ask("GET", f"{WATCH}&resourceVersion={number}")
            server = upstream.accept()
            assert server.head().target.endswith(f"={number}")
            server.send(answering(200, b"", CHUNKED))
            pairs.append((sock, server))
        for number, (sock, server) in enumerate(pairs):
            sock.head()
            server.send(chunked(EVENT % number))
        for number, (sock, _) in enumerate(pairs):
            assert sock.chunk() == EVENT % number
        assert (inside.active, upstream.connections) == (200, 200)
        with client(proxy) as other:
            other.ask()
            server = upstream.accept()
            server.message()
            server.send(answering(200, b"beside"))
            assert other.message().body == b"beside"
    finally:
        for sock, _ in pairs:
            sock.close()
    for _, server in pairs:
        assert server.ended()
    eventually(lambda: inside.active == 0)
    assert inside.kept == inside.servers == 1


# -- either side's end ---------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("when", ["before the head", "after the head", "after an event", "in a chunk"])
def test_a_client_that_goes(upstream: Upstream, start: Start, when: str, how: str) -> None:
    """Its request ends at the server, although nothing is to be written just then."""
    proxy = start(upstream.server)
    with client(proxy) as sock:
        sock.ask("GET", WATCH)
        server = upstream.accept()
        server.message()
        if when != "before the head":
            server.send(answering(200, b"", CHUNKED))
            sock.head()
        if when == "after an event":
            server.send(chunked(EVENT % 1))
            sock.chunk()
        elif when == "in a chunk":
            server.send(b"ff\r\nhalf")
            sock.chunk()
        getattr(sock, how)()
        assert server.ended()
    line = proxy.log.wait_for("ambassador.request")
    assert line["status"] == (0 if when == "before the head" else 200)
    assert Inside(proxy).servers == 0


def test_a_client_that_has_said_all_and_goes(plain: Upstream, start: Start) -> None:
    """Who closes its half of the connection is taken for gone, as by Go's server."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        server = watching(plain, sock)
        sock.shut()
        assert server.ended()
        assert sock.ended()


@pytest.mark.parametrize("together", [True, False], ids=["in one write", "one by one"])
def test_a_client_that_pipelines_a_watch_and_goes(plain: Upstream, start: Start, together: bool) -> None:
    """Whatever came before it on that connection."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        whole = asking() + asking("GET", WATCH)
        sock.send(*((whole,) if together else (asking(), asking("GET", WATCH))))
        server = plain.accept()
        server.message()
        server.send(answering())
        sock.message()
        server.message()
        server.send(answering(200, b"", CHUNKED))
        sock.head()
        sock.close()
        assert server.ended()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_asks_more_behind_a_watch_and_goes(plain: Upstream, start: Start, how: str) -> None:
    """Is noticed at once, for what it has said is read."""
    proxy = start(plain.server)
    with client(proxy) as sock:
        server = watching(plain, sock)
        sock.send(asking())
        Inside(proxy).all_read()
        getattr(sock, how)()
        assert server.ended()


def test_a_client_that_asks_a_lot_behind_a_watch_and_is_cut(plain: Upstream, start: Start) -> None:
    """Is noticed in time, although nothing more is read from it. (Its end in order would come behind all that.)"""
    proxy = start(plain.server, idle_timeout=hours(1))
    inside = Inside(proxy)
    with client(proxy) as sock:
        server = watching(plain, sock)
        sock.fill(asking() * 100, lambda: True)
        sock.reset()
        for _ in range(2):
            inside.pass_time(3600.0)
        assert server.ended()
    eventually(lambda: not inside.active)


def test_a_client_that_is_cut_while_its_server_takes_nothing(plain: Upstream, start: Start) -> None:
    """Likewise."""
    proxy = start(plain.server, allow_write=True, max_body="1Ti", idle_timeout=hours(1))
    inside = Inside(proxy)
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, f"Content-Length: {1 << 40}"))
        server = plain.accept()
        server.head()
        sock.fill(b"y" * 100_000, lambda: inside.sending >= HIGH)
        sock.reset()
        for _ in range(2):
            inside.pass_time(3600.0)
        eventually(lambda: inside.clients == inside.active == inside.servers == 0)


def test_a_client_that_goes_in_its_body(upstream: Upstream, start: Start) -> None:
    """The request ends at the server, which can't take it for whole."""
    proxy = start(upstream.server, allow_write=True)
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, CHUNKED), chunked(b"a"))
        server = upstream.accept()
        server.head()
        assert server.chunk() == b"a"
        sock.close()
        with pytest.raises(Gone):
            server.chunk()
    eventually(lambda: not Inside(proxy).active)


def test_a_client_that_goes_before_its_body_is_there(plain: Upstream, start: Start) -> None:
    """Of a short one nothing has been sent."""
    proxy = start(plain.server, allow_write=True)
    inside = Inside(proxy)
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, "Content-Length: 5"), b"a")
        eventually(lambda: inside.came)
    eventually(lambda: not inside.active)
    assert plain.nobody()
    assert proxy.log.wait_for("ambassador.request")["status"] == 0


def test_a_client_that_goes_while_it_is_connected_for(start: Start) -> None:
    """Nothing is sent for nobody."""
    with Upstream(tls=True) as upstream:
        proxy = start(upstream.server)
        inside = Inside(proxy)
        with client(proxy) as sock:
            sock.ask("GET", WATCH)
            server = upstream.begin()
        eventually(lambda: inside.clients == 0)
        server.sock.do_handshake()  # type: ignore[attr-defined]
        assert server.ended()
        eventually(lambda: not inside.active)


@pytest.mark.parametrize("how", ["close", "tear", "reset"])
def test_a_server_that_goes(upstream: Upstream, start: Start, how: str) -> None:
    """The client's stream is torn, and the client sees that."""
    proxy = start(upstream.server)
    with client(proxy) as sock:
        server = watching(upstream, sock)
        server.send(chunked(EVENT % 1))
        sock.chunk()
        getattr(server, how)()
        with pytest.raises(Gone):
            sock.chunk()


def test_a_watch_that_ends_in_order(upstream: Upstream, start: Start) -> None:
    """Leaves two connections that are as good as new."""
    proxy = start(upstream.server)
    with client(proxy) as sock:
        server = watching(upstream, sock)
        server.send(chunked(EVENT % 1, last=True))
        assert sock.chunks() == EVENT % 1
        sock.ask()
        server.message()
        server.send(answering(200, b"next"))
        assert sock.message().body == b"next"


# -- clients that don't keep up ------------------------------------------------------


def test_a_slow_client_slows_its_server_down_and_nobody_else(upstream: Upstream, start: Start) -> None:
    """What it doesn't take waits at the server, and not in the proxy; then it gets all of it."""
    proxy = start(upstream.server)
    inside = Inside(proxy)
    piece = chunked(random.Random(0).randbytes(100_000))
    with client(proxy, receive=32_768) as slow, client(proxy) as other:
        server = watching(upstream, slow, FOLLOW)
        written = server.fill(piece, lambda: inside.waiting >= HIGH)
        assert HIGH <= inside.waiting < HIGH + 4 * 65_536
        assert written < KERNEL
        for _ in range(3):
            other.ask()
            quick = upstream.take(new=upstream.connections == 1)
            quick.message()
            quick.send(answering(200, b"mine"))
            assert other.message().body == b"mine"
        assert HIGH <= inside.waiting < HIGH + 4 * 65_536
        behind = len(piece) - written % len(piece)
        rest = Aside(lambda: server.send(piece[len(piece) - behind :], b"0\r\n\r\n"))
        body = slow.chunks()
        assert body == random.Random(0).randbytes(100_000) * ((written + behind) // len(piece))
        rest.join()
        eventually(lambda: inside.kept == 2)


def test_a_connection_that_was_held_back_at_the_end_serves_the_next(upstream: Upstream, start: Start) -> None:
    """A slow client's answer, whose last piece has to wait, leaves a connection behind that is as good as any."""
    proxy = start(upstream.server)
    inside = Inside(proxy)
    with client(proxy, receive=32_768) as slow, client(proxy) as other:
        server = watching(upstream, slow, WEB)
        hold_back(proxy, server, HIGH - 16_000)
        server.send(chunked(b"x" * 16_000, last=True))
        eventually(lambda: inside.kept)
        other.ask()
        server.message()
        server.send(answering(200, b"mine"))
        assert other.message().body == b"mine"


def test_a_client_that_only_asks(plain: Upstream, start: Start) -> None:
    """Request after request, without taking an answer: at some point nothing more is asked for it."""
    proxy = start(plain.server)
    inside = Inside(proxy)

    def act(wire: Wire) -> None:
        while True:
            wire.message()
            wire.send(answering(200, b"x" * 60_000))

    plain.serve(act)
    with client(proxy, receive=32_768) as sock:
        asked = sock.fill(asking() * 50, lambda: inside.waiting >= HIGH and still(inside))
        assert inside.waiting < 2 * HIGH
        assert asked < KERNEL


def still(inside: Inside) -> bool:
    """Whether no request has come to an end between two looks."""
    before = inside.proxy.tally.requests
    for _ in range(100):
        inside.look(lambda: None)
    return inside.proxy.tally.requests == before


def test_a_client_that_only_sends(plain: Upstream, start: Start) -> None:
    """A body that the server doesn't take waits at the client."""
    proxy = start(plain.server, allow_write=True, max_body="1Ti")
    inside = Inside(proxy)
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, f"Content-Length: {1 << 40}"))
        server = plain.accept()
        server.head()
        sent = sock.fill(b"y" * 100_000, lambda: inside.sending >= HIGH)
        assert sent < KERNEL
        assert inside.sending < 3 * HIGH
        taken = 0
        while taken < sent:
            taken += len(server.exactly(min(65_536, sent - taken)))
    assert server.ended()


def test_a_client_that_takes_nothing_is_cut(upstream: Upstream, start: Start) -> None:
    """After ``idle_timeout``, which passes quickly here; its server is let go."""
    proxy = start(upstream.server, idle_timeout=hours(1))
    inside = Inside(proxy)
    with client(proxy, receive=32_768) as sock:
        server = watching(upstream, sock, FOLLOW)
        server.fill(chunked(b"x" * 100_000), lambda: inside.waiting >= HIGH)
        inside.pass_time(3599.0)
        assert inside.clients == 1
        nobody_left(inside)
        with pytest.raises((Gone, OSError)):  # noqa: PT012 - until it notices
            while True:
                server.send(b"x" * 100_000)
        with pytest.raises(Gone):
            sock.chunks()


def test_a_client_that_takes_slowly_is_not_cut(plain: Upstream, start: Start) -> None:
    """Whatever it has taken since the last look counts, also what the kernel had of it."""
    proxy = start(plain.server, idle_timeout=hours(1))
    inside = Inside(proxy)
    with client(proxy, receive=32_768) as sock:
        server = watching(plain, sock, FOLLOW)
        hold_back(proxy, server, HIGH)
        for _ in range(4):
            sock.exactly(300_000)  # more than its own kernel and this test can have got already
            inside.pass_time(3600.0)
            assert inside.clients == 1
        while inside.waiting:
            sock.exactly(10_000)
        hold_back(proxy, server, HIGH)
        nobody_left(inside)


def test_a_client_that_leaves_the_end_of_an_answer(plain: Upstream, start: Start) -> None:
    """One that has asked for the connection to be closed, and then takes nothing, is cut as well."""
    proxy = start(plain.server, idle_timeout=hours(1))
    inside = Inside(proxy)
    with client(proxy, receive=32_768) as sock:
        sock.ask("GET", WEB, "Connection: close")
        server = plain.accept()
        server.message()
        server.send(answering(200, b"", CHUNKED))
        hold_back(proxy, server, HIGH // 2)
        server.send(b"0\r\n\r\n")
        eventually(lambda: not inside.active)
        inside.pass_time(3599.0)
        assert inside.clients == 1
        nobody_left(inside)


def test_a_slow_client_that_goes(upstream: Upstream, start: Start) -> None:
    """While its server waits for it: that one is let go at once."""
    proxy = start(upstream.server)
    inside = Inside(proxy)
    for how in ("close", "reset"):
        with client(proxy, receive=32_768) as sock:
            server = watching(upstream, sock, FOLLOW)
            server.fill(chunked(b"x" * 100_000), lambda: inside.waiting >= HIGH)
            getattr(sock, how)()
            eventually(lambda: inside.clients == 0)
            eventually(lambda: inside.servers == 0)
            assert server.ended()


def test_watches_of_slow_clients_wait_without_a_limit_of_time(plain: Upstream, start: Start) -> None:
    """A watch on which nothing happens is not idle."""
    proxy = start(plain.server, idle_timeout=hours(1))
    inside = Inside(proxy)
    with client(proxy) as sock:
        server = watching(plain, sock)
        for number in range(5):
            inside.pass_time(10_000.0)
            server.send(chunked(EVENT % number))
            assert sock.chunk() == EVENT % number
