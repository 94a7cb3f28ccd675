"""What a server, a proxy or the network does to a client beside answering it.

Each of these, or what it returns, is for ``ApiServer.script``; those for watches also for
``ApiServer.interrupt``, while a watch is open.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from typing import Any

from tests.apiserver.answers import JSON, Answer, Refusal, dumps
from tests.apiserver.connection import Exchange, head
from tests.apiserver.recorded import recorded

Behaviour = Callable[[Exchange], None]

_PAGE = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>\r\n"


def raw(data: bytes) -> Behaviour:
    """These bytes, then the end of the connection."""

    def act(exchange: Exchange) -> None:
        exchange.raw(data)
        exchange.close()

    return act


def as_recorded(name: str) -> Behaviour:
    """A recorded answer."""
    found = recorded(name)
    own = {"content-type", "date", "content-length", "transfer-encoding"}
    headers = [header for header in found.headers if header[0].lower() not in own]
    given = Answer(found.status, found.body, found.header("Content-Type") or JSON, headers)
    return lambda exchange: exchange.answer(given)


def status(code: int, reason: str | None, message: str, **headers: str) -> Behaviour:
    """A Status; ``headers`` as ``Retry_After="1"``."""
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return lambda exchange: exchange.answer(Refusal(code, reason, message, headers=pairs).answer())


def too_many_requests(seconds: int = 1) -> Behaviour:
    """429 with a Retry-After, as the server's fair queues say it."""
    message = "Too many requests, please try again later."

    def act(exchange: Exchange) -> None:
        refusal = Refusal(429, "TooManyRequests", message, headers=[("Retry-After", str(seconds))])
        refusal.status["details"] = {"retryAfterSeconds": seconds}
        exchange.answer(refusal.answer())

    return act


def unavailable(exchange: Exchange) -> None:
    """503, in plain text, as while it starts."""
    exchange.answer(Answer(503, b"apiserver not ready\n", "text/plain; charset=utf-8"))


def serve(exchange: Exchange) -> None:
    """The usual answer."""
    exchange.serve()


def hang(exchange: Exchange) -> None:
    """Nothing at all."""
    exchange.hang()


def hang_after_headers(exchange: Exchange) -> None:
    """Headers, then nothing."""
    exchange.start()
    exchange.hang()


def hang_in_body(exchange: Exchange) -> None:
    """Half a body, then nothing."""
    exchange.start()
    exchange.chunk(b'{"kind":"Pod","apiVersion":"v1","metad')
    exchange.hang()


def close(exchange: Exchange) -> None:
    """The end of the connection, without an answer."""
    exchange.close()


def reset(exchange: Exchange) -> None:
    """A RST, now."""
    exchange.reset()


def reset_in_body(exchange: Exchange) -> None:
    """A RST after half a body."""
    exchange.start()
    exchange.chunk(b'{"kind":"Pod","apiVersion":"v1","metad')
    exchange.reset()


def trickle_headers(every: float = 0.01) -> Behaviour:
    """Headers without an end, byte by byte, so that no single read ever times out."""

    def act(exchange: Exchange) -> None:
        exchange.raw(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            exchange.raw(b"x")
            exchange.wait(every)

    return act


def trickle_body(every: float = 0.01) -> Behaviour:
    """Likewise the body."""

    def act(exchange: Exchange) -> None:
        exchange.start()
        exchange.chunk(b'{"kind":"')
        while True:
            exchange.chunk(b"x")
            exchange.wait(every)

    return act


def html(code: int = 502) -> Behaviour:
    """A page of a proxy in between."""
    return lambda exchange: exchange.answer(Answer(code, _PAGE, "text/html"))


def compressed(exchange: Exchange) -> None:
    """A body in gzip, though nobody may have asked for it."""
    body = gzip.compress(dumps({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "zipped"}}))
    exchange.answer(Answer(200, body, JSON, [("Content-Encoding", "gzip")]))


def bomb(size: int = 1 << 30) -> Behaviour:
    """A body in gzip that is small until it is unpacked."""

    def act(exchange: Exchange) -> None:
        piece = b" " * (1 << 20)
        packed = gzip.compress(piece * 16, 9)  # members one after another are one stream
        exchange.start(200, [("Content-Encoding", "gzip")])
        for _ in range(size // (16 * len(piece))):
            exchange.chunk(packed)
        exchange.end()

    return act


def large(size: float = math.inf) -> Behaviour:
    """A body of this many bytes; by default one without an end."""

    def act(exchange: Exchange) -> None:
        exchange.start()
        exchange.chunk(b'{"kind":"Pod","apiVersion":"v1","metadata":{"annotations":{"a":"')
        left = size
        while left > 0:
            exchange.chunk(b"x" * 65536)
            left -= 65536
        exchange.chunk(b'"}}}\n')
        exchange.end()

    return act


def redirect(location: str, code: int = 307) -> Behaviour:
    """The request is to be sent elsewhere."""
    return lambda exchange: exchange.answer(Answer(code, b"", JSON, [("Location", location)]))


def body(data: bytes, code: int = 200, content_type: str = JSON) -> Behaviour:
    """This body, whatever it is."""
    return lambda exchange: exchange.answer(Answer(code, data, content_type))


def not_json(exchange: Exchange) -> None:
    """A body that says it is JSON, and isn't."""
    exchange.answer(Answer(200, b'{"kind":"Pod",', JSON))


def nested(depth: int = 200_000) -> Behaviour:
    """JSON so deep that a recursive reader fails."""
    return body(b'{"metadata":' + b"[" * depth + b"]" * depth + b"}")


def huge_headers(size: int = 1 << 20) -> Behaviour:
    """One header of this many bytes."""
    return lambda exchange: exchange.answer(Answer(200, b"{}\n", JSON, [("X-Huge", "x" * size)]))


def many_headers(count: int = 10_000) -> Behaviour:
    """So many headers."""
    headers = [(f"X-Number-{number}", "x") for number in range(count)]
    return lambda exchange: exchange.answer(Answer(200, b"{}\n", JSON, headers))


def too_short(exchange: Exchange) -> None:
    """A body shorter than its Content-Length, then the end of the connection."""
    exchange.start(200, length=1000)
    exchange.raw(b'{"kind":"Pod"}')
    exchange.close()


def too_long(exchange: Exchange) -> None:
    """A body longer than its Content-Length: the rest would be the next answer."""
    exchange.start(200, length=2)
    exchange.raw(b'{}\n{"kind":"Pod","metadata":{"name":"smuggled"}}\n')
    exchange.ended = True


def not_http(exchange: Exchange) -> None:
    """Another protocol."""
    exchange.raw(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    exchange.close()


def not_chunked(exchange: Exchange) -> None:
    """A length of a chunk that is no number."""
    exchange.raw(head(200, [("Content-Type", JSON), ("Transfer-Encoding", "chunked")]) + b"zz\r\n{}\r\n")
    exchange.close()


# What comes after a switch of protocols, for tunnels: none of these knows what is carried.


def switched(protocol: str = "SPDY/3.1", first: bytes = b"") -> Behaviour:
    """The switch, with these bytes right behind it, and then every byte back, until the client ends."""

    def act(exchange: Exchange) -> None:
        exchange.switch(protocol, then=first)
        while data := exchange.receive():
            exchange.raw(data)
        exchange.finish()

    return act


def switched_and_ended(protocol: str = "SPDY/3.1", data: bytes = b"") -> Behaviour:
    """The switch, these bytes, and the end, whatever the client says."""

    def act(exchange: Exchange) -> None:
        exchange.switch(protocol, then=data)
        exchange.finish()

    return act


# What happens to watches: before the first event, or while they are open.


def bookmark(exchange: Exchange) -> None:
    """A BOOKMARK with the resourceVersion that the watch has come to; it goes on, or begins as usual."""
    fresh = not exchange.started
    begun = int(exchange.request.query.get("resourceVersion") or exchange.server.store.version)
    exchange.bookmark(begun if fresh else exchange.position)
    if fresh:
        exchange.serve()


def watch_error(code: int, reason: str | None = None, message: str = "") -> Behaviour:
    """An ERROR event of this code, then a clean end; 410 as recorded."""
    reasons = {410: "Expired", 500: "InternalError", 504: "Timeout", 429: "TooManyRequests"}

    def act(exchange: Exchange) -> None:
        asked = exchange.request.query.get("resourceVersion") or "1"
        words = message or f"too old resource version: {asked} ({exchange.server.store.version})"
        exchange.event("ERROR", Refusal(code, reason or reasons.get(code), words).status)
        exchange.end()

    return act


def gone(exchange: Exchange) -> None:
    """410 as the status of the answer, not in the stream."""
    words = f"too old resource version: {exchange.request.query.get('resourceVersion') or 1} "
    words += f"({exchange.server.store.version})"
    exchange.answer(Refusal(410, "Expired", words).answer())


def end(exchange: Exchange) -> None:
    """A clean end, at once."""
    exchange.start()
    exchange.end()


def silence(exchange: Exchange) -> None:
    """The stream stays open, and nothing ever comes (as with a connection that is dead)."""
    exchange.start()
    exchange.hang()


def torn_line(exchange: Exchange) -> None:
    """Half an event, then a clean end."""
    exchange.start()
    exchange.chunk(b'{"type":"MODIFIED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"na')
    exchange.end()


def torn_connection(exchange: Exchange) -> None:
    """Half an event, and no end of the chunks either."""
    exchange.start()
    exchange.chunk(b'{"type":"MODIFIED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"na')
    exchange.close()


def events(*given: dict[str, Any], split: int | None = None) -> Behaviour:
    """These events; with ``split`` in chunks of so many bytes, which cuts lines and characters.

    An open watch goes on after them; one that begins ends.
    """

    def act(exchange: Exchange) -> None:
        fresh = not exchange.started
        exchange.start()
        data = b"".join(dumps(event) for event in given)
        size = split or len(data)
        for at in range(0, len(data), size):
            exchange.chunk(data[at : at + size])
        if fresh:
            exchange.end()

    return act


def lines(data: bytes) -> Behaviour:
    """These bytes in the stream, as one chunk; as ``events``."""

    def act(exchange: Exchange) -> None:
        fresh = not exchange.started
        exchange.start()
        exchange.chunk(data)
        if fresh:
            exchange.end()

    return act
