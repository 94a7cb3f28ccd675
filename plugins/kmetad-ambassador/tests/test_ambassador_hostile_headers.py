"""Hostile requests: headers that say who asks, that declare others away, or that hold more than a header."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ambassador import PODS, TOKEN, WEB, Came, Row, Upstream, ask, broken, check, passed, refused, sent

WEBS = sent("GET", WEB)
BEARER = "base64url.bearer.authorization.k8s.io.dGhlaXJz"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """One for all."""
    with Upstream() as running:
        yield running


INJECTED = [
    broken("NUL in a value", ask("GET", WEB, "X: a\0b")),
    broken("NUL in a name", ask("GET", WEB, "X\0Y: a")),
    broken("NUL for a line's end", ask("GET", WEB, "X: a\0\r\nY: b")),
    broken("BEL", ask("GET", WEB, "X: a\x07")),
    broken("ESC", ask("GET", WEB, "X: a\x1b[31m")),
    broken("DEL", ask("GET", WEB, "X: a\x7f")),
    broken("a byte above ASCII in a name", ask("GET", WEB, "X\xe9: a")),
    broken("UTF-8 in a name", ask("GET", WEB, "Authorizatio\u0144: a".encode())),
    broken("a blank in a name", ask("GET", WEB, "X Y: a")),
    broken("a blank behind a name", ask("GET", WEB, "X : a")),
    broken("a tab behind a name", ask("GET", WEB, "X\t: a")),
    broken("no name", ask("GET", WEB, ": a")),
    broken("no colon", ask("GET", WEB, "X")),
    broken("another separator", ask("GET", WEB, "X=a")),
    broken("brackets in a name", ask("GET", WEB, "X[]: a")),
    broken("a quoted name", ask("GET", WEB, '"X": a')),
    broken("a slash in a name", ask("GET", WEB, "X/Y: a")),
    broken("a request as a header", ask("GET", WEB, f"DELETE {WEB} HTTP/1.1")),
    broken("a first line as the name", ask("GET", WEB, f"GET {WEB}: HTTP/1.1")),
    passed("CR LF as text", ask("GET", WEB, r"X: a\r\nAuthorization: b"),
        sent("GET", WEB, r"x: a\r\nAuthorization: b")),
    passed("CR LF percent-encoded", ask("GET", WEB, "X: a%0d%0aB: c"), sent("GET", WEB, "x: a%0d%0aB: c")),
    passed("a character whose second half is LF", ask("GET", WEB, "X: a\u010a\u010d".encode()),
        sent("GET", WEB, "x: a\u010a\u010d".encode())),
    passed("bytes above ASCII in a value", ask("GET", WEB, "X: \x80\xa0\xff"),
        sent("GET", WEB, "x: \x80\xa0\xff")),
    passed("a tab in a value", ask("GET", WEB, "X: a\tb"), sent("GET", WEB, "x: a\tb")),
    passed("a colon in a value", ask("GET", WEB, "X: a: b"), sent("GET", WEB, "x: a: b")),
    passed("a value that is a header", ask("GET", WEB, "X:Host: elsewhere"),
        sent("GET", WEB, "x: Host: elsewhere")),
    passed("an empty value before another header", ask("GET", WEB, "Impersonate-:", "User: x"),
        sent("GET", WEB, "user: x")),
    passed("an empty value in pieces",
        (b"GET " + WEB.encode() + b" HTTP/1.1\r\nHost: localhost\r\nX-:", b"\r\n", b"User: x\r\n\r\n"),
        sent("GET", WEB, "x-: ", "user: x")),
    passed("odd names", ask("GET", WEB, "!#$%&'*+-.^_`|~0: a"), sent("GET", WEB, "!#$%&'*+-.^_`|~0: a")),
    refused("CR LF percent-encoded in the path", ask("GET", f"{PODS}/a%0d%0aX:%20b"), 400),
    passed("CR LF percent-encoded in the query", ask("GET", f"{PODS}?a=%0d%0aX:%20b"),
        sent("GET", f"{PODS}?a=%0d%0aX:%20b")),
]  # fmt: skip


@pytest.mark.parametrize("row", INJECTED, ids=str)
def test_header_injection(upstream: Upstream, row: Row) -> None:
    """A header is a name and a value on a line of its own; it stays one."""
    check(upstream, row)


IDENTITIES = [
    passed("Authorization", ask("GET", WEB, "Authorization: Bearer theirs"), WEBS),
    passed("Authorization in small letters", ask("GET", WEB, "authorization: Bearer theirs"), WEBS),
    passed("Authorization in capitals", ask("GET", WEB, "AUTHORIZATION: Basic dGhlaXJz"), WEBS),
    passed("Authorization twice",
        ask("GET", WEB, "Authorization: Bearer a", "X: y", "Authorization: Bearer b"),
        sent("GET", WEB, "x: y")),
    passed("an empty Authorization", ask("GET", WEB, "Authorization:"), WEBS),
    passed("Authorization in a Connection", ask("GET", WEB, "Connection: authorization"), WEBS),
    passed("Proxy-Authorization", ask("GET", WEB, "Proxy-Authorization: Basic dGhlaXJz"), WEBS),
    passed("Impersonate-User", ask("GET", WEB, "Impersonate-User: admin"), WEBS),
    passed("IMPERSONATE-USER", ask("GET", WEB, "IMPERSONATE-USER: admin"), WEBS),
    passed("Impersonate-Group",
        ask("GET", WEB, "Impersonate-User: a", *["Impersonate-Group: system:masters"] * 2), WEBS),
    passed("Impersonate-Uid", ask("GET", WEB, "Impersonate-Uid: 0"), WEBS),
    passed("Impersonate-Extra", ask("GET", WEB, "Impersonate-Extra-scopes: all", "Impersonate-Extra-%2f: a"),
        WEBS),
    passed("Impersonate- and nothing", ask("GET", WEB, "Impersonate-: admin"), WEBS),
    passed("X-Remote-User", ask("GET", WEB, "X-Remote-User: admin", "x-remote-uid: 0"), WEBS),
    passed("X-Remote-Group", ask("GET", WEB, "X-Remote-Group: system:masters"), WEBS),
    passed("X-Remote-Extra", ask("GET", WEB, "X-Remote-Extra-Acme.com%2FProject: a"), WEBS),
    passed("X-Forwarded-For", ask("GET", WEB, "X-Forwarded-For: 10.0.0.1", "X-Real-Ip: 10.0.0.1"), WEBS),
    passed("Forwarded", ask("GET", WEB, "Forwarded: for=10.0.0.1;host=elsewhere"), WEBS),
    passed("a WebSocket's token", ask("GET", WEB, f"Sec-WebSocket-Protocol: {BEARER}"), WEBS),
    passed("a WebSocket's token in capitals", ask("GET", WEB, f"Sec-WebSocket-Protocol: {BEARER.upper()}"),
        WEBS),
    passed("a WebSocket's token among others",
        ask("GET", WEB, f"Sec-WebSocket-Protocol: v5.channel.k8s.io, {BEARER} ,v4"),
        sent("GET", WEB, "sec-websocket-protocol: v5.channel.k8s.io, v4")),
    passed("a WebSocket's token twice", ask("GET", WEB, f"Sec-WebSocket-Protocol: {BEARER}\t,v4",
        f"SEC-WEBSOCKET-PROTOCOL:,\t{BEARER}"), sent("GET", WEB, "sec-websocket-protocol: v4")),
    passed("a WebSocket's token behind a blank of Unicode's", ask("GET", WEB,
        b"Sec-WebSocket-Protocol: v4,\xc2\xa0" + BEARER.encode() + b",\xe3\x80\x80" + BEARER.encode()),
        sent("GET", WEB, "sec-websocket-protocol: v4")),
    passed("other names that only look alike", ask("GET", WEB, "X-Impersonate-User: a", "Impersonate_User: b",
        "X_Remote_User: c"), sent("GET", WEB, "x-impersonate-user: a", "impersonate_user: b",
        "x_remote_user: c")),
]  # fmt: skip


@pytest.mark.parametrize("row", IDENTITIES, ids=str)
def test_identities(upstream: Upstream, row: Row) -> None:
    """Who asks is the proxy; what a client says of that goes no further."""
    check(upstream, row)


def hop(*connection: str, more: tuple[str, ...] = ()) -> bytes:
    """A GET with these values of Connection."""
    return ask("GET", WEB, *[f"Connection: {value}" for value in connection], *more)


HOPS = [
    passed("Host", hop("host"), WEBS),
    passed("Content-Length", ask("GET", WEB, "Connection: content-length", "Content-Length: 2", body=b"ab"),
        sent("GET", WEB, body=b"ab")),
    passed("Transfer-Encoding", ask("GET", WEB, "Connection: transfer-encoding", "Transfer-Encoding: chunked",
        body=b"2\r\nab\r\n0\r\n\r\n"), sent("GET", WEB, body=b"ab")),
    passed("Content-Type", hop("content-type", more=("Content-Type: a/b",)),
        sent("GET", WEB, "content-type: a/b")),
    passed("Authorization", hop("Authorization", more=("Authorization: Bearer theirs",)), WEBS),
    passed("one of its own", hop("X-A", more=("X-A: b", "X-B: c")), sent("GET", WEB, "x-b: c")),
    passed("several of its own", hop("x-a ,\tX-B,,", "X-C", more=("X-A: b", "X-B: c", "X-C: d")), WEBS),
    passed("one that isn't there", hop("x-a"), WEBS),
    passed("one that comes before", ask("GET", WEB, "X-A: b", "Connection: x-a"), WEBS),
    passed("itself", hop("connection"), WEBS),
    passed("empty", hop(""), WEBS),
    passed("close", hop("close"), WEBS, closes=True),
    passed("CLOSE among others", hop("x-a, CLOSE"), WEBS, closes=True),
    passed("close and keep-alive", hop("close, keep-alive"), WEBS, closes=True),
    passed("keep-alive and close", hop("keep-alive", "close"), WEBS, closes=True),
    passed("close with a request behind it", hop("close") + ask(), WEBS, closes=True),
    passed("Keep-Alive", hop("keep-alive", more=("Keep-Alive: timeout=9999",)), WEBS),
    passed("Proxy-Connection", ask("GET", WEB, "Proxy-Connection: keep-alive"), WEBS),
    passed("TE and Trailer", ask("GET", WEB, "TE: trailers", "Trailer: X", "Connection: te"), WEBS),
    passed("Upgrade", hop("upgrade"), WEBS),
    passed("Expect", ask("GET", WEB, "Expect: 100-continue", "Connection: expect"), WEBS),
]  # fmt: skip


@pytest.mark.parametrize("row", HOPS, ids=str)
def test_hop_by_hop(upstream: Upstream, row: Row) -> None:
    """What Connection names is between client and proxy, but for what the upstream has to know."""
    check(upstream, row)


EXPECTS = [
    refused("something else", ask("GET", WEB, "Expect: 200-ok"), 417),
    refused("twice", ask("GET", WEB, *["Expect: 100-continue"] * 2), 417),
    refused("more than that", ask("GET", WEB, "Expect: 100-continue, x"), 417),
    refused("with a parameter", ask("GET", WEB, "Expect: 100-continue;x=y"), 417),
    refused("empty", ask("GET", WEB, "Expect:"), 417),
    broken("something else, before a body", ask("GET", WEB, "Expect: x", "Content-Length: 5"), 417),
    broken("what is refused", ask("DELETE", WEB, "Expect: 100-continue", "Content-Length: 5"), 403),
    refused("what is refused, with a request for a body", ask("DELETE", WEB, "Expect: 100-continue",
        f"Content-Length: {len(ask())}", body=ask()), 403),
    broken("what is too long", ask("GET", WEB, "Expect: 100-continue", "Content-Length: 6"), 413,
        max_body="5"),
    passed("no body", ask("GET", WEB, "Expect: 100-continue"), WEBS),
    passed("a body that is there", ask("GET", WEB, "Expect: 100-Continue", "Content-Length: 2", body=b"ab"),
        sent("GET", WEB, body=b"ab")),
    passed("a body that comes",
        (ask("GET", WEB, "Expect: 100-continue", "Content-Length: 2"), Came(b"100 Continue"), b"ab"),
        sent("GET", WEB, body=b"ab"), statuses=(100, 200)),
    passed("a request for a body", (ask("GET", WEB, "Expect: 100-continue", f"Content-Length: {len(ask())}"),
        Came(b"100 Continue"), ask()), sent("GET", WEB, body=ask()), statuses=(100, 200)),
]  # fmt: skip


@pytest.mark.parametrize("row", EXPECTS, ids=str)
def test_expect(upstream: Upstream, row: Row) -> None:
    """The client is told to go on by the proxy, once the request may be passed on. The upstream hears nothing of it."""
    check(upstream, row)


OURS = "Authorization: Bearer ours"


def stranger(name: str, *lines: str | bytes, target: str = WEB) -> Row:
    """Somebody without the proxy's own token."""
    return refused(name, ask("GET", target, *lines), 401, more=(OURS,))


def known(name: str, *lines: str | bytes) -> Row:
    """Somebody with it. The upstream gets the proxy's, and nothing of this."""
    return passed(name, ask("GET", WEB, *lines), WEBS, more=(OURS,))


TOKENS = [
    stranger("none"),
    stranger("another", "Authorization: Bearer theirs"),
    stranger("empty", "Authorization:"),
    stranger("an empty one", "Authorization: Bearer "),
    stranger("no kind", "Authorization: ours"),
    stranger("another kind", "Authorization: Basic ours"),
    stranger("its beginning", "Authorization: Bearer our"),
    stranger("more than it", "Authorization: Bearer ours2"),
    stranger("in capitals", "Authorization: Bearer OURS"),
    stranger("quoted", 'Authorization: Bearer "ours"'),
    stranger("twice", OURS, OURS),
    stranger("another before it", "Authorization: Bearer theirs", OURS),
    stranger("another behind it", OURS, "Authorization: Bearer theirs"),
    stranger("two in one", "Authorization: Bearer theirs ours"),
    stranger("in another header", "Proxy-Authorization: Bearer ours", "X-Authorization: Bearer ours"),
    stranger("in a cookie", "Cookie: Authorization=Bearer ours"),
    stranger("in a WebSocket's protocol",
        "Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.b3Vycw"),
    stranger("in the query", target=f"{WEB}?access_token=ours&authorization=Bearer%20ours"),
    stranger("a byte above ASCII", "Authorization: Bearer ours\xa0"),
    stranger("the API server's", f"Authorization: Bearer {TOKEN}"),
    broken("folded", ask("GET", WEB, "Authorization: Bearer", " ours"), 400),
    broken("NUL behind it", ask("GET", WEB, "Authorization: Bearer ours\0")),
    broken("behind a body", ask("POST", WEB, "Content-Length: 999", body=ask("GET", WEB, OURS)), 401),
    refused("as a trailer", ask("POST", WEB, "Transfer-Encoding: chunked",
        body=b"0\r\n%s\r\n\r\n" % OURS.encode()), 401,
        more=(OURS,)),
    passed("of the request before", ask("GET", WEB, OURS) + ask("GET", WEB), WEBS, statuses=(200, 401),
        more=(OURS,)),
    known("it", OURS),
    known("in any case", "AUTHORIZATION: bEARER ours"),
    known("hop by hop", OURS, "Connection: authorization"),
]  # fmt: skip


@pytest.mark.parametrize("row", TOKENS, ids=str)
def test_local_tokens(upstream: Upstream, row: Row, tmp_path: Path) -> None:
    """Where the proxy has a token of its own, it is in one Authorization, or nobody is there."""
    (tmp_path / "token").write_text("ours\n")
    check(upstream, row, token_file=str(tmp_path / "token"))
