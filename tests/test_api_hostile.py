"""Servers that hang, break, lie, or aren't API servers at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmetad.api import (
    ApiError,
    BadAnswer,
    Client,
    Mounted,
    Server,
    StatusError,
    TimedOut,
    Unreachable,
    Untrusted,
    find_server,
    path_of,
)
from tests.apiserver import ApiServer, behaviour, pod
from tests.apiserver.behaviour import Behaviour
from tests.relay import relay_once

APP = "system:serviceaccount:lab:app"
WEB = path_of("pods", "web", namespace="lab")
LONG = 30.0


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    """One for all: what a test breaks is a request."""
    with ApiServer() as running:
        running.put(pod("web", "lab"))
        running.allow(APP, ["get", "list", "patch"], ["pods"], namespace="lab")
        yield running


@pytest.fixture
def client(server: ApiServer, tmp_path: Path) -> Iterator[Client]:
    """In a Pod of it."""
    with made(server, tmp_path) as client:
        yield client


def made(server: ApiServer, directory: Path, timeout: float = LONG) -> Client:
    """A client with a mounted token."""
    mounted = server.mount(directory / "account", APP)
    return Client(find_server(url=server.url, token_path=str(mounted.path)), timeout=timeout)


@pytest.mark.parametrize(
    "behave",
    [
        behaviour.hang,
        behaviour.hang_after_headers,
        behaviour.hang_in_body,
        behaviour.trickle_headers(),
        behaviour.trickle_body(),
    ],
    ids=["hang", "after headers", "in body", "trickling headers", "trickling body"],
)
def test_no_whole_answer_in_time(server: ApiServer, tmp_path: Path, behave: Behaviour) -> None:
    """However the server fills the time: a byte now and then gains it nothing. It isn't tried again."""
    script = server.script(f"GET {WEB}", behave, times=9)
    with made(server, tmp_path, timeout=0.3) as client:
        with pytest.raises(TimedOut, match="in time"):
            client.get(WEB)
        assert script.used == 1
        script.stop()
        client.timeout = LONG
        assert client.get(WEB)["kind"] == "Pod"


@pytest.mark.parametrize(
    ("behave", "kind", "why"),
    [
        (behaviour.close, Unreachable, "broke before an answer"),
        (behaviour.reset, Unreachable, "reset|broke before an answer"),
        (behaviour.reset_in_body, Unreachable, "middle of the answer|reset"),
        (behaviour.too_short, Unreachable, "middle of the answer"),
        (behaviour.not_chunked, Unreachable, "middle of the answer"),
        (behaviour.not_http, Unreachable, "isn't HTTP"),
        (behaviour.huge_headers(), Unreachable, "isn't HTTP|couldn't be|broke"),
        (behaviour.many_headers(), Unreachable, "isn't HTTP|couldn't be|broke"),
        (behaviour.html(502), BadAnswer, "a page in HTML: whatever answered is no API server"),
        (behaviour.html(200), BadAnswer, "expected an object of JSON, got '<"),
        (behaviour.not_json, BadAnswer, "expected an object of JSON"),
        (behaviour.nested(), BadAnswer, "expected an object of JSON"),
        (behaviour.body(b""), BadAnswer, "expected an object of JSON, got ''"),
        (behaviour.body(b"[1]"), BadAnswer, "expected an object of JSON"),
        (behaviour.body(b"\x1b[31m\r\n"), BadAnswer, "got ' "),
        (behaviour.large(100 << 20), BadAnswer, "longer than 16 MiB"),
        (behaviour.large(), BadAnswer, "longer than 16 MiB"),
        (behaviour.bomb(), BadAnswer, "longer than 16 MiB"),
        (
            behaviour.redirect("https://elsewhere.example.com/a?b=c"),
            BadAnswer,
            "leads to elsewhere.example.com;",
        ),
        (behaviour.redirect("https://user:hunter2@elsewhere"), BadAnswer, "leads to elsewhere;"),
        (behaviour.redirect("/api/v1/other"), BadAnswer, "leads elsewhere; redirects aren't followed"),
        (behaviour.redirect("http://[::1"), BadAnswer, "leads elsewhere"),
    ],
)
def test_broken_answers(
    server: ApiServer, client: Client, behave: Behaviour, kind: type[ApiError], why: str
) -> None:
    """Each has its kind and one readable line, and the client works on."""
    script = server.script(f"GET {WEB}", behave, times=9)
    with pytest.raises(kind, match=why) as caught:
        client.get(WEB)
    assert str(caught.value).startswith(f"GET {WEB}: ")
    assert str(caught.value).isprintable()
    assert "hunter2" not in str(caught.value)
    assert script.used == (2 if kind is Unreachable else 1), "a broken connection is tried once more"
    script.stop()
    assert client.get(WEB)["kind"] == "Pod"


@pytest.mark.parametrize(
    "behave", [behaviour.compressed, behaviour.too_long], ids=["compressed", "longer than it says"]
)
def test_odd_but_understandable(server: ApiServer, client: Client, behave: Behaviour) -> None:
    """An answer that is compressed though nobody asked; one with more behind it than it says."""
    script = server.script(f"GET {WEB}", behave)
    assert isinstance(client.get(WEB), dict)
    assert script.used == 1
    assert client.get(WEB)["kind"] == "Pod"


def test_the_body_of_a_refusal_is_capped(server: ApiServer, client: Client) -> None:
    """An error that is as long as it likes is read a little way."""
    server.script(f"GET {WEB}", behaviour.body(b'{"kind":"Status","message":"' + b"x" * (1 << 20), 500))
    with pytest.raises(StatusError) as caught:
        client.get(WEB)
    assert len(str(caught.value)) < 2000
    assert client.get(WEB)["kind"] == "Pod"


def test_nobody_listens(tmp_path: Path) -> None:
    """Refused at once, and not tried again."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with (
        Client(find_server(url=f"https://127.0.0.1:{port}", token_path=str(tmp_path))) as client,
        pytest.raises(Unreachable, match=f"nobody listens at https://127.0.0.1:{port}"),
    ):
        client.get("/version")


def test_a_name_that_is_nobodys(tmp_path: Path) -> None:
    """DNS is named as what failed."""
    with (
        Client(find_server(url="https://kubernetes.invalid", token_path=str(tmp_path))) as client,
        pytest.raises(Unreachable, match=r"the name kubernetes\.invalid can't be resolved"),
    ):
        client.get("/version")


def test_tls_and_no_tls(server: ApiServer, tmp_path: Path) -> None:
    """The other protocol at the port is told of."""
    plain = server.url.replace("https", "http")
    with (
        Client(find_server(url=plain, token_path=str(tmp_path))) as client,
        pytest.raises(Unreachable, match="does it want https"),
    ):
        client.get("/version")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        # As Go's servers answer what is no HTTP.
        answering = threading.Thread(
            target=answer_twice, args=(listening, b"HTTP/1.0 400 Bad Request\r\n\r\n")
        )
        answering.start()
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        with (
            Client(find_server(url=url, token_path=str(tmp_path))) as client,
            pytest.raises(Unreachable, match="no TLS at .*is it plain http"),
        ):
            client.get("/version")
        answering.join()


def answer_twice(listening: socket.socket, answer: bytes) -> None:
    """To whatever comes: a connection that breaks is tried once more."""
    for _ in range(2):
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)


def test_a_certificate_of_somebody_else(server: ApiServer, tmp_path: Path) -> None:
    """An impostor gets nothing: the handshake fails, and the message says which remedy there is."""
    with ApiServer() as impostor:
        mounted = server.mount(tmp_path / "account", APP)
        for token_path, why in (
            (str(mounted.path), "its CA is another one than is known here"),
            ("/nowhere", "the system's CAs don't vouch"),
        ):
            with (
                Client(find_server(url=impostor.url, token_path=token_path)) as client,
                pytest.raises(Untrusted, match=why),
            ):
                client.get(WEB)
        assert impostor.requests == []


def test_a_certificate_for_another_name(server: ApiServer, tmp_path: Path) -> None:
    """The right CA, the wrong host: told apart."""
    mounted = server.mount(tmp_path / "account", APP)
    with socket.create_server(("127.0.0.2", 0)) as listening:
        url = f"https://127.0.0.2:{listening.getsockname()[1]}"
        forward = threading.Thread(target=relay_once, args=(listening, (server.host, server.port)))
        forward.start()
        with (
            Client(find_server(url=url, token_path=str(mounted.path))) as client,
            pytest.raises(Untrusted, match=r"for another name.*\$KUBERNETES_SERVICE_HOST"),
        ):
            client.get(WEB)
        forward.join()


def test_an_expired_certificate(tmp_path: Path) -> None:
    """OpenSSL's own words are in it."""
    with ApiServer() as server, made(server, tmp_path) as client:
        assert client.get("/version")
        expired = server.authority.server(expired=True)
        server.rotate_certificate(server.authority, certificate=expired)
        with pytest.raises(Untrusted, match="certificate has expired.*has to be renewed, or the clock"):
            client.get("/version")


def test_a_handshake_that_hangs(tmp_path: Path) -> None:
    """Who takes the connection and says nothing costs no more than the time that the call has."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        with (
            Client(find_server(url=url, token_path=str(tmp_path)), timeout=0.3) as client,
            pytest.raises(TimedOut),
        ):
            client.get("/version")


def test_a_forged_header_gets_nowhere(client: Client, server: ApiServer) -> None:
    """What would be another request isn't sent."""
    before = len(server.requests)
    with pytest.raises(Unreachable, match="couldn't be sent"):
        client.raw("GET", WEB, headers={"X": "a\r\nAuthorization: Bearer x"})
    with pytest.raises(Unreachable, match="couldn't be sent"):
        client.raw("GE T", WEB)
    assert len(server.requests) == before


def test_a_proxy_is_named(server: ApiServer, tmp_path: Path) -> None:
    """What fails at a proxy isn't the API server's fault: refused, unknown, or not letting it through."""
    account = Mounted(str(server.mount(tmp_path / "account", APP).path))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = f"http://127.0.0.1:{listening.getsockname()[1]}"
        answering = threading.Thread(
            target=answer_twice, args=(listening, b"HTTP/1.1 407 Who are you\r\n\r\n")
        )
        answering.start()
        with (
            Client(Server(server.url, account, proxy=proxy)) as client,
            pytest.raises(Unreachable, match=f"the proxy {proxy} doesn't let it through: 407 Who are you"),
        ):
            client.get(WEB)
        answering.join()
    nowhere = "http://proxy.invalid:3128"
    for url, why in ((proxy, f"nobody listens at {proxy}, the proxy"), (nowhere, r"proxy\.invalid can't be")):
        with Client(Server(server.url, account, proxy=url)) as client, pytest.raises(Unreachable, match=why):
            client.get(WEB)


def test_a_call_of_many_at_once(client: Client) -> None:
    """More threads than connections that are kept: all get their own answer."""
    answers: list[str] = []

    def ask() -> None:
        for _ in range(5):
            answers.append(client.get(WEB)["metadata"]["name"])

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["web"] * 80
