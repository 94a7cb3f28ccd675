"""What a request gets: a status, a type and a body, or a stream of events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
EVENTS = "text/event-stream"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
ALWAYS = (
    ("Content-Security-Policy", _POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-store"),
)
"""Headers of every answer, whatever it says."""

_PIECE = 1 << 16
"""Bytes that are handed to the kernel at once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``body`` may be read once."""

    status: int
    type: str
    body: Iterable[bytes]
    length: int | None
    """In bytes; None: nobody knows."""
    more: tuple[tuple[str, str], ...] = ()
    """Headers of this one."""

    def headers(self) -> list[tuple[str, str]]:
        """All of them."""
        length = () if self.length is None else (("Content-Length", str(self.length)),)
        return [*head(self.type), *length, *self.more]

    def pieces(self) -> Iterator[bytes]:
        """The body."""
        return evened(self.body)


@dataclass(frozen=True, slots=True)
class Opening:
    """A stream of events: of these kinds, after the one with this id."""

    kinds: frozenset[str]
    last: str | None


def evened(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, neither in crumbs nor in lumps: no more is copied for a client than it takes at once."""
    gathered, size = [], 0
    for part in parts:
        for at in range(0, len(part), _PIECE):
            gathered.append(part[at : at + _PIECE])
            size += len(gathered[-1])
            if size >= _PIECE:
                yield b"".join(gathered)
                gathered, size = [], 0
    if gathered:
        yield b"".join(gathered)


def head(type_: str) -> list[tuple[str, str]]:
    """The headers of an answer of this type, but for those about its body."""
    return [("Date", formatdate(usegmt=True)), ("Content-Type", type_), *ALWAYS]


def whole(body: bytes, type_: str) -> Answer:
    """200."""
    return Answer(200, type_, (body,), len(body))


def refusal(status: int, why: str = "", *more: tuple[str, str]) -> Answer:
    """An answer in words; without any, the status's own."""
    body = f"{why or HTTPStatus(status).phrase}\n".encode(errors="replace")
    return Answer(status, TEXT, (body,), len(body), more)
