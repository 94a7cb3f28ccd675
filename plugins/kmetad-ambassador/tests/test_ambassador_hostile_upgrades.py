"""Hostile requests: switches to other protocols, in which the proxy wouldn't see any more what is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.ambassador import (
    PODS,
    WEB,
    Caller,
    Came,
    Link,
    Row,
    Seen,
    Upstream,
    ask,
    broken,
    check,
    passed,
    seen,
    sent,
    written,
)
from tests.proxying import Proxied

EXEC = f"{WEB}/exec"
MAY_EXEC = ("get,list,watch:pods,pods/log:lab", "create:configmaps:lab", "get,create:pods/exec:lab")
MAPS = "/api/v1/namespaces/lab/configmaps"
WEBS = sent("GET", WEB)
GET, DELETE = ask(), ask("DELETE")
TO_SPDY = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
TO_WEBSOCKET = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
IN_WEBSOCKET = sent("GET", EXEC, framing=TO_WEBSOCKET)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """One for all."""
    with Upstream() as running:
        yield running


def switching(*lines: bytes) -> Callable[[Link], None]:
    """Switches, and gives back whatever comes then."""

    def act(link: Link) -> None:
        link.request()
        head = [b"HTTP/1.1 101 Switching Protocols", *lines, b"", b""]
        link.send(b"\r\n".join(head) + link.rest)
        while link.read():
            link.send(link.got[-1:])

    return act


def saying(status: bytes, *lines: bytes) -> Callable[[Link], None]:
    """Answers so, and gives back whatever comes then."""

    def act(link: Link) -> None:
        while link.request() is not None:
            link.send(b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"Content-Length: 0", b"", b""]))

    return act


SWITCHES = switching(b"Connection: Upgrade", b"Upgrade: websocket")


def up(
    *lines: str,
    method: str = "GET",
    target: str = EXEC,
    body: bytes = b"",
    to: str = "websocket",
    **more: Any,
) -> bytes:
    """A request to switch the protocol."""
    return ask(method, target, "Connection: Upgrade", f"Upgrade: {to}", *lines, body=body, **more)


def never(name: str, data: bytes, status: int = 403, **more: Any) -> Row:
    """It isn't passed on, nor is anything behind it."""
    return broken(name, data, status, **more)


def ignored(name: str, data: bytes | tuple[Any, ...], *expected: bytes, **more: Any) -> Row:
    """It is passed on as if it hadn't asked for it."""
    return passed(name, data, *expected, **more)


def switched(name: str, data: bytes, expected: bytes, **more: Any) -> Row:
    """It is switched."""
    more = {"statuses": (101,), "leaves": True, "whole": False, "act": SWITCHES, **more}
    return passed(name, (data, Came(b"\r\n\r\n" + more.get("rest", b""))), expected, **more)


def kept(
    name: str, data: bytes, expected: bytes, act: Callable[[Link], object], status: int, **more: Any
) -> Row:
    """It is passed on, and the server doesn't switch."""
    return passed(name, data, expected, act=act, statuses=(status,), closes=True, whole=False, **more)


UPGRADES = [
    never("exec", up(), allow=("get:pods",)),
    never("exec by SPDY", up(method="POST", to="SPDY/3.1"), allow=("get:pods", "create:pods")),
    never("attach", up(target=f"{WEB}/attach")),
    never("portforward", up(target=f"{WEB}/portforward?ports=80")),
    never("proxy", up(target=f"{WEB}/proxy/ws")),
    never("exec of another verb", up(method="POST"), allow=("get:pods/exec",)),
    never("a Pod", up(target=WEB)),
    never("a ConfigMap that is made", up(method="POST", target=MAPS)),
    never("discovery", up(target="/version")),
    never("a request behind what is refused", up(target=f"{WEB}/attach", body=GET)),
    never("WebSocket's bytes behind what is refused",
        up(target=f"{WEB}/attach", body=b"\x81\x85\0\0\0\0hello")),
    never("a request behind a target that is refused", up(target="/..", body=GET), 400),
    never("a length", up("Content-Length: 5", body=b"hello"), 400),
    never("a length, and a request", up(f"Content-Length: {len(GET)}", body=GET), 400),
    never("chunks", up("Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"), 400),
    never("a wrong length", up("Content-Length: x"), 400),
    never("two lengths", up("Content-Length: 0", "Content-Length: 0"), 400),
    never("an expectation", up("Expect: x"), 417),
    never("CONNECT", up(method="CONNECT", target="localhost:80"), 400),
    ignored("no Connection", ask("GET", WEB, "Upgrade: websocket") + GET, WEBS, WEBS),
    ignored("no Connection for it", ask("GET", WEB, "Upgrade: websocket", "Connection: keep-alive") + GET,
        WEBS, WEBS),
    ignored("no Upgrade", ask("GET", WEB, "Connection: upgrade") + GET, WEBS, WEBS),
    ignored("an empty Upgrade", up(target=WEB, to="") + GET, WEBS, WEBS),
    ignored("exec without Connection", ask("GET", EXEC, "Upgrade: websocket") + GET, sent("GET", EXEC), WEBS),
    ignored("h2c", up("HTTP2-Settings: AAMAAABkAAQAAP__", target=WEB, to="h2c") + GET,
        sent("GET", WEB, "http2-settings: AAMAAABkAAQAAP__"), WEBS),
    ignored("h2c as RFC 7540 has it", ask("GET", WEB, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
        "HTTP2-Settings: AAMAAABkAAQAAP__") + GET, WEBS, WEBS),
    ignored("h2c with a body",
        up("Content-Length: 5", method="POST", target=MAPS, to="h2c", body=b"hello") + GET,
        sent("POST", MAPS, body=b"hello"), WEBS),
    ignored("h2c with chunks", up("Transfer-Encoding: chunked", method="POST", target=MAPS, to="h2c",
        body=b"5\r\nhello\r\n0\r\nX: y\r\n\r\n") + GET, sent("POST", MAPS, body=b"hello"), WEBS),
    ignored("h2c with a body bit by bit",
        (up("Content-Length: 5", method="POST", target=MAPS, to="h2c", body=b"he"),
        Seen(), b"llo", Came(b" 5\n"), GET), sent("POST", MAPS, body=b"hello"), WEBS),
    ignored("h2c, and what is refused behind it", up(target=WEB, to="h2c") + DELETE + GET, WEBS, WEBS,
        statuses=(200, 403, 200)),
    ignored("h2c, and HTTP/2 behind it", up(target=WEB, to="h2c") + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", WEBS,
        statuses=(200, 400), closes=True),
    ignored("h2c, a byte each", tuple(bytes([byte]) for byte in up(target=WEB, to="h2c")), WEBS),
    ignored("h2c for what is refused", up(target=WEB, method="DELETE", to="h2c") + GET, WEBS,
        statuses=(403, 200)),
    ignored("h2c with odd values", up("X: \xff: y", "Y:", target=WEB, to="h2c") + GET,
        sent("GET", WEB, "x: \xff: y", "y: "), WEBS),
    ignored("h2c at the last", up("Connection: close", target=WEB, to="h2c") + GET, WEBS, closes=True),
    ignored("h2c for what is refused, a thousand times at once",
        up(target="/", method="DELETE", to="h2c") * 1000 + GET,
        WEBS, statuses=(*[403] * 1000, 200)),
    ignored("TLS", up(target=WEB, to="TLS/1.0") + b"", WEBS),
    ignored("WebSocket among others", up(target=EXEC, to="websocket, h2c") + GET, sent("GET", EXEC), WEBS),
    ignored("WebSocket twice", up("Upgrade: websocket", target=EXEC) + GET, sent("GET", EXEC), WEBS),
    ignored("WebSocket with a version", up(target=EXEC, to="websocket/13") + GET, sent("GET", EXEC), WEBS),
    ignored("another SPDY", up(target=EXEC, to="SPDY/2") + GET, sent("GET", EXEC), WEBS),
    ignored("HTTP/1.0", up(version="HTTP/1.0"), sent("GET", EXEC), closes=True),
    ignored("HTTP/1.0 with a request behind it", up(version="HTTP/1.0", body=GET), sent("GET", EXEC),
        closes=True),
    switched("WebSocket", up(), IN_WEBSOCKET),
    switched("WebSocket in capitals", up(to="WEBSOCKET"), IN_WEBSOCKET),
    switched("WebSocket among other options",
        ask("GET", EXEC, "Connection: keep-alive, UPGRADE", "Upgrade: websocket"),
        IN_WEBSOCKET),
    switched("SPDY", up(method="POST", to="spdy/3.1"),
        sent("POST", EXEC, framing="Content-Length: 0\r\n" + TO_SPDY),
        act=switching(b"Connection: Upgrade", b"Upgrade: SPDY/3.1")),
    switched("a length of nothing", up("Content-Length: 0"), IN_WEBSOCKET),
    switched("its own headers", up("Sec-WebSocket-Key: a", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.dGhlaXJz, v5.channel.k8s.io"),
        sent("GET", EXEC, "sec-websocket-key: a", "sec-websocket-version: 13",
        "sec-websocket-protocol: v5.channel.k8s.io",
        framing=TO_WEBSOCKET)),
    switched("a header that is declared away", up("Connection: sec-websocket-key", "Sec-WebSocket-Key: a"),
        IN_WEBSOCKET),
    switched("who asks", up("Authorization: Bearer theirs", "Impersonate-User: admin"), IN_WEBSOCKET),
    switched("bytes behind the request", up(body=b"x"), IN_WEBSOCKET + b"x", rest=b"x"),
    switched("a list", up(target=PODS), sent("GET", PODS, framing=TO_WEBSOCKET)),
    switched("a watch", up(target=f"{PODS}?watch=1"), sent("GET", f"{PODS}?watch=1", framing=TO_WEBSOCKET)),
    switched("a log", up(target=f"{WEB}/log"), sent("GET", f"{WEB}/log", framing=TO_WEBSOCKET)),
    kept("not switched", up(body=DELETE), IN_WEBSOCKET, saying(b"200 OK"), 200),
    kept("not found", up(body=DELETE), IN_WEBSOCKET, saying(b"404 Not Found"), 404),
    kept("an Upgrade, but no 101", up(body=b"x"), IN_WEBSOCKET, saying(b"200 OK", b"Connection: upgrade",
        b"Upgrade: websocket"), 200),
    kept("426", up(body=b"x"), IN_WEBSOCKET, saying(b"426 Upgrade Required", b"Upgrade: websocket"), 426),
    kept("switched to another", up(body=DELETE), IN_WEBSOCKET,
        switching(b"Connection: Upgrade", b"Upgrade: SPDY/3.1"), 502),
    kept("switched to h2c", up(body=DELETE), IN_WEBSOCKET, switching(b"Connection: Upgrade", b"Upgrade: h2c"),
        502),
    kept("switched to nothing", up(body=DELETE), IN_WEBSOCKET, switching(b"Connection: Upgrade"), 502),
    kept("switched to two", up(body=DELETE), IN_WEBSOCKET,
        switching(b"Connection: Upgrade", b"Upgrade: websocket, h2c"), 502),
    kept("switched without Connection", up(body=DELETE), IN_WEBSOCKET, switching(b"Upgrade: websocket"), 502),
]  # fmt: skip


@pytest.mark.parametrize("row", UPGRADES, ids=str)
def test_upgrades(upstream: Upstream, row: Row) -> None:
    """Only where it is asked for as it has to be, by whom it is allowed, and the server has agreed."""
    check(upstream, row, allow=MAY_EXEC)


@pytest.mark.parametrize(
    "asked",
    [GET, ask("HEAD"), ask("GET", WEB, "Upgrade: websocket"), up(target=WEB, to="h2c"), ask("POST", MAPS)],
    ids=["GET", "HEAD", "without Connection", "h2c", "POST"],
)
@pytest.mark.parametrize("protocol", ["websocket", "SPDY/3.1", "h2c"])
def test_a_switch_that_nobody_asked_for(upstream: Upstream, asked: bytes, protocol: str) -> None:
    """It is no answer; neither what the server says behind it goes to the client, nor what the client says to it."""
    act = switching(b"Connection: Upgrade", b"Upgrade: " + protocol.encode())
    upstream.act = act
    with Proxied(upstream.server, allow=MAY_EXEC) as proxied, Caller(proxied) as caller:
        caller.send(asked + DELETE)
        caller.until_answers(2, (0,) if asked.startswith(b"HEAD") else ())
    assert [answer.status for answer in caller.answers((0,) if asked.startswith(b"HEAD") else ())] == [
        502,
        403,
    ]
    (reached,) = upstream.taken()
    assert reached.startswith(asked.split(b" HTTP", 1)[0]) and b"DELETE" not in reached


def test_nothing_is_sent_before_it_is_switched(upstream: Upstream) -> None:
    """What came with the request waits for the server's word."""
    before: list[bytes] = []

    def late(link: Link) -> None:
        link.request()
        seen(proxied)
        link.poll()
        before.append(link.got)
        link.send(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")

    upstream.act = late
    with Proxied(upstream.server, allow=MAY_EXEC) as proxied, Caller(proxied) as caller:
        caller.send(up(body=b"early"))
        caller.send(b"later")
        caller.until(lambda got: got.endswith(b"\r\n\r\n"))
        upstream.wait(lambda got: got[0].endswith(b"earlylater"))
    expected = written(upstream, IN_WEBSOCKET)[0]
    assert before == [expected]
    assert upstream.taken() == [expected + b"earlylater"]


def test_what_comes_behind_a_switch_is_no_request(upstream: Upstream) -> None:
    """The proxy reads nothing of it any more, in either direction; both ends are closed with either."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 999 no\r\n\r\n"

    def act(link: Link) -> None:
        link.request()
        link.send(b"HTTP/1.1 101 S\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" + answer)
        link.until(DELETE)
        link.close()

    upstream.act = act
    with Proxied(upstream.server, allow=MAY_EXEC) as proxied, Caller(proxied) as caller:
        caller.send(up())
        caller.until(lambda got: got.endswith(answer))
        caller.send(DELETE)
        caller.until_end()
    assert [found.status for found in caller.answers((), answer)] == [101]
    assert upstream.taken() == written(upstream, IN_WEBSOCKET + DELETE)
