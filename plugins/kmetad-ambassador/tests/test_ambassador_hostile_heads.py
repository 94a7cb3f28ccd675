"""Hostile requests: lines that end otherwise, go on otherwise, are too long, or hold what no line holds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ambassador import PODS, WEB, Came, Row, Seen, Upstream, ask, broken, check, passed, refused, sent

GOOD = ask()
FIRST = f"GET {WEB} HTTP/1.1\r\n".encode()
LOCAL = b"Host: localhost\r\n"
WEBS = sent("GET", WEB)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """One for all."""
    with Upstream() as running:
        yield running


ENDS = [
    broken("LF everywhere", GOOD.replace(b"\r", b"")),
    broken("CR everywhere", GOOD.replace(b"\n", b"")),
    broken("LF behind the first line", FIRST.replace(b"\r", b"") + LOCAL + b"\r\n"),
    broken("CR behind the first line", FIRST.replace(b"\n", b"") + LOCAL + b"\r\n"),
    broken("LF behind a header", FIRST + b"Host: localhost\n\r\n"),
    broken("LF behind a header, and another", FIRST + b"Host: localhost\nX: y\r\n\r\n"),
    broken("LF at the end", FIRST + LOCAL + b"\n"),
    broken("two LF at the end", FIRST + b"Host: localhost\n\n"),
    broken("LF CR", FIRST + b"Host: localhost\n\r\n\r"),
    broken("CR CR LF behind a header", FIRST + b"Host: localhost\r\r\n\r\n"),
    broken("CR CR LF at the end", FIRST + LOCAL + b"\r\r\n"),
    broken("CR and a character at the end", FIRST + LOCAL + b"\rX\r\n\r\n"),
    broken("CR in a value", ask("GET", WEB, "X: a\rb")),
    broken("LF in a value", ask("GET", WEB, "X: a\nb: c")),
    broken("a request behind LF LF in a value", ask("GET", WEB, b"X: y\n\n" + ask("DELETE", WEB))),
    broken("CR in a name", ask("GET", WEB, "X\r: a")),
    broken("LF in a name", ask("GET", WEB, "X\n: a")),
    broken("LF before the colon", ask("GET", WEB, "X\n:a")),
    broken("CR before the version", f"GET {WEB}\rHTTP/1.1\r\n".encode() + LOCAL + b"\r\n"),
    broken("CR in the version", f"GET {WEB} HTTP/1.1\r \r\n".encode() + LOCAL + b"\r\n"),
    broken("CR in the target", ask("GET", f"{PODS}\r/web")),
    broken("LF in the target", ask("GET", f"{PODS}\n/web")),
    broken("CR LF in the target", ask("GET", f"{PODS} HTTP/1.1\r\nHost: localhost\r\n\r\nDELETE {PODS}")[7:]),
    broken("CR behind the method", f"GET\r{WEB} HTTP/1.1\r\n".encode() + LOCAL + b"\r\n"),
    refused("NEL for a line's end", FIRST + b"Host: localhost\x85X: y\r\n\r\n", 403),
    broken("a form feed for a line's end", FIRST + b"Host: localhost\x0cX: y\r\n\r\n"),
    broken("a vertical tab for a line's end", FIRST + b"Host: localhost\x0bX: y\r\n\r\n"),
    passed("empty lines before", b"\r\n\r\n" + GOOD, WEBS),
    passed("LF before", b"\n\n" + GOOD, WEBS),
    passed("an empty line behind", (GOOD, Came(b"web 0\n"), b"\r\n"), WEBS),
    passed("bit by bit", tuple(bytes([byte]) for byte in GOOD), WEBS),
]  # fmt: skip


@pytest.mark.parametrize("row", ENDS, ids=str)
def test_line_ends(upstream: Upstream, row: Row) -> None:
    """A line ends with CR LF; neither is anywhere else."""
    check(upstream, row)


FOLDED = [
    broken("a space", ask("GET", WEB, "X: a", " b")),
    broken("a tab", ask("GET", WEB, "X: a", "\tb")),
    broken("to what is a header to others", ask("GET", WEB, "X: a", " Host: elsewhere")),
    broken("only a space", ask("GET", WEB, "X: a", " ")),
    broken("only a tab", ask("GET", WEB, "X: a", "\t", "Y: b")),
    broken("behind an empty value", ask("GET", WEB, "X:", " a")),
    broken("behind the first line", ask("GET", WEB, " X: a", host=None)),
    broken("a tab behind the first line", ask("GET", WEB, "\tHost: localhost", host=None)),
    broken("Host", ask("GET", WEB, " .example.com")),
    broken("an empty Host", ask("GET", WEB, "Host:", " localhost", host=None)),
    broken("Content-Length", ask("GET", WEB, "Content-Length: 1", " 0", body=b"x")),
    broken("an empty Content-Length", ask("GET", WEB, "Content-Length:", " 1", body=b"x")),
    broken("Transfer-Encoding",
        ask("GET", WEB, "Transfer-Encoding: chunked", " , identity", body=b"0\r\n\r\n")),
    broken("an empty Transfer-Encoding",
        ask("GET", WEB, "Transfer-Encoding:", "\tchunked", body=b"0\r\n\r\n")),
    broken("Connection", ask("GET", WEB, "Connection: upgrade,", " close", "Upgrade: websocket")),
    broken("Authorization", ask("GET", WEB, "Authorization: Bearer", " theirs")),
    broken("many times", ask("GET", WEB, "X: a", *[" b"] * 100)),
    broken("with LF", ask("GET", WEB, "X: a\n b")),
    broken("with CR", ask("GET", WEB, "X: a\r b")),
    broken("before the end", ask("GET", WEB, "X: a", " ")),
    broken("the end", ask("GET", WEB, "X: a", " \r\n")),
]  # fmt: skip


@pytest.mark.parametrize("row", FOLDED, ids=str)
def test_folding(upstream: Upstream, row: Row) -> None:
    """No header goes on in the next line."""
    check(upstream, row)


LONG = "x" * 1100
LEAST = {"max_head": "1Ki"}
NEARLY = 1024 - len(WEB) - len("Host") - len("localhost") - 4 - len("X") - 4

OVERSIZE = [
    broken("the target", ask("GET", f"{PODS}/{LONG}"), 431, **LEAST),
    broken("the query", ask("GET", f"{PODS}?a={LONG}"), 431, **LEAST),
    broken("a name", ask("GET", WEB, f"{LONG}: a"), 431, **LEAST),
    broken("a value", ask("GET", WEB, f"X: {LONG}"), 431, **LEAST),
    broken("a value that isn't passed on", ask("GET", WEB, f"Authorization: {LONG}"), 431, **LEAST),
    broken("many", ask("GET", WEB, *["X: yyyyyyyyyy"] * 100), 431, **LEAST),
    broken("many that are empty", ask("GET", WEB, *["X:"] * 300), 431, **LEAST),
    broken("by a byte", ask("GET", WEB, f"X: {'x' * (NEARLY + 1)}"), 431, **LEAST),
    passed("not by a byte", ask("GET", WEB, f"X: {'x' * NEARLY}"), sent("GET", WEB, f"x: {'x' * NEARLY}"),
        **LEAST),
    broken("Content-Length", ask("GET", WEB, f"Content-Length: {'0' * 1100}"), 431, **LEAST),
    broken("a name without an end", (FIRST, *[b"x" * 1000] * 200), 431, **LEAST),
    broken("a value without an end", (FIRST + b"X: ", *[b"x" * 1000] * 200), 431, **LEAST),
    broken("a target without an end", (b"GET /", *[b"x" * 1000] * 200), 431, **LEAST),
    broken("a query without an end", (f"GET {WEB}?".encode(), *[b"x" * 1000] * 200), 431, **LEAST),
    broken("blanks without an end", (FIRST + b"X:", *[b" " * 1000] * 200), 431, **LEAST),
    broken("headers without an end", (FIRST, *[b"X: y\r\n" * 100] * 200), 431, **LEAST),
    broken("a megabyte", FIRST + b"X: " + b"x" * (1 << 20), 431),
    passed("the second", GOOD + ask("GET", WEB, f"X: {LONG}"), WEBS, statuses=(200, 431), closes=True,
        **LEAST),
    broken("a method", b"X" * 5000 + b" / HTTP/1.1\r\n" + LOCAL + b"\r\n"),
    refused("the path", ask("GET", f"{PODS}/{'x' * 4096}"), 414),
    refused("parameters", ask("GET", f"{PODS}?{'&' * 4096}"), 400),
]  # fmt: skip


@pytest.mark.parametrize("row", OVERSIZE, ids=str)
def test_oversize(upstream: Upstream, row: Row) -> None:
    """What is longer than it may be is neither passed on nor collected."""
    check(upstream, row)


def first(line: str | bytes) -> bytes:
    """A request with this first line."""
    return (line if isinstance(line, bytes) else line.encode("latin-1")) + b"\r\n" + LOCAL + b"\r\n"


VERSIONS = [
    broken("HTTP/0.9", ask(version="HTTP/0.9"), 505),
    broken("HTTP/0.9 as it was", f"GET {WEB}\r\n\r\n".encode(), 505),
    broken("HTTP/0.9 with headers", first(f"GET {WEB}"), 505),
    broken("HTTP/2.0", ask(version="HTTP/2.0"), 505),
    broken("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    broken("HTTP/1.2", ask(version="HTTP/1.2")),
    broken("HTTP/1.10", ask(version="HTTP/1.10")),
    broken("HTTP/11", ask(version="HTTP/11")),
    broken("HTTP/1", ask(version="HTTP/1")),
    broken("HTTP/01.1", ask(version="HTTP/01.1")),
    broken("HTTP/1,1", ask(version="HTTP/1,1")),
    broken("http/1.1", ask(version="http/1.1")),
    broken("HTTP 1.1", ask(version="HTTP 1.1")),
    broken("HTTPS/1.1", ask(version="HTTPS/1.1")),
    broken("ICE/1.0", ask(version="ICE/1.0")),
    broken("SHTTP/1.1", ask(version="SHTTP/1.1")),
    broken("something behind it", ask(version="HTTP/1.1 x")),
    broken("a blank behind it", ask(version="HTTP/1.1 ")),
    broken("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    broken("the PROXY protocol", b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + GOOD),
    broken("SOCKS", b"\x05\x01\x00"),
    broken("Redis", b"*1\r\n$4\r\nPING\r\n"),
    passed("HTTP/1.0", ask(version="HTTP/1.0"), WEBS, closes=True),
    passed("RTSP/1.0, which is HTTP/1.0 to the parser", ask(version="RTSP/1.0"), WEBS, closes=True),
    passed("HTTP/1.0 that would go on", ask("GET", WEB, "Connection: keep-alive", version="HTTP/1.0"), WEBS,
        closes=True),
    passed("HTTP/1.0 with a request behind it", ask(version="HTTP/1.0") + GOOD, WEBS, closes=True),
    passed("HTTP/1.0 that expects", (ask("GET", WEB, "Content-Length: 2", "Expect: 100-continue",
        version="HTTP/1.0", body=b"a"), Seen(), b"b"), sent("GET", WEB, body=b"ab"), closes=True),
]  # fmt: skip


@pytest.mark.parametrize("row", VERSIONS, ids=str)
def test_versions(upstream: Upstream, row: Row) -> None:
    """HTTP/1.1 is spoken here, and HTTP/1.0 as far as it goes."""
    check(upstream, row)


ALL = {"allow_write": True}

METHODS = [
    refused("OPTIONS", ask("OPTIONS"), 405, **ALL),
    refused("TRACE", ask("TRACE"), 405, **ALL),
    refused("PROPFIND", ask("PROPFIND"), 405, **ALL),
    refused("SEARCH", ask("SEARCH"), 405, **ALL),
    refused("PURGE", ask("PURGE"), 405, **ALL),
    refused("LINK", ask("LINK"), 405, **ALL),
    refused("M-SEARCH", ask("M-SEARCH"), 405, **ALL),
    refused("SOURCE", ask("SOURCE", WEB, version="HTTP/1.1"), 405, **ALL),
    broken("get", ask("get"), **ALL),
    broken("Get", ask("Get"), **ALL),
    broken("delete", ask("delete"), **ALL),
    broken("GETX", ask("GETX"), **ALL),
    broken("XGET", ask("XGET"), **ALL),
    broken("WATCH", ask("WATCH"), **ALL),
    broken("empty", ask(""), **ALL),
    broken("a blank before it", ask(" GET"), **ALL),
    broken("a tab behind it", first(f"GET\t{WEB} HTTP/1.1"), **ALL),
    broken("NUL before it", ask("\0GET"), **ALL),
    broken("NUL in it", ask("GE\0T"), **ALL),
    broken("a byte order mark", ask("\xef\xbb\xbfGET"), **ALL),
    refused("not allowed", ask("DELETE"), 403),
    refused("HEAD of what GET isn't allowed", ask("HEAD", "/api/v1/namespaces/lab/secrets/s"), 403,
        bodiless=(0,)),
    refused("rejected", ask("DELETE"), 403, reject_methods=("^DELETE$",), **ALL),
    passed("overridden by a header", ask("GET", WEB, "X-HTTP-Method-Override: DELETE", "X-Method: DELETE"),
        sent("GET", WEB, "x-http-method-override: DELETE", "x-method: DELETE")),
    passed("overridden by a parameter", ask("GET", f"{WEB}?_method=DELETE"),
        sent("GET", f"{WEB}?_method=DELETE")),
    passed("several blanks", first(f"GET   {WEB}   HTTP/1.1"), WEBS),
    passed("more blanks than a head may have bytes", first(f"GET{3000 * ' '}{WEB} HTTP/1.1"), WEBS, **LEAST),
]  # fmt: skip


@pytest.mark.parametrize("row", METHODS, ids=str)
def test_methods(upstream: Upstream, row: Row) -> None:
    """Six, in capitals; what is checked is what is sent."""
    check(upstream, row)
