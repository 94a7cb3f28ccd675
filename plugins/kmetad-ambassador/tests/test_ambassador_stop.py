"""How a proxy ends: what is under way, and what comes then."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from kmetad_ambassador.exchange import REPEATABLE
from kmetad_ambassador.line import HIGH

from tests.apiserver import ApiServer
from tests.cli import eventually
from tests.proxied import (
    CHUNKED,
    ENTERED,
    EVENT,
    EXEC,
    FOLLOW,
    PODS,
    SPDY,
    SWITCHED,
    WATCH,
    WEB,
    Aside,
    Gone,
    Inside,
    Upstream,
    Wire,
    answering,
    asking,
    chunked,
    client,
    hold_back,
)
from tests.proxying import Lab, Proxied

HOUR = 3600.0


class Stopping:
    """A proxy that is being stopped; what is under way has an hour, which ``pass_time`` may shorten."""

    def __init__(self, proxy: Proxied, seconds: float = HOUR) -> None:
        self.inside = Inside(proxy)
        self._stop = Aside(lambda: proxy.stop(seconds))
        eventually(lambda: self.inside.closing)
        with suppress(RuntimeError):  # it may have come to its end already
            looked = self.inside.begin(lambda: None)
            eventually(lambda: looked.done() or self.done)  # now it has done all that it does at once

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return self._stop.done

    def join(self) -> None:
        """When it has."""
        self._stop.join()


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio has nothing to complain about: no task that is destroyed, no exception that nobody has seen."""
    with caplog.at_level(logging.WARNING):
        yield
        gc.collect()
    assert [record.getMessage() for record in caplog.records] == []


pytestmark = pytest.mark.usefixtures("quiet")


# -- what is under way ---------------------------------------------------------------


def test_nothing_is_under_way(plain: Upstream) -> None:
    """It has stopped at once, however long it might take."""
    Proxied(plain.server).stop(HOUR)


def test_idle_connections(upstream: Upstream) -> None:
    """Are closed at once, on both sides: those that are new, that were used, and in which half a head has come."""
    proxy = Proxied(upstream.server)
    inside = Inside(proxy)
    with client(proxy) as new, client(proxy) as used, client(proxy) as half:
        used.ask()
        server = upstream.accept()
        server.message()
        server.send(answering())
        used.message()
        half.send(asking()[:30])
        eventually(lambda: inside.clients == 3)
        inside.all_read()
        proxy.stop(HOUR)
        for sock in (new, used, half, server):
            assert sock.ended()


def test_requests_come_to_their_end(upstream: Upstream) -> None:
    """With a word that the connection ends with them; then all has stopped."""
    proxy = Proxied(upstream.server, allow_write=True)
    with client(proxy) as short, client(proxy) as begun, client(proxy) as sending, client(proxy) as streaming:
        short.ask()
        server_of_short = upstream.accept()
        server_of_short.message()
        begun.ask("GET", PODS)
        server_of_begun = upstream.accept()
        server_of_begun.message()
        server_of_begun.send(answering(200, b"", CHUNKED), chunked(b"one"))
        begun.head()
        assert begun.chunk() == b"one"
        sending.send(asking("POST", PODS, "Content-Length: 4"), b"ab")
        streaming.send(asking("PUT", WEB, f"Content-Length: {REPEATABLE + 1}"), b"s")
        server_of_streaming = upstream.accept()
        server_of_streaming.head()
        eventually(lambda: Inside(proxy).came == 3)

        stopping = Stopping(proxy)
        sending.send(b"cd")
        server_of_sending = upstream.accept()
        assert server_of_sending.message().body == b"abcd"
        streaming.send(b"s" * REPEATABLE)
        server_of_streaming.exactly(REPEATABLE + 1)
        assert not stopping.done
        for sock, server in (
            (short, server_of_short),
            (sending, server_of_sending),
            (streaming, server_of_streaming),
        ):
            server.send(answering(200, b"done"))
            got = sock.message()
            assert (got.status, got.body, got.head.get("Connection")) == (200, b"done", "close")
            assert sock.ended()
        assert not stopping.done
        server_of_begun.send(chunked(b"two", last=True))
        assert begun.chunks() == b"two"
        assert begun.ended()
        stopping.join()
        for server in (server_of_short, server_of_begun, server_of_sending, server_of_streaming):
            assert server.ended()


def test_a_slow_client_gets_all_of_its_answer(plain: Upstream) -> None:
    """Also what waits in the proxy when its server has said all."""
    proxy = Proxied(plain.server)
    with client(proxy, receive=32_768) as sock:
        sock.ask()
        server = plain.accept()
        server.message()
        server.send(answering(200, b"", CHUNKED))
        sock.head()
        sent = hold_back(proxy, server, HIGH // 2)
        stopping = Stopping(proxy)
        server.send(b"0\r\n\r\n")
        eventually(lambda: not stopping.inside.active)
        assert not stopping.done
        assert sock.chunks() == sent
        assert sock.ended()
        stopping.join()


@pytest.mark.parametrize(
    "next_", [b"", asking("DELETE", WEB)], ids=["it asks nothing more", "it has asked more"]
)
def test_a_slow_client_whose_answer_is_whole(plain: Upstream, next_: bytes) -> None:
    """And so long that its next request would have to wait: it gets the answer, and nothing is asked any more."""
    proxy = Proxied(plain.server, allow_write=True)
    inside = Inside(proxy)
    with client(proxy, receive=32_768) as sock:
        sock.ask()
        server = plain.accept()
        server.message()
        server.send(answering(200, b"", CHUNKED))
        sock.head()
        sent = hold_back(proxy, server, HIGH - 16_000)
        server.send(chunked(b"y" * 16_000, last=True))
        eventually(lambda: not inside.active)
        sock.send(next_)
        inside.all_read()
        stopping = Stopping(proxy)
        assert not stopping.done
        assert sock.chunks() == sent + b"y" * 16_000
        assert sock.ended()
        stopping.join()
        assert server.ended()
    assert len(proxy.log.lines) == 1


def test_what_is_not_done_in_time_is_cut(upstream: Upstream) -> None:
    """So that its client notices, and so does the server."""
    proxy = Proxied(upstream.server, allow=ENTERED)
    with client(proxy) as short, client(proxy) as log, client(proxy) as tunnel:
        short.ask()
        servers = [upstream.accept()]
        servers[-1].message()
        log.ask("GET", FOLLOW)
        servers.append(upstream.accept())
        servers[-1].message()
        servers[-1].send(answering(200, b"", CHUNKED), chunked(b"line\n"))
        log.head()
        assert log.chunk() == b"line\n"
        tunnel.ask("POST", EXEC, *SPDY)
        servers.append(upstream.accept())
        servers[-1].head()
        servers[-1].send(SWITCHED)
        tunnel.head()

        stopping = Stopping(proxy)
        servers[1].send(chunked(b"one more\n"))
        assert log.chunk() == b"one more\n"
        tunnel.send(b"still")
        assert servers[2].exactly(5) == b"still"
        servers[2].send(b"here")
        assert tunnel.exactly(4) == b"here"
        stopping.inside.pass_time(HOUR / 2)
        assert not stopping.done
        stopping.inside.pass_time(HOUR / 2)
        stopping.join()
        assert short.ended()
        assert tunnel.ended()
        with pytest.raises(Gone):
            log.chunk()
        for server in servers:
            assert server.ended()
    assert proxy.log.of("ambassador.cut") == [{"event": "ambassador.cut", "requests": 3, "after": HOUR}]
    assert len(proxy.log.of("ambassador.request")) == 3


@pytest.mark.parametrize("together", [True, False])
def test_what_was_to_come_next_is_not_asked(plain: Upstream, together: bool) -> None:
    """Behind the request that is under way: the connection ends with that one."""
    proxy = Proxied(plain.server, allow_write=True)
    with client(proxy) as sock:
        sock.send(asking() + (asking("DELETE", WEB) if together else b""))
        server = plain.accept()
        server.message()
        stopping = Stopping(proxy)
        if not together:
            sock.send(asking("DELETE", WEB))
            stopping.inside.all_read()
        server.send(answering(200, b"mine"))
        got = sock.message()
        assert (got.body, got.head.get("Connection")) == (b"mine", "close")
        assert sock.ended()
        assert server.ended()
        stopping.join()


def test_a_head_that_is_half_there_is_not_waited_for(plain: Upstream) -> None:
    """While another request keeps the proxy from its end."""
    proxy = Proxied(plain.server)
    with client(proxy) as busy, client(proxy) as half:
        busy.ask()
        server = plain.accept()
        server.message()
        half.send(asking()[:-1])
        Inside(proxy).all_read()
        stopping = Stopping(proxy)
        assert half.ended()
        server.send(answering())
        assert busy.message().status == 200
        stopping.join()


def test_nobody_new_is_let_in(plain: Upstream) -> None:
    """As soon as it begins to stop, also while something is under way."""
    proxy = Proxied(plain.server)
    with client(proxy) as busy:
        busy.ask()
        server = plain.accept()
        server.message()
        stopping = Stopping(proxy)
        with pytest.raises(ConnectionRefusedError):
            proxy.connect()
        server.send(answering())
        assert busy.message().status == 200
        stopping.join()


def test_the_port_is_free_again(plain: Upstream) -> None:
    """While something is under way, too, so that the next proxy can take over."""
    proxy = Proxied(plain.server)
    with client(proxy) as busy:
        busy.ask()
        server = plain.accept()
        server.message()
        stopping = Stopping(proxy)
        with Proxied(plain.server, port=proxy.port) as second, client(second) as sock:
            assert sock.get("/healthz").status == 200
        server.send(answering())
        assert busy.message().status == 200
        stopping.join()


# -- watches -------------------------------------------------------------------------


def watching(upstream: Upstream, proxy: Proxied, sock: Wire) -> Wire:
    """A watch that has begun: its server's side."""
    sock.ask("GET", WATCH)
    server = upstream.accept()
    server.message()
    server.send(answering(200, b"", CHUNKED))
    sock.head()
    return server


def test_watches_are_ended(upstream: Upstream) -> None:
    """At once and in order, as the API server does now and then; then all has stopped."""
    proxy = Proxied(upstream.server)
    with client(proxy) as one, client(proxy) as other:
        servers = [watching(upstream, proxy, sock) for sock in (one, other)]
        servers[0].send(chunked(EVENT % 1))
        assert one.chunk() == EVENT % 1
        proxy.stop(HOUR)
        for sock in (one, other):
            assert sock.chunk() == b""
            assert sock.ended()
        for server in servers:
            assert server.ended()
    assert [(line["status"], "fault" in line) for line in proxy.log.of("ambassador.request")] == [
        (200, False)
    ] * 2


def test_a_watch_in_the_middle_of_an_event(upstream: Upstream) -> None:
    """Is ended behind that event, and not a byte later."""
    proxy = Proxied(upstream.server)
    with client(proxy) as sock:
        server = watching(upstream, proxy, sock)
        event = EVENT % 7
        server.send(chunked(event[:20]))
        assert sock.chunk() == event[:20]
        stopping = Stopping(proxy)
        server.send(chunked(event[20:40]))
        assert sock.chunk() == event[20:40]
        assert not stopping.done
        server.send(chunked(event[40:]))
        assert sock.chunks() == event[40:]
        assert sock.ended()
        assert server.ended()
        stopping.join()


def test_a_watch_that_has_not_begun(upstream: Upstream) -> None:
    """Is ended as soon as it begins: what its server says then is passed on."""
    proxy = Proxied(upstream.server)
    with client(proxy) as sock:
        sock.ask("GET", WATCH)
        server = upstream.accept()
        server.message()
        stopping = Stopping(proxy)
        server.send(answering(200, b"", CHUNKED))
        head = sock.head()
        assert (head.status, head.get("Connection")) == (200, "close")
        assert sock.chunks() == b""
        assert sock.ended()
        stopping.join()


def test_a_watch_that_is_connected_for() -> None:
    """Likewise, when the stop comes before there is a connection."""
    with Upstream(tls=True) as upstream:
        proxy = Proxied(upstream.server)
        with client(proxy) as sock:
            sock.ask("GET", WATCH)
            server = upstream.begin()
            stopping = Stopping(proxy, 3.0)
            server.sock.do_handshake()  # type: ignore[attr-defined]
            server.message()
            server.send(answering(200, b"", CHUNKED))
            head = sock.head()
            assert (head.status, head.get("Connection")) == (200, "close")
            assert sock.chunks() == b""
            stopping.join()
        assert proxy.log.of("ambassador.cut") == []


def test_a_watch_that_is_refused(plain: Upstream) -> None:
    """What is no stream comes through whole."""
    proxy = Proxied(plain.server)
    with client(proxy) as sock:
        sock.ask("GET", WATCH)
        server = plain.accept()
        server.message()
        stopping = Stopping(proxy)
        server.send(answering(410, b'{"kind":"Status"'))
        assert sock.message().status == 410
        stopping.join()


def test_a_watch_of_a_slow_client(plain: Upstream) -> None:
    """Gets all the events that wait for it, and the end behind them."""
    proxy = Proxied(plain.server)
    with client(proxy, receive=32_768) as sock:
        server = watching(plain, proxy, sock)
        sent = hold_back(proxy, server, HIGH // 2)
        stopping = Stopping(proxy)
        assert server.ended()
        assert not stopping.done
        assert sock.chunks() == sent
        assert sock.ended()
        stopping.join()


def test_a_watch_of_a_1_0_client(plain: Upstream) -> None:
    """Which has no chunks, so that the end of the connection is its end: between two events."""
    proxy = Proxied(plain.server)
    with client(proxy) as sock:
        sock.send(f"GET {WATCH} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        server = plain.accept()
        server.message()
        server.send(answering(200, b"", CHUNKED), chunked(EVENT % 1))
        sock.head()
        assert sock.until(b"\n") == EVENT % 1
        stopping = Stopping(proxy, 3.0)
        assert sock.rest() == b""
        assert server.ended()
        stopping.join()
        assert proxy.log.of("ambassador.cut") == []


def test_watches_of_the_api_server(tmp_path: Path) -> None:
    """Each ends in order, and none is left there."""
    with ApiServer() as server:
        lab = Lab(server, tmp_path)
        proxy = Proxied(lab.server)
        socks = [client(proxy) for _ in range(20)]
        for sock in socks:
            sock.ask("GET", WATCH)
            sock.head()
            sock.chunk()
        server.wait_for_watches(20)
        proxy.stop(HOUR)
        for sock in socks:
            assert sock.chunk() == b""
            sock.close()
        server.wait_for_watches(0)
