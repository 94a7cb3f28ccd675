"""Bytes in, requests out."""

from __future__ import annotations

import pytest
from kmetad_ambassador.asked import asked
from kmetad_ambassador.gate import Gate, Passed
from kmetad_ambassador.incoming import Incoming
from kmetad_ambassador.options import Options
from kmetad_ambassador.reader import Reader
from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.target import canonical

HEAD = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"


def reader() -> Reader:
    """One with the defaults."""
    return Reader(32 * 1024, 8 * 1024 * 1024)


def requests(of: Reader) -> list[Incoming]:
    """All of them, as somebody takes them who has nothing else to do."""
    found = []
    of.advance()
    while of.waiting:
        found.append(of.waiting.popleft())
        of.advance()
    return found


def test_few_requests_are_read_ahead() -> None:
    """However many have come: an object takes many times the bytes of a short request."""
    one = reader()
    one.feed(HEAD * 2000)
    assert len(one.waiting) <= 4096 // len(HEAD)
    assert len(requests(one)) == 2000
    assert one.held == 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 31, 32, 33, 4095, 4096, 4097])
def test_however_they_are_cut(size: int) -> None:
    """The same requests, with the same bodies."""
    body = bytes(range(256)) * 40
    data = (HEAD + b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body + HEAD) * 3
    one, found = reader(), []
    for at in range(0, len(data), size):
        one.feed(data[at : at + size])
        found += requests(one)
    assert [request.target for request in found] == [b"/a", b"/b", b"/a"] * 3
    assert [bytes(request.body) for request in found] == [b"", body, b""] * 3
    assert all(request.complete for request in found)
    assert one.fault is None


@pytest.mark.parametrize(
    ("allow", "method", "target", "allowed"),
    [
        ("proxy:services", "GET", "/api/v1/proxy/namespaces/lab/services/web", True),
        ("get:services", "GET", "/api/v1/proxy/namespaces/lab/services/web", False),
        ("get,list,watch:*", "GET", "/api/v1/namespaces/lab/pods?watch=1", True),
        ("get,list,watch:*", "GET", "/api/v1/namespaces/lab/pods/web/log?follow=1", True),
        ("get,list,watch:*", "GET", "/api/v1/namespaces/lab/pods/web", False),
        (
            "get,list,watch:*",
            "GET",
            "/apis/subresources.kubevirt.io/v1/namespaces/lab/virtualmachineinstances/a/vnc",
            False,
        ),
        ("create:pods/exec", "POST", "/api/v1/namespaces/lab/pods/web/exec", True),
        ("get:pods/portforward", "GET", "/api/v1/namespaces/lab/pods/web/portforward", True),
    ],
)
def test_what_may_switch(allow: str, method: str, target: str, allowed: bool) -> None:
    """Only what is known to lead into something by a switch of the protocol, and what comes bit by bit."""
    gate = Gate(Options(allow=(allow,)))
    headers = [(b"host", b"localhost"), (b"connection", b"upgrade"), (b"upgrade", b"websocket")]
    request = Incoming(method, target.encode(), "1.1", headers, switches=True)
    passed = gate.read(request)
    assert passed == Passed(asked(method, canonical(target.encode())), canonical(target.encode()))
    if allowed:
        gate.check(request, passed)
    else:
        with pytest.raises(Refusal, match="kmetad|allow|switch"):
            gate.check(request, passed)
