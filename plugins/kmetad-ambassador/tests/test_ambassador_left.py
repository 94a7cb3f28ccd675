"""Nothing is left of a proxy that has ended."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kmetad_ambassador import Options
from kmetad_ambassador.line import HIGH
from kmetad_ambassador.running import Running

from kmetad.api import Credentials, NoServer, Server
from tests.apiserver import ApiServer, behaviour
from tests.cli import eventually
from tests.proxied import (
    CHUNKED,
    ENTERED,
    EXEC,
    FOLLOW,
    PODS,
    SPDY,
    SWITCHED,
    TRUSTING,
    WATCH,
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
)
from tests.proxying import DEADLINE, Lab, Log, Proxied

HOUR = 3600.0


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


# -- again and again -----------------------------------------------------------------


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


# -- nothing is left -----------------------------------------------------------------


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
