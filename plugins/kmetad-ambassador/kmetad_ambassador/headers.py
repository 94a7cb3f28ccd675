"""Which headers are passed on. A request's names are in lower case; an answer's are as the server wrote them."""

from __future__ import annotations

from collections.abc import Iterable

Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""What is between two neighbours (RFC 9110, 7.6.1): this proxy has its own, on each side."""

_NOT_THE_CLIENTS = _HOP_BY_HOP | {
    b"authorization",  # credentials are what this proxy is for
    b"host",
    b"content-length",  # written anew, as the body is
    b"expect",
    b"forwarded",  # from whom a request comes is for the audit log, and not for the client to say
    b"x-forwarded-for",
    b"x-real-ip",
}

_IMPERSONATES = b"impersonate-"
_FRONT_PROXY = b"x-remote-"
"""X-Remote-User and the like: as whom a front proxy of the API server has authenticated somebody."""

_PROTOCOLS = b"sec-websocket-protocol"
_BEARER = b"base64url.bearer.authorization.k8s.io."
"""A WebSocket's way to bring a token, among its protocols (k8s.io/apiserver, pkg/authentication/request/websocket)."""


def request_lines(headers: Headers, connection: bytes = b"") -> list[bytes]:
    """The lines of a request that go on to the API server. ``connection``: the value of that header.

    Not who the client says it is: no credentials, nobody to act as.
    """
    named = _named(connection)
    lines = []
    for name, value in headers:
        if name in _NOT_THE_CLIENTS or name in named or name.startswith((_IMPERSONATES, _FRONT_PROXY)):
            continue
        if name == _PROTOCOLS:
            value = _without_token(value)
            if not value:
                continue
        lines.append(b"%s: %s\r\n" % (name, value))
    return lines


def answer_lines(headers: Headers, connection: bytes = b"") -> list[bytes]:
    """The lines of an answer that go back to the client."""
    left_out = _HOP_BY_HOP | _named(connection) if connection else _HOP_BY_HOP
    return [b"%s: %s\r\n" % (name, value) for name, value in headers if name.lower() not in left_out]


def noted(headers: Headers, names: Iterable[bytes]) -> dict[bytes, bytes]:
    """The values of some headers; of one that comes several times, with commas in between (RFC 9110, 5.3)."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        name = name.lower()
        if name in names:
            found[name] = found[name] + b", " + value if name in found else value
    return found


def tokens(value: bytes) -> list[bytes]:
    """The elements of a list, in lower case."""
    return [part for part in (part.strip(b" \t").lower() for part in value.split(b",")) if part]


def _named(connection: bytes) -> frozenset[bytes]:
    """Headers that Connection declares to be between two neighbours."""
    if not connection:
        return frozenset()
    # What tells where the body ends, and which server is meant, can't be declared away.
    return frozenset(tokens(connection)) - {b"content-length", b"content-type", b"host"}


def _without_token(protocols: bytes) -> bytes:
    # Anywhere in one: Go's server also takes away blanks that only Unicode knows.
    kept = [part.strip(b" \t") for part in protocols.split(b",")]
    return b", ".join(part for part in kept if part and _BEARER not in part.lower())
