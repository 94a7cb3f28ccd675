"""A hostile server that says more than it is asked for, or says it at another time."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.ambassador import (
    PODS,
    WEB,
    Caller,
    Garbled,
    Link,
    Upstream,
    answered,
    answers,
    ask,
    held,
    obliging,
    seen,
    sent,
    written,
)
from tests.proxying import DEADLINE, Proxied

SECOND = f"{PODS}/second"
SECONDS = f"GET {SECOND} 0\n".encode()
MAPS = "/api/v1/namespaces/lab/configmaps"
OK = b"HTTP/1.1 200 OK\r\n"
FINE = OK + b"Content-Length: 2\r\n\r\nok"
STOLEN = OK + b"Content-Length: 7\r\n\r\nstolen\n"
FULL = OK + b"Content-Length: 65494\r\n\r\n" + b"x" * 65494
"""As much as the proxy reads at once, without TLS."""
MOST = 4 << 20
"""Bytes of trailers, after which anybody would have had enough."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """One for all."""
    with Upstream() as running:
        yield running


@pytest.mark.parametrize(
    "unasked",
    [STOLEN, b"x", b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n"],
    ids=["an answer", "a letter", "408"],
)
def test_what_nobody_has_asked_for(upstream: Upstream, unasked: bytes) -> None:
    """What a server says while nobody asks it is nobody's answer."""
    say, said = threading.Event(), threading.Event()

    def act(link: Link) -> None:
        upstream.act = obliging
        asked = link.request()
        assert asked is not None
        link.send(answered(asked))
        say.wait(DEADLINE)
        link.send(unasked)
        said.set()

    upstream.act = act
    try:
        with Proxied(upstream.server) as proxied, Caller(proxied) as caller:
            caller.send(ask())
            caller.until_answers(1)
            say.set()
            assert said.wait(DEADLINE)
            seen(proxied)
            caller.got = b""
            caller.send(ask("GET", SECOND))
            caller.until_answers(1)
    finally:
        reached = upstream.taken()
    assert [answer.body for answer in caller.answers()] == [SECONDS]
    assert reached == written(upstream, sent("GET", WEB), sent("GET", SECOND))


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "plain"])
@pytest.mark.parametrize("same", [True, False], ids=["the same client's", "another's"])
def test_two_answers_where_the_next_request_waits_already(tls: bool, same: bool) -> None:
    """What is there when a connection is to be used again is no answer to what is asked then."""
    asked, go_on, acted = threading.Event(), threading.Event(), threading.Event()

    def act(link: Link) -> None:
        server.act = obliging
        link.request()
        asked.set()
        go_on.wait(DEADLINE)
        for part in (FINE, STOLEN) if tls else (FULL + STOLEN,):
            link.send(part)
        acted.set()
        obliging(link)

    with Upstream(tls=tls) as server:
        server.act = act
        with Proxied(server.server) as proxied, Caller(proxied) as caller, Caller(proxied) as other:
            caller.send(ask() + ask("GET", SECOND) * same)
            assert asked.wait(DEADLINE)
            seen(proxied)
            with held(proxied):  # what is sent meanwhile is there at once
                go_on.set()
                assert acted.wait(DEADLINE)
                other.send(ask("GET", SECOND) * (not same))
            caller.until_answers(1 + same)
            other.until_answers(not same)
        reached = server.taken()
    first, second = (*caller.answers(), *other.answers())
    assert first.body == (b"ok" if tls else b"x" * 65494)
    assert second.body == SECONDS
    assert reached == written(server, sent("GET", WEB), sent("GET", SECOND))


def test_a_body_that_goes_wrong_under_an_answer(upstream: Upstream) -> None:
    """What the proxy has to say of it isn't written into the answer that has begun already."""

    def act(link: Link) -> None:
        link.head()
        link.send(OK + b"Content-Length: 500\r\n\r\nbegun")

    upstream.act = act
    try:
        with Proxied(upstream.server, allow=("create:configmaps",)) as proxied, Caller(proxied) as caller:
            caller.send(ask("POST", MAPS, "Transfer-Encoding: chunked", body=b"1\r\nx\r\n"))
            caller.until(lambda got: got.endswith(b"begun"))
            caller.send(b"z\r\n")
            caller.until_end()
    finally:
        upstream.taken()
    assert caller.got == b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\nConnection: close\r\n\r\nbegun"


def test_an_answer_before_the_request_is_whole(upstream: Upstream) -> None:
    """It is the answer; but neither connection is used again, since the rest of the request may come still."""

    def act(link: Link) -> None:
        upstream.act = obliging
        link.head()
        link.send(FINE)

    upstream.act = act
    try:
        with (
            Proxied(upstream.server, allow=("create:configmaps", "get:pods")) as proxied,
            Caller(proxied) as caller,
        ):
            caller.send(ask("POST", MAPS, "Transfer-Encoding: chunked", body=b"1\r\nx\r\n"))
            caller.until(lambda got: got.endswith(b"ok"))
            caller.send(b"0\r\n\r\n" + ask("GET", SECOND))
            caller.until_end()
            with Caller(proxied) as again:
                again.send(ask("GET", SECOND))
                again.until_answers(1)
    finally:
        reached = upstream.taken()
    assert caller.got == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    assert [answer.body for answer in again.answers()] == [SECONDS]
    begun = sent("POST", MAPS, framing="Transfer-Encoding: chunked\r\n")
    assert reached[0].startswith(written(upstream, begun)[0]) and reached[0].endswith(b"1\r\nx\r\n")
    assert reached[1:] == written(upstream, sent("GET", SECOND))


@pytest.mark.parametrize(
    "reason", [b"O\0K", b"O\x1b[31mK", b"O\x08K", b"O\x7fK"], ids=["NUL", "ESC", "BS", "DEL"]
)
def test_reasons(upstream: Upstream, reason: bytes) -> None:
    """Whatever the server says: what the client gets is a status line as it has to be."""

    def act(link: Link) -> None:
        link.request()
        link.send(b"HTTP/1.1 200 %s\r\nContent-Length: 2\r\n\r\nok" % reason)

    upstream.act = act
    try:
        with Proxied(upstream.server) as proxied, Caller(proxied) as caller:
            caller.send(ask())
            caller.until(lambda got: got.endswith((b"ok", b"}\n")))
    finally:
        upstream.taken()
    try:
        found, rest = answers(caller.got)
    except Garbled as error:
        pytest.fail(f"no client should get {error}")
    assert len(found) == 1 and rest == b""


@pytest.mark.parametrize("part", [b"X: y\r\n" * 5000, b"y" * 30000], ids=["trailers", "a trailer"])
def test_trailers_without_end(upstream: Upstream, part: bytes) -> None:
    """The proxy doesn't collect them for ever."""
    gone = []

    def act(link: Link) -> None:
        link.request()
        link.send(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"2\r\nok\r\n0\r\nX: ")
        for _ in range(MOST // len(part)):
            link.send(part)
        gone.append(link.gone)
        link.cut()

    upstream.act = act
    try:
        with Proxied(upstream.server) as proxied, Caller(proxied) as caller:
            caller.send(ask())
            caller.until_end()
    finally:
        upstream.taken()
    assert gone == [True]
