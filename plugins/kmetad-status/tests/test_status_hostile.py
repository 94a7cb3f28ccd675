"""Clients that mean no good, or don't know how: each gets an answer and does no harm."""

from __future__ import annotations

import random
import re
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pytest
from kmetad_status import connection, server

from kmetad.testing import Host
from tests.asking import Listener, connect, everything, get, say
from tests.cli import eventually

Serve = Callable[..., tuple[Host, str]]
HOST = b"Host: localhost\r\n"

REQUESTS: dict[str, tuple[bytes, bytes]] = {
    # what is no HTTP
    "nonsense": (b"hello\r\n\r\n", b"400"),
    "nul": (b"\0\0\0\0\r\n\r\n", b"400"),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 60 + b"\r\n\r\n", b"400"),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"505"),
    "http/0.9": (b"GET /livez\r\n\r\n", b"400"),
    "a line that has no colon": (b"GET / HTTP/1.1\r\n" + HOST + b"oops\r\n\r\n", b"400"),
    "a blank before the colon": (b"GET / HTTP/1.1\r\n" + HOST + b"a : b\r\n\r\n", b"400"),
    "a nul in a header": (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\0c\r\n\r\n", b"400"),
    "a control character in the target": (b"GET /\x01 HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "bytes in the target": (b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    # whose Host isn't ours
    "no host": (b"GET /livez HTTP/1.1\r\n\r\n", b"400"),
    "two hosts": (b"GET /livez HTTP/1.1\r\n" + HOST + HOST + b"\r\n", b"400"),
    "a foreign host": (b"GET /livez HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"421"),
    "a host that looks like ours": (b"GET /livez HTTP/1.1\r\nHost: localhost.evil.example\r\n\r\n", b"421"),
    "a host that ends like ours": (b"GET /livez HTTP/1.1\r\nHost: evil-localhost\r\n\r\n", b"421"),
    "an address with a tail": (b"GET /livez HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n\r\n", b"421"),
    "a user in front of the host": (b"GET /livez HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n", b"421"),
    "two hosts in one": (b"GET /livez HTTP/1.1\r\nHost: localhost, evil.example\r\n\r\n", b"421"),
    "an empty host": (b"GET /livez HTTP/1.1\r\nHost: \r\n\r\n", b"421"),
    "a foreign host of an old client": (b"GET /livez HTTP/1.0\r\nHost: evil.example\r\n\r\n", b"421"),
    "a whole url": (b"GET http://localhost:80/livez?a HTTP/1.1\r\nHost: evil.example\r\n\r\n", b"200"),
    "a whole url without a path": (b"GET HTTP://[::1] HTTP/1.1\r\n" + HOST + b"\r\n", b"200"),
    "a foreign url": (b"GET http://evil.example/livez HTTP/1.1\r\n" + HOST + b"\r\n", b"421"),
    "a user in a url": (b"GET http://localhost@evil.example/ HTTP/1.1\r\n" + HOST + b"\r\n", b"421"),
    "another scheme": (b"GET https://localhost/livez HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    # paths that lead elsewhere
    "up": (b"GET /../options.py HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
    "up from within": (b"GET /page/../../options.py HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
    "up, encoded": (b"GET /%2e%2e/options.py HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
    "absolute": (b"GET //etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
    "a file that isn't the page's": (b"GET /__init__.py HTTP/1.1\r\n" + HOST + b"\r\n", b"404"),
    "a star": (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    # methods
    "post": (b"POST /livez HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n", b"405"),
    "options": (b"OPTIONS /api/status HTTP/1.1\r\n" + HOST + b"\r\n", b"405"),
    "trace": (b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", b"405"),
    "connect": (b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "lower case": (b"get /livez HTTP/1.1\r\n" + HOST + b"\r\n", b"405"),
    # bodies
    "a body": (b"GET /livez HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello", b"413"),
    "a body in chunks": (
        b"GET /livez HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"413",
    ),
    "a body that never comes": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9999999999\r\n\r\n",
        b"413",
    ),
    "a body after asking": (
        b"PUT / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        b"413",
    ),
    "two lengths": (
        b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"400",
    ),
    "a length below nothing": (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", b"400"),
    "another coding": (b"GET / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", b"413|501"),
    # sizes
    "a long target": (b"GET /" + b"x" * 30_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", b"431"),
    "a long header": (b"GET / HTTP/1.1\r\n" + HOST + b"a: " + b"x" * 300_000 + b"\r\n\r\n", b"431"),
    "many headers": (b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 20_000 + b"\r\n", b"431"),
    "many fields": (
        b"GET /api/events?" + b"&".join([b"a=b"] * 50) + b" HTTP/1.1\r\n" + HOST + b"\r\n",
        b"400",
    ),
    # questions that make no sense
    "of nothing": (b"GET /api/events?of= HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    "of what isn't": (b"GET /api/events?of=change,secret HTTP/1.1\r\n" + HOST + b"\r\n", b"400"),
    # a switch to another protocol is answered as if it weren't asked for
    "an upgrade": (
        b"GET /livez HTTP/1.1\r\n"
        + HOST
        + b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
        b"200",
    ),
}


@pytest.mark.parametrize(("request_", "status"), REQUESTS.values(), ids=REQUESTS.keys())
def test_a_request(host: tuple[Host, str], request_: bytes, status: bytes) -> None:
    """It gets this answer, once, with the headers of all; and the next client gets his."""
    got = say(host[1], request_)
    (found,) = re.findall(rb"^HTTP/1\.1 (\d+) ", got, re.MULTILINE)
    assert re.fullmatch(status, found), got
    assert b"\r\nX-Content-Type-Options: nosniff\r\n" in got
    assert b"import" not in got and b"root:" not in got
    if found == b"405":
        assert b"\r\nAllow: GET, HEAD\r\n" in got
    assert get(host[1], "/livez").status == 200


def test_mutations(host: tuple[Host, str]) -> None:
    """Of all these, a thousand, the same each time: none is answered by a fault, and none leaves anything behind."""
    plugin, where = host
    running: Any = plugin.plugin._running
    faults: list[object] = []
    running._thread.loop.set_exception_handler(lambda loop, context: faults.append(context))
    chance = random.Random(1)
    seeds = [request for request, _ in REQUESTS.values() if len(request) < 2000]
    for _ in range(1000):
        data = bytearray(chance.choice(seeds) + chance.choice((b"", *seeds)))
        for _ in range(chance.randrange(4)):
            at, length = chance.randrange(len(data) + 1), chance.randrange(5)
            data[at : at + length] = chance.choice(
                (b"", b"\r\n", b":", b" ", b"\0", b"\xff", b"%2e", b"0\r\n\r\n", b"GET")
            )
        assert b"HTTP/1.1 500" not in say(where, bytes(data)), bytes(data)
    assert not faults
    eventually(lambda: not running._server._connections, "the end of all connections")


def test_what_to_do_about_a_foreign_host(serve: Serve) -> None:
    """The answer says what to put where; then that name may be used, in any case, with any port."""
    got = get(serve()[1], "/livez", Host="Web.lab.svc:9478")
    assert got.status == 421
    assert 'add it in the TOML: hosts = ["web.lab.svc"]' in got.text
    _, where = serve(hosts=["Web.lab.svc"])
    for name in (
        "web.lab.svc",
        "WEB.lab.svc:9478",
        "web.lab.svc.:80",
        "localhost",
        "10.1.2.3:9478",
        "[fd00::1]",
    ):
        assert get(where, "/livez", Host=name).status == 200
    assert get(where, "/livez", Host="other.lab.svc").status == 421


def test_nothing_of_a_host_comes_back_as_markup(host: tuple[Host, str]) -> None:
    """What is repeated of a request is text, and quoted."""
    got = get(host[1], "/", Host='"><script>alert(1)</script>')
    assert got.status == 421
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert r'hosts = ["\"><script>' in got.text


def test_a_head_that_nearly_fits(host: tuple[Host, str]) -> None:
    """16 KiB are let pass."""
    assert get(host[1], "/livez", a="x" * 15_000).status == 200


def test_thousands_at_once(host: tuple[Host, str]) -> None:
    """Requests that nobody waited with are no depth, and no heap, but a queue in the kernel."""
    many = 5000
    with connect(host[1]) as sock:
        sender = threading.Thread(
            target=sock.sendall, args=[b"GET /livez HTTP/1.1\r\nHost: [::]\r\n\r\n" * many]
        )
        sender.start()
        got, rest = 0, b""
        while got < many:
            piece = sock.recv(1 << 20)
            assert piece
            rest += piece
            got += rest.count(b"HTTP/1.1 200 OK")
            rest = rest[-14:] if not rest.endswith(b"HTTP/1.1 200 OK") else b""
        sender.join()


def test_whoever_sends_many_at_once_waits_between_them(host: tuple[Host, str]) -> None:
    """Each of them is a turn: what others want, a probe say, comes in between, and not behind them all."""
    plugin, where = host
    running: Any = plugin.plugin._running
    order: list[str] = []
    answer = running._server._site.answer

    def answered(*asked: Any) -> Any:
        order.append("one of many")
        running._thread.loop.call_soon(order.append, "another's")
        return answer(*asked)

    running._server._site.answer = answered
    say(where, b"GET /livez HTTP/1.1\r\nHost: [::]\r\n\r\n" * 20)
    assert order == ["one of many", "another's"] * 20


def test_a_body_that_is_still_being_sent(host: tuple[Host, str]) -> None:
    """The refusal isn't overtaken by a reset: whoever sends for a while more can read it."""
    with connect(host[1]) as sock:
        sock.sendall(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 100_000)
        for _ in range(5):
            sock.sendall(b"x" * 10_000)
        assert everything(sock).startswith(b"HTTP/1.1 413 ")


def test_the_last_answer_is_whole(host: tuple[Host, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that takes its time over it, and then the connection's end, gets all of it."""
    monkeypatch.setattr(connection, "LINGER", 0.001)
    monkeypatch.setattr(server, "_SENDING", 4 << 10)  # what the kernel doesn't hold, the server has to
    plugin, where = host
    for number in range(15):
        plugin.set(annotations={"note": f"{number}" + "x" * 50_000})
    with connect(where) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        sock.sendall(b"GET /api/timeline HTTP/1.0\r\n\r\n")
        got = sock.recv(16 << 10)
        (slow,) = plugin.plugin._running._server._connections
        while not slow._leaving:
            got += sock.recv(16 << 10)
        assert slow.transport.get_write_buffer_size()  # all has been said, and its end still waits here
        for _ in range(3):  # meanwhile others are answered, and LINGER is over
            assert get(where, "/livez").status == 200
        while piece := sock.recv(16 << 10):
            got += piece
    assert got.endswith(b'"truncated":false}')


def test_half_a_request(host: tuple[Host, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever doesn't come to an end of it is told so after a while; whoever says nothing isn't even that."""
    monkeypatch.setattr(connection, "PATIENCE", 0.2)
    with connect(host[1]) as slow, connect(host[1]) as silent:
        slow.sendall(b"GET /livez HTTP/1.1\r\nHo")
        assert everything(slow).startswith(b"HTTP/1.1 408 ")
        assert everything(silent) == b""


def test_drop_by_drop(host: tuple[Host, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that keep coming don't put the end off."""
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    with connect(host[1]) as slow:
        slow.settimeout(0.05)
        slow.sendall(b"GET /livez HTTP/1.1\r\n")
        got = b""

        def dripped() -> bool:
            nonlocal got
            try:
                slow.sendall(b"a")
                got += slow.recv(1000)
            except TimeoutError:
                return False
            except OSError:
                return True
            return b"408" in got

        eventually(dripped)


def test_an_answer_that_nobody_takes(host: tuple[Host, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that doesn't read is cut off, and what it was to be sent is held no longer."""
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    plugin, where = host
    for number in range(20):
        plugin.set(annotations={"big": f"{number}" + "x" * 90_000})
    with connect(where) as sock:
        sock.sendall(b"GET /api/timeline HTTP/1.1\r\n" + HOST + b"\r\n")
        assert get(where, "/livez").status == 200
        eventually(lambda: not plugin.plugin._running._server._connections)
        assert len(everything(sock)) < 1 << 20


def test_what_slow_clients_hold(host: tuple[Host, str]) -> None:
    """The largest annotations (a byte may be six in JSON) are there once, and not once for each who doesn't read."""
    plugin, where = host
    plugin.set(annotations={f"a{number}": "\1" * 32_000 for number in range(8)})
    running: Any = plugin.plugin._running
    clients = [connect(where) for _ in range(6)]
    for number, sock in enumerate(clients):
        path = b"/api/events?of=metadata" if number % 2 else b"/api/metadata"
        sock.sendall(b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    slow = running._server._connections
    eventually(lambda: len(slow) == len(clients) and all(one._paused for one in tuple(slow)))
    assert max(one.transport.get_write_buffer_size() for one in tuple(slow)) < 200_000
    assert len({id(running._server._site.answer("GET", "/api/metadata", {}).body[0]) for _ in clients}) == 1
    for sock in clients:
        sock.close()
    with Listener(where, "metadata") as listener:
        assert len(listener.next().data["metadata"]["annotations"]["a7"]) == 32_000


def test_more_than_there_is_place_for(host: tuple[Host, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has been silent the longest has to go; who listens to events may stay, and probes find a place."""
    monkeypatch.setattr(server, "MOST", 8)
    monkeypatch.setattr(server, "MOST_STREAMS", 4)
    plugin, where = host
    listeners = [Listener(where) for _ in range(4)]
    refused = get(where, "/api/events")
    assert (refused.status, refused.headers["retry-after"]) == (503, "30")
    silent = [connect(where) for _ in range(20)]
    assert get(where, "/livez").status == 200
    assert everything(silent[0]) == b""
    plugin.set(labels={"app": "api"})
    for one in listeners:
        assert one.next().data["new"] == "api"
        one.close()
    for sock in silent:
        sock.close()


def test_a_client_that_breaks(host: tuple[Host, str], capfd: pytest.CaptureFixture[str]) -> None:
    """Resets, in the middle of anything, are no event at all."""
    for data in (
        b"",
        b"GET /li",
        b"GET /api/timeline HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /api/events HTTP/1.1\r\n" + HOST + b"\r\n",
    ):
        sock = connect(host[1])
        sock.sendall(data)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    assert get(host[1], "/livez").status == 200
    eventually(lambda: not host[0].plugin._running._server._connections)
    assert "fault" not in capfd.readouterr().err
