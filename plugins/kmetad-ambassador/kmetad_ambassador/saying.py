"""What the proxy says itself, as HTTP has it."""

from __future__ import annotations

from http import HTTPStatus

from kmetad_ambassador.refusal import Refusal

JSON, TEXT = b"application/json", b"text/plain; charset=utf-8"

_MORE = {
    401: b"WWW-Authenticate: Bearer\r\n",
    405: b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE\r\n",
    429: b"Retry-After: 1\r\n",
}
"""By status, what belongs to it."""


def answer(status: int, kind: bytes, body: bytes, *, last: bool, to_head: bool) -> bytes:
    """A whole answer. ``last``: the connection ends with it. ``to_head``: the body is only described."""
    head = (
        b"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nCache-Control: no-store\r\nContent-Length: %d\r\n%s%s\r\n"
        % (
            status,
            HTTPStatus(status).phrase.encode("ascii"),
            kind,
            len(body),
            _MORE.get(status, b""),
            b"Connection: close\r\n" if last else b"",
        )
    )
    return head if to_head else head + body


def refused(refusal: Refusal, *, last: bool, to_head: bool) -> bytes:
    """A refusal."""
    return answer(refusal.status, JSON, refusal.body(), last=last, to_head=to_head)
