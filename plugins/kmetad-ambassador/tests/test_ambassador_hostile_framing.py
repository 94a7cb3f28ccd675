"""Hostile requests: where a body ends, told in ways that two readers may understand differently."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ambassador import PODS, Came, Reached, Row, Upstream, ask, broken, check, passed, refused, sent

MAPS = "/api/v1/namespaces/lab/configmaps"
MAY_POST = ("get,list:pods:lab", "create:configmaps:lab")
DELETE = ask("DELETE", f"{PODS}/web")
HELLO = sent("POST", MAPS, body=b"hello")


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """One for all."""
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def plain() -> Iterator[Upstream]:
    """One without TLS, which gets no token."""
    with Upstream(tls=False) as running:
        yield running


def post(*lines: str | bytes, body: bytes = b"hello", version: str = "HTTP/1.1") -> bytes:
    """A POST that is allowed, with these headers."""
    return ask("POST", MAPS, *lines, body=body, version=version)


CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"


def chunks(body: bytes, *lines: str | bytes) -> bytes:
    """A POST that is allowed, with a body in chunks."""
    return post("Transfer-Encoding: chunked", *lines, body=body)


LONG = b"x" * 300_000
"""Longer than what is sent only when it is whole."""

LENGTHS = [
    broken("twice, the same", post("Content-Length: 5", "Content-Length: 5")),
    broken("twice, and different", post("Content-Length: 5", "Content-Length: 0")),
    broken("twice, the first of a smuggled request",
        post("Content-Length: 0", "Content-Length: 5", body=DELETE)),
    broken("a list of equals", post("Content-Length: 5, 5")),
    broken("a list", post("Content-Length: 0, 5")),
    broken("with a plus", post("Content-Length: +5")),
    broken("negative", post("Content-Length: -5")),
    broken("hexadecimal", post("Content-Length: 0x5")),
    broken("with a fraction", post("Content-Length: 5.0")),
    broken("with an exponent", post("Content-Length: 5e0")),
    broken("empty", post("Content-Length:")),
    broken("blank", post("Content-Length:  \t ")),
    broken("two numbers", post("Content-Length: 5 5")),
    broken("grouped", post("Content-Length: 1_0")),
    broken("quoted", post('Content-Length: "5"')),
    broken("a digit that isn't ASCII", post("Content-Length: \xb25")),
    broken("Arabic digits", post("Content-Length: ٥".encode())),
    broken("NUL behind it", post("Content-Length: 5\x00")),
    broken("a form feed before it", post("Content-Length:\x0c5")),
    broken("a vertical tab behind it", post("Content-Length: 5\x0b")),
    broken("2**64", post("Content-Length: 18446744073709551616")),
    broken("2**64 + 5", post("Content-Length: 18446744073709551621")),
    broken("2**64 - 1", post("Content-Length: 18446744073709551615"), 413),
    broken("more than may be", post("Content-Length: 6"), 413, max_body="5"),
    broken("a space before the colon", post("Content-Length : 5")),
    broken("a tab before the colon", post("Content-Length\t: 5")),
    broken("NUL in its name", post("Content\x00-Length: 5")),
    broken("a blank before its name", post(" Content-Length: 5")),
    passed("leading zeros", post("Content-Length: 0005"), HELLO),
    passed("blanks around", post("Content-Length: \t5 \t"), HELLO),
    passed("no blank", post("content-length:5"), HELLO),
    passed("hop by hop", post("Content-Length: 5", "Connection: content-length"), HELLO),
    passed(
        "another name is another header",
        post("X-Content-Length: 0", "Content-Length: 5"),
        sent("POST", MAPS, "x-content-length: 0", body=b"hello"),
    ),
    passed(
        "with _ it is none",
        (post("Content_Length: 5", body=b""), Came(b"POST"), DELETE, Came(b"403")),
        sent("POST", MAPS, "content_length: 5"),
        statuses=(200, 403),
    ),
    passed(
        "less than there is: the rest is the next request",
        post("Content-Length: 5", body=b"hello" + DELETE),
        HELLO,
        statuses=(200, 403),
    ),
    passed(
        "none: the rest is the next request",
        post(body=DELETE),
        sent("POST", MAPS),
        statuses=(200, 403),
    ),
    passed(
        "a request in a body stays there",
        post(f"Content-Length: {len(DELETE)}", body=DELETE),
        sent("POST", MAPS, body=DELETE),
    ),
    passed("GET with a request as its body", ask("GET", PODS, f"Content-Length: {len(DELETE)}", body=DELETE),
        sent("GET", PODS, body=DELETE)),
    passed("GET with a length of nothing", ask("GET", PODS, "Content-Length: 0", body=DELETE),
        sent("GET", PODS),
        statuses=(200, 403)),
    passed("HEAD with a body", ask("HEAD", PODS, "Content-Length: 5", body=b"hello"),
        sent("HEAD", PODS, body=b"hello"),
        bodiless=(0,)),
    passed("a body that is streamed, and a request behind it",
        post(f"Content-Length: {len(LONG)}", body=LONG + DELETE),
        sent("POST", MAPS, body=LONG), statuses=(200, 403)),
    passed("a body that is streamed, of requests",
        post(f"Content-Length: {len(DELETE) * 5000}", body=DELETE * 5000),
        sent("POST", MAPS, body=DELETE * 5000)),
    passed("a body that is streamed, and never ends", (post(f"Content-Length: {len(LONG)}", body=LONG[:-1]),
        Reached(LONG[-1000:])), sent("POST", MAPS, body=LONG)[:-1], statuses=(), leaves=True, whole=False),
    refused("more than there is", post("Content-Length: 6"), leaves=True),
]  # fmt: skip


@pytest.mark.parametrize("row", LENGTHS, ids=str)
def test_content_length(upstream: Upstream, row: Row) -> None:
    """A length is one number in digits, said once. What reaches the upstream has it in the one way to write it."""
    check(upstream, row, allow=MAY_POST)


CODINGS = [
    broken("with a length before it", post("Content-Length: 5", "Transfer-Encoding: chunked", body=CHUNKED)),
    broken("with a length behind it", post("Transfer-Encoding: chunked", "Content-Length: 5", body=CHUNKED)),
    broken("CL.TE", post("Content-Length: 6", "Transfer-Encoding: chunked", body=b"0\r\n\r\nG")),
    broken("TE.CL", post("Transfer-Encoding: chunked", "Content-Length: 4",
        body=b"5c\r\n" + DELETE + b"\r\n0\r\n\r\n")),
    broken("with an empty length", post("Transfer-Encoding: chunked", "Content-Length:", body=CHUNKED)),
    broken("twice", post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNKED)),
    broken("twice in one", post("Transfer-Encoding: chunked, chunked", body=CHUNKED)),
    broken("chunked and identity",
        post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=CHUNKED)),
    refused("identity and chunked",
        post("Transfer-Encoding: identity", "Transfer-Encoding: chunked", body=CHUNKED), 501),
    broken("identity", post("Transfer-Encoding: identity", body=CHUNKED)),
    refused("gzip, chunked", post("Transfer-Encoding: gzip, chunked", body=CHUNKED), 501),
    broken("chunked, gzip", post("Transfer-Encoding: chunked, gzip", body=CHUNKED)),
    broken("gzip", post("Transfer-Encoding: gzip", body=CHUNKED)),
    broken("empty", post("Transfer-Encoding:", body=CHUNKED)),
    broken("cow", post("Transfer-Encoding: cow", body=CHUNKED)),
    broken("xchunked", post("Transfer-Encoding: xchunked", body=CHUNKED)),
    broken("chunkedx", post("Transfer-Encoding: chunkedx", body=CHUNKED)),
    broken("x chunked", post("Transfer-Encoding: x chunked", body=CHUNKED)),
    broken("with a parameter", post("Transfer-Encoding: chunked;q=1", body=CHUNKED)),
    broken("a comma behind it", post("Transfer-Encoding: chunked,", body=CHUNKED)),
    refused("a comma before it", post("Transfer-Encoding: ,chunked", body=CHUNKED), 501),
    broken("quoted", post('Transfer-Encoding: "chunked"', body=CHUNKED)),
    broken("a vertical tab before it", post("Transfer-Encoding:\x0bchunked", body=CHUNKED)),
    broken("a byte that some take for a blank", post("Transfer-Encoding: chunked\xa0", body=CHUNKED)),
    broken("NUL in it", post("Transfer-Encoding: chu\x00nked", body=CHUNKED)),
    broken("a K that isn't ASCII", post("Transfer-Encoding: chun\u212aed".encode(), body=CHUNKED)),
    refused("a blank behind it", post("Transfer-Encoding: chunked ", body=CHUNKED), 501),
    broken("a space before the colon", post("Transfer-Encoding : chunked", body=CHUNKED)),
    broken("a space before the colon, with a length",
        post("Content-Length: 5", "Transfer-Encoding : chunked")),
    broken("a blank before its name", post("X: y", " Transfer-Encoding: chunked", body=CHUNKED)),
    broken("in the value of another", post("X: y\rTransfer-Encoding: chunked", body=CHUNKED)),
    broken("on the next line", post("Transfer-Encoding:\r\n chunked", body=CHUNKED)),
    refused("HTTP/1.0", post("Transfer-Encoding: chunked", body=CHUNKED, version="HTTP/1.0"), 400,
        closes=True),
    passed("in any case", post("TRANSFER-ENCODING: cHuNkEd", body=CHUNKED), HELLO),
    passed("a tab before it", post("Transfer-Encoding:\tchunked", body=CHUNKED), HELLO),
    passed("hop by hop", post("Connection: transfer-encoding", "Transfer-Encoding: chunked", body=CHUNKED),
        HELLO),
    passed("TE", post("TE: trailers, chunked", "Content-Length: 5"), HELLO),
    passed(
        "with _ it is none",
        post("Transfer_Encoding: chunked", "Content-Length: 5", body=b"0\r\n\r\n"),
        sent("POST", MAPS, "transfer_encoding: chunked", body=b"0\r\n\r\n"),
    ),
    passed("GET", ask("GET", PODS, "Transfer-Encoding: chunked", body=CHUNKED),
        sent("GET", PODS, body=b"hello")),
    passed(
        "GET with a request behind the last chunk",
        ask("GET", PODS, "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + DELETE),
        sent("GET", PODS),
        statuses=(200, 403),
    ),
]  # fmt: skip


@pytest.mark.parametrize("row", CODINGS, ids=str)
def test_transfer_encoding(upstream: Upstream, row: Row) -> None:
    """It is chunked and nothing else, without a length beside it; the body goes on under a length."""
    check(upstream, row, allow=MAY_POST)


STREAMED_END = b"Transfer-Encoding: chunked\r\n\r\n"
STREAMED = sent("POST", MAPS, framing="Transfer-Encoding: chunked\r\n")

CHUNK_FORMS = [
    broken("a space behind the size", chunks(b"5 \r\nhello\r\n0\r\n\r\n")),
    broken("a space before the size", chunks(b" 5\r\nhello\r\n0\r\n\r\n")),
    broken("a tab behind the size", chunks(b"5\t\r\nhello\r\n0\r\n\r\n")),
    broken("a plus", chunks(b"+5\r\nhello\r\n0\r\n\r\n")),
    broken("a minus", chunks(b"-5\r\nhello\r\n0\r\n\r\n")),
    broken("0x", chunks(b"0x5\r\nhello\r\n0\r\n\r\n")),
    broken("with _", chunks(b"0_5\r\nhello\r\n0\r\n\r\n")),
    broken("no size", chunks(b"\r\nhello\r\n0\r\n\r\n")),
    broken("no size, but an extension", chunks(b";x\r\nhello\r\n0\r\n\r\n")),
    broken("a size of 2**68", chunks(b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n")),
    broken("a size of 2**64 + 5", chunks(b"10000000000000005\r\nhello\r\n0\r\n\r\n")),
    broken("LF behind the size", chunks(b"5\nhello\r\n0\r\n\r\n")),
    broken("CR behind the size", chunks(b"5\rhello\r\n0\r\n\r\n")),
    broken("CR CR LF behind the size", chunks(b"5\r\r\nhello\r\n0\r\n\r\n")),
    broken("LF behind the data", chunks(b"5\r\nhello\n0\r\n\r\n")),
    broken("nothing behind the data", chunks(b"5\r\nhello0\r\n\r\n")),
    broken("longer than its size", chunks(b"5\r\nhelloo\r\n0\r\n\r\n")),
    broken("shorter than its size", chunks(b"6\r\nhello\r\n0\r\n\r\n")),
    broken("LF in an extension", chunks(b"5;a\nb\r\nhello\r\n0\r\n\r\n")),
    broken("CR in an extension", chunks(b"5;a\rb\r\nhello\r\n0\r\n\r\n")),
    broken("NUL in an extension", chunks(b"5;a\x00\r\nhello\r\n0\r\n\r\n")),
    broken("a byte above ASCII in an extension", chunks(b"5;\xff\r\nhello\r\n0\r\n\r\n")),
    broken("a line in an extension's quotes", chunks(b'5;a="\r\nhello"\r\n0\r\n\r\n')),
    broken("a space before an extension", chunks(b"5 ;a\r\nhello\r\n0\r\n\r\n")),
    broken("a minus at the last", chunks(b"5\r\nhello\r\n-0\r\n\r\n")),
    broken("LF at the last", chunks(b"5\r\nhello\r\n0\n\r\n")),
    broken("LF at the end", chunks(b"5\r\nhello\r\n0\r\n\n")),
    passed("an extension", chunks(b"5;a=b;c\r\nhello\r\n0;d\r\n\r\n"), HELLO),
    passed("a quoted extension", chunks(b'5;a="b;c"\r\nhello\r\n0\r\n\r\n'), HELLO),
    passed("zeros before the size", chunks(b"000000000000000005\r\nhello\r\n000\r\n\r\n"), HELLO),
    passed("either case", chunks(b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
        sent("POST", MAPS, body=2 * b"0123456789")),
    passed("a byte each", chunks(b"1\r\nh\r\n1\r\ne\r\n3\r\nllo\r\n0\r\n\r\n"), HELLO),
    passed("no data", chunks(b"0\r\n\r\n"), sent("POST", MAPS)),
    passed("a request as data", chunks(b"%x\r\n%s\r\n0\r\n\r\n" % (len(DELETE), DELETE)),
        sent("POST", MAPS, body=DELETE)),
    passed("an end as data", chunks(b"5\r\n0\r\n\r\n\r\n0\r\n\r\n"), sent("POST", MAPS, body=b"0\r\n\r\n")),
    passed("a request behind the end", chunks(CHUNKED + DELETE), HELLO, statuses=(200, 403)),
    refused("longer than may be", chunks(b"6\r\nhello!\r\n0\r\n\r\n"), 413, max_body="5"),
    passed("an extension without an end", (chunks(b"1;a\r\nx\r\n"), Reached(b"x\r\n"), b"5;" + 2000 * b"a"),
        STREAMED + b"1\r\nx\r\n", statuses=(400,), closes=True, whole=False, max_head="1Ki"),
    passed("a wrong one behind a good one", (chunks(b"1\r\nx\r\n"), Reached(b"x\r\n"), b"z\r\n"),
        STREAMED + b"1\r\nx\r\n", statuses=(400,), closes=True, whole=False),
    passed("the end never comes", (chunks(b"1\r\nx\r\n"), Reached(b"x\r\n")),
        STREAMED + b"1\r\nx\r\n", statuses=(), leaves=True, whole=False),
    passed("longer than may be, bit by bit", (chunks(b"1\r\nx\r\n"), Reached(b"x\r\n"), b"5\r\nhello\r\n"),
        STREAMED + b"1\r\nx\r\n", statuses=(413,), closes=True, whole=False, max_body="5"),
    passed("bit by bit", (chunks(b"1;a\r\nh\r\n"), Reached(b"h\r\n"), b"4;b\r\nello\r\n0;c\r\nd: e\r\n\r\n"),
        STREAMED + b"1\r\nh\r\n4\r\nello\r\n0\r\n\r\n"),
]  # fmt: skip


@pytest.mark.parametrize("row", CHUNK_FORMS, ids=str)
def test_chunks(upstream: Upstream, row: Row) -> None:
    """A chunk has the one form of RFC 9112; its extensions go no further."""
    check(upstream, row, allow=MAY_POST)


def trailing(trailers: bytes, more: bytes = b"") -> bytes:
    """A POST that is allowed, with these lines behind its last chunk, and more behind all."""
    return chunks(b"5\r\nhello\r\n0\r\n" + trailers + b"\r\n" + more)


TRAILERS = [
    broken("Content-Length", trailing(b"Content-Length: 5\r\n")),
    broken("Transfer-Encoding", trailing(b"Transfer-Encoding: chunked\r\n")),
    broken("Transfer-Encoding: identity", trailing(b"Transfer-Encoding: identity\r\n")),
    broken("folded", trailing(b"A: b\r\n c\r\n")),
    broken("blank at its beginning", trailing(b" A: b\r\n")),
    broken("LF behind it", trailing(b"A: b\n")),
    broken("CR in it", trailing(b"A: b\rc\r\n")),
    broken("NUL in it", trailing(b"A: b\x00\r\n")),
    broken("no colon", trailing(b"A\r\n")),
    broken("a space before the colon", trailing(b"A : b\r\n")),
    broken("a request", trailing(DELETE)),
    broken("LF at the end", chunks(b"0\r\nA: b\r\n\n" + DELETE)),
    passed("Host", trailing(b"Host: elsewhere\r\n"), HELLO),
    passed("Authorization", trailing(b"Authorization: Bearer theirs\r\n"), HELLO),
    passed("Impersonate-User", trailing(b"Impersonate-User: admin\r\nX-Remote-User: admin\r\n"), HELLO),
    passed("Upgrade", trailing(b"Upgrade: websocket\r\nConnection: upgrade\r\n"), HELLO),
    passed("Connection: close", trailing(b"Connection: close\r\n", ask("GET", PODS)), HELLO,
        statuses=(200, 400), closes=True),  # the parser minds it
    passed("Expect", trailing(b"Expect: 100-continue\r\n"), HELLO),
    passed("announced", chunks(b"0\r\nA: b\r\n\r\n", "Trailer: A"), sent("POST", MAPS)),
    passed("empty", trailing(b"A:\r\n"), HELLO),
    passed("none of the next request", trailing(b"A: b\r\n", ask("GET", PODS)), HELLO, sent("GET", PODS)),
    passed("empty, and none of the next request", trailing(b"A:\r\n", ask("GET", PODS, "B: c")), HELLO,
        sent("GET", PODS, "b: c")),
    passed("the next request is refused", trailing(b"A: b\r\n", DELETE), HELLO, statuses=(200, 403)),
    passed("without an end", (chunks(b"1\r\nx\r\n"), Reached(b"x\r\n"), b"0\r\n" + 300 * b"A: b\r\n"),
        STREAMED + b"1\r\nx\r\n", statuses=(400,), closes=True, whole=False, max_head="1Ki"),
    passed("whose end doesn't come", (chunks(b"0\r\nA: b\r\n"), Reached(STREAMED_END)), STREAMED,
        statuses=(), leaves=True, whole=False),
]  # fmt: skip


@pytest.mark.parametrize("row", TRAILERS, ids=str)
def test_trailers(upstream: Upstream, row: Row) -> None:
    """They have the form of headers, are never taken for headers, and go no further."""
    check(upstream, row, allow=MAY_POST)


@pytest.mark.parametrize("row", [*LENGTHS, *CODINGS, *CHUNK_FORMS, *TRAILERS], ids=str)
def test_without_tls(plain: Upstream, row: Row) -> None:
    """An upstream without TLS gets the same, but for the token."""
    check(plain, row, allow=MAY_POST)
