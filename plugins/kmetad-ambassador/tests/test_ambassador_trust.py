"""Where the credentials go: over verified TLS, to the one server that they are for, whatever stands in the way."""

from __future__ import annotations

import gc
import os
import re
import shutil
import socket
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace as with_other
from pathlib import Path
from typing import Any

import pytest
from kmetad_ambassador import Options, connect
from kmetad_ambassador.running import Running

from kmetad.api import CredentialsError, Mounted, NoServer, Server, find_server
from tests.apiserver import ApiServer, Authority, behaviour
from tests.apiserver.tls import Issued
from tests.proxying import DEADLINE, Lab, Log, Proxied, received
from tests.relay import relay_once
from tests.trusted import WEB, Asking, Config, Middle, header

Start = Callable[..., Proxied]
MARKER = "Bearer MARKER-of-the-clients"


@pytest.fixture
def middle(lab: Lab) -> Iterator[Middle]:
    """A port in front of the lab's API server."""
    with Middle(lab.api) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections have to be there soon."""
    monkeypatch.setattr(connect, "SECONDS", 0.2)


def at(lab: Lab, middle: Middle, **more: Any) -> Server:
    """The lab's API server, behind that port."""
    host = f"[{middle.host}]" if ":" in middle.host else middle.host
    return with_other(lab.server, url=f"https://{host}:{middle.port}", **more)


@contextmanager
def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> Iterator[None]:
    """The name kube.test has these addresses; without any it can't be resolved."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "kube.test":
            return real(host, port, *args, **kwargs)
        if not addresses or kwargs.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [
            (socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, number))
            for ip, number in addresses
        ]

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


def named(lab: Lab, name: str = "kube.test") -> None:
    """The lab's API server has a certificate for this name alone."""
    lab.api.rotate_certificate(lab.api.authority, certificate=lab.api.authority.server(name))


# -- where the token never goes ----------------------------------------------------------


def test_never_over_http(lab: Lab, start: Start) -> None:
    """Not even if told so in code, and nothing of the client's goes there either."""
    with ApiServer(tls=False) as plain:
        plain.allow_all("kubectl-proxy")
        proxy = start(Server(plain.url, Mounted(str(lab.mount.path))))
        assert proxy.get("/version", Authorization=MARKER).status == 200
        assert [request.header("Authorization") for request in plain.requests] == [None]
        given = find_server(url=plain.url, token_path=str(lab.mount.path), environ={})
        assert start(given).get("/version").status == 200
        assert [request.header("Authorization") for request in plain.requests] == [None, None]


def test_never_over_http_from_a_kubeconfig(lab: Lab, config: Config, start: Start) -> None:
    """Whatever the user has there: token, impersonation."""
    with ApiServer(tls=False) as plain:
        plain.allow_all("kubectl-proxy")
        config.write({"token": lab.mount.token, "as": "jane"}, server=plain.url)
        assert start(config.server()).get("/version").status == 200
        (request,) = plain.requests
        assert not [
            name for name, _ in request.headers if name.lower().startswith(("authorization", "impersonate"))
        ]


def test_never_without_verification(lab: Lab, config: Config, start: Start) -> None:
    """With insecure-skip-tls-verify, wherever that comes from, one is nobody; also where the certificate is good."""
    config.write({"token": lab.mount.token}, insecure_skip_tls_verify=True, certificate_authority_data=None)
    servers = [
        with_other(lab.server, verify=False),
        find_server(token_path=str(lab.mount.path), environ=lab.environ, insecure=True),
        config.server(),
    ]
    for server in servers:
        proxy = start(server)
        assert proxy.get("/version", Authorization=MARKER).status == 200
        assert proxy.get(WEB, Authorization=MARKER).status == 403
    assert {request.header("Authorization") for request in lab.api.requests} == {None}
    assert {request.user for request in lab.api.requests} == {"system:anonymous"}


def test_never_without_verification_whoever_answers(lab: Lab, middle: Middle, start: Start) -> None:
    """A 401 there doesn't bring out a token either."""
    middle.act = middle.decoy(Authority().server())
    proxy = start(at(lab, middle, verify=False))
    assert proxy.get(WEB).status == 200
    assert b"GET " in middle.said
    assert b"uthorization" not in middle.said
    lab.api.script(f"GET {WEB}", behaviour.as_recorded("401-garbage-token"), times=9)
    middle.act = middle.relay
    assert start(at(lab, middle, verify=False)).get(WEB).status == 401
    assert [request.header("Authorization") for request in lab.api.requests] == [None]


def self_signed(_: Lab) -> Issued:
    """A certificate that nobody but itself vouches for."""
    alone = Authority("127.0.0.1")
    return alone.server()


UNTRUSTED: dict[str, tuple[Callable[[Lab], Issued], str]] = {
    "wrong CA": (
        lambda lab: Authority().server(),
        "unable to get local issuer|signature failure|self-signed",
    ),
    "wrong name": (lambda lab: lab.api.authority.server("elsewhere.test"), "mismatch"),
    "wrong address": (lambda lab: lab.api.authority.server("127.0.0.2"), "mismatch"),
    "expired": (lambda lab: lab.api.authority.server(expired=True), "expired"),
    "a client's": (lambda lab: lab.api.authority.client("127.0.0.1"), "mismatch|purpose"),
}


@pytest.mark.parametrize("kind", UNTRUSTED)
def test_never_to_whom_nobody_vouches_for(lab: Lab, middle: Middle, start: Start, kind: str) -> None:
    """Not one byte of a request: the client gets 502, and is told what to do. Once it is right, it serves."""
    make, why = UNTRUSTED[kind]
    middle.act = middle.decoy(make(lab))
    proxy = start(at(lab, middle))
    for _ in range(2):
        reply = proxy.request("GET", WEB, headers={"Authorization": MARKER})
        assert reply.status == 502
        assert "certificate can't be verified" in reply.message
        assert any(part in reply.message for part in why.split("|")), reply.message
        assert "nothing was sent" in reply.message
        assert any(
            hint in reply.message for hint in ("the right cluster", "another name", "has to be renewed")
        )
    assert middle.said == b""
    assert proxy.running.tally.connections == 0
    middle.act = middle.relay
    assert proxy.get(WEB).status == 200


def test_never_to_another_server_on_a_later_connection(lab: Lab, middle: Middle, start: Start) -> None:
    """Each connection is verified for itself."""
    proxy = start(at(lab, middle))
    assert proxy.get(WEB).status == 200
    middle.act = middle.decoy(Authority().server())
    lab.api.hang_up()
    assert proxy.get(WEB).status == 502
    assert middle.said == b""


@pytest.mark.parametrize("at_first", [False, True])
def test_an_empty_ca_file_trusts_nobody_else(
    lab: Lab,
    config: Config,
    middle: Middle,
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at_first: bool,
) -> None:
    """A file that is just being written doesn't mean the authorities that the system trusts."""
    public, file = Authority("public"), tmp_path / "ca.crt"
    (tmp_path / "system.pem").write_bytes(public.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "system.pem"))
    file.write_bytes(b"" if at_first else lab.api.authority.pem)
    config.write(
        {"token": lab.mount.token},
        server=f"https://127.0.0.1:{middle.port}",
        certificate_authority=str(file),
        certificate_authority_data=None,
    )
    decoy = middle.decoy(public.server())
    if at_first:
        middle.act = decoy
        try:
            assert start(config.server()).get(WEB).status == 502
        except CredentialsError:
            pass  # which is said before anything is served
    else:
        proxy = start(config.server())
        assert proxy.get(WEB).status == 200
        file.write_bytes(b"")
        proxy.running.look_again()
        middle.act = decoy
        lab.api.hang_up()
        assert proxy.get(WEB).status == 502
    assert middle.said == b""


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2p1\r\n", b""])
def test_what_isnt_tls(lab: Lab, middle: Middle, start: Start, answer: bytes) -> None:
    """Plain http at an https port, another protocol, nothing at all: 502."""
    middle.act = middle.says(answer)
    reply = start(at(lab, middle)).get(WEB)
    assert reply.status == 502
    assert f"https://127.0.0.1:{middle.port}" in reply.message
    assert b"GET" not in middle.said and b"earer" not in middle.said


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_arent_followed(lab: Lab, proxy: Proxied, code: int) -> None:
    """The client gets them as they are; who is named there gets nothing."""
    with ApiServer() as other:
        lab.api.script(f"GET {WEB}", behaviour.redirect(f"{other.url}{WEB}?a=b", code))
        reply = proxy.get(WEB)
        assert (reply.status, header(reply, "Location")) == (code, f"{other.url}{WEB}?a=b")
        assert (other.requests, other.failed_handshakes, len(lab.api.requests)) == ([], [], 1)


def test_the_clients_own_credentials_go_nowhere(lab: Lab, proxy: Proxied) -> None:
    """The server gets those of the proxy alone, once."""
    sent = "authorization: Bearer a\r\nAuthorization: Basic YQ==\r\nProxy-Authorization: Bearer b\r\n"
    sent += "X-Remote-User: c\r\n"
    answer = proxy.raw(f"GET {WEB} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{sent}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    (request,) = lab.api.requests
    told = [
        (name, value) for name, value in request.headers if "auth" in name.lower() or "x-" in name.lower()
    ]
    assert told == [("Authorization", f"Bearer {lab.mount.token}")]


# -- the name that a certificate is for ---------------------------------------------------


def test_tls_server_name(lab: Lab, config: Config, start: Start) -> None:
    """With it another name is verified, and asked for; without it, or with a wrong one, nothing is sent."""
    named(lab)
    lab.api.allow_all("system:anonymous")
    config.write({"token": lab.mount.token}, tls_server_name="kube.test")
    assert start(config.server()).get(WEB).status == 200
    assert lab.api.requests[0].header("Host") == f"127.0.0.1:{lab.api.port}"
    for name in (None, "other.test"):
        config.write({"token": lab.mount.token}, tls_server_name=name)
        reply = start(config.server()).get(WEB)
        assert reply.status == 502
        assert "mismatch" in reply.message
    assert len(lab.api.requests) == 1


@pytest.mark.parametrize("name", ["a..b", ".kube.test", "x" * 64])
def test_a_tls_server_name_that_is_none(lab: Lab, start: Start, name: str) -> None:
    """Python's ssl wouldn't take it: that is said at the start, not to each client."""
    with pytest.raises(NoServer, match=re.escape(repr(name))):
        start(with_other(lab.server, tls_name=name))


@pytest.mark.parametrize("host", ["a..b", f"{'x' * 64}.test"])
def test_a_name_that_is_none(lab: Lab, start: Start, host: str) -> None:
    """It couldn't be looked up: likewise."""
    with pytest.raises(NoServer, match=re.escape(repr(host))):
        start(with_other(lab.server, url=f"https://{host}:6443"))


# -- HTTP proxies -----------------------------------------------------------------------


def test_a_proxy_on_the_way(lab: Lab, config: Config, middle: Middle, start: Start) -> None:
    """The kubeconfig names it. It is asked for a tunnel, and sees nothing of what goes through."""
    middle.act = middle.tunnel()
    config.write({"token": lab.mount.token}, proxy_url=f"http://127.0.0.1:{middle.port}")
    proxy = start(config.server(), allow_write=True)
    assert proxy.get(WEB, Authorization=MARKER).status == 200
    merge = {"Content-Type": "application/merge-patch+json"}
    assert proxy.request("PATCH", WEB, b'{"metadata":{"labels":{"a":"b"}}}', merge).status == 200
    head, _, rest = bytes(middle.said).partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        f"CONNECT 127.0.0.1:{lab.api.port} HTTP/1.1".encode(),
        f"Host: 127.0.0.1:{lab.api.port}".encode(),
    ]
    for secret in (lab.mount.token.encode(), b"Bearer", MARKER.encode(), b"namespaces"):
        assert secret not in rest
    assert middle.clients == 1, "the tunnel is kept as any connection is"


def test_the_proxy_of_the_environment(
    lab: Lab, middle: Middle, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where it is asked for. The name is for the proxy to resolve."""
    named(lab)
    middle.act = middle.tunnel()
    environ = {"https_proxy": f"127.0.0.1:{middle.port}"}
    url = f"https://kube.test:{lab.api.port}"
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with resolving(monkeypatch):
        told = find_server(url=url, token_path=str(lab.mount.path), environ=environ, proxy_from_env=True)
        assert start(told).get(WEB).status == 200
        assert middle.said.startswith(f"CONNECT kube.test:{lab.api.port} HTTP/1.1\r\n".encode())
        assert middle.clients == 1
        reply = start(find_server(url=url, token_path=str(lab.mount.path), environ=environ)).get(WEB)
        assert reply.status == 502
        assert "kube.test can't be resolved" in reply.message
        assert middle.clients == 1


def test_an_ipv6_server_behind_a_proxy(lab: Lab, middle: Middle, start: Start) -> None:
    """Its address is in brackets."""
    lab.api.rotate_certificate(lab.api.authority, certificate=lab.api.authority.server("fd00::1"))
    middle.act = middle.tunnel()
    proxied = with_other(lab.server, url="https://[fd00::1]", proxy=f"http://127.0.0.1:{middle.port}")
    assert start(proxied).get(WEB).status == 200
    assert middle.said.startswith(b"CONNECT [fd00::1]:443 HTTP/1.1\r\nHost: [fd00::1]:443\r\n\r\n")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n", "doesn't let it through (403)"),
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "doesn't let it through (407)"),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://elsewhere\r\n\r\n", "doesn't let it through (301)"),
        (b"\r\n\r\n", "doesn't"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n\r\n", "doesn't"),
        (b"HTTP/1.1 \xff\xfe\x00\r\n\r\n", "doesn't"),
        (b"HTTP/1.1 200 OK\r\n", "doesn't answer as one does"),
        (b"x" * 100_000, "doesn't answer as one does"),
        (b"", "doesn't answer as one does"),
    ],
)
def test_proxies_that_refuse_or_talk_nonsense(
    lab: Lab, middle: Middle, start: Start, answer: bytes, told: str
) -> None:
    """502, which names both; and nothing but CONNECT was said. When it lets through, all is well."""
    proxy_url = f"http://127.0.0.1:{middle.port}"
    middle.act = middle.says(answer)
    proxy = start(with_other(lab.server, proxy=proxy_url))
    reply = proxy.get(WEB)
    assert reply.status == 502
    assert told in reply.message
    assert lab.server.url in reply.message and proxy_url in reply.message
    assert middle.said.startswith(b"CONNECT ") and middle.said.endswith(b"\r\n\r\n")
    assert middle.said.count(b"\r\n") == 3
    middle.act = middle.tunnel()
    assert proxy.get(WEB).status == 200


@pytest.mark.parametrize(
    "status", [b"HTTP/1.0 200 OK", b"HTTP/1.1 200", b"HTTP/1.1 200 Connection established"]
)
def test_what_a_proxy_may_answer(lab: Lab, middle: Middle, start: Start, status: bytes) -> None:
    """200, as in Go, whatever headers come with it."""
    middle.act = middle.tunnel(status + b"\r\nProxy-Agent: test\r\n\r\n")
    proxied = with_other(lab.server, proxy=f"http://127.0.0.1:{middle.port}")
    assert start(proxied).get(WEB).status == 200


@pytest.mark.usefixtures("impatient")
def test_a_proxy_that_hangs(lab: Lab, middle: Middle, start: Start) -> None:
    """504; and when it answers again, all is well."""
    middle.act = middle.hold
    proxy = start(with_other(lab.server, proxy=f"http://127.0.0.1:{middle.port}"))
    reply = proxy.get(WEB)
    assert reply.status == 504
    assert f"through the proxy http://127.0.0.1:{middle.port}" in reply.message
    connect.SECONDS = DEADLINE
    middle.act = middle.tunnel()
    assert proxy.get(WEB).status == 200


def test_a_proxy_that_isnt_there(lab: Lab, start: Start) -> None:
    """502 that names it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    reply = start(with_other(lab.server, proxy=f"http://127.0.0.1:{port}")).get(WEB)
    assert reply.status == 502
    assert f"127.0.0.1:{port}" in reply.message


def test_a_proxy_that_reads_along(lab: Lab, middle: Middle, start: Start) -> None:
    """With a certificate of its own it isn't believed."""
    decoy = middle.decoy(Authority().server())

    def act(client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        decoy(client)

    middle.act = act
    reply = start(with_other(lab.server, proxy=f"http://127.0.0.1:{middle.port}")).get(WEB)
    assert reply.status == 502
    assert "certificate can't be verified" in reply.message
    assert middle.said == b""


@pytest.mark.parametrize(
    ("url", "proxy"), [("https://127.0.0.1:6443", "https://127.0.0.1:3128"), ("http://a", "http://b")]
)
def test_proxies_that_cant_be_used(url: str, proxy: str) -> None:
    """It is said before anything is served; and nothing is left behind of what doesn't begin."""
    gc.collect()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(NoServer, match=proxy):
            Running(Server(url, proxy=proxy), Options(port=0), Log())
        gc.collect()
    assert [str(each.message) for each in seen if each.category is ResourceWarning] == []


# -- addresses --------------------------------------------------------------------------


def test_ipv6(lab: Lab, start: Start) -> None:
    """An address in brackets."""
    try:
        middle = Middle(lab.api, host="::1")
    except OSError:
        pytest.skip("there is no IPv6 here")
    with middle:
        lab.api.rotate_certificate(lab.api.authority, certificate=lab.api.authority.server("::1"))
        proxy = start(at(lab, middle))
        assert proxy.get(WEB).status == 200
        assert lab.api.requests[0].header("Host") == f"[::1]:{middle.port}"


def test_a_name_whose_first_address_refuses(lab: Lab, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is tried; if all refuse, that is said."""
    named(lab)
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        refusing = closed.getsockname()
        proxy = start(with_other(lab.server, url="https://kube.test:6443"))
        with resolving(monkeypatch, refusing, (lab.api.host, lab.api.port)):
            assert proxy.get(WEB).status == 200
        lab.api.hang_up()
        with resolving(monkeypatch, refusing, refusing):
            reply = proxy.get(WEB)
        assert reply.status == 502
        assert "nobody listens there" in reply.message


@contextmanager
def swallowing() -> Iterator[tuple[str, int]]:
    """An address that doesn't answer at all, as behind a firewall: a queue of connections that is full."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        waiting = []
        for _ in range(8):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(address)
        try:
            yield address
        finally:
            for sock in waiting:
                sock.close()


def test_a_name_whose_first_address_swallows(lab: Lab, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where IPv6 is resolved, and leads nowhere: the next one is tried while there is time, as in Go."""
    named(lab)
    monkeypatch.setattr(connect, "SECONDS", 3.0)
    with swallowing() as nowhere, resolving(monkeypatch, nowhere, (lab.api.host, lab.api.port)):
        assert start(with_other(lab.server, url="https://kube.test:6443")).get(WEB).status == 200


def test_a_name_that_cant_be_resolved(lab: Lab, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """502; and when it can be again, it serves."""
    named(lab)
    proxy = start(with_other(lab.server, url="https://kube.test:6443"))
    with resolving(monkeypatch):
        reply = proxy.get(WEB)
    assert reply.status == 502
    assert "kube.test can't be resolved" in reply.message
    with resolving(monkeypatch, (lab.api.host, lab.api.port)):
        assert proxy.get(WEB).status == 200


@pytest.mark.usefixtures("impatient")
def test_a_resolver_that_hangs(lab: Lab, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """504; and what comes afterwards isn't held up by what hangs still."""
    named(lab)
    hangs, real = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host == "kube.test" and kwargs.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if host == "kube.test":
            hangs.wait(DEADLINE)
        return real("127.0.0.1" if host == "kube.test" else host, *args, **kwargs)

    proxy = start(with_other(lab.server, url=f"https://kube.test:{lab.api.port}"))
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", getaddrinfo)
        try:
            for asking in [Asking(lambda: proxy.get(WEB)) for _ in range(3)]:
                assert asking.reply().status == 504
        finally:
            hangs.set()
        connect.SECONDS = DEADLINE
        assert proxy.get(WEB).status == 200


# -- a server that isn't there, or hangs -----------------------------------------------------


def test_nobody_listens(lab: Lab, start: Start) -> None:
    """502 that says so; when the server is there, the next request is served."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        proxy = start(with_other(lab.server, url=f"https://127.0.0.1:{port}"))
        reply = proxy.get(WEB)
        assert reply.status == 502
        assert "nobody listens there" in reply.message
        reserved.listen()
        thread = threading.Thread(target=relay_once, args=(reserved, (lab.api.host, lab.api.port)))
        thread.start()
        assert proxy.get(WEB).status == 200
        lab.api.hang_up()
        thread.join()


def test_a_server_that_comes_and_goes(lab: Lab, middle: Middle, start: Start) -> None:
    """Each request finds what there is: no restart, and nothing is remembered against it."""
    proxy = start(at(lab, middle))
    for _ in range(3):
        middle.act = middle.hang_up
        lab.api.hang_up()
        assert proxy.get(WEB).status == 502
        middle.act = middle.relay
        assert proxy.get(WEB).status == 200


@pytest.mark.usefixtures("impatient")
def test_a_handshake_that_hangs(
    lab: Lab, middle: Middle, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """504, for all who wait; when the server answers again, it serves."""
    middle.act = middle.hold
    proxy = start(at(lab, middle))
    for asking in [Asking(lambda: proxy.get(WEB)) for _ in range(3)]:
        reply = asking.reply()
        assert reply.status == 504
        assert "no connection in time" in reply.message
        assert reply.json["reason"] == "Timeout"
    middle.act = middle.relay
    connect.SECONDS = DEADLINE
    assert proxy.get(WEB).status == 200


@pytest.mark.usefixtures("impatient")
def test_a_connection_that_hangs(lab: Lab, start: Start) -> None:
    """No answer to the first packet: 504."""
    with swallowing() as (host, port):
        assert start(with_other(lab.server, url=f"https://{host}:{port}")).get(WEB).status == 504


@pytest.mark.usefixtures("impatient")
def test_a_client_that_leaves_while_a_connection_is_made(lab: Lab, middle: Middle, start: Start) -> None:
    """Nothing is sent for it."""
    middle.act = middle.hold
    proxy = start(at(lab, middle))
    with proxy.connect() as client:
        client.sendall(f"GET {WEB} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        middle.wait_for_clients(1)
    middle.act = middle.relay
    proxy.log.wait_for("ambassador.refused")
    assert lab.api.requests == []


def test_nothing_is_left_open(lab: Lab, middle: Middle, start: Start) -> None:
    """A connection that fails is closed, wherever it fails."""
    proxy = start(at(lab, middle))
    assert proxy.get("/healthz").status == 200

    def sockets() -> int:
        found = 0
        for each in os.listdir("/proc/self/fd"):
            try:
                found += os.readlink(f"/proc/self/fd/{each}").startswith("socket:")
            except OSError:
                pass
        return found

    untrusted = middle.decoy(Authority().server())
    for act in (middle.hang_up, middle.says(b"nonsense"), untrusted):
        middle.act = act
        assert proxy.get(WEB).status == 502
    for thread in middle._threads[1:]:
        thread.join()
    before = sockets()
    for act in (middle.hang_up, middle.says(b"nonsense"), untrusted) * 5:
        middle.act = act
        assert proxy.get(WEB).status == 502
    for thread in middle._threads[1:]:
        thread.join()
    for _ in range(3):
        assert proxy.get("/healthz").status == 200
    assert sockets() <= before + 1


# -- paths ------------------------------------------------------------------------------


PREFIXES = ("/", "/custom", "/custom/", "/api", "/api/", "/api-x/", "/api/v1/", "/a/b/")
TARGETS = (
    "/",
    "/api",
    "/api/",
    "/apis",
    "/version",
    "/api/v1/namespaces/lab/pods/web",
    "/api/v1/pods?watch=0&labelSelector=a%3Db,c+d",
    "/api/v1/pods?x=%20y&z&=&a=b?c/d",
    "/api-x/y",
    "/api-x/api/v1/nodes",
    "/custom",
    "/custom/",
    "/custom/api/v1/pods",
    "/custom/api/v1/pods?x=%20y&z",
    "/custom/apis/apps/v1/",
    "/custom/custom/api",
    "/custom/version/",
    "/customapi/v1",
    "/a",
    "/a/b",
    "/a/b/",
    "/a/b/api/v1/nodes?limit=1",
    "/a/b/a/b/c",
)


@pytest.mark.parametrize("path", ["", "/k8s", "/k8s/clusters/c-1/"])
@pytest.mark.parametrize("append", [False, True])
def test_paths_are_kubectl_proxys(tmp_path: Path, start: Start, path: str, append: bool) -> None:
    """The server gets the same bytes through either, with all forms of --api-prefix, or neither passes anything on."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl (Debian's kubernetes-client)")
    environ = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    with ApiServer(tls=False) as api:
        args = [kubectl, "proxy", "--port=0", f"--server={api.url}{path}", f"--append-server-path={append}"]
        theirs = {
            prefix: subprocess.Popen(
                [*args, f"--api-prefix={prefix}"],
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for prefix in PREFIXES
        }
        try:
            for prefix, process in theirs.items():
                assert process.stdout is not None
                port = int(process.stdout.readline().rpartition(":")[2])
                ours = start(
                    Server(f"{api.url}{path}"),
                    api_prefix=prefix,
                    append_server_path=append,
                    disable_filter=True,
                )
                for target in TARGETS:
                    assert passed_on(api, ours.port, target) == passed_on(api, port, target), (prefix, target)
        finally:
            for process in theirs.values():
                process.terminate()
                process.wait(DEADLINE)
                assert process.stdout is not None
                process.stdout.close()


def passed_on(api: ApiServer, port: int, target: str) -> list[str]:
    """The targets that the server got of a request; kubectl asks for the version besides, now and then."""
    before = len(api.requests)
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as sock:
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        received(sock)
    paths = [request.path for request in api.requests[before:]]
    return [path for path in paths if not path.endswith("/version?timeout=5s")]


@pytest.mark.parametrize(
    ("path", "append", "prefix", "asked", "sent"),
    [
        ("/k8s/c-1", True, "/", "/api/v1/pods?limit=1", "/k8s/c-1/api/v1/pods?limit=1"),
        ("/k8s/c-1/", True, "/", "/", "/k8s/c-1/"),
        ("/k8s/c-1", True, "/x", "/x/api/v1/pods", "/k8s/c-1/api/v1/pods"),
        ("/k8s/c-1", False, "/x/", "/x/api/v1/pods", "/api/v1/pods"),
        ("/k8s/c-1", True, "/api", "/api/v1/pods", "/k8s/c-1/api/v1/pods"),
    ],
)
def test_the_path_of_the_servers_url(
    start: Start, path: str, append: bool, prefix: str, asked: str, sent: str
) -> None:
    """It is put before what was checked, with all checks on."""
    with ApiServer(tls=False) as api:
        proxy = start(Server(f"{api.url}{path}"), append_server_path=append, api_prefix=prefix)
        proxy.get(asked)
        assert [request.path for request in api.requests] == [sent]
