"""How a proxy ends: what is under way, what comes then, and that nothing is left of it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from kmetad_ambassador import Options
from kmetad_ambassador.exchange import REPEATABLE
from kmetad_ambassador.line import HIGH
from kmetad_ambassador.running import Running

from kmetad.api import Credentials, NoServer, Server
from tests.apiserver import ApiServer, behaviour
from tests.proxied import (
    CHUNKED,
    EVENT,
    FOLLOW,
    PODS,
    TRUSTING,
    WATCH,
    WEB,
    Aside,
    Gone,
    Hold,
    Inside,
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
from tests.proxying import DEADLINE, Lab, Log, Proxied

EXEC = f"{WEB}/exec?command=sh"
SPDY = ("Connection: Upgrade", "Upgrade: SPDY/3.1")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
ENTERED = ("create,get:pods/exec", "*:*")
HOUR = 3600.0


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


def descriptors() -> dict[int, str]:
    """Of this process, and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            pass  # that of this very look
    return found


class Left:
    """What a proxy leaves behind: looked at before it, and after."""

    def __init__(self) -> None:
        self._descriptors = descriptors()
        self._threads = {*threading.enumerate()}

    def nothing(self, *own: Wire | Upstream) -> None:
        """But for what is the test's own."""
        mine = {
            wire.sock.fileno()
            for each in own
            for wire in (each._wires if isinstance(each, Upstream) else [each])
        }
        left = {
            number: what for number, what in descriptors().items() if self._descriptors.get(number) != what
        }
        assert {number: what for number, what in left.items() if number not in mine} == {}
        for thread in {*threading.enumerate()} - self._threads:
            if thread.name.startswith(("asyncio", "ambassador-aside")):
                thread.join(DEADLINE)  # it has been told to end, or what it waits for has come
                assert not thread.is_alive()
            else:
                assert thread.name in ("upstream", "aside") or thread.name.startswith("apiserver"), thread


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """asyncio has nothing to complain about: no task that is destroyed, no exception that nobody has seen."""
    with caplog.at_level(logging.WARNING):
        yield
        gc.collect()
    assert [record.getMessage() for record in caplog.records] == []


pytestmark = pytest.mark.usefixtures("quiet")


# -- what is under way -----------------------------------------------------------------


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


# -- watches ---------------------------------------------------------------------------


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


# -- again and again -------------------------------------------------------------------


def test_a_second_stop_cuts(plain: Upstream) -> None:
    """As after a second signal: nobody waits any more."""
    proxy = Proxied(plain.server)
    inside = Inside(proxy)
    with client(proxy) as sock:
        sock.ask()
        server = plain.accept()
        server.message()
        first = asyncio.run_coroutine_threadsafe(inside.proxy.stop(HOUR), inside.loop)
        eventually(lambda: inside.closing)
        first.cancel()
        proxy.stop(0)
        assert sock.ended()
        assert server.ended()


def test_two_stops_at_once(plain: Upstream) -> None:
    """Both come to their end; the shorter one decides."""
    proxy = Proxied(plain.server)
    inside = Inside(proxy)
    with client(proxy) as sock:
        sock.ask()
        server = plain.accept()
        server.message()
        first = asyncio.run_coroutine_threadsafe(inside.proxy.stop(HOUR), inside.loop)
        eventually(lambda: inside.closing)
        asyncio.run_coroutine_threadsafe(inside.proxy.stop(0), inside.loop).result(DEADLINE)
        first.result(DEADLINE)
        assert sock.ended()
    proxy.stop(0)


def test_stopping_what_has_stopped(plain: Upstream) -> None:
    """Does nothing."""
    proxy = Proxied(plain.server)
    proxy.stop()
    proxy.running.stop(0)


def test_fifty_times(plain: Upstream) -> None:
    """There is as little left as after once."""
    plain.serve(echo)
    left = Left()
    for _ in range(50):
        proxy = Proxied(plain.server)
        with client(proxy) as sock:
            assert sock.get().status == 200
            proxy.stop(HOUR)
    left.nothing(plain)


# -- nothing is left -------------------------------------------------------------------


def test_nothing_is_left_of_anything(upstream: Upstream) -> None:
    """Whatever was going on when it was cut: no descriptor, no thread, no task."""
    left = Left()
    proxy = Proxied(upstream.server, allow=ENTERED, max_body="1Ti")
    inside = Inside(proxy)
    socks: list[Wire] = []

    def connect(data: bytes = b"") -> Wire:
        socks.append(client(proxy, receive=32_768))
        socks[-1].send(data)
        return socks[-1]

    used = connect(asking())
    server = upstream.accept()
    server.message()
    server.send(answering())
    used.message()
    connect()
    connect(asking()[:30])
    connect(asking("POST", PODS, "Content-Length: 10") + b"half")
    streaming = connect(asking("POST", PODS, f"Content-Length: {1 << 40}"))
    server.head()
    streaming.fill(b"x" * 100_000, lambda: inside.sending >= HIGH)
    connect(asking("GET", WATCH))
    upstream.accept().head()
    slow = connect(asking("GET", FOLLOW))
    server = upstream.accept()
    server.head()
    server.send(answering(200, b"", CHUNKED))
    slow.head()
    server.fill(chunked(b"x" * 100_000), lambda: inside.waiting >= HIGH)
    tunnels = [connect(asking("POST", EXEC, *SPDY)) for _ in range(1)]
    server = upstream.accept()
    server.head()
    server.send(SWITCHED)
    tunnels[0].head()
    before = inside.sending
    tunnels[0].fill(b"t" * 100_000, lambda: inside.sending >= before + HIGH)
    connect(asking("POST", EXEC, *SPDY) + b"behind")
    upstream.accept().head()
    eventually(lambda: inside.clients == 9)
    loop = inside.loop

    proxy.stop(0)
    left.nothing(upstream, *socks)
    assert asyncio.all_tasks(loop) == set()
    for sock in socks:
        sock.close()


@pytest.mark.parametrize("goes", [False, True], ids=["the client stays", "the client goes"])
def test_nothing_is_left_of_a_tunnel_whose_server_takes_nothing(upstream: Upstream, goes: bool) -> None:
    """When it is cut."""
    left = Left()
    proxy = Proxied(upstream.server, allow=ENTERED)
    inside = Inside(proxy)
    with client(proxy) as sock:
        sock.ask("POST", EXEC, *SPDY)
        server = upstream.accept()
        server.head()
        server.send(SWITCHED)
        sock.head()
        sock.fill(b"t" * 100_000, lambda: inside.sending >= HIGH)
        if goes:
            sock.reset()
        proxy.stop(0)
        left.nothing(upstream, sock)


def test_a_tunnel_whose_client_has_gone_ends_in_time(plain: Upstream) -> None:
    """Also where its server takes nothing: else what was begun there would go on for ever."""
    proxy = Proxied(plain.server, allow=ENTERED)
    inside = Inside(proxy)
    with client(proxy) as sock:  # it has made what it makes once
        assert sock.get("/healthz").status == 200
    eventually(lambda: inside.clients == 0)
    left = Left()
    with client(proxy) as sock:
        sock.ask("POST", EXEC, *SPDY)
        server = plain.accept()
        server.head()
        server.send(SWITCHED)
        sock.head()
        sock.fill(b"t" * 100_000, lambda: inside.sending >= HIGH)
        sock.reset()

        def gone() -> bool:
            server.send(b"so that it is noticed")
            return inside.clients == 0

        eventually(gone)
    for _ in range(3):
        inside.pass_time(HOUR)
    assert inside.clients == 0
    left.nothing(plain)
    proxy.stop()


def test_nothing_is_left_of_a_client_that_went_while_the_server_was_connected_to() -> None:
    """Its task is ended with the others."""
    with Upstream(tls=True) as upstream:
        left = Left()
        proxy = Proxied(upstream.server)
        inside = Inside(proxy)
        with client(proxy) as sock:
            sock.ask()
            upstream.begin()
        eventually(lambda: inside.clients == 0)
        loop = inside.loop
        proxy.stop(0)
        assert asyncio.all_tasks(loop) == set()
        left.nothing(upstream)


def test_nothing_is_left_of_a_connection_that_is_made() -> None:
    """While its handshake is under way."""
    with Upstream(tls=True) as upstream:
        left = Left()
        proxy = Proxied(upstream.server)
        loop = Inside(proxy).loop
        with client(proxy) as sock:
            sock.ask()
            server = upstream.begin()
            proxy.stop(0)
            assert sock.ended()
            with pytest.raises(Gone):
                server.exactly(1 << 20)
            left.nothing(upstream, sock)
        assert asyncio.all_tasks(loop) == set()


class Slow(Credentials):
    """Whose headers come when they are let."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.hold = Hold()
        self.given = threading.Event()

    def trust(self) -> Any:
        return TRUSTING.trust()

    def headers(self) -> Mapping[str, str]:
        self.asked.set()
        self.hold.wait()
        self.given.set()
        return {"Authorization": "Bearer x"}


@pytest.mark.parametrize("goes", [False, True], ids=["the client stays", "the client goes"])
def test_nothing_is_left_of_a_look_for_credentials(goes: bool) -> None:
    """As a kubeconfig's command that doesn't come back: nobody waits for it, and when it comes, nobody minds."""
    with Upstream(tls=True) as upstream:
        slow = Slow()
        left = Left()
        proxy = Proxied(Server(upstream.server.url, slow))
        inside = Inside(proxy)
        loop = inside.loop
        with client(proxy) as sock:
            sock.ask()
            assert slow.asked.wait(DEADLINE)
            if goes:
                sock.close()
                eventually(lambda: inside.clients == 0)
            proxy.stop(0)
            assert asyncio.all_tasks(loop) == set()
            slow.hold.free()
            assert slow.given.wait(DEADLINE)
            left.nothing(upstream, *([] if goes else [sock]))


def test_a_server_that_cannot_be_asked_leaves_nothing_behind() -> None:
    """As one behind a proxy that isn't supported."""
    left = Left()
    for server in (
        Server("https://127.0.0.1:1", proxy="https://127.0.0.1:2"),
        Server("http://127.0.0.1:1", proxy="http://127.0.0.1:2"),
    ):
        with pytest.raises(NoServer):
            Running(server, Options(port=0), Log())
    left.nothing()


def test_a_port_that_is_taken_leaves_nothing_behind(plain: Upstream, tmp_path: Path) -> None:
    """Nor does a socket's path, and who has it isn't disturbed."""
    left = Left()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        running = Running(plain.server, Options(port=taken.getsockname()[1]), Log())
        with pytest.raises(OSError, match="Address already in use"):
            running.start()
    running = Running(plain.server, Options(unix_socket=str(tmp_path / "no" / "such")), Log())
    with pytest.raises(FileNotFoundError):
        running.start()
    running = Running(plain.server, Options(address="192.0.2.1", port=0), Log())
    with pytest.raises(OSError, match="Cannot assign requested address"):
        running.start()
    left.nothing(plain)


def test_a_client_that_went_long_ago_leaves_nothing_behind(upstream: Upstream) -> None:
    """Neither does a request that was refused, nor a server that hung up: while the proxy goes on."""
    proxy = Proxied(upstream.server, allow_write=True)
    inside = Inside(proxy)
    with client(proxy) as sock:  # it has made what it makes once
        sock.ask()
        server = upstream.accept()
        server.message()
        server.send(answering(200, b"", "Connection: close"))
        sock.message()
        server.close()
    eventually(lambda: inside.clients == inside.servers == 0)
    left = Left()
    for _ in range(10):
        with client(proxy) as sock:
            assert sock.get("/a//b").status == 400
            sock.ask()
            server = upstream.accept()
            server.message()
            server.close()
            assert sock.message().status == 502
            sock.send(asking("POST", PODS, CHUNKED) + chunked(b"a"))
            server = upstream.accept()
            server.head()
    eventually(lambda: inside.clients == inside.servers == inside.active == 0)
    left.nothing(upstream)
    proxy.stop()


def test_hanging_requests_of_the_api_server(tmp_path: Path) -> None:
    """Whatever it does, the proxy stops in time."""
    with ApiServer() as server:
        lab = Lab(server, tmp_path)
        acts = {
            "a": behaviour.hang,
            "b": behaviour.hang_after_headers,
            "c": behaviour.hang_in_body,
            "d": behaviour.trickle_body(),
            "e": behaviour.trickle_headers(),
            "f": behaviour.large(),
        }
        proxy = Proxied(lab.server)
        socks = []
        for name, act in acts.items():
            server.script(f"GET {PODS}/{name}", act)
            socks.append(client(proxy))
            socks[-1].ask("GET", f"{PODS}/{name}")
            server.wait_for(f"GET {PODS}/{name}")
        proxy.stop(0.01)
        for sock in socks:
            with pytest.raises(Gone):
                sock.message()
            sock.close()
