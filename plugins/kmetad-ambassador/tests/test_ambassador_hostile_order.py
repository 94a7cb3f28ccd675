"""Hostile clients: requests without waiting for answers, requests that don't come, clients that leave."""

from __future__ import annotations

import gc
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta

import pytest
from kmetad_ambassador import front

from kmetad.api import Credentials, Server
from tests.ambassador import (
    PODS,
    WEB,
    Caller,
    Came,
    Link,
    Reached,
    Row,
    Seen,
    Trickle,
    Upstream,
    ask,
    broken,
    check,
    passed,
    refused,
    sent,
    written,
)
from tests.proxying import DEADLINE, Proxied

MAPS = "/api/v1/namespaces/lab/configmaps"
MAY_POST = ("get,list:pods:lab", "create:configmaps:lab")
WEBS, POSTED = sent("GET", WEB), sent("POST", MAPS, body=b"hello")
GET, DELETE, POST = ask(), ask("DELETE"), ask("POST", MAPS, "Content-Length: 5", body=b"hello")
CHUNKED = ask("POST", MAPS, "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n")
STREAMED_END = b"Transfer-Encoding: chunked\r\n\r\n"
STREAMED = sent("POST", MAPS, framing=STREAMED_END[:-2].decode())


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """One for all."""
    with Upstream() as running:
        yield running


PIPELINED = [
    passed("two", GET + ask("GET", PODS), WEBS, sent("GET", PODS)),
    passed("a hundred", b"".join(ask("GET", f"{PODS}/n{number}") for number in range(100)),
        *[sent("GET", f"{PODS}/n{number}") for number in range(100)]),
    passed("behind a refused one", DELETE + GET, WEBS, statuses=(403, 200)),
    passed("a refused one between", GET + DELETE + GET, WEBS, WEBS, statuses=(200, 403, 200)),
    passed("behind a refused target", ask("GET", "/..") + GET, WEBS, statuses=(400, 200)),
    passed("behind a refused Host", ask(host="evil.com") + GET, WEBS, statuses=(403, 200)),
    passed("another Host", GET + ask(host="evil.com"), WEBS, statuses=(200, 403)),
    passed("no Host", GET + ask(host=None), WEBS, statuses=(200, 403)),
    passed("behind a body", POST + GET, POSTED, WEBS),
    passed("behind a body in chunks", CHUNKED + GET, POSTED, WEBS),
    passed("behind a refused one with a body", ask("PUT", WEB, "Content-Length: 5", body=b"hello") + GET,
        WEBS,
        statuses=(403, 200)),
    passed("a body behind another", POST + POST, POSTED, POSTED),
    passed("behind HEAD", ask("HEAD") + GET, sent("HEAD", WEB), WEBS, bodiless=(0,)),
    passed("behind a refused HEAD", ask("HEAD", "/..") + GET, WEBS, statuses=(400, 200), bodiless=(0,)),
    passed("behind the last one", ask("GET", WEB, "Connection: close") + GET, WEBS, closes=True),
    passed("no request", GET + b"\x00\r\n\r\n", WEBS, statuses=(200, 400), closes=True),
    passed("a length that is none", GET + ask("POST", MAPS, "Content-Length: x") + GET, WEBS,
        statuses=(200, 400),
        closes=True),
    passed("TLS", GET + b"\x16\x03\x01", WEBS, statuses=(200, 400), closes=True),
    passed("a body that wasn't announced", GET + b"hello" + GET, WEBS, statuses=(200, 400), closes=True),
    passed("half of one", (GET + GET[:20], Came(b"web 0\n"), GET[20:]), WEBS, WEBS),
    passed("half of a head's end", (GET + GET[:-1], Came(b"web 0\n"), GET[-1:] + DELETE), WEBS, WEBS,
        statuses=(200, 200, 403)),
    passed("cut in two anywhere", (GET[:9], Seen(), GET[9:] + POST[:-3], Came(b"web 0\n"), POST[-3:] + GET),
        WEBS, POSTED, WEBS),
    broken("behind no request", b"\x00" + GET),
    broken("behind two lengths", ask("POST", MAPS, "Content-Length: 0", "Content-Length: 0") + GET),
    broken("behind a body that isn't whole", ask("DELETE", WEB, "Content-Length: 9999", body=GET), 403),
    broken("behind CONNECT", ask("CONNECT", "localhost:1") + GET),
    refused("three hundred that are refused", DELETE * 300, *[403] * 300),
]  # fmt: skip


@pytest.mark.parametrize("row", PIPELINED, ids=str)
def test_pipelining(upstream: Upstream, row: Row) -> None:
    """Answers come in the order of the requests, and each request is judged for itself."""
    check(upstream, row, allow=MAY_POST)


SOON, NEVER = timedelta(seconds=0.1), timedelta(hours=1)


def slow(name: str, *pieces: bytes | Trickle, statuses: tuple[int, ...] = (408,)) -> Row:
    """The client begins a request, and doesn't end it."""
    return broken(name, pieces, *statuses, idle_timeout=NEVER)


def silent(
    name: str, *pieces: bytes, statuses: tuple[int, ...] = (), expected: tuple[bytes, ...] = (), **more: bool
) -> Row:
    """The client says nothing where it has no request under way, or no more of one's body."""
    return passed(
        name, pieces, *expected, statuses=statuses, closes=True, at_once=True, idle_timeout=SOON, **more
    )


SLOW = [
    slow("a letter", b"G"),
    slow("a method", b"GET"),
    slow("half a target", GET[:12]),
    slow("half a version", b"GET / HTTP/1"),
    slow("a first line", b"GET / HTTP/1.1\r\n"),
    slow("half a name", b"GET / HTTP/1.1\r\nHos"),
    slow("half a value", b"GET / HTTP/1.1\r\nHost: loc"),
    slow("no empty line", GET[:-2]),
    slow("half an empty line", GET[:-1]),
    slow("a letter behind empty lines", b"\r\n\r\nG"),
    slow("a byte at a time", Trickle(b"x"), statuses=(400,)),
    slow("a target, a byte at a time", b"GET /", Trickle(b"x")),
    slow("headers, a byte at a time", GET[:-2], Trickle(b"X: y\r\n")),
    slow("blanks, a byte at a time", GET[:-2] + b"X:", Trickle(b" ")),
    silent("nothing"),
    silent("empty lines", b"\r\n\r\n"),
    silent("nothing behind a refused one", DELETE, statuses=(403,)),
    silent("nothing behind a good one", GET, statuses=(200,), expected=(WEBS,)),
    silent("no body", POST[:-5], statuses=(408,)),
    silent("half a body", POST[:-3], statuses=(408,)),
    silent("a body that was asked for", ask("POST", MAPS, "Content-Length: 5", "Expect: 100-continue"),
        statuses=(100, 408)),
    silent("no chunk", ask("POST", MAPS, "Transfer-Encoding: chunked"), statuses=(408,), expected=(STREAMED,),
        whole=False),
    silent("half a chunk", CHUNKED[:-9], statuses=(408,), expected=(STREAMED + b"3\r\nhel\r\n",),
        whole=False),
    silent("no last chunk", CHUNKED[:-5], statuses=(408,), expected=(STREAMED + b"5\r\nhello\r\n",),
        whole=False),
    silent("half an end", CHUNKED[:-2], statuses=(408,), expected=(STREAMED + b"5\r\nhello\r\n",),
        whole=False),
]  # fmt: skip


@pytest.mark.parametrize("row", SLOW, ids=str)
def test_slow(upstream: Upstream, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who doesn't go on with a request, or asks nothing, is let go of."""
    monkeypatch.setattr(front, "HEAD_SECONDS", SOON.total_seconds())
    check(upstream, row, allow=MAY_POST)


def test_slow_behind_a_good_one(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for a head begins with its first byte, also where that came with the request before."""
    monkeypatch.setattr(front, "HEAD_SECONDS", SOON.total_seconds())
    for row in (
        passed("at once", GET + GET[:-1], WEBS, statuses=(200, 408), closes=True, idle_timeout=NEVER),
        passed(
            "later",
            (GET, Came(b"web 0\n"), GET[:-1]),
            WEBS,
            statuses=(200, 408),
            closes=True,
            idle_timeout=NEVER,
        ),
    ):
        check(upstream, row)


def test_a_body_bit_by_bit(upstream: Upstream) -> None:
    """As long as something comes there is time."""
    body = b"x" * 64
    pieces = (ask("POST", MAPS, "Content-Length: 64"), *[bytes([byte]) for byte in body])
    check(upstream, passed("", pieces, sent("POST", MAPS, body=body)), allow=MAY_POST)


def endless(link: Link) -> None:
    """Answers, and never comes to an end."""
    link.request()
    link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not link.gone:
        link.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")


def test_a_client_that_takes_nothing(upstream: Upstream) -> None:
    """Neither holds the upstream, nor is anything collected for it without end."""
    upstream.act = endless
    with Proxied(upstream.server, idle_timeout=SOON) as proxied, Caller(proxied) as caller:
        caller.send(GET)
        upstream.wait_for_ends(1)
        caller.until_end()
    assert upstream.taken() == written(upstream, WEBS)


def reset(caller: Caller) -> None:
    """Leave without a word."""
    caller.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    caller.sock.close()


@pytest.mark.parametrize(
    "leave", [Caller.leave, lambda caller: caller.sock.close(), reset], ids=["ends", "closes", "resets"]
)
def test_clients_that_leave_in_an_answer(upstream: Upstream, leave: Callable[[Caller], None]) -> None:
    """What they had asked for ends, too."""
    upstream.act = endless
    with Proxied(upstream.server) as proxied:
        caller = Caller(proxied)
        caller.send(GET)
        caller.until(lambda got: b"xxx" in got)
        leave(caller)
        upstream.wait_for_ends(1)
        caller.sock.close()
    upstream.taken()


LEAVING = [
    refused("at once", (), leaves=True),
    refused("with half a head", GET[:-1], leaves=True),
    refused("with half a head, a byte each", tuple(bytes([byte]) for byte in GET[:-1]), leaves=True),
    refused("without a body", POST[:-5], leaves=True),
    refused("with half a body", POST[:-1], leaves=True),
    refused("with half a body that was asked for",
        (ask("POST", MAPS, "Content-Length: 5", "Expect: 100-continue"),
        Came(b"100 Continue\r\n\r\n"), b"hell"), 100, leaves=True),
    refused("before the body of what is refused", (ask("DELETE", WEB, "Content-Length: 5"), Came(b"}\n")),
        403, leaves=True),
    passed("with half a chunk", (CHUNKED[:-9], Reached(b"hel\r\n")), STREAMED + b"3\r\nhel\r\n", statuses=(),
        leaves=True,
        whole=False),
    passed("before the last chunk", (CHUNKED[:-5], Reached(b"hello\r\n")), STREAMED + b"5\r\nhello\r\n",
        statuses=(),
        leaves=True, whole=False),
    passed("before the end of the last chunk", (CHUNKED[:-1], Reached(b"hello\r\n")),
        STREAMED + b"5\r\nhello\r\n",
        statuses=(), leaves=True, whole=False),
    passed("after an answer", (GET, Came(b"web 0\n")), WEBS, leaves=True),
    passed("after an answer, with half of another", (GET + GET[:-1], Came(b"web 0\n")), WEBS, leaves=True),
]  # fmt: skip


@pytest.mark.parametrize("row", LEAVING, ids=str)
def test_leaving(upstream: Upstream, row: Row) -> None:
    """What a client didn't say to its end isn't said for it."""
    check(upstream, row, allow=MAY_POST)


def test_one_that_leaves_before_there_is_a_connection() -> None:
    """What is under way for it is known nevertheless: when the proxy has stopped, nothing of it is left."""
    with Upstream(tls=False) as deaf:  # so that the handshake never ends
        server = deaf.server_with_tls
        with Proxied(server) as proxied, Caller(proxied) as caller:
            caller.send(GET)
            deaf.wait(lambda got: any(got))
            caller.leave()
            caller.until_end()
        (hello,) = deaf.taken()
    assert hello.startswith(b"\x16\x03")


class _Slow(Credentials):
    """A kubeconfig's command that takes its time."""

    def __init__(self) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()

    def headers(self) -> Mapping[str, str]:
        self.begun.set()
        self.go_on.wait(DEADLINE)
        return {}


def test_one_that_leaves_while_credentials_are_looked_for(
    upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """When the proxy has stopped, nothing is left of it that Python would complain about."""
    credentials = _Slow()
    with Proxied(Server(upstream.server.url, credentials)) as proxied, Caller(proxied) as caller:
        caller.send(GET)
        assert credentials.begun.wait(DEADLINE)
        caller.leave()
        caller.until_end()
    credentials.go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith(("asyncio", "ambassador")):
            thread.join(DEADLINE)
    del proxied, thread
    gc.collect()
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
    assert upstream.taken() == []


def test_answers_go_to_whoever_asked(upstream: Upstream) -> None:
    """Many clients at once, some of which leave: each gets what it asked for."""
    with Proxied(upstream.server) as proxied:
        callers = [Caller(proxied) for _ in range(24)]
        for number, caller in enumerate(callers):
            caller.send(b"".join(ask("GET", f"{PODS}/c{number}-{each}") for each in range(8)))
            if number % 3 == 2:
                caller.leave()
        for number, caller in enumerate(callers):
            if number % 3 < 2:
                caller.until_answers(8)
                bodies = [answer.body for answer in caller.answers()]
                assert bodies == [f"GET {PODS}/c{number}-{each} 0\n".encode() for each in range(8)]
            caller.sock.close()
    upstream.taken()
