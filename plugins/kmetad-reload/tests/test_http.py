"""HTTP requests: against real servers, most of which mean no good."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kmetad_reload.http import Http, call, describe

from kmetad import Fail, Snapshot
from kmetad.errors import FieldPathError

KEY = "example.com/level"
FIELD = f"metadata.annotations['{KEY}']"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LONG = 20.0


def pod(value: str = "debug") -> Snapshot:
    """One with this annotation."""
    return Snapshot(annotations=MappingProxyType({KEY: value}))


class Server:
    """Takes one connection after the other; what it does with each is the test's."""

    def __init__(self, listening: socket.socket, act: Callable[[socket.socket, bytes], None]) -> None:
        self.requests: list[bytes] = []
        self.port = 0 if listening.family == socket.AF_UNIX else int(listening.getsockname()[1])
        self._listening = listening
        self._act = act
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except ssl.SSLError:
                continue
            except OSError:
                return
            with connection:
                try:
                    request = self._read(connection)
                    self.requests.append(request)
                    self._act(connection, request)
                except OSError:
                    pass  # the client had enough

    @staticmethod
    def _read(connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data and data[:1] != b"\x16":  # which begins TLS
            more = connection.recv(65536)
            if not more:
                return data
            data += more
        head, _, body = data.partition(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            while name.lower() == b"content-length" and len(body) < int(value):
                body += connection.recv(65536)
        return head + b"\r\n\r\n" + body

    def close(self) -> None:
        """Take no more."""
        try:
            self._listening.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listening.close()
        self._thread.join()


@contextmanager
def serving(
    answer: bytes | Callable[[socket.socket, bytes], None] = OK, unix: Path | None = None
) -> Iterator[Server]:
    """A server that gives this answer to all."""

    def act(connection: socket.socket, request: bytes) -> None:
        if isinstance(answer, bytes):
            connection.sendall(answer)
        else:
            answer(connection, request)

    if unix is None:
        listening = socket.create_server(("127.0.0.1", 0))
    else:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(unix))
        listening.listen()
    server = Server(listening, act)
    try:
        yield server
    finally:
        server.close()


def url(server: Server, rest: str = "/-/reload") -> str:
    """Where it is."""
    return f"http://127.0.0.1:{server.port}{rest}"


def test_a_request_as_it_is_written() -> None:
    """Method, path, query, headers, body; the answer in a few words."""
    options: dict[str, Any] = {
        "headers": {"X-Reason": "changed"},
        "json": {"level": f"{{{FIELD}}}", "n": [1, True]},
    }
    with serving() as server:
        http = Http(url(server, f"/admin?level={{{FIELD}}}&why=kmetad"), method="PUT", **options)
        assert call(http, pod("a b&c"), LONG) == f"PUT {url(server, '/admin')}: 200 OK"
        head, _, body = server.requests[0].decode().partition("\r\n\r\n")
    lines = head.split("\r\n")
    assert lines[0] == "PUT /admin?level=a%20b%26c&why=kmetad HTTP/1.1"
    assert {"X-Reason: changed", "Content-Type: application/json", f"Host: 127.0.0.1:{server.port}"} <= set(
        lines
    )
    assert json.loads(body) == {"level": "a b&c", "n": [1, True]}


def test_a_text_as_body() -> None:
    """Filled in; what could forge more than itself is refused, and nothing is sent."""
    with serving() as server:
        http = Http(url(server), body=f"level={{{FIELD}}}\n")
        call(http, pod("debug"), LONG)
        assert server.requests[0].endswith(b"\r\n\r\nlevel=debug\n")
        with pytest.raises(Fail, match="control character.*send it as json") as caught:
            call(http, pod("debug\nadmin=yes"), LONG)
        assert not caught.value.retry
        assert len(server.requests) == 1


def test_a_field_that_is_not_there() -> None:
    """Nothing is sent, and it isn't tried again as it is; a default is for that."""
    with serving() as server:
        with pytest.raises(
            Fail, match=r"there is no metadata.* now, and no default; it isn't sent"
        ) as caught:
            call(Http(url(server), json=f"{{{FIELD}}}"), Snapshot(), LONG)
        assert not caught.value.retry
        call(Http(url(server), json=f"{{{FIELD}:-info}}"), Snapshot(), LONG)
        assert server.requests[0].endswith(b'"info"')


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8")))
def test_no_value_leaves_its_place(value: str) -> None:
    """Whatever somebody writes into an annotation is one value of the query, and one text of the JSON."""
    from kmetad_reload.http import _filled

    http = Http(f"http://x/?a={{{FIELD}}}&b=c", json={"level": f"<{{{FIELD}}}>"})
    target, _, body, _ = _filled(http, pod(value), "POST")
    assert parse_qs(target.removeprefix("/?"), keep_blank_values=True) == {"a": [value], "b": ["c"]}
    assert body is not None and json.loads(body) == {"level": f"<{value}>"}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            b"HTTP/1.1 500 Oh no\r\n\r\nbad config: line 3\nX",
            "answered 500 Oh no: bad config: line 3$",
        ),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>", "answered 404 Not Found$"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: https://u:p@other/x?token=1\r\nContent-Length: 0\r\n\r\n",
            "answered 302 Found, which leads to https://other/x; redirects aren't followed",
        ),
        (
            b"HTTP/1.1 301 Moved\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n",
            "which leads to /new; redirects",
        ),
        (b"", "it closed the connection without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", "in the middle of its answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "what it answered isn't HTTP; is this the right port?"),
        (b"\x16\x03\x01\x02\x00\x01\x00" * 20 + b"\n", "isn't HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70000 + b"\r\n\r\n", "isn't HTTP \\(LineTooLong\\)"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "isn't HTTP \\(HTTPException\\)"),
    ],
)
def test_answers_that_are_no_success(answer: bytes, message: str) -> None:
    """What happened is said, with what the server says itself; and it is tried again."""
    with serving(answer) as server, pytest.raises(Fail, match=message) as caught:
        call(Http(url(server)), pod(), LONG)
    assert caught.value.retry
    assert str(caught.value).startswith(f"POST http://127.0.0.1:{server.port}/-/reload: ")


def test_which_answers_are_a_success() -> None:
    """Those that are named, and no others."""
    with serving(b"HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n") as server:
        assert call(Http(url(server), status=[200, 409]), pod(), LONG).endswith("409 Conflict")
        with pytest.raises(Fail, match="answered 409"):
            call(Http(url(server), status=[200]), pod(), LONG)


def test_what_an_answer_has_to_hold() -> None:
    """With placeholders: so the app itself says that it has the new value."""
    with serving(b'HTTP/1.1 200 OK\r\n\r\n{"level": "debug"}') as server:
        http = Http(url(server), contains=f'"level": "{{{FIELD}}}"')
        assert call(http, pod("debug"), LONG, method="GET").startswith("GET ")
        with pytest.raises(Fail, match="doesn't hold what `contains` asks for"):
            call(http, pod("info"), LONG)


def test_nobody_listens() -> None:
    """It is said what that may mean."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Fail, match="connection refused; is the server up"):
        call(Http(f"http://127.0.0.1:{port}/"), pod(), LONG)
    with pytest.raises(Fail, match="its name can't be resolved"):
        call(Http("http://no-such-host.invalid/"), pod(), LONG)


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"]
)
def test_a_server_that_never_ends(start: bytes) -> None:
    """Nor with a byte now and then: the whole has its time, not each byte."""
    stop = threading.Event()

    def drip(connection: socket.socket, request: bytes) -> None:
        connection.sendall(start)
        while start and not stop.wait(0.02):
            connection.sendall(b"x")
        stop.wait(LONG)

    with serving(drip) as server:
        try:
            with pytest.raises(Fail, match=r"(no whole answer within 0.2 s|no answer in time)$"):
                call(Http(url(server), timeout=timedelta(seconds=0.2)), pod(), LONG)
        finally:
            stop.set()


def test_over_a_unix_socket(tmp_path: Path) -> None:
    """Its path is told; the URL gives the Host."""
    path = tmp_path / "app.sock"
    with serving(unix=path) as server:
        assert (
            call(Http("http://app/reload", unix=str(path)), pod(), LONG)
            == f"POST http://app/reload over {path}: 200 OK"
        )
        assert b"Host: app\r\n" in server.requests[0]
    with pytest.raises(Fail, match="No such file or directory"):
        call(Http("http://app/", unix=str(tmp_path / "none")), pod(), LONG)


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reloaded is near."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1/")
    with serving() as server:
        call(Http(url(server)), pod(), LONG)


class Authority:
    """Certificates for localhost, by openssl."""

    def __init__(self, directory: Path) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed; .ci/run installs it")
        self.directory = directory

    def make(self, name: str, *, days: int = 2) -> tuple[str, str]:
        """The files of a certificate that is its own authority, and of its key."""
        cert, key = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
            + ["-days", str(days), "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost"]
            + ["-keyout", str(key), "-out", str(cert)],
            check=True,
            capture_output=True,
        )
        return str(cert), str(key)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """One in the test's directory."""
    return Authority(tmp_path)


@contextmanager
def secure(
    cert: str,
    key: str,
    client_ca: str | None = None,
    act: Callable[[socket.socket, bytes], None] = lambda connection, request: connection.sendall(OK),
) -> Iterator[Server]:
    """A server of HTTPS; with ``client_ca`` it wants a certificate of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    listening = context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True)
    server = Server(listening, act)
    try:
        yield server
    finally:
        server.close()


def test_tls(authority: Authority) -> None:
    """Verified against ``ca``, and by nothing less."""
    cert, key = authority.make("server")
    other, _ = authority.make("other")
    with secure(cert, key) as server:
        place = f"https://localhost:{server.port}/"
        assert call(Http(place, ca=cert), pod(), LONG).endswith("200 OK")
        with pytest.raises(Fail, match=r"certificate can't be verified .*set ca to its authority's file"):
            call(Http(place), pod(), LONG)
        with pytest.raises(Fail, match=r"certificate can't be verified .*is ca the file"):
            call(Http(place, ca=other), pod(), LONG)
        with pytest.raises(Fail, match="certificate can't be verified"):
            call(Http(place.replace("localhost", "127.0.0.1"), ca=cert), pod(), LONG)
        with pytest.raises(Fail, match=r"none.crt can't be loaded: No such file"):
            call(Http(place, ca=str(authority.directory / "none.crt")), pod(), LONG)
        with pytest.raises(Fail):
            call(Http(place.replace("https", "http")), pod(), LONG)


def test_a_tls_server_that_never_ends(authority: Authority) -> None:
    """It is cut as any other."""
    cert, key = authority.make("server")
    stop = threading.Event()

    def drip(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not stop.wait(0.02):
            connection.sendall(b"x")

    with secure(cert, key, act=drip) as server:
        http = Http(f"https://localhost:{server.port}/", ca=cert, timeout=timedelta(seconds=0.5))
        try:
            for _ in range(3):
                with pytest.raises(Fail, match=r"no whole answer within 0.5 s$"):
                    call(http, pod(), LONG)
        finally:
            stop.set()


def test_a_certificate_of_our_own(authority: Authority) -> None:
    """Read anew each time, so one that was renewed is used."""
    cert, key = authority.make("server")
    ours, our_key = authority.make("client")
    with secure(cert, key, client_ca=ours) as server:
        place = f"https://localhost:{server.port}/"
        assert call(Http(place, ca=cert, cert=ours, key=our_key), pod(), LONG).endswith("200 OK")
        with pytest.raises(Fail):
            call(Http(place, ca=cert), pod(), LONG)


def test_plain_http_where_tls_is_wanted() -> None:
    """It is said that one of the two is wrong."""
    with serving(b"HTTP/1.1 400 Bad Request\r\n\r\n") as server:
        place = url(server).replace("http:", "https:")
        with pytest.raises(Fail, match="no TLS with it"):
            call(Http(place), pod(), LONG)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "ftp://x/"}, "expected http"),
        ({"url": "x"}, "expected http"),
        ({"url": "http://"}, "expected http"),
        ({"url": "http://x:99999/"}, "url: "),
        ({"url": "http://x:0/"}, "1 to 65535"),
        ({"url": "http://x/#y"}, "isn't sent"),
        ({"url": "http://u:p@x/"}, "a user and password don't belong"),
        ({"url": "http://x/a b"}, "percent-encoded"),
        ({"url": "http://x/?a b"}, "percent-encoded"),
        ({"url": "http://{metadata.name}/"}, "only behind the"),
        ({"url": "http://x/{metadata.name}"}, "only behind the"),
        ({"url": "http://x/?{metadata.nmae}"}, "metadata.name"),
        ({"method": "GE T"}, "method: "),
        ({"headers": {"a b": "c"}}, "headers: 'a b'"),
        ({"headers": {"a": "b\r\nc: d"}}, "headers: 'a'"),
        ({"headers": {"Content-Length": "1"}}, "not yours"),
        ({"body": "a", "json": "b"}, "exclude each other"),
        ({"body": "{metadata.nmae}"}, "metadata.name"),
        ({"json": {"a": ["{metadata.nmae}"]}}, "metadata.name"),
        ({"json": timedelta(1)}, "json: "),
        ({"contains": "{metadata.nmae}"}, "metadata.name"),
        ({"status": [20]}, "status: 20"),
        ({"status": []}, "status: no answer"),
        ({"unix": "x.sock"}, "absolute path"),
        ({"url": "https://x/", "unix": "/x"}, "expected http"),
        ({"ca": "/x"}, "for https"),
        ({"url": "https://x/", "key": "/x"}, "key is for a cert"),
        ({"timeout": timedelta(0)}, "more than nothing"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    """They are a fault when they are read."""
    with pytest.raises((ValueError, FieldPathError), match=message):
        Http(**{"url": "http://x/", **options})


def test_described() -> None:
    """As it would be sent; of headers nothing."""
    http = Http(
        f"http://x/a?b={{{FIELD}}}", headers={"Authorization": "Bearer secret"}, json={"c": f"{{{FIELD}}}"}
    )
    assert describe(http, pod("d e")) == 'POST http://x/a?b=d%20e with {"c": "d e"}'
    assert describe(Http("http://x/", contains="ok", unix="/s"), pod(), method="GET") == (
        "GET http://x/ over /s, whose answer has to hold 'ok'"
    )
    assert describe(http, Snapshot()).startswith("send nothing: ")
