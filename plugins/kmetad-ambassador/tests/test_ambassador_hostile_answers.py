"""A hostile server: nobody gets another's answer, nor what is none; what went wrong isn't used again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.ambassador import (
    PODS,
    WEB,
    Caller,
    Link,
    Upstream,
    answers,
    ask,
    obliging,
    seen,
    sent,
    written,
)
from tests.proxying import DEADLINE, Proxied

SECOND = f"{PODS}/second"
MAPS = "/api/v1/namespaces/lab/configmaps"
OK = b"HTTP/1.1 200 OK\r\n"
STOLEN = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nstolen\n"
LENGTH = b"Content-Length: 2\r\n"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """One for all."""
    with Upstream() as running:
        yield running


@dataclass(frozen=True)
class Wrong:
    """An answer of the server, and what becomes of it."""

    name: str
    parts: tuple[bytes, ...]
    """What the server sends, in so many writes."""
    got: bytes | None
    """Exactly what the client gets; None: a 502."""
    cut: bool = False
    """Whether the client's connection is closed then, because something is missing or this is the end of it."""
    reused: bool = False
    """Whether the next request may go the same way."""
    ends: bool = False
    """Whether the server closes the connection,"""
    breaks: bool = False
    """or it breaks."""
    method: str = "GET"

    def __str__(self) -> str:
        return self.name


def bad(name: str, *parts: bytes, **more: bool | str) -> Wrong:
    """No answer: the client hears of that, and nothing else."""
    return Wrong(name, parts, None, **more)  # type: ignore[arg-type]


def head(*lines: bytes, first: bytes = OK) -> bytes:
    """Of an answer."""
    return first + b"".join(b"%s\r\n" % line for line in lines) + b"\r\n"


def bad_head(name: str, *lines: bytes, body: bytes = b"ok", first: bytes = OK) -> Wrong:
    """An answer with these lines, which is none."""
    return bad(name, head(*lines, first=first) + body)


def cut(name: str, got: bytes, *parts: bytes, ends: bool = False, breaks: bool = False) -> Wrong:
    """An answer that began well: the client gets that, and is cut off."""
    return Wrong(name, parts, got, cut=True, ends=ends, breaks=breaks)


def good(name: str, got: bytes, *parts: bytes, **more: bool | str) -> Wrong:
    """An answer that the client gets so. The way it came isn't used again if there was more than that."""
    return Wrong(name, parts, got, **more)  # type: ignore[arg-type]


OKAY = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FINE = OK + LENGTH + b"\r\nok"
TE = b"Transfer-Encoding: chunked"
IN_CHUNKS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

ANSWERS = [
    bad_head("a length and chunks", b"Content-Length: 5", TE, body=b"0\r\n\r\n"),
    bad_head("chunks and a length", TE, b"Content-Length: 5", body=b"0\r\n\r\n"),
    bad_head("two lengths", b"Content-Length: 2", b"Content-Length: 9"),
    bad_head("the same length twice", b"Content-Length: 2", b"Content-Length: 2"),
    bad_head("a list of lengths", b"Content-Length: 2, 2"),
    bad_head("a length with a plus", b"Content-Length: +2"),
    bad_head("a negative length", b"Content-Length: -2"),
    bad_head("a hexadecimal length", b"Content-Length: 0x2"),
    bad_head("an empty length", b"Content-Length:"),
    bad_head("a length of 2**64 + 2", b"Content-Length: 18446744073709551618"),
    bad_head("gzip, chunked", b"Transfer-Encoding: gzip, chunked", body=b"2\r\nok\r\n0\r\n\r\n"),
    bad_head("chunked, gzip", b"Transfer-Encoding: chunked, gzip", body=b"2\r\nok\r\n0\r\n\r\n"),
    bad_head("identity", b"Transfer-Encoding: identity"),
    bad_head("xchunked", b"Transfer-Encoding: xchunked", body=b"2\r\nok\r\n0\r\n\r\n"),
    bad_head("an empty coding", b"Transfer-Encoding:", body=b"2\r\nok\r\n0\r\n\r\n"),
    bad_head("a folded header", b"X: a", b" b", b"Content-Length: 2"),
    bad_head("a folded length", b"Content-Length: 2", b" 0"),
    bad_head("a header folded to another", b"X: a", b" Set-Cookie: b=c", b"Content-Length: 2"),
    bad_head("LF behind a header", b"X: a\nSet-Cookie: b=c", b"Content-Length: 2"),
    bad_head("CR in a value", b"X: a\rSet-Cookie: b=c", b"Content-Length: 2"),
    bad_head("NUL in a value", b"X: a\0", b"Content-Length: 2"),
    bad_head("ESC in a value", b"X: \x1b[2J", b"Content-Length: 2"),
    bad_head("a space before the colon", b"Content-Length : 2"),
    bad_head("no colon", b"X", b"Content-Length: 2"),
    bad_head("no name", b": a", b"Content-Length: 2"),
    bad_head("a byte above ASCII in a name", b"X\xe9: a", b"Content-Length: 2"),
    bad("LF everywhere", FINE.replace(b"\r", b"")),
    bad("CR everywhere", FINE.replace(b"\n", b"")),
    bad("LF behind the status", b"HTTP/1.1 200 OK\n" + LENGTH + b"\r\nok"),
    bad("CR in the reason", b"HTTP/1.1 200 OK\rX: y\r\n" + LENGTH + b"\r\nok"),
    bad("two digits", b"HTTP/1.1 20 OK\r\n" + LENGTH + b"\r\nok"),
    bad("four digits", b"HTTP/1.1 2000 OK\r\n" + LENGTH + b"\r\nok"),
    bad("no digits", b"HTTP/1.1 OK\r\n" + LENGTH + b"\r\nok"),
    bad("HTTP/1.2", b"HTTP/1.2 200 OK\r\n" + LENGTH + b"\r\nok"),
    bad("http/1.1", b"http/1.1 200 OK\r\n" + LENGTH + b"\r\nok"),
    bad("HTTP/2", b"\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\x10\0\0\0\x06\0\0\x40\0"),
    bad("TLS", b"\x15\x03\x01\0\x02\x02\x46"),
    bad("a page", b"<html>no</html>"),
    bad("a request", ask()),
    bad("nothing", ends=True),
    bad("a break", breaks=True),
    bad("half a status", b"HTTP/1.1 2", ends=True),
    bad("half a head", OK + LENGTH, ends=True),
    bad("a status of 000 with a body", head(LENGTH[:-2], first=b"HTTP/1.1 000 No\r\n") + b"ok", ends=True),
    bad("a status of 099 with an answer as its body", head(b"Content-Length: %d" % len(STOLEN),
        first=b"HTTP/1.1 099 No\r\n") + STOLEN, ends=True),
    bad("nothing but 1xx", b"HTTP/1.1 102 Processing\r\n\r\n", ends=True),
    bad("a body behind a 100", b"HTTP/1.1 100 Continue\r\nContent-Length: 2\r\n\r\nok" + FINE),
    bad("a 100 that is the last", b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n" + FINE),
    bad("1xx without end", *[b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n" * 1000] * 10),
    bad("1xx without end, a write each",
        *[b"HTTP/1.1 103 Early Hints\r\nLink: %s\r\n\r\n" % (b"y" * 4000)] * 80),
    bad("a header without end", OK + b"X: ", *[b"y" * 10000] * 30),
    bad("headers without end", OK, *[b"X: y\r\n" * 2000] * 30),
    bad("a reason without end", b"HTTP/1.1 200 ", *[b"y" * 10000] * 30),
    cut("too short", OKAY[:-1], FINE[:-1], ends=True),
    cut("nothing behind the head", OKAY[:-2], FINE[:-2], ends=True),
    cut("a size that is none", IN_CHUNKS + b"2\r\nok\r\n", head(TE) + b"2\r\nok\r\nz\r\n"),
    cut("a size with a plus", IN_CHUNKS, head(TE) + b"+2\r\nok\r\n0\r\n\r\n"),
    cut("more than the size", IN_CHUNKS + b"2\r\nok\r\n", head(TE) + b"2\r\nokok\r\n0\r\n\r\n"),
    cut("LF behind the size", IN_CHUNKS, head(TE) + b"2\nok\r\n0\r\n\r\n"),
    cut("LF behind the data", IN_CHUNKS + b"2\r\nok\r\n", head(TE) + b"2\r\nok\n0\r\n\r\n"),
    cut("no last chunk", IN_CHUNKS + b"2\r\nok\r\n", head(TE) + b"2\r\nok\r\n", ends=True),
    cut("no end of the last chunk", IN_CHUNKS + b"2\r\nok\r\n", head(TE) + b"2\r\nok\r\n0\r\n", ends=True),
    cut("up to the end, which isn't one", IN_CHUNKS + b"2\r\nok\r\n", OK + b"\r\nok", breaks=True),
    cut("a trailer that is folded", IN_CHUNKS + b"2\r\nok\r\n",
        head(TE) + b"2\r\nok\r\n0\r\nA: b\r\n c\r\n\r\n"),
    cut("a length as a trailer", IN_CHUNKS + b"2\r\nok\r\n",
        head(TE) + b"2\r\nok\r\n0\r\nContent-Length: 5\r\n\r\n"),
    good("fine", OKAY, FINE, reused=True),
    good("fine, bit by bit", OKAY, *[bytes([byte]) for byte in FINE], reused=True),
    good("chunks", IN_CHUNKS + b"2\r\nok\r\n0\r\n\r\n", head(TE) + b"2;a=b\r\nok\r\n0\r\nA: b\r\n\r\n",
        reused=True),
    good("no reason", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200\r\n" + LENGTH + b"\r\nok", reused=True),
    good("two", OKAY, FINE + STOLEN),
    good("two, in two writes", OKAY, FINE, STOLEN),
    good("three", OKAY, FINE + STOLEN + STOLEN),
    good("one and a half", OKAY, FINE + STOLEN[:10]),
    good("one and a letter", OKAY, FINE + b"H"),
    good("one and an empty line", OKAY, FINE + b"\r\n", reused=True),
    good("longer than its length", OKAY, FINE + b"ok"),
    good("longer than its length, in two writes", OKAY, FINE, b"ok"),
    good("more behind the last chunk", IN_CHUNKS + b"2\r\nok\r\n0\r\n\r\n",
        head(TE) + b"2\r\nok\r\n0\r\n\r\n" + STOLEN),
    good("an answer as a body", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(STOLEN) + STOLEN,
        head(b"Content-Length: %d" % len(STOLEN)) + STOLEN, reused=True),
    good("the last", OKAY, head(b"Connection: close", LENGTH[:-2]) + b"ok"),
    good("the last, and another", OKAY, head(b"Connection: close", LENGTH[:-2]) + b"ok" + STOLEN),
    good("HTTP/1.0", OKAY, FINE.replace(b"1.1", b"1.0")),
    good("HTTP/2.0, which is HTTP to the parser", OKAY, FINE.replace(b"1.1", b"2.0")),
    good("RTSP/1.0, likewise", OKAY, FINE.replace(b"HTTP/1.1", b"RTSP/1.0")),
    good("HTTP/1.0 with another behind it", OKAY, FINE.replace(b"1.1", b"1.0") + STOLEN),
    good("up to the end", IN_CHUNKS + b"2\r\nok\r\n0\r\n\r\n", OK + b"\r\nok", ends=True),
    good("up to the end, what looks like another",
        IN_CHUNKS + b"%x\r\n%s\r\n0\r\n\r\n" % (len(STOLEN), STOLEN),
        OK + b"\r\n" + STOLEN, ends=True),
    good("100", OKAY, b"HTTP/1.1 100 Continue\r\n\r\n" + FINE, reused=True),
    good("103 with headers", OKAY, b"HTTP/1.1 103 Early Hints\r\nSet-Cookie: a=b\r\n\r\n", FINE, reused=True),
    good("empty lines before it", OKAY, b"\r\n\r\n" + FINE, reused=True),
    good("hop by hop", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-B: c\r\n\r\nok",
        head(b"Connection: x-a, content-length",
        b"X-A: b", b"Keep-Alive: timeout=5", b"Trailer: X", b"Upgrade: h2c", b"Proxy-Authenticate: Basic",
        b"TE: x",
        LENGTH[:-2], b"X-B: c") + b"ok", reused=True),
    good("304 with a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
        head(LENGTH[:-2], first=b"HTTP/1.1 304 Not Modified\r\n"), reused=True),
    good("304 with a body", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n",
        head(LENGTH[:-2], first=b"HTTP/1.1 304 Not Modified\r\n") + b"ok"),
    good("304 with an answer as its body",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: %d\r\n\r\n" % len(STOLEN),
        head(b"Content-Length: %d" % len(STOLEN), first=b"HTTP/1.1 304 Not Modified\r\n") + STOLEN),
    good("204", b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n", reused=True),
    good("204 with a length", b"HTTP/1.1 204 No Content\r\n\r\n",
        head(LENGTH[:-2], first=b"HTTP/1.1 204 No Content\r\n"),
        reused=True),
    good("204 with a body", b"HTTP/1.1 204 No Content\r\n\r\n",
        head(LENGTH[:-2], first=b"HTTP/1.1 204 No Content\r\n") + b"ok"),
    good("204 with chunks", b"HTTP/1.1 204 No Content\r\n\r\n",
        head(TE, first=b"HTTP/1.1 204 No Content\r\n") + b"2\r\nok\r\n0\r\n\r\n"),
    good("HEAD", OKAY[:-2], FINE[:-2], method="HEAD", reused=True),
    good("HEAD with a body", OKAY[:-2], FINE, method="HEAD"),
    good("HEAD with a body, in two writes", OKAY[:-2], FINE[:-2], b"ok", method="HEAD"),
    good("HEAD with an answer as its body", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(STOLEN),
        head(b"Content-Length: %d" % len(STOLEN)) + STOLEN, method="HEAD"),
    good("HEAD with chunks", OK + b"\r\n", head(TE), method="HEAD"),
    good("HEAD with chunks that come", OK + b"\r\n", head(TE), b"2\r\nok\r\n0\r\n\r\n", method="HEAD"),
]  # fmt: skip


@pytest.mark.parametrize("row", ANSWERS, ids=str)
def test_answers(upstream: Upstream, row: Wrong) -> None:
    """The client gets this answer, or hears that there is none; the next request gets its own."""
    acted = threading.Event()

    def act(link: Link) -> None:
        upstream.act = obliging
        link.request()
        for part in row.parts:
            link.send(part)
        if row.ends:
            link.close()
        if row.breaks:
            link.cut()
        acted.set()
        obliging(link)

    upstream.act = act
    bodiless = (0,) if row.method == "HEAD" else ()
    try:
        with Proxied(upstream.server) as proxied, Caller(proxied) as caller:
            caller.send(ask(row.method))
            if row.cut:
                caller.until_end()
            else:
                caller.until_answers(1, bodiless)
            first = caller.got
            assert acted.wait(DEADLINE)
            seen(proxied)
            assert caller.got == first
            with caller if not row.cut else Caller(proxied) as again:
                again.got = b""
                again.send(ask("GET", SECOND))
                again.until_answers(1)
                second = again.got
    finally:
        reached = upstream.taken()
    if row.got is None:
        (found,), rest = answers(first, bodiless=bodiless)
        assert (found.status, found.whole, rest) == (502, True, b"")
    else:
        assert first == row.got
    (answer,), rest = answers(second)
    assert (answer.status, answer.body, rest) == (200, f"GET {SECOND} 0\n".encode(), b"")
    assert proxied.log.of("ambassador.fault") == []
    asked = [sent(row.method, WEB), sent("GET", SECOND)]
    assert reached == written(upstream, *([b"".join(asked)] if row.reused else asked))
