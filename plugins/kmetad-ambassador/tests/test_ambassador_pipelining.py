"""Clients that send requests without waiting for answers: they take nothing from others, and hold nothing for ever."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from kmetad_ambassador import Options

from tests.cli import eventually
from tests.proxying import Lab, Proxied

WEB = "/api/v1/namespaces/lab/pods/web"


def test_many_refused_requests_hold_nobody_up(lab: Lab, start: Callable[..., Proxied]) -> None:
    """Another client's answer comes amid theirs."""
    proxy = start(lab.server, log_requests="none")
    count = 20_000
    refused = b"DELETE / HTTP/1.1\r\nHost: localhost\r\n\r\n"
    seen: list[int] = []
    with proxy.connect() as many:
        many.settimeout(60)
        begun = threading.Event()

        def read() -> None:
            answers = 0
            while answers < count:
                answers += many.recv(65536).count(b"HTTP/1.1 403")
                seen[:] = [answers]
                begun.set()

        reading = threading.Thread(target=read)
        reading.start()
        sending = threading.Thread(target=many.sendall, args=(refused * count,))
        sending.start()
        assert begun.wait(60)
        before = seen[0]
        assert proxy.get(WEB).status == 200
        amid = seen[0] - before
        sending.join()
        reading.join()
    assert amid < 3000, "of theirs, in one turn of the loop many more could be answered"
    eventually(lambda: proxy.running.tally.refused["rule"] == count)


def test_who_has_gone_behind_a_silent_watch_is_noticed(lab: Lab, start: Callable[..., Proxied]) -> None:
    """Also where a request waits behind the watch: nothing of it comes any more, and its place is free."""
    proxy = start(lab.server, max_requests=1)
    watch = b"GET /api/v1/namespaces/lab/configmaps?watch=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    client = proxy.connect()
    client.sendall(watch + watch)
    lab.api.wait_for_watches(1)
    client.close()
    lab.api.wait_for_watches(0)
    eventually(lambda: proxy.running.tally.active == 0)
    assert proxy.get(WEB).status == 200


def test_who_has_sent_too_much_and_gone_is_noticed(lab: Lab, start: Callable[..., Proxied]) -> None:
    """So much that nothing more is read: it is looked whether it is there, after idle_timeout."""
    from datetime import timedelta

    proxy = start(lab.server, idle_timeout=timedelta(milliseconds=200))
    watch = b"GET /api/v1/namespaces/lab/configmaps?watch=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
    client = proxy.connect()
    client.sendall(watch)
    lab.api.wait_for_watches(1)
    client.setblocking(False)
    sent = 0
    try:
        while sent < 1 << 24:
            sent += client.send(watch * 1000)
    except BlockingIOError:
        pass
    assert sent > 256 * 1024
    client.close()
    lab.api.wait_for_watches(0)


def test_bodies_that_are_there_already_leave_the_connection_usable(proxy: Proxied) -> None:
    """A refused request with a long body, all of it sent: the next one on the connection is answered."""
    body = os.urandom(50_000)
    first = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (WEB.encode(), len(body))
    second = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % WEB.encode()
    said = proxy.raw(first + body + second)
    assert said.startswith(b"HTTP/1.1 403")


def test_a_socket_that_is_another_s_by_now_stays(
    lab: Lab, start: Callable[..., Proxied], tmp_path: Path
) -> None:
    """Another proxy has taken the path meanwhile: the end of this one isn't the end of that."""
    path = tmp_path / "api.sock"
    first = Proxied(lab.server, Options(unix_socket=str(path)))
    path.unlink()
    with Proxied(lab.server, Options(unix_socket=str(path))) as second:
        first.stop()
        assert second.get(WEB).status == 200
    assert not path.exists()
