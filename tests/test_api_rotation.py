"""Tokens and CAs that rotate under clients: no call fails, and no token goes where it doesn't belong."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kmetad.api import ApiError, Client, Forbidden, Server, Unauthorized, Untrusted, find_server, path_of
from kmetad.api.credentials import Mounted
from tests.apiserver import ApiServer, Authority, behaviour, pod
from tests.apiserver.mount import Mount
from tests.relay import copy

APP = "system:serviceaccount:lab:app"
WEB = path_of("pods", "web", namespace="lab")


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """One that has a Pod."""
    with ApiServer() as running:
        running.put(pod("web", "lab"))
        running.allow(APP, ["get", "list", "patch"], ["pods"], namespace="lab")
        yield running


@pytest.fixture
def mounted(server: ApiServer, tmp_path: Path) -> Mount:
    """A service account's volume."""
    return server.mount(tmp_path / "account", APP)


def in_pod(server: ApiServer, mounted: Mount) -> Client:
    """A client that finds the server as a Pod's does."""
    environ = {"KUBERNETES_SERVICE_HOST": server.host, "KUBERNETES_SERVICE_PORT": str(server.port)}
    return Client(find_server(environ=environ, token_path=str(mounted.path)), timeout=30.0)


class Load:
    """Threads that call without a pause."""

    def __init__(self, client: Client, threads: int) -> None:
        self.faults: list[ApiError] = []
        self._calls = 0
        self._client = client
        self._changed = threading.Condition()
        self._ending = False
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        while not self._ending:
            try:
                if number % 2:
                    self._client.patch(WEB, {"metadata": {"annotations": {f"n{number}": str(self._calls)}}})
                else:
                    self._client.get(WEB)
            except ApiError as error:
                self.faults.append(error)
            with self._changed:
                self._calls += 1
                self._changed.notify_all()

    def more(self, calls: int) -> None:
        """Wait until so many more have been made, or one has failed."""
        with self._changed:
            until = self._calls + calls
            assert self._changed.wait_for(lambda: self._calls >= until or self.faults, 60)

    def end(self) -> None:
        """Wait for all threads."""
        self._ending = True
        for thread in self._threads:
            thread.join()


@contextmanager
def loaded(client: Client, threads: int = 6) -> Iterator[Load]:
    """While this lasts, calls are made."""
    load = Load(client, threads)
    try:
        yield load
    finally:
        load.end()


def test_tokens_and_cas_rotate_under_load(server: ApiServer, mounted: Mount) -> None:
    """As in a cluster: the new one is published first, then the old one is no longer accepted. No call fails."""
    with in_pod(server, mounted) as client, loaded(client) as load:
        for _ in range(5):
            load.more(20)
            old, new = mounted.token, server.token(APP)
            mounted.rotate(token=new)
            server.revoke(old)
            load.more(20)
            before, after = server.authority, Authority()
            mounted.rotate(ca=before.pem + after.pem)
            server.rotate_certificate(after)
            load.more(20)
            mounted.rotate(ca=after.pem)
    assert load.faults == []
    assert len({request.header("Authorization") for request in server.requests}) == 6


def test_a_token_is_revoked_before_the_new_one_is_there(server: ApiServer, mounted: Mount) -> None:
    """That is a 401, once re-read and found the same; the next call has the new one."""
    with in_pod(server, mounted) as client:
        client.get(WEB)
        new = server.token(APP)
        server.revoke(mounted.token)
        with pytest.raises(Unauthorized, match=f"doesn't accept the token in {mounted.path}/token"):
            client.get(WEB)
        assert len(server.requests) == 2, "the same token isn't sent twice"
        mounted.rotate(token=new)
        assert client.get(WEB)["kind"] == "Pod"


def test_a_401_is_tried_once_more_with_what_is_there_by_then(server: ApiServer, mounted: Mount) -> None:
    """The token changes between its reading and the server's look at it."""
    new = server.token(APP)

    def rotate_and_refuse(exchange: behaviour.Exchange) -> None:
        mounted.rotate(token=new)
        behaviour.as_recorded("401-garbage-token")(exchange)

    server.script(f"GET {WEB}", rotate_and_refuse)
    with in_pod(server, mounted) as client:
        assert client.get(WEB)["kind"] == "Pod"
    assert [request.header("Authorization") == f"Bearer {new}" for request in server.requests] == [
        False,
        True,
    ]


def test_never_a_third_time(server: ApiServer, mounted: Mount) -> None:
    """A server that accepts nothing gets two tries, whatever the file holds."""

    def rotate_and_refuse(exchange: behaviour.Exchange) -> None:
        mounted.rotate(token=server.token(APP))
        behaviour.as_recorded("401-garbage-token")(exchange)

    server.script(f"GET {WEB}", rotate_and_refuse, times=9)
    with in_pod(server, mounted) as client, pytest.raises(Unauthorized):
        client.get(WEB)
    assert len(server.requests) == 2


def test_a_403_is_an_answer(server: ApiServer, mounted: Mount) -> None:
    """No other token changes a role: it isn't read afresh, and nothing is tried again."""

    def rotate_and_refuse(exchange: behaviour.Exchange) -> None:
        mounted.rotate(token=server.token(APP))
        behaviour.as_recorded("403-app-delete")(exchange)

    server.script(f"GET {WEB}", rotate_and_refuse)
    with in_pod(server, mounted) as client, pytest.raises(Forbidden):
        client.get(WEB)
    assert len(server.requests) == 1


@pytest.mark.parametrize("half", ["", "eyJhbGciOi", "a.b", "not a token"])
def test_a_half_written_token_is_passed_over(server: ApiServer, mounted: Mount, half: str) -> None:
    """The one before still works."""
    with in_pod(server, mounted) as client:
        client.get(WEB)
        mounted.rotate(token=half)
        assert client.get(WEB)["kind"] == "Pod"


@pytest.mark.parametrize("cut", [0, 30, -30])
def test_a_half_written_ca_is_passed_over(server: ApiServer, mounted: Mount, cut: int) -> None:
    """What was trusted goes on being so, for new connections too, until the file is whole again."""
    before, after = server.authority, Authority()
    with in_pod(server, mounted) as client:
        client.get(WEB)
        mounted.rotate(ca=after.pem[:cut])
        server.hang_up()
        assert client.get(WEB)["kind"] == "Pod"
        mounted.rotate(ca=after.pem)
        server.rotate_certificate(after)
        assert client.get(WEB)["kind"] == "Pod"
    assert before is not after


def test_a_ca_that_comes_after_the_certificate(server: ApiServer, mounted: Mount) -> None:
    """Untrusted until then, and nothing is sent; then trusted without anybody's doing."""
    after = Authority()
    with in_pod(server, mounted) as client:
        client.get(WEB)
        server.rotate_certificate(after)
        with pytest.raises(Untrusted, match="its CA is another one"):
            client.get(WEB)
        assert len(server.requests) == 1
        mounted.rotate(ca=after.pem)
        assert client.get(WEB)["kind"] == "Pod"


def test_an_authority_that_is_no_longer_trusted(server: ApiServer, mounted: Mount) -> None:
    """With another CA no connection that the old one vouched for is used any more."""
    with in_pod(server, mounted) as client:
        client.get(WEB)
        mounted.rotate(ca=Authority().pem)
        with pytest.raises(Untrusted):
            client.get(WEB)
    assert len(server.requests) == 1


def test_what_is_in_the_file_is_trusted(server: ApiServer, mounted: Mount) -> None:
    """Also where it isn't a chain's root, as in Go: here the server's own certificate."""
    issued = server.authority.server()
    server.rotate_certificate(server.authority, certificate=issued)
    mounted.rotate(ca=issued.certificate)
    with in_pod(server, mounted) as client:
        assert client.get(WEB)["kind"] == "Pod"


def test_the_systems_authorities(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count where nothing else says whom to trust."""
    (tmp_path / "ca.pem").write_bytes(server.authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with Client(Server(server.url)) as client:
        assert client.get("/version")["major"]


def test_where_a_token_never_goes(server: ApiServer, mounted: Mount) -> None:
    """Over plain http, to whom nobody verified, to another host, through a redirect: not even if told so in code."""
    with ApiServer(tls=False) as plain, ApiServer() as other:
        account = Mounted(str(mounted.path))
        for at in (
            Server(plain.url, account),
            Server(server.url, account, verify=False),
            Server(other.url, account),
        ):
            with Client(at) as client, pytest.raises(ApiError):
                client.get(WEB)
        for to in (plain, other):
            server.script(f"GET {WEB}", behaviour.redirect(f"{to.url}{WEB}"))
            with (
                in_pod(server, mounted) as client,
                pytest.raises(ApiError, match="redirects aren't followed"),
            ):
                client.get(WEB)
        came = [*plain.requests, *other.requests, *(r for r in server.requests if r.user != APP)]
        assert len(came) == 2, "one over plain http, one unverified"
        assert {request.header("Authorization") for request in came} == {None}


def test_proxies_are_used_only_if_told(
    server: ApiServer, mounted: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual variables mean nothing; a proxy that is configured is used, and sees no token."""
    with ApiServer(tls=False) as proxy:
        for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        with in_pod(server, mounted) as client:
            assert client.get(WEB)["kind"] == "Pod"
        assert proxy.requests == []
        told = Server(server.url, Mounted(str(mounted.path)), proxy=proxy.url)
        with Client(told) as client, pytest.raises(ApiError):
            client.get(WEB)  # this stand-in doesn't tunnel
        assert {request.method for request in proxy.requests} == {"CONNECT"}
        assert all(request.header("Authorization") is None for request in proxy.requests)


def test_a_tunnel(server: ApiServer, mounted: Mount) -> None:
    """Through a proxy that does: the server's own certificate is verified, and the call succeeds."""

    def tunnel(listening: socket.socket) -> None:
        theirs, _ = listening.accept()
        with theirs, socket.create_connection((server.host, server.port)) as ours:
            head = b""
            while b"\r\n\r\n" not in head:
                head += theirs.recv(4096)
            seen.append(head)
            theirs.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=copy, args=(ours, theirs))
            back.start()
            copy(theirs, ours)
            back.join()

    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=tunnel, args=(listening,))
        thread.start()
        proxy = f"http://127.0.0.1:{listening.getsockname()[1]}"
        at = Server(server.url, Mounted(str(mounted.path)), proxy=proxy)
        with Client(at) as client:
            assert client.get(WEB)["kind"] == "Pod"
        thread.join()
    assert seen[0].startswith(f"CONNECT {server.host}:{server.port} ".encode())
    assert b"uthorization" not in seen[0]
