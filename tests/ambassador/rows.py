"""What hostile clients send, what has to become of it, and whether it does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.ambassador.caller import Caller, held, seen
from tests.ambassador.upstream import TOKEN, Link, Upstream, obliging, says
from tests.ambassador.wire import alike
from tests.proxying import Proxied

HOST = b"<the upstream's>"
"""In what a Row expects: the upstream's name and port."""
AUTHORIZATION = b"Authorization: Bearer %s\r\n" % TOKEN.encode()

PODS = "/api/v1/namespaces/lab/pods"
WEB = f"{PODS}/web"
SENTINEL = "/version"
"""Asked for at last, where the connection has to go on: by then, all before it is over. Any rules allow it."""


def ask(
    method: str = "GET",
    target: str | bytes = WEB,
    *lines: str | bytes,
    body: bytes = b"",
    host: str | None = "localhost",
    version: str = "HTTP/1.1",
) -> bytes:
    """A request as a client sends it. Nothing is checked, escaped or added, a Host aside."""
    first = b"%s %s %s" % (_raw(method), _raw(target), _raw(version))
    hosts = [] if host is None else [f"Host: {host}"]
    return b"".join(b"%s\r\n" % _raw(line) for line in (first, *hosts, *lines)) + b"\r\n" + body


def sent(
    method: str = "GET", target: str = WEB, *lines: str | bytes, framing: str | None = None, body: bytes = b""
) -> bytes:
    """A request as the proxy has to write it. ``framing``: the lines behind the token, if not as usual."""
    if framing is None:
        framing = f"Content-Length: {len(body)}\r\n" if body or method in ("POST", "PUT", "PATCH") else ""
    first = b"%s %s HTTP/1.1\r\nHost: %s\r\n" % (_raw(method), _raw(target), HOST)
    passed_on = b"".join(b"%s\r\n" % _raw(line) for line in lines)
    return first + passed_on + AUTHORIZATION + framing.encode() + b"\r\n" + body


def written(upstream: Upstream, *expected: bytes) -> list[bytes]:
    """What the upstream has got, if it got these: with its own name, and without TLS no token."""
    named = [data.replace(HOST, upstream.host.encode()) for data in expected]
    return named if upstream.tls else [data.replace(AUTHORIZATION, b"") for data in named]


def _raw(text: str | bytes) -> bytes:
    """A character a byte."""
    return text if isinstance(text, bytes) else text.encode("latin-1")


@dataclass(frozen=True)
class Came:
    """A client waits here until this has come."""

    data: bytes


@dataclass(frozen=True)
class Reached:
    """A client waits here until this is the last that the upstream has got."""

    data: bytes


@dataclass(frozen=True)
class Seen:
    """A client waits here until another one has been answered: by then the proxy has seen all that came before."""


@dataclass(frozen=True)
class Trickle:
    """A client sends this again and again, a byte at a time, until the proxy has had enough."""

    data: bytes


Piece = bytes | Came | Reached | Seen | Trickle


@dataclass(frozen=True)
class Row:
    """One hostile client."""

    name: str
    pieces: tuple[Piece, ...]
    statuses: tuple[int, ...]
    sent: tuple[bytes, ...] = ()
    """What has to reach the upstream, one request each. Empty: it isn't even connected to."""
    closes: bool = False
    """Whether the proxy closes the connection. If not, it has to answer another request on it."""
    leaves: bool = False
    """Whether the client says in the end that it has no more to say."""
    whole: bool = True
    """Whether what reaches the upstream is whole requests, and nothing else."""
    more: tuple[str, ...] = ()
    """Headers of the request that is made at last."""
    at_once: bool = False
    """Whether all is there when the proxy looks for the first time."""
    bodiless: tuple[int, ...] = ()
    """Which of the answers are to HEAD."""
    rest: bytes = b""
    """What the client gets behind a 101."""
    act: Callable[[Link], object] = obliging
    """What the upstream does with a connection."""
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


def passed(name: str, data: Piece | tuple[Piece, ...], *expected: bytes, **more: Any) -> Row:
    """A Row of requests that reach the upstream and are answered by it. ``more``: a Row's own, and Options."""
    more.setdefault("statuses", (200,) * len(expected))
    options = _options(more)
    return Row(name, data if isinstance(data, tuple) else (data,), sent=expected, options=options, **more)


def refused(name: str, data: Piece | tuple[Piece, ...], *statuses: int, **more: Any) -> Row:
    """A Row of which nothing reaches the upstream; the connection goes on."""
    options = _options(more)
    return Row(name, data if isinstance(data, tuple) else (data,), statuses, options=options, **more)


def broken(name: str, data: Piece | tuple[Piece, ...], *statuses: int, **more: Any) -> Row:
    """A Row of which nothing reaches the upstream; the connection is closed. The status is 400, or as said."""
    return refused(name, data, *(statuses or (400,)), closes=True, **more)


def _options(more: dict[str, Any]) -> dict[str, Any]:
    """What isn't a Row's own is taken out."""
    return {name: more.pop(name) for name in list(more) if name not in Row.__dataclass_fields__}


def check(upstream: Upstream, row: Row, **options: Any) -> None:
    """Raises AssertionError if anything else becomes of a Row."""
    expected, statuses = list(row.sent), list(row.statuses)
    if not (row.closes or row.leaves):
        expected.append(sent("GET", SENTINEL))
        statuses.append(200)
    upstream.act = row.act
    proxied = Proxied(upstream.server, **{**options, **row.options})
    try:
        with proxied, _client(proxied, row) as caller:
            _run(upstream, proxied, caller, row)
    finally:
        reached = upstream.taken()
    got = caller.answers(row.bodiless, row.rest)
    wanted = b"".join(written(upstream, *expected))
    _same("what reached the upstream", b"".join(reached), wanted)
    _same("connections to the upstream", bool(reached), bool(wanted))
    _same("statuses", [answer.status for answer in got], statuses)
    _same("whole answers", [answer.whole for answer in got], [True] * len(got))
    _check_bodies(row, got, alike(wanted) if row.whole else None)
    _same("the token with the client", TOKEN.encode() in caller.got, False)
    _same("the token in the log", TOKEN in repr(proxied.log.lines), False)
    _same("faults", proxied.log.of("ambassador.fault"), [])


def _client(proxied: Proxied, row: Row) -> Caller:
    """One that has sent all, where that has to be there at once."""
    if not row.at_once:
        return Caller(proxied)
    with held(proxied):
        caller = Caller(proxied)
        for piece in row.pieces:
            assert isinstance(piece, bytes)
            caller.send(piece)
    return caller


def _run(upstream: Upstream, proxied: Proxied, caller: Caller, row: Row) -> None:
    for piece in () if row.at_once else row.pieces:
        match piece:
            case bytes():
                caller.send(piece)
            case Came(data):
                caller.until(lambda got, data=data: data in got)  # type: ignore[misc]
            case Reached(data):
                upstream.wait(lambda got, data=data: any(each.endswith(data) for each in got))  # type: ignore[misc]
            case Seen():
                seen(proxied)
            case Trickle(data):
                caller.trickle(data)
    if row.leaves:
        caller.leave()
    if row.closes or row.leaves:
        caller.until_end()
    else:
        caller.until_answers(len(row.statuses), row.bodiless)
        caller.send(ask("GET", row.options.get("api_prefix", "/")[:-1] + SENTINEL, *row.more))
        caller.until_answers(len(row.statuses) + 1, row.bodiless)


def _same(what: str, there: object, expected: object) -> None:
    assert there == expected, f"{what}: {there!r}, and not {expected!r}"


def _check_bodies(row: Row, got: list[Any], seen: list[Any] | None) -> None:
    """Whose an answer is, its body says."""
    order = iter(seen or [])
    finals = -1
    for answer in got:
        finals += answer.status >= 200
        if answer.status == 200:
            theirs = b"" if seen is None else says(next(order))
            assert seen is None or finals in row.bodiless or answer.body == theirs
        elif answer.status >= 400 and finals not in row.bodiless and row.act is obliging:
            status = json.loads(answer.body)
            assert (status["kind"], status["code"]) == ("Status", answer.status)
            assert status["message"].startswith("kmetad proxy: ")
