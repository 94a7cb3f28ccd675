"""Clients' connections: how many, for how long, and where; a unix socket."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from kmetad_ambassador.front import HEAD_SECONDS

from tests.cli import Output, environment, eventually
from tests.proxied import (
    CHUNKED,
    EVENT,
    GET,
    PODS,
    WATCH,
    Inside,
    Start,
    Upstream,
    Wire,
    answering,
    asking,
    chunked,
    client,
    echo,
    told,
)
from tests.proxying import DEADLINE

HOUR = timedelta(hours=1)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """In the API server's place."""
    with Upstream() as made:
        yield made


# -- connections ---------------------------------------------------------------------


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


# -- a unix socket -------------------------------------------------------------------


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
