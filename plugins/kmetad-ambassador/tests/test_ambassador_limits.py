"""How much of everything there may be, who may ask at all, and what is said about it."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from kmetad_ambassador.exchange import REPEATABLE
from kmetad_ambassador.front import HEAD_SECONDS
from kmetad_ambassador.line import HIGH

from tests.cli import Output, environment
from tests.proxied import (
    CHUNKED,
    EVENT,
    FOLLOW,
    PODS,
    WATCH,
    WEB,
    Inside,
    Message,
    Upstream,
    Wire,
    answering,
    asking,
    chunked,
    client,
    echo,
    eventually,
)
from tests.proxying import DEADLINE, Proxied

Start = Callable[..., Proxied]

EXEC = f"{WEB}/exec?command=sh"
SPDY = ("Connection: Upgrade", "Upgrade: SPDY/3.1")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
ENTERED = ("create,get:pods/exec", "*:*")
HOUR = timedelta(hours=1)
SECRET = "c2VjcmV0-of-nobody"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """In the API server's place."""
    with Upstream() as made:
        yield made


def told(got: Message) -> str:
    """The message of a Status that the proxy itself has written."""
    status = json.loads(got.body)
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", got.status)
    message: str = status["message"]
    return message.removeprefix("kmetad proxy: ")


# -- requests at once ------------------------------------------------------------------

Way = Callable[[Wire, Wire, Inside], None]


def answered(sock: Wire, server: Wire, inside: Inside) -> None:
    """In order."""
    server.send(answering(200, b"done"))
    assert sock.message().body == b"done"


def ended(sock: Wire, server: Wire, inside: Inside) -> None:
    """A stream, in order."""
    server.send(answering(200, b"", CHUNKED), chunked(EVENT % 1, last=True))
    sock.message()


def hung_up(sock: Wire, server: Wire, inside: Inside) -> None:
    """No answer."""
    server.close()
    assert sock.message().status == 502


def torn(sock: Wire, server: Wire, inside: Inside) -> None:
    """Half an answer."""
    server.send(answering(200, b"", CHUNKED), chunked(EVENT % 1))
    sock.head()
    sock.chunk()
    server.close()
    assert sock.ended()


def no_http(sock: Wire, server: Wire, inside: Inside) -> None:
    """Something else."""
    server.send(b"* OK IMAP4rev1\r\n")
    assert sock.message().status == 502


def client_gone(sock: Wire, server: Wire, inside: Inside) -> None:
    """Before its answer."""
    sock.close()
    assert server.ended()


def client_gone_later(sock: Wire, server: Wire, inside: Inside) -> None:
    """In the middle of its answer."""
    server.send(answering(200, b"", CHUNKED), chunked(EVENT % 1))
    sock.head()
    sock.reset()
    assert server.ended()


def client_cut(sock: Wire, server: Wire, inside: Inside) -> None:
    """It took nothing."""
    server.send(answering(200, b"", CHUNKED))
    server.fill(chunked(b"x" * 100_000), lambda: inside.waiting >= HIGH)
    for _ in range(2):  # the kernel may have moved something after the first look
        inside.pass_time(3600.0)


def early(sock: Wire, server: Wire, inside: Inside) -> None:
    """An answer before the body is there."""
    server.send(answering(413, b"no"))
    assert sock.message().status == 413
    assert sock.ended()


def body_gone(sock: Wire, server: Wire, inside: Inside) -> None:
    """The client goes in its body."""
    sock.close()


def body_late(sock: Wire, server: Wire, inside: Inside) -> None:
    """Nothing more of the body comes."""
    inside.pass_time(3600.0)
    assert sock.message().status == 408
    assert sock.ended()


def body_long(sock: Wire, server: Wire, inside: Inside) -> None:
    """More comes than may."""
    sock.send(chunked(b"x" * 100_000))
    assert sock.message().status == 413


def body_bad(sock: Wire, server: Wire, inside: Inside) -> None:
    """No chunks come."""
    sock.send(b"no chunk\r\n")
    assert sock.message().status == 400


def not_switched(sock: Wire, server: Wire, inside: Inside) -> None:
    """An answer instead."""
    server.send(answering(403, b"no"))
    assert sock.message().status == 403


def tunnel_client(sock: Wire, server: Wire, inside: Inside) -> None:
    """A tunnel, by the client."""
    server.send(SWITCHED)
    sock.head()
    sock.close()
    assert server.ended()


def tunnel_server(sock: Wire, server: Wire, inside: Inside) -> None:
    """A tunnel, by the server."""
    server.send(SWITCHED)
    sock.head()
    server.close()
    assert sock.ended()


GET = asking()
POST = asking("POST", PODS, CHUNKED) + chunked(b"x")
UPGRADE = asking("POST", EXEC, *SPDY)
WAYS: list[tuple[bytes, Way]] = [
    *(
        (GET, way)
        for way in (answered, ended, hung_up, torn, no_http, client_gone, client_gone_later, client_cut)
    ),
    *((POST, way) for way in (early, body_gone, body_late, body_long, body_bad, hung_up, torn)),
    *((UPGRADE, way) for way in (not_switched, hung_up, no_http, tunnel_client, tunnel_server, client_gone)),
]


@pytest.mark.parametrize(
    ("request_", "way"), WAYS, ids=[f"{data[:4].decode()}{way.__name__}" for data, way in WAYS]
)
def test_more_requests_than_may_be(upstream: Upstream, start: Start, request_: bytes, way: Way) -> None:
    """Get 429 until one has ended, however it has; and their connections are kept for another try."""
    proxy = start(upstream.server, allow=ENTERED, max_requests=1, idle_timeout=HOUR, max_body="10")
    inside = Inside(proxy)
    with client(proxy, receive=32_768) as sock, client(proxy) as other:
        sock.send(request_)
        server = upstream.accept()
        server.head()
        for _ in range(2):
            got = other.get()
            assert (got.status, got.head.get("Retry-After"), got.head.get("Connection")) == (429, "1", None)
            status = json.loads(got.body)
            assert status["reason"] == "TooManyRequests"
            assert told(got) == "1 requests are under way already (--max-requests)"
        assert upstream.nobody()
        way(sock, server, inside)
        eventually(lambda: not inside.active)
    with client(proxy) as other:
        kept = inside.kept
        other.ask()
        server = upstream.take(new=not kept)
        server.message()
        server.send(answering(200, b"free"))
        assert other.message().body == b"free"
    eventually(lambda: not inside.active)


def test_refused_requests_do_not_count(upstream: Upstream, start: Start) -> None:
    """Neither those that aren't allowed, nor those that ask the proxy itself."""
    proxy = start(upstream.server, max_requests=1)
    with client(proxy) as busy, client(proxy) as sock:
        busy.ask("GET", WATCH)
        upstream.accept().head()
        for _ in range(3):
            assert sock.get("/healthz").body == b"ok"
            sock.ask("DELETE", WEB)
            assert sock.message().status == 403


def test_a_request_whose_body_has_not_come_counts(upstream: Upstream, start: Start) -> None:
    """For it holds what has come of it."""
    proxy = start(upstream.server, allow_write=True, max_requests=1)
    with client(proxy) as busy, client(proxy) as sock:
        busy.send(asking("POST", PODS, "Content-Length: 5"), b"1234")
        eventually(lambda: Inside(proxy).active)
        assert sock.get().status == 429


# -- the size of requests --------------------------------------------------------------

DELIVERIES: dict[str, Callable[[bytes], list[bytes]]] = {
    "in one": lambda data: [data],
    "first line apart": lambda data: [data[: data.index(b"\n") + 1], data[data.index(b"\n") + 1 :]],
    "in two": lambda data: [data[: len(data) // 2], data[len(data) // 2 :]],
    "ends apart": lambda data: [data[:1], data[1:-1], data[-1:]],
}
PADDINGS: dict[str, Callable[[int], tuple[str, ...]]] = {
    "a value": lambda size: ("X-Long: " + "v" * (size - 10),),
    "a name": lambda size: ("n" * (size - 5) + ": v",),
    "many headers": lambda size: ("X: y",) * (size // 6 - 2) + ("X: y" + "y" * (size % 6 + 6),),
}


def padded(size: int, padding: str) -> bytes:
    """A request whose head has so many bytes."""
    short = len(asking())
    data = asking("GET", WEB, *PADDINGS[padding](size - short))
    assert len(data) == size
    return data


@pytest.mark.parametrize("padding", PADDINGS)
def test_the_size_of_a_head(upstream: Upstream, start: Start, padding: str) -> None:
    """What fits into max_head is passed on, and what doesn't is not; the same wherever it is cut."""
    proxy = start(upstream.server, max_head="1Ki")
    upstream.serve(echo)
    inside = Inside(proxy)

    def fits(size: int, cut: Callable[[bytes], list[bytes]]) -> bool:
        with client(proxy) as sock:
            for piece in cut(padded(size, padding)):
                sock.send(piece)
                inside.all_read()
            got = sock.message()
        assert got.status in (200, 431)
        return got.status == 200

    found: dict[str, int] = {}
    for name, cut in DELIVERIES.items():
        low, high = 512, 2048  # fits, doesn't
        assert fits(low, cut)
        assert not fits(high, cut)
        while high - low > 1:
            middle = (low + high) // 2
            if fits(middle, cut):
                low = middle
            else:
                high = middle
        found[name] = low
    assert len({*found.values()}) == 1, found
    assert 1024 <= found["in one"] <= 1024 + len("GET  HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize(
    "begun", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nX", b"GET / HTTP/1.1\r\nX:"]
)
@pytest.mark.parametrize("more", [b"x", b"x: y\r\n", b" ", b"\t"])
def test_a_head_without_an_end(upstream: Upstream, start: Start, begun: bytes, more: bytes) -> None:
    """Is refused when it is longer than may be and what is read at once, and not when it ends."""
    proxy = start(upstream.server, max_head="1Ki")
    with client(proxy) as sock:
        sock.send(begun)
        sent = 0
        while not sock.waits():
            try:
                sent += sock.sock.send(more * (1000 // len(more)))
            except OSError:
                break
            Inside(proxy).look(lambda: None)
            assert sent < 1 << 20
        assert sock.message().status in (400, 431)
    assert upstream.nobody()


def test_what_is_said_of_a_head_that_is_too_long(upstream: Upstream, start: Start) -> None:
    """431, a Status, and the end of the connection; the bytes that may be are named."""
    proxy = start(upstream.server, max_head="1Ki")
    with client(proxy) as sock:
        sock.ask("GET", WEB, "X: " + "y" * 5000)
        got = sock.message()
        assert (got.status, got.head.get("Connection")) == (431, "close")
        assert "have more than 1024 bytes" in told(got)
        assert sock.ended()
    assert proxy.log.wait_for("ambassador.refused")["kind"] == "limit"


def test_head_and_body_are_counted_apart(upstream: Upstream, start: Start) -> None:
    """Also those of requests before it."""
    proxy = start(upstream.server, allow_write=True, max_head="1Ki")
    upstream.serve(echo)
    with client(proxy) as sock:
        for _ in range(5):
            sock.send(asking("POST", PODS, "X: " + "y" * 800, body=b"b" * 5000) + padded(1000, "a value"))
        for _ in range(5):
            assert sock.message().body == b"b" * 5000
            assert sock.message().status == 200


@pytest.mark.parametrize("limit", [0, 1, 1000, REPEATABLE, REPEATABLE + 1, 2 * REPEATABLE])
def test_the_size_of_a_body(upstream: Upstream, start: Start, limit: int) -> None:
    """Of exactly max_body bytes passes, with a length or in chunks; one byte more gets 413."""
    proxy = start(upstream.server, allow_write=True, max_body=str(limit))
    upstream.serve(echo)
    fits, more = b"f" * limit, b"m" * (limit + 1)
    with client(proxy) as sock:
        for _ in range(2):
            sock.send(asking("POST", PODS, f"Content-Length: {limit}"), fits)
            assert sock.message().body == fits
            sock.send(asking("POST", PODS, CHUNKED), chunked(*([fits] if fits else []), last=True))
            assert sock.message().body == fits
            if limit > 1:
                sock.send(asking("POST", PODS, CHUNKED), chunked(fits[:-1], fits[-1:], last=True))
                assert sock.message().body == fits
        sock.send(asking("POST", PODS, f"Content-Length: {limit + 1}"))
        got = sock.message()
        assert (got.status, got.head.get("Connection")) == (413, "close")
        assert json.loads(got.body)["reason"] == "RequestEntityTooLarge"
        assert str(limit) in told(got)
    for pieces in ((more,), (fits, b"m") if limit else (b"m",), (b"m", fits) if limit else (b"m",)):
        with client(proxy) as sock:
            sock.send(asking("POST", PODS, CHUNKED), chunked(*pieces))
            got = sock.message()
            assert (got.status, got.head.get("Connection")) == (413, "close")
            assert str(limit) in told(got)


def test_a_body_that_becomes_too_long_is_not_whole_at_the_server(upstream: Upstream, start: Start) -> None:
    """What of it has been sent ends without an end."""
    proxy = start(upstream.server, allow_write=True, max_body="10")
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, CHUNKED), chunked(b"x" * 10))
        server = upstream.accept()
        server.head()
        assert server.chunk() == b"x" * 10
        sock.send(chunked(b"y"))
        assert sock.message().status == 413
        assert server.ended()


def test_a_body_that_becomes_too_long_under_an_answer(upstream: Upstream, start: Start) -> None:
    """It is too late to say so: nothing is written into an answer that has begun, which is cut."""
    proxy = start(upstream.server, allow_write=True, max_body="10")
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, CHUNKED), chunked(b"x" * 10))
        server = upstream.accept()
        server.head()
        assert server.chunk() == b"x" * 10
        server.send(answering(200, b"half", "Content-Length: 1000"))
        sock.head()
        assert sock.exactly(4) == b"half"
        sock.send(chunked(b"y"))
        assert sock.ended()
        assert server.ended()


# -- connections -----------------------------------------------------------------------


def test_idle_connections_are_closed(upstream: Upstream, start: Start) -> None:
    """After idle_timeout, from the last answer on; without a word."""
    proxy = start(upstream.server, idle_timeout=HOUR)
    upstream.serve(echo)
    inside = Inside(proxy)
    with client(proxy) as new, client(proxy) as used:
        eventually(lambda: inside.clients == 2)
        inside.pass_time(1800.0)
        assert used.get().status == 200
        inside.pass_time(1799.0)
        assert inside.clients == 2
        inside.pass_time(1.0)
        assert new.ended()
        inside.pass_time(1799.0)
        assert used.get().status == 200
        inside.pass_time(3600.0)
        assert used.ended()
    assert [line for line in proxy.log.lines if line["event"] != "ambassador.request"] == []


def test_a_head_that_does_not_come(upstream: Upstream, start: Start) -> None:
    """408, sooner than what is idle is closed, however slowly bytes come."""
    proxy = start(upstream.server, idle_timeout=HOUR)
    inside = Inside(proxy)
    for before in (b"", GET):
        with client(proxy) as sock:
            if before:
                sock.send(before)
                server = upstream.accept()
                server.message()
                server.send(answering())
                sock.message()
            sock.send(b"GET /api HTTP/1.1\r\nHost: local")
            inside.all_read()
            for _ in range(3):
                inside.pass_time(HEAD_SECONDS / 4)
                sock.send(b"x")
            assert inside.clients == 1
            inside.pass_time(HEAD_SECONDS / 4)
            got = sock.message()
            assert (got.status, got.head.get("Connection")) == (408, "close")
            assert sock.ended()


def test_a_body_that_does_not_come(upstream: Upstream, start: Start) -> None:
    """408, when nothing of it has come for idle_timeout; a slow one may take its time."""
    proxy = start(upstream.server, allow_write=True, idle_timeout=HOUR)
    inside = Inside(proxy)
    with client(proxy) as sock:
        sock.send(asking("POST", PODS, "Content-Length: 10"))
        eventually(lambda: inside.active)
        for count in range(1, 6):
            inside.pass_time(3599.0)
            sock.send(b"x")
            eventually(lambda count=count: inside.came == count)  # type: ignore[misc]
        inside.pass_time(3600.0)
        got = sock.message()
        assert (got.status, got.head.get("Connection")) == (408, "close")
        assert "the request's body didn't come in time" in told(got)
        assert sock.ended()
    assert upstream.nobody()


def test_a_request_at_the_last_moment(upstream: Upstream, start: Start) -> None:
    """One that comes as its connection is about to be closed, and is taken, is a request as any other."""
    proxy = start(upstream.server, allow_write=True, idle_timeout=HOUR)
    upstream.serve(echo)
    inside = Inside(proxy)
    with client(proxy) as sock:
        eventually(lambda: inside.clients)

        def too_late() -> None:
            """The loop is held up, so that it sees both at once: the request, and that it is time."""
            sock.send(asking("POST", PODS, "Content-Length: 4") + b"ab")
            before = inside.loop.time
            inside.loop.time = lambda: before() + 3600.0  # type: ignore[method-assign]

        inside.look(too_late)
        sock.send(b"cd")
        assert sock.message().body == b"abcd"
        assert sock.get().status == 200


def test_the_oldest_idle_connection_makes_room(upstream: Upstream, start: Start) -> None:
    """Where there are more than twice as many as requests may be; never one that asks something."""
    proxy = start(upstream.server, max_requests=2)
    inside = Inside(proxy)
    socks = []

    def connect() -> Wire:
        socks.append(client(proxy))
        assert socks[-1].get("/healthz").status == 200
        return socks[-1]

    try:
        a, b, c, d = (connect() for _ in range(4))
        assert a.get("/healthz").status == 200  # so that b is the oldest now
        e = connect()
        assert b.ended()
        c.ask("GET", WATCH)
        server = upstream.accept()
        server.head()
        f = connect()
        assert d.ended()
        connect()
        assert a.ended()
        connect()
        assert e.ended()
        connect()
        assert f.ended()
        server.send(answering(200, b"", CHUNKED), chunked(EVENT % 1))
        c.head()
        assert c.chunk() == EVENT % 1
        assert inside.clients == 4
    finally:
        for sock in socks:
            sock.close()


def test_who_has_begun_to_ask_is_not_the_oldest(upstream: Upstream, start: Start) -> None:
    """Half a head has come of it just now; others have said nothing for longer."""
    proxy = start(upstream.server, max_requests=1)
    upstream.serve(echo)
    inside = Inside(proxy)
    with client(proxy) as idle, client(proxy) as asking_:
        eventually(lambda: inside.clients == 2)
        asking_.send(GET[:20])
        inside.all_read()
        with client(proxy) as new:
            assert idle.ended()
            asking_.send(GET[20:])
            assert asking_.message().status == 200
            assert new.get().status == 200


def test_connections_that_all_ask_something(upstream: Upstream, start: Start) -> None:
    """One more is answered all the same: by 429."""
    proxy = start(upstream.server, max_requests=1)
    with client(proxy) as busy:
        busy.ask("GET", WATCH)
        upstream.accept().head()
        with client(proxy) as other:
            assert other.get().status == 429
            with client(proxy) as another:
                assert another.get().status == 429
                assert other.ended()


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
from kmetad._cli.main import main
sys.exit(main(["proxy", "--log-format", "json", *sys.argv[2:]]))
"""


def test_no_more_descriptors(upstream: Upstream) -> None:
    """It is said, and who asks nothing for the longest has to go, so that others are served."""
    upstream.serve(echo)
    process = subprocess.Popen(
        [sys.executable, "-c", LIMITED, "32", "--port=0", "--server", upstream.server.url],
        env=environment({"HOME": "/nowhere"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    out, err = Output(process.stdout), Output(process.stderr)
    socks: list[Wire] = []
    try:
        host, _, port = out.line().removeprefix("Starting to serve on ").partition(":")

        def connect() -> Wire:
            socks.append(Wire(socket.create_connection((host, int(port)), DEADLINE)))
            return socks[-1]

        first = connect()
        assert first.get().status == 200
        for _ in range(40):
            connect()
        line = json.loads(err.until("ambassador.exhausted"))
        assert (line["level"], line["reason"]) == ("warning", os.strerror(errno.EMFILE))
        assert first.ended()
        last = socks[-1]
        assert last.get().status == 200
        assert connect().get().status == 200
        assert last.get().status == 200
        process.terminate()
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait()
        out.close()
        err.close()
        for sock in socks:
            sock.close()


# -- a token for clients ---------------------------------------------------------------


def bearer(token: str, kind: str = "Bearer") -> str:
    """The header."""
    return f"Authorization: {kind} {token}"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """What clients have to send."""
    path = tmp_path / "token"
    path.write_text("open-sesame\n")
    return path


def test_the_right_token(upstream: Upstream, start: Start, token_file: Path) -> None:
    """Passes, and isn't sent on."""
    proxy = start(upstream.server, token_file=str(token_file))
    with client(proxy) as sock:
        for count, kind in enumerate(("Bearer", "bearer", "BEARER")):
            sock.ask("GET", WEB, bearer("open-sesame", kind))
            server = upstream.take(new=count == 0)
            assert server.message().head.get("Authorization") is None
            server.send(answering())
            assert sock.message().status == 200


WRONG = {
    "none": (),
    "another": (bearer("open-barley"),),
    "empty": ("Authorization:",),
    "kind alone": ("Authorization: Bearer",),
    "a part": (bearer("open-sesam"),),
    "more": (bearer("open-sesame1"),),
    "basic": (bearer("open-sesame", "Basic"),),
    "bare": ("Authorization: open-sesame",),
    "no ASCII": (bearer("open-sesam\xe9"),),
    "twice": (bearer("open-sesame"), bearer("open-sesame")),
    "in the query": (),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_token(upstream: Upstream, start: Start, token_file: Path, wrong: str) -> None:
    """Gets the same 401, whatever is wrong, and nothing else is told; the connection is kept."""
    proxy = start(upstream.server, token_file=str(token_file))
    with client(proxy) as sock:
        for target in (WEB, "/api/v1/secrets", "/not//even/a/path", f"{WEB}?token=open-sesame"):
            for method in ("GET", "DELETE", "PUT"):
                sock.ask(method, target, *WRONG[wrong])
                got = sock.message()
                assert (got.status, got.head.get("WWW-Authenticate")) == (401, "Bearer")
                assert json.loads(got.body) == {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "metadata": {},
                    "status": "Failure",
                    "message": "kmetad proxy: this proxy wants its own bearer token (--token-file): "
                    "`Authorization: Bearer …`",
                    "reason": "Unauthorized",
                    "code": 401,
                }
    assert upstream.nobody()
    assert {line["kind"] for line in proxy.log.of("ambassador.refused")} == {"token"}
    assert "open" not in str(proxy.log.lines)


def test_a_token_that_is_replaced(upstream: Upstream, start: Start, token_file: Path) -> None:
    """The new one counts from the next request on, on connections that there are, too; the old one no more."""
    proxy = start(upstream.server, token_file=str(token_file))
    upstream.serve(echo)
    with client(proxy) as sock:
        assert sock.get(WEB, bearer("open-sesame")).status == 200
        new = token_file.with_name("new")
        new.write_text("shut-sesame")
        new.rename(token_file)
        assert sock.get(WEB, bearer("open-sesame")).status == 401
        assert sock.get(WEB, bearer("shut-sesame")).status == 200
        token_file.write_text("once-more-in-place")
        assert sock.get(WEB, bearer("once-more-in-place")).status == 200


@pytest.mark.parametrize("content", [None, b"", b"\n \n"])
def test_a_token_that_is_not_there(
    upstream: Upstream, start: Start, token_file: Path, content: bytes | None
) -> None:
    """503 for everybody, also who sends none; when it has come, all is well."""
    token_file.unlink()
    if content is not None:
        token_file.write_bytes(content)
    proxy = start(upstream.server, token_file=str(token_file))
    upstream.serve(echo)
    with client(proxy) as sock:
        for lines in ((), (bearer(""),), ("Authorization: Bearer",), (bearer("x"),)):
            got = sock.get(WEB, *lines)
            assert got.status == 503
            assert str(token_file) in told(got)
        token_file.write_text("late")
        assert sock.get(WEB, bearer("late")).status == 200
        token_file.unlink()
        assert sock.get(WEB, bearer("late")).status == 503
        assert sock.get("/healthz").body == b"ok"


# -- a unix socket ---------------------------------------------------------------------


def test_a_unix_socket(upstream: Upstream, start: Start, tmp_path: Path) -> None:
    """For its owner alone; removed at the end."""
    path = tmp_path / "api.sock"
    before = os.umask(0)
    try:
        proxy = start(upstream.server, port=8001, unix_socket=str(path))
    finally:
        os.umask(before)
    assert proxy.where == f"unix:{path}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    upstream.serve(echo)
    with client(proxy) as sock:
        assert sock.get().status == 200
    proxy.stop()
    assert not path.exists()


def test_what_a_killed_proxy_left_behind(upstream: Upstream, start: Start, tmp_path: Path) -> None:
    """Is replaced."""
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
        left.listen()
    proxy = start(upstream.server, port=8001, unix_socket=str(path))
    upstream.serve(echo)
    with client(proxy) as sock:
        assert sock.get().status == 200


def test_a_socket_that_somebody_listens_at(upstream: Upstream, start: Start, tmp_path: Path) -> None:
    """Is left alone, were nobody to be taken there any more; so is what is no socket."""
    path = tmp_path / "api.sock"
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(path))
        theirs.listen(0)
        first = os.lstat(path)
        full = []
        while True:
            full.append(socket.socket(socket.AF_UNIX))
            full[-1].setblocking(False)
            try:
                full[-1].connect(str(path))
            except BlockingIOError:
                break
        for _ in range(2):
            with pytest.raises(OSError, match="Address already in use"):
                start(upstream.server, port=8001, unix_socket=str(path))
            assert os.lstat(path).st_ino == first.st_ino
            while full:
                full.pop().close()
                theirs.accept()[0].close() if full else None
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(OSError, match="Address already in use"):
        start(upstream.server, port=8001, unix_socket=str(file))
    assert file.read_text() == "mine"
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(OSError, match="Address already in use"):
        start(upstream.server, port=8001, unix_socket=str(link))
    assert link.is_symlink()


def test_a_socket_that_is_somebody_elses_by_now(upstream: Upstream, start: Start, tmp_path: Path) -> None:
    """Is left alone at the end."""
    path = tmp_path / "api.sock"
    proxy = start(upstream.server, port=8001, unix_socket=str(path))
    path.unlink()
    second = start(upstream.server, port=8001, unix_socket=str(path))
    proxy.stop()
    assert path.is_socket()
    upstream.serve(echo)
    with client(second) as sock:
        assert sock.get().status == 200
    second.stop()
    assert not path.exists()


def test_a_socket_that_was_removed(upstream: Upstream, start: Start, tmp_path: Path) -> None:
    """Is no fault at the end."""
    path = tmp_path / "api.sock"
    proxy = start(upstream.server, port=8001, unix_socket=str(path))
    path.unlink()
    proxy.stop()


# -- health ----------------------------------------------------------------------------


def health(proxy: Proxied, **headers: str) -> dict[str, int]:
    """The counters that it tells."""
    lines = proxy.get("/healthz?verbose", **headers).body.decode().split("\n")
    assert lines[-2:] == ["", "ok"]
    return {name: int(count) for name, _, count in (line.rpartition(" ") for line in lines[:-2])}


def test_health(upstream: Upstream, start: Start, token_file: Path) -> None:
    """Whoever asks, by whatever name of it: the proxy's alone."""
    proxy = start(upstream.server, token_file=str(token_file))
    with client(proxy) as sock:
        sock.send(b"GET /healthz HTTP/1.1\r\nHost: 10.0.0.1:8001\r\n\r\n")
        got = sock.message()
        assert (got.status, got.body) == (200, b"ok")
        assert got.head.get("Content-Type") == "text/plain; charset=utf-8"
        assert got.head.get("Cache-Control") == "no-store"
        sock.ask("HEAD", "/healthz")
        got = sock.message(to="HEAD")
        assert (got.status, got.head.get("Content-Length")) == (200, "2")
        sock.send(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert sock.message().body == b"ok"
        assert sock.ended()
    assert upstream.nobody()
    assert proxy.log.lines == []
    assert health(proxy, Authorization=f"Bearer {token_file.read_text().strip()}")["requests"] == 0


def test_counters_are_for_whom_it_serves(upstream: Upstream, start: Start, token_file: Path) -> None:
    """A page that was led here by another name sees none of them, nor does who lacks the token."""
    proxy = start(upstream.server)
    assert proxy.get("/healthz?verbose", Host="elsewhere.test").status == 403
    assert proxy.get("/healthz?verbose", Origin="http://elsewhere.test").status == 403
    assert start(upstream.server, token_file=str(token_file)).get("/healthz?verbose").status == 401
    assert health(proxy)["refused host"] == 1


def test_health_of_the_server(upstream: Upstream, start: Start) -> None:
    """Its own /livez and /readyz are passed on; to write to /healthz isn't allowed."""
    proxy = start(upstream.server)
    upstream.serve(echo)
    for path in ("/livez", "/readyz", "/livez/ping"):
        with client(proxy) as sock:
            assert sock.get(path).status == 200
            sock.ask("POST", "/healthz")
            assert sock.message().status == 403
    assert health(proxy)["status 200"] == 3


def test_counters(upstream: Upstream, start: Start) -> None:
    """Are what has happened, each time."""
    proxy = start(upstream.server, allow=ENTERED, max_requests=2)
    inside = Inside(proxy)
    zero = {"requests": 0, "active": 0, "bytes_sent": 0, "bytes_received": 0}
    assert health(proxy) == {**zero, "server_connections": 0, "token_renewals": 0}
    with client(proxy) as sock, client(proxy) as other:
        sock.ask("POST", PODS, body=b"12345")
        server = upstream.accept()
        server.message()
        assert health(proxy)["active"] == 1
        server.send(answering(201, b"1234567"))
        sock.message()
        for status in (200, 404, 404):
            sock.ask()
            server.message()
            server.send(answering(status, b"abc"))
            sock.message()
        for target in ("/a//b", "/api/v1/secrets"):
            sock.get(target)
        sock.ask("GET", WEB, "Origin: https://evil.example")
        assert sock.message().status == 403
        sock.send(b"GET /api HTTP/1.1\r\n\r\n")
        assert sock.message().status == 403
        assert health(proxy) == {
            "requests": 8,
            "active": 0,
            "status 200": 1,
            "status 201": 1,
            "status 400": 1,
            "status 403": 3,
            "status 404": 2,
            "refused host": 1,
            "refused origin": 1,
            "refused rule": 1,
            "refused target": 1,
            "bytes_sent": 16,
            "bytes_received": 5,
            "server_connections": 1,
            "token_renewals": 0,
        }
        other.ask("GET", WATCH)
        server.message()
        sock.ask("GET", FOLLOW)
        second = upstream.accept()
        second.message()
        third = client(proxy)
        assert third.get().status == 429
        assert health(proxy)["active"] == 2
        other.close()
        assert server.ended()
        second.close()
        assert sock.message().status == 502
        third.send(asking("POST", EXEC, *SPDY) + b"123")
        server = upstream.accept()
        server.head()
        server.send(SWITCHED + b"4567")
        third.head()
        third.exactly(4)
        assert server.exactly(3) == b"123"
        third.close()
        assert server.ended()
        with client(proxy) as last:
            last.send(b"no HTTP at all\r\n\r\n")
            assert last.message().status == 400
        eventually(lambda: not inside.active)
        found = health(proxy)
    assert {
        name: found[name] for name in found if name.startswith(("refused", "active", "requests", "server"))
    } == {
        "requests": 13,
        "active": 0,
        "refused host": 1,
        "refused limit": 1,
        "refused origin": 1,
        "refused request": 1,
        "refused rule": 1,
        "refused server": 1,
        "refused target": 1,
        "server_connections": 3,
    }
    assert {name: found[name] for name in found if name.startswith("status")} == {
        "status none": 1,
        "status 101": 1,
        "status 200": 1,
        "status 201": 1,
        "status 400": 2,
        "status 403": 3,
        "status 404": 2,
        "status 429": 1,
        "status 502": 1,
    }
    assert (found["bytes_sent"], found["bytes_received"]) == (20, 8)


# -- the log ---------------------------------------------------------------------------


def lines(proxy: Proxied) -> list[dict[str, Any]]:
    """All of it, but for how long things took."""
    found = []
    for line in list(proxy.log.lines):
        assert line["seconds"] >= 0
        found.append({name: value for name, value in line.items() if name != "seconds"})
    return found


def test_lines(upstream: Upstream, start: Start) -> None:
    """One for each request, when it has ended, with what was asked for, and of the query the names alone."""
    proxy = start(upstream.server, allow_write=True)
    upstream.serve(echo)
    with client(proxy) as sock:
        sock.get("/version")
        sock.get(f"{PODS}?limit=500&labelSelector=app%3Dweb&limit=1")
        sock.ask("PATCH", "/apis/apps/v1/namespaces/lab/deployments/web/scale?fieldManager=me", body=b"12345")
        sock.message()
        sock.ask("DELETE", "/apis/apps/v1/deployments")
        sock.message()
        sock.get("/api/v1/nodes/n1/proxy/metrics?x=y")
        sock.get("/a/../b?x=y")
        sock.ask("OPTIONS", "/api")
        sock.message()
    eventually(lambda: len(proxy.log.lines) == 7)
    found = lines(proxy)
    assert "nodes/proxy" in found[4].pop("reason")
    assert found == [
        {
            "event": "ambassador.request",
            "method": "GET",
            "path": "/version",
            "verb": "get",
            "status": 200,
            "bytes": 0,
        },
        {
            "event": "ambassador.request",
            "method": "GET",
            "path": PODS,
            "query": "limit&labelSelector",
            "verb": "list",
            "resource": "pods",
            "namespace": "lab",
            "status": 200,
            "bytes": 0,
        },
        {
            "event": "ambassador.request",
            "method": "PATCH",
            "path": "/apis/apps/v1/namespaces/lab/deployments/web/scale",
            "query": "fieldManager",
            "verb": "patch",
            "resource": "deployments.apps/scale",
            "namespace": "lab",
            "name": "web",
            "status": 200,
            "bytes": 5,
        },
        {
            "event": "ambassador.request",
            "method": "DELETE",
            "path": "/apis/apps/v1/deployments",
            "verb": "deletecollection",
            "resource": "deployments.apps",
            "status": 200,
            "bytes": 0,
        },
        {
            "event": "ambassador.refused",
            "method": "GET",
            "path": "/api/v1/nodes/n1/proxy/metrics",
            "verb": "get",
            "resource": "nodes/proxy",
            "name": "n1",
            "status": 403,
            "kind": "rule",
        },
        {
            "event": "ambassador.refused",
            "method": "GET",
            "path": "/a/../b",
            "status": 400,
            "kind": "target",
            "reason": "the path has a part . or .. that leads to another path; write that path itself",
        },
        {
            "event": "ambassador.refused",
            "method": "OPTIONS",
            "path": "/api",
            "status": 405,
            "kind": "method",
            "reason": "the API has no method 'OPTIONS'; it has GET, HEAD, POST, PUT, PATCH, DELETE",
        },
    ]


def test_lines_of_what_did_not_end_well(upstream: Upstream, start: Start) -> None:
    """Say what ended it, and how much had come by then."""
    proxy = start(upstream.server)
    with client(proxy) as sock:
        sock.ask("GET", WATCH)
        server = upstream.accept()
        server.message()
        server.send(answering(200, b"", CHUNKED), chunked(b"12345"))
        sock.head()
        sock.chunk()
        server.close()
        assert sock.ended()
    with client(proxy) as sock:
        sock.ask()
        server = upstream.accept()
        server.message()
        sock.close()
        assert server.ended()
    eventually(lambda: len(proxy.log.lines) == 2)
    torn_, gone = lines(proxy)
    assert (torn_["status"], torn_["bytes"], torn_["fault"]) == (200, 5, "the connection broke")
    assert (gone["status"], gone["bytes"], "fault" in gone) == (0, 0, False)


@pytest.mark.parametrize(("log_requests", "events"), [("all", 2), ("refused", 1), ("none", 0)])
def test_fewer_lines(upstream: Upstream, start: Start, log_requests: str, events: int) -> None:
    """As log_requests says; the counters go on."""
    proxy = start(upstream.server, log_requests=log_requests)
    upstream.serve(echo)
    with client(proxy) as sock:
        sock.get()
        sock.get("/api/v1/secrets")
    eventually(lambda: len(proxy.log.lines) == events)
    assert health(proxy)["requests"] == 2


def test_no_secret_is_ever_logged(upstream: Upstream, start: Start, token_file: Path) -> None:
    """Neither a query's value, nor a header, nor a body, nor an answer, nor what is no request at all."""
    token_file.write_text(SECRET)
    proxy = start(upstream.server, token_file=str(token_file), allow=ENTERED, max_head="1Ki", max_body="100")
    mine = bearer(SECRET)

    def act(wire: Wire) -> None:
        seen = wire.message()
        if "torn" in seen.head.target:
            wire.send(answering(200, SECRET.encode(), "Content-Length: 1000", f"X: {SECRET}"))
        elif "garbage" in seen.head.target:
            wire.send(f"{SECRET} is no HTTP\r\n\r\n".encode())
        else:
            wire.send(answering(500, SECRET.encode(), f"Set-Cookie: a={SECRET}"))

    upstream.serve(act)
    asked = [
        asking("GET", f"{WEB}?token={SECRET}&labelSelector={SECRET}%20{SECRET}", mine),
        asking("GET", f"{WEB}?torn={SECRET}", mine),
        asking("GET", f"{WEB}?garbage={SECRET}", mine),
        asking("GET", f"{WEB}?a=b&a={SECRET}&={SECRET}", mine),
        asking("GET", f"{PODS}?fieldSelector=status.phase={SECRET}&watch={SECRET}", mine),
        asking("GET", f"{PODS}?fieldSelector={SECRET}&fieldSelector={SECRET}", mine),
        asking("GET", f"{WEB}?bad=%zz{SECRET}", mine),
        asking("GET", f"{WEB}?bad={SECRET};{SECRET}", mine),
        asking("GET", f"{WEB}?bad={SECRET}#{SECRET}", mine),
        asking("GET", f"{WEB}?bad=%ff{SECRET}", mine),
        asking("GET", f"/a//b?x={SECRET}", mine),
        asking("GET", WEB, bearer(f"{SECRET}x")),
        asking("GET", WEB, f"Cookie: {SECRET}"),
        asking("GET", WEB, mine, f"Impersonate-User: {SECRET}"),
        asking("GET", WEB, mine, f"X-Long: {SECRET * 100}"),
        asking("GET", WEB, mine, f"Expect: {SECRET}"),
        asking("GET", WEB, mine, f"Transfer-Encoding: {SECRET}"),
        asking("GET", WEB, mine, f"Content-Length: {SECRET}"),
        asking("GET", WEB, mine, f"{SECRET} : x"),
        asking("POST", PODS, mine, body=SECRET.encode()),
        asking("POST", PODS, mine, body=SECRET.encode() * 100),
        asking("POST", PODS, mine, CHUNKED) + chunked(SECRET.encode() * 100),
        asking("POST", PODS, mine, CHUNKED) + SECRET.encode() + b"\r\n",
        asking("GET", f"{EXEC}&command={SECRET}", mine, "Connection: Upgrade", f"Upgrade: {SECRET}"),
        asking(
            "GET",
            EXEC,
            mine,
            "Connection: Upgrade",
            "Upgrade: websocket",
            f"Sec-WebSocket-Protocol: {SECRET}",
        ),
        f"{SECRET} / HTTP/1.1\r\n\r\n".encode(),
        f"GET / {SECRET}\r\n\r\n".encode(),
        f"\x16\x03\x01{SECRET}\r\n\r\n".encode("latin-1"),
    ]
    for data in asked:
        before = proxy.running.tally.requests
        with client(proxy) as sock:
            sock.send(data)
            sock.wait()
            eventually(lambda before=before: proxy.running.tally.requests > before)  # type: ignore[misc]
    assert len(proxy.log.lines) >= len(asked)
    for line in proxy.log.lines:
        assert SECRET not in repr(line)
        assert line["event"] in ("ambassador.request", "ambassador.refused")


def test_a_url_with_a_password_is_not_logged(upstream: Upstream, start: Start) -> None:
    """As somebody sends it who takes this for an HTTP proxy; nor what stands behind a #."""
    proxy = start(upstream.server)
    for target in (f"http://user:{SECRET}@localhost{WEB}", f"{WEB}#access_token={SECRET}"):
        with client(proxy) as sock:
            assert sock.get(target).status == 400
    eventually(lambda: len(proxy.log.lines) == 2)
    assert SECRET not in repr(proxy.log.lines)


def test_nothing_fails_inside(upstream: Upstream, start: Start) -> None:
    """Whatever a client does to its own connection at whatever moment, no fault of the proxy's is logged."""
    proxy = start(upstream.server, allow=ENTERED)
    whole = asking("POST", PODS, body=b"12345") + asking("GET", WATCH) + UPGRADE + b"more"
    upstream.serve(echo)
    for at in range(1, len(whole), 7):
        for how in ("close", "reset", "shut"):
            with client(proxy) as sock:
                sock.send(whole[:at])
                getattr(sock, how)()
    eventually(lambda: not Inside(proxy).active)
    eventually(lambda: Inside(proxy).clients == 0)
    assert proxy.log.of("ambassador.fault") == []
