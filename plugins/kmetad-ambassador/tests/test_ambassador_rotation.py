"""Tokens, certificates and CAs that rotate under the proxy: no request fails that needn't."""

from __future__ import annotations

import base64
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace as with_other
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from kmetad_ambassador import identity
from kmetad_ambassador.exchange import REPEATABLE

from kmetad.api import Mounted
from tests.apiserver import Authority, behaviour
from tests.apiserver.connection import Exchange
from tests.apiserver.recorded import recorded
from tests.cli import Running, environment
from tests.proxying import DEADLINE, USER, Lab, Proxied
from tests.trusted import (
    BOTH,
    MERGE,
    READS,
    WEB,
    Asking,
    Clock,
    Config,
    Login,
    Watching,
    header,
    loaded,
    replace,
    settle,
)

Start = Callable[..., Proxied]
REFUSED = "401-garbage-token"
"""What the API server says of a token that it doesn't know."""


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look is waited for, however busy this machine is."""
    monkeypatch.setattr(identity, "PATIENCE", DEADLINE)


@pytest.fixture
def impatient(_patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found last is sent where a look takes long."""
    monkeypatch.setattr(identity, "PATIENCE", 0.01)


@pytest.fixture
def writing(lab: Lab, start: Start) -> Proxied:
    """A proxy that lets writes through."""
    return start(lab.server, allow_write=True)


@pytest.fixture
def config(lab: Lab, tmp_path: Path) -> Config:
    """A kubeconfig for the lab's API server."""
    return Config(tmp_path, lab.api)


@pytest.fixture
def login(tmp_path: Path) -> Iterator[Login]:
    """An exec plugin."""
    made = Login(tmp_path / "login")
    yield made
    made.close()


def iso(seconds: float) -> str:
    """A time as an exec plugin prints it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def tokens(lab: Lab) -> list[str]:
    """Those that the API server was sent, in their order, each once for as long as it was the same."""
    sent = [(request.header("Authorization") or "").removeprefix("Bearer ") for request in lab.api.requests]
    return [token for at, token in enumerate(sent) if at == 0 or sent[at - 1] != token]


def rotating(lab: Lab, token: str | None = None) -> Callable[[Exchange], None]:
    """Another token is swapped in while a request is under way, which is then refused."""

    def act(exchange: Exchange) -> None:
        lab.mount.rotate(token=token or lab.api.token(USER))
        if exchange.request.method == "HEAD":
            bodiless(401)(exchange)
        else:
            behaviour.as_recorded(REFUSED)(exchange)

    return act


def bodiless(status: int) -> Callable[[Exchange], None]:
    """What HEAD is answered: the length of a body, and none."""

    def act(exchange: Exchange) -> None:
        exchange.start(status, length=100)
        exchange.ended = True

    return act


def why(proxy: Proxied) -> str:
    """What the log says of the first request that was refused."""
    return str(proxy.log.wait_for("ambassador.refused"))


def answering_once(exchange: Exchange) -> None:
    """The usual answer, and then the end of the connection, without a word before."""
    exchange.serve()
    exchange.close()


# -- under load ------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", [0, 20])
def test_tokens_rotate_under_load(lab: Lab, writing: Proxied, overlap: int) -> None:
    """The old one is revoked at the same moment, or a while later. No request fails, and no watch ends."""
    with Watching(lab, writing) as watch, loaded(writing) as load:
        for number in range(4):
            load.more(20)
            old, new = lab.mount.token, lab.api.token(USER)
            lab.mount.rotate(token=new)
            if overlap:
                writing.running.look_again()  # as the hook does
                load.more(overlap)
            lab.api.revoke(old)
            watch.label(f"step-{number}")
        load.more(20)
    assert load.faults == []
    assert len(set(tokens(lab))) == 5
    assert lab.api.tokens.user(tokens(lab)[-1]) is not None


def test_cas_rotate_under_load(lab: Lab, writing: Proxied) -> None:
    """As in a cluster: the old one is trusted until all servers have another certificate. Connections are kept."""
    with Watching(lab, writing) as watch, loaded(writing) as load:
        for number in range(3):
            before, after = lab.api.authority, Authority()
            lab.mount.rotate(ca=before.pem + after.pem)
            load.more(20)
            lab.api.rotate_certificate(after, keep_connections=True)
            load.more(20)
            lab.mount.rotate(ca=after.pem)
            writing.running.look_again()
            load.more(20)
            watch.label(f"step-{number}")
    assert load.faults == []
    assert len({request.connection for request in lab.api.requests}) > 4, "with another CA they are new ones"


def test_cas_rotate_while_connections_end(lab: Lab, proxy: Proxied) -> None:
    """The server closes each after its answer, without having said so before: reads are sent on another one."""
    lab.api.script(lambda request: request.query.get("watch") is None, answering_once, times=1 << 30)
    with loaded(proxy, READS) as load:
        for _ in range(3):
            load.more(20)
            after = Authority()
            lab.mount.rotate(ca=lab.api.authority.pem + after.pem)
            lab.api.rotate_certificate(after, keep_connections=True)
            load.more(20)
            lab.mount.rotate(ca=after.pem)
    assert load.faults == []


def test_all_rotates_at_once_under_load(lab: Lab, writing: Proxied) -> None:
    """Token and CA in one swap, nothing of the old is any good any more, and nobody told the proxy."""
    with Watching(lab, writing) as watch, loaded(writing) as load:
        for number in range(4):
            load.more(20)
            old, after = lab.mount.token, Authority()
            lab.mount.rotate(token=lab.api.token(USER), ca=after.pem)
            lab.api.rotate_certificate(after, keep_connections=True)
            lab.api.revoke(old)
            load.more(20)
            watch.label(f"step-{number}")
    assert load.faults == []


def test_a_watch_ends_when_the_server_ends_it(lab: Lab, proxy: Proxied) -> None:
    """In order, as the server does; or cut, which a client must be able to tell from that."""
    with Watching(lab, proxy) as ended, Watching(lab, proxy) as cut:
        lab.api.wait_for_watches(2)
        first = lab.api.requests[-2].connection
        lab.mount.rotate(token=lab.api.token(USER), ca=lab.api.authority.pem + Authority().pem)
        proxy.running.look_again()
        assert proxy.get(WEB).status == 200
        ended.label("a")
        cut.label("b")
        lab.api.interrupt(
            lambda exchange: (
                exchange.end() if exchange.connection.number == first else exchange.connection.hang_up()
            )
        )
        ends = []
        for watch in (ended, cut):
            try:
                watch.rest()
                ends.append("in order")
            except HTTPException:
                ends.append("cut")
    assert sorted(ends) == ["cut", "in order"]


def exec_in_web(proxy: Proxied) -> socket.socket:
    """A connection on which the protocol has been switched to SPDY."""
    sock = proxy.connect()
    upgrade = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n"
    sock.sendall(f"POST {WEB}/exec?command=id HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += sock.recv(1)
    assert head.startswith(b"HTTP/1.1 101 "), head
    return sock


def test_all_rotates_under_a_tunnel(lab: Lab, start: Start) -> None:
    """It goes on, whatever comes for new requests; one that gets a 401 first is tried again."""
    proxy = start(lab.server, allow=("create:pods/exec", "get:pods"))
    lab.api.script(f"POST {WEB}/exec", behaviour.switched())
    with exec_in_web(proxy) as sock:
        for _ in range(3):
            old, after = lab.mount.token, Authority()
            lab.mount.rotate(token=lab.api.token(USER), ca=after.pem)
            lab.api.rotate_certificate(after, keep_connections=True)
            lab.api.revoke(old)
            lab.api.script(f"POST {WEB}/exec", rotating(lab))
            lab.api.script(f"POST {WEB}/exec", behaviour.switched(first=b"!"))
            with exec_in_web(proxy) as other:
                assert other.recv(1) == b"!"
            assert proxy.get(WEB).status == 200
            sock.sendall(b"ping")
            assert sock.recv(4, socket.MSG_WAITALL) == b"ping"
    assert len(set(tokens(lab))) > 3


# -- what is empty, half-written, or gone for a moment -----------------------------------


@pytest.mark.parametrize("half", ["", "eyJhbGciOi", "a.b", "not a token", None])
def test_a_token_that_isnt_whole(lab: Lab, proxy: Proxied, half: str | None) -> None:
    """The one before goes on, for old and new connections; None: there is no such file."""
    first = lab.mount.token
    assert proxy.get(WEB).status == 200
    files: dict[str, str | bytes] = {"ca.crt": lab.api.authority.pem, "namespace": "lab"}
    lab.mount.volume.write(files=files if half is None else {**files, "token": half})
    proxy.running.look_again()
    assert proxy.get(WEB).status == 200
    lab.api.hang_up()
    assert proxy.get(WEB).status == 200
    assert tokens(lab) == [first]
    lab.mount.volume.write(files={**files, "token": lab.api.token(USER)})
    lab.api.revoke(first)
    assert proxy.get(WEB).status == 200


def test_the_volume_is_gone_for_a_moment(lab: Lab, proxy: Proxied) -> None:
    """What was known goes on, and what is there afterwards is taken."""
    assert proxy.get(WEB).status == 200
    away = lab.mount.path.with_name("away")
    lab.mount.path.rename(away)
    proxy.running.look_again()
    lab.api.hang_up()
    assert proxy.get(WEB).status == 200
    away.rename(lab.mount.path)
    old = lab.mount.token
    lab.mount.rotate(token=lab.api.token(USER))
    lab.api.revoke(old)
    assert proxy.get(WEB).status == 200


def test_an_account_that_comes_later(lab: Lab, start: Start) -> None:
    """Until there is one, clients are told what is missing; then it is taken without anybody's doing."""
    away = lab.mount.path.with_name("away")
    lab.mount.path.rename(away)
    proxy = start(with_other(lab.server, credentials=Mounted(str(lab.mount.path))))
    reply = proxy.get(WEB)
    assert (reply.status, lab.api.requests) == (502, [])
    assert "no credentials" in reply.message
    assert str(lab.mount.path) in why(proxy)
    away.rename(lab.mount.path)
    assert proxy.get(WEB).status == 200


@pytest.mark.parametrize("cut", [0, 30, -30])
def test_a_half_written_ca(lab: Lab, proxy: Proxied, cut: int) -> None:
    """What was trusted goes on being so, for new connections too, until the file is whole again."""
    after = Authority()
    assert proxy.get(WEB).status == 200
    lab.mount.rotate(ca=after.pem[:cut])
    proxy.running.look_again()
    lab.api.hang_up()
    assert proxy.get(WEB).status == 200
    lab.mount.rotate(ca=after.pem)
    lab.api.rotate_certificate(after)
    assert proxy.get(WEB).status == 200


def test_a_half_written_ca_at_the_start(lab: Lab, proxy: Proxied) -> None:
    """Nothing is sent, and the client is told; the next request looks again."""
    whole = lab.api.authority.pem
    lab.mount.rotate(ca=whole[:-30])
    assert (proxy.get(WEB).status, lab.api.requests) == (502, [])
    assert "CA" in why(proxy)
    lab.mount.rotate(ca=whole)
    assert proxy.get(WEB).status == 200


def test_a_ca_that_comes_after_the_certificate(lab: Lab, proxy: Proxied) -> None:
    """Until then nothing is sent; then it is trusted without anybody's doing."""
    after = Authority()
    assert proxy.get(WEB).status == 200
    lab.api.rotate_certificate(after)
    reply = proxy.get(WEB)
    assert reply.status == 502
    assert "certificate can't be verified" in reply.message
    assert len(lab.api.requests) == 1
    lab.mount.rotate(ca=after.pem)
    assert proxy.get(WEB).status == 200


def test_an_authority_that_is_no_longer_trusted(lab: Lab, proxy: Proxied) -> None:
    """With another CA no connection that the old one vouched for gets another request."""
    assert proxy.get(WEB).status == 200
    lab.mount.rotate(ca=Authority().pem)
    proxy.running.look_again()
    assert proxy.get(WEB).status == 502
    assert len(lab.api.requests) == 1


def test_connections_of_an_old_authority_when_a_new_connection_found_the_new_one(
    lab: Lab, proxy: Proxied, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the old one vouched for is closed, whoever noticed first that there is another one."""
    monkeypatch.setattr("kmetad_ambassador.identity.FRESH", 1e9)
    both = threading.Barrier(2)

    def meet(exchange: Exchange) -> None:
        both.wait(DEADLINE)
        exchange.serve()

    lab.api.script(f"GET {WEB}", meet, times=2)
    for asking in [Asking(lambda: proxy.get(WEB)) for _ in range(2)]:
        assert asking.reply().status == 200
    old = {request.connection for request in lab.api.requests}
    assert len(old) == 2
    after = Authority()
    lab.api.rotate_certificate(after, keep_connections=True)
    lab.mount.rotate(ca=after.pem)
    lab.api.script(f"GET {WEB}", behaviour.close)
    assert proxy.get(WEB).status == 200, "on a new connection, since the old one was closed"
    seen = len(lab.api.requests)
    assert lab.api.requests[-1].connection not in old
    both = threading.Barrier(2)
    lab.api.script(f"GET {WEB}", meet, times=2)
    for asking in [Asking(lambda: proxy.get(WEB)) for _ in range(2)]:
        assert asking.reply().status == 200
    assert old.isdisjoint(request.connection for request in lab.api.requests[seen:])


# -- a 401 -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("GET", b""),
        ("HEAD", b""),
        ("DELETE", b""),
        ("DELETE", b'{"kind":"DeleteOptions","apiVersion":"v1"}'),
        ("POST", b"{}"),
        ("PATCH", b'{"metadata":{}}'),
        ("PUT", b"x" * REPEATABLE),
    ],
)
def test_a_401_is_tried_once_more(lab: Lab, writing: Proxied, method: str, body: bytes) -> None:
    """With the token that is there by then; the request is the same, body and all."""
    old, new = lab.mount.token, lab.api.token(USER)
    lab.api.script(f"{method} {WEB}", rotating(lab, new))
    lab.api.script(f"{method} {WEB}", bodiless(200) if method == "HEAD" else behaviour.body(b"{}\n"))
    headers = {"Content-Type": MERGE, "X-Own": "yes"}
    reply = writing.request(method, f"{WEB}?dryRun=All", body or None, headers)
    assert reply.status == 200
    first, second = lab.api.requests
    assert (first.method, first.path, first.body) == (method, f"{WEB}?dryRun=All", body)
    assert (second.method, second.path, second.body) == (first.method, first.path, first.body)
    without = [[h for h in each.headers if h[0] != "Authorization"] for each in (first, second)]
    assert without[0] == without[1]
    assert tokens(lab) == [old, new]
    settle(writing)
    assert writing.running.tally.renewals == 1


def test_a_long_body_isnt_sent_again(lab: Lab, writing: Proxied) -> None:
    """It has been passed on as it came, and nobody has it any more: the client gets the 401, and may try again."""
    lab.api.script(f"PUT {WEB}", rotating(lab))
    body = b"x" * (REPEATABLE + 1)
    reply = writing.request("PUT", WEB, body, {"Content-Type": "application/json"})
    assert (reply.status, reply.body) == (401, recorded(REFUSED).body)
    assert [request.body for request in lab.api.requests] == [body]
    assert writing.get(WEB).status in (200, 401)


def test_a_401_without_another_token(lab: Lab, writing: Proxied) -> None:
    """The client gets it as the server wrote it, and the server got the request once."""
    lab.api.revoke(lab.mount.token)
    for method, body in (("GET", None), ("PATCH", b"{}")):
        before = len(lab.api.requests)
        reply = writing.request(method, WEB, body, {"Content-Type": MERGE} if body else {})
        assert (reply.status, reply.body) == (401, recorded(REFUSED).body)
        assert header(reply, "Content-Type") == "application/json"
        assert len(lab.api.requests) == before + 1
    settle(writing)
    assert writing.running.tally.renewals == 0
    lab.mount.rotate(token=lab.api.token(USER))
    assert writing.get(WEB).status == 200, "the next request has what is there by then"


@pytest.mark.parametrize("held", [True, False])
def test_a_401_is_passed_on_as_it_is(lab: Lab, proxy: Proxied, held: bool) -> None:
    """With its own headers, in chunks or not, on a connection that goes on; also one that is too long to be held."""
    words = b"who are you?" * (10 if held else 10_000)

    def act(exchange: Exchange) -> None:
        exchange.start(401, [("WWW-Authenticate", 'Bearer realm="lab"'), ("X-Own", "yes")], "text/plain")
        exchange.chunk(words[:100])
        exchange.chunk(words[100:])
        exchange.end()

    lab.api.script(f"GET {WEB}", act)
    reply = proxy.get(WEB)
    assert (reply.status, reply.body) == (401, words)
    assert header(reply, "WWW-Authenticate") == 'Bearer realm="lab"'
    assert header(reply, "X-Own") == "yes"
    assert len(lab.api.requests) == 1
    assert proxy.get(WEB).status == 200


def test_never_a_third_time(lab: Lab, proxy: Proxied) -> None:
    """A server that accepts nothing gets two tries, whatever the file holds."""
    lab.api.script(f"GET {WEB}", rotating(lab), times=9)
    reply = proxy.get(WEB)
    assert (reply.status, reply.body) == (401, recorded(REFUSED).body)
    assert len(lab.api.requests) == 2


def test_a_403_is_an_answer(lab: Lab, proxy: Proxied) -> None:
    """No other token changes a role: nothing is looked at, and nothing tried again."""

    def act(exchange: Exchange) -> None:
        lab.mount.rotate(token=lab.api.token(USER))
        behaviour.as_recorded("403-app-delete")(exchange)

    lab.api.script(f"GET {WEB}", act)
    reply = proxy.get(WEB)
    assert (reply.status, reply.body) == (403, recorded("403-app-delete").body)
    assert len(lab.api.requests) == 1
    settle(proxy)
    assert proxy.running.tally.renewals == 0


def test_a_watch_that_begins_with_a_401(lab: Lab, proxy: Proxied) -> None:
    """It begins with the other token, and goes on."""
    old = lab.mount.token
    lab.api.revoke(old)
    lab.api.script("watch pods", rotating(lab))
    with Watching(lab, proxy) as watch:
        watch.label("on")
    assert len(tokens(lab)) == 2


def test_a_client_that_leaves_while_its_token_is_renewed(
    lab: Lab, config: Config, login: Login, start: Start
) -> None:
    """Nothing is sent for it any more, and all others are served."""
    first, second = lab.api.token(USER), lab.api.token(USER)
    login.grant(first)
    config.write(login.user())
    proxy = start(config.server())
    assert proxy.get(WEB).status == 200
    lab.api.revoke(first)
    login.grant(second)
    login.hold()
    with proxy.connect() as client:
        client.sendall(f"GET {WEB}/status HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        login.wait()
    settle(proxy)
    login.let_go()
    assert proxy.get(WEB).status == 200
    assert [request.where for request in lab.api.requests].count(f"{WEB}/status") == 1


# -- many at once ----------------------------------------------------------------------


def test_many_401s_at_once_renew_once(lab: Lab, config: Config, login: Login, start: Start) -> None:
    """The exec plugin is run for the first of them, and all have the token that it brought."""
    first, second = lab.api.token(USER), lab.api.token(USER)
    login.grant(first)
    config.write(login.user())
    proxy = start(config.server())
    assert proxy.get(WEB).status == 200

    def revoke() -> None:
        login.grant(second)
        lab.api.revoke(first)

    together = threading.Barrier(6, action=revoke)

    def meet(exchange: Exchange) -> None:
        together.wait(DEADLINE)
        exchange.serve()

    lab.api.script(f"GET {WEB}", meet, times=6)
    for asking in [Asking(lambda: proxy.get(WEB)) for _ in range(6)]:
        assert asking.reply().status == 200
    assert login.runs == 2
    assert tokens(lab) == [first, second]


def test_many_401s_at_once_without_another_token(
    lab: Lab, config: Config, login: Login, start: Start
) -> None:
    """The exec plugin is asked once for all of them, for it may ask somebody far away."""
    first = lab.api.token(USER)
    login.grant(first)
    config.write(login.user())
    proxy = start(config.server())
    assert proxy.get(WEB).status == 200
    together = threading.Barrier(6, action=lambda: lab.api.revoke(first))
    answered = threading.Semaphore(0)

    def meet(exchange: Exchange) -> None:
        together.wait(DEADLINE)
        exchange.serve()
        answered.release()

    lab.api.script(f"GET {WEB}", meet, times=6)
    login.hold()
    askings = [Asking(lambda: proxy.get(WEB)) for _ in range(6)]
    login.wait()
    for _ in askings:
        assert answered.acquire(timeout=DEADLINE)
    settle(proxy)  # all six have their 401 by now, and wait for the one run
    login.let_go(6)
    for asking in askings:
        reply = asking.reply()
        assert (reply.status, reply.body) == (401, recorded(REFUSED).body)
    assert login.runs == 2


# -- kubeconfigs -----------------------------------------------------------------------


def test_a_kubeconfigs_token(lab: Lab, config: Config, start: Start) -> None:
    """Replaced in the file itself; nonsense in it changes nothing."""
    first, second = lab.api.token(USER), lab.api.token(USER)
    config.write({"token": first})
    proxy = start(config.server())
    assert proxy.get(WEB).status == 200
    whole = config.file.read_bytes()
    for half in (b"", whole[: len(whole) // 2], b"nonsense: ["):
        replace(config.file, half)
        proxy.running.look_again()
        assert proxy.get(WEB).status == 200
    config.write({"token": second})
    lab.api.revoke(first)
    assert proxy.get(WEB).status == 200
    assert tokens(lab) == [first, second]


def test_a_token_file(lab: Lab, config: Config, start: Start, tmp_path: Path) -> None:
    """Replaced; empty or gone for a moment."""
    first, second, file = lab.api.token(USER), lab.api.token(USER), tmp_path / "token"
    file.write_text(first)
    config.write({"tokenFile": str(file)})
    proxy = start(config.server())
    assert proxy.get(WEB).status == 200
    file.write_text("")
    proxy.running.look_again()
    assert proxy.get(WEB).status == 200
    file.unlink()
    proxy.running.look_again()
    assert proxy.get(WEB).status == 200
    file.write_text(f"{second}\n")
    lab.api.revoke(first)
    assert proxy.get(WEB).status == 200
    assert tokens(lab) == [first, second]


def test_a_token_file_that_is_gone_when_the_token_isnt_good(
    lab: Lab, config: Config, start: Start, tmp_path: Path
) -> None:
    """There is no answer worth having but why."""
    file = tmp_path / "token"
    file.write_text(lab.api.token(USER))
    config.write({"tokenFile": str(file)})
    proxy = start(config.server())
    assert proxy.get(WEB).status == 200
    lab.api.revoke(file.read_text())
    file.unlink()
    assert (proxy.get(WEB).status, len(lab.api.requests)) == (502, 2)
    assert f"there is no {file}" in why(proxy)
    file.write_text(lab.api.token(USER))
    assert proxy.get(WEB).status == 200


def test_a_kubeconfig_that_names_another_server(lab: Lab, config: Config, start: Start) -> None:
    """Its token may not be for the first one, and goes nowhere; that is asked as before, while it accepts that."""
    first, other = lab.api.token(USER), lab.api.token(USER)
    config.write({"token": first})
    proxy = start(config.server())
    assert proxy.get(WEB).status == 200
    config.write({"token": other}, server="https://127.0.0.1:1")
    proxy.running.look_again()
    assert proxy.get(WEB).status == 200
    lab.api.revoke(first)
    assert proxy.get(WEB).status == 502
    assert "start it again" in why(proxy)
    assert tokens(lab) == [first]


def test_a_kubeconfigs_ca(lab: Lab, config: Config, start: Start, tmp_path: Path) -> None:
    """A file, which is replaced after the server's certificate or before it; half of it changes nothing."""
    file, token = tmp_path / "ca.crt", lab.api.token(USER)
    file.write_bytes(lab.api.authority.pem)
    config.write({"token": token}, certificate_authority=str(file), certificate_authority_data=None)
    proxy = start(config.server())
    assert proxy.get(WEB).status == 200
    after = Authority()
    lab.api.rotate_certificate(after)
    assert proxy.get(WEB).status == 502
    replace(file, after.pem)
    assert proxy.get(WEB).status == 200
    for half in (b"", after.pem[:-30], after.pem[:30]):
        replace(file, half)
        proxy.running.look_again()
        lab.api.hang_up()
        assert proxy.get(WEB).status == 200
    last = Authority()
    replace(file, last.pem)
    lab.api.rotate_certificate(last)
    assert proxy.get(WEB).status == 200


def certified(config: Config, directory: Path) -> Callable[[Any], None]:
    """Lets a user have a client certificate in two files, which are replaced one after the other."""
    certificate, key = directory / "user.crt", directory / "user.key"
    config.write({"client-certificate": str(certificate), "client-key": str(key)})

    def put(issued: Any) -> None:
        replace(certificate, issued.certificate)
        replace(key, issued.key)

    return put


def test_a_client_certificate_rotates(lab: Lab, config: Config, start: Start, tmp_path: Path) -> None:
    """New connections show the new one, and none of the old is used for a request any more; watches go on."""
    put = certified(config, tmp_path)
    put(lab.api.client_certificate(USER))
    proxy = start(config.server())
    with Watching(lab, proxy) as watch:
        assert proxy.get(WEB).status == 200
        lab.api.allow_all("another")
        other = lab.api.client_certificate("another")
        replace(tmp_path / "user.crt", other.certificate)  # whose key hasn't come yet
        proxy.running.look_again()
        assert proxy.get(WEB).status == 200
        replace(tmp_path / "user.key", other.key)
        proxy.running.look_again()
        assert proxy.get(WEB).status == 200
        watch.label("on")
    assert [request.user for request in lab.api.requests] == [USER, USER, USER, "another"]
    assert {request.header("Authorization") for request in lab.api.requests} == {None}


def test_client_certificates_rotate_under_load(
    lab: Lab, config: Config, start: Start, tmp_path: Path
) -> None:
    """No request fails."""
    put = certified(config, tmp_path)
    put(lab.api.client_certificate(USER))
    proxy = start(config.server(), allow_write=True)
    with loaded(proxy, BOTH) as load:
        for _ in range(3):
            load.more(20)
            put(lab.api.client_certificate(USER))
            proxy.running.look_again()
        load.more(20)
    assert load.faults == []
    assert {request.user for request in lab.api.requests} == {USER}


def test_a_401_for_a_client_certificate(lab: Lab, config: Config, start: Start, tmp_path: Path) -> None:
    """It is tried again with the certificate that is there by then."""
    put = certified(config, tmp_path)
    put(lab.api.client_certificate("old"))
    proxy = start(config.server())
    assert proxy.get(WEB).status == 403

    def rotate_and_refuse(exchange: Exchange) -> None:
        put(lab.api.client_certificate(USER))
        behaviour.as_recorded(REFUSED)(exchange)

    lab.api.script(f"GET {WEB}", rotate_and_refuse)
    assert proxy.get(WEB).status == 200
    assert [request.user for request in lab.api.requests] == ["old", "old", USER]


def test_a_401_for_a_client_certificate_that_another_request_has_replaced(
    lab: Lab, config: Config, start: Start, tmp_path: Path
) -> None:
    """Another request has found the new one already, while this one was under way with the old one."""
    put = certified(config, tmp_path)
    put(lab.api.client_certificate("old"))
    proxy = start(config.server())
    assert proxy.get(WEB).status == 403
    came, go_on = threading.Event(), threading.Event()

    def refuse_later(exchange: Exchange) -> None:
        came.set()
        assert go_on.wait(DEADLINE)
        behaviour.as_recorded(REFUSED)(exchange)

    lab.api.script(f"GET {WEB}", refuse_later)
    asking = Asking(lambda: proxy.get(WEB))
    assert came.wait(DEADLINE)
    put(lab.api.client_certificate(USER))
    proxy.running.look_again()
    assert proxy.get(WEB).status == 200
    go_on.set()
    assert asking.reply().status == 200


def of_exec(lab: Lab, config: Config, login: Login, clock: Clock, **given: Any) -> Any:
    """The server, with an exec plugin's credentials and a clock of the test's."""
    config.write({**login.user(), **given})
    return with_other(config.server(), credentials=config.credentials(clock))


def test_an_exec_plugin_brings_the_next_token_in_time(
    lab: Lab, config: Config, login: Login, start: Start
) -> None:
    """It is run for the first request, and again before its token ends, not for each request."""
    clock = Clock()
    lab.api.allow_all("after")
    first, second = lab.api.token(USER), lab.api.token("after")
    login.grant(first, expires=iso(clock.time + 1000))
    proxy = start(of_exec(lab, config, login, clock))
    assert login.runs == 0
    for _ in range(3):
        proxy.running.look_again()
        assert proxy.get(WEB).status == 200
    assert login.runs == 1
    clock.time += 950
    login.grant(second, expires=iso(clock.time + 1000))
    until_user(lab, proxy, "after")
    assert tokens(lab) == [first, second]
    assert login.runs == 2


@pytest.mark.usefixtures("impatient")
def test_a_slow_exec_plugin_holds_nobody_up(lab: Lab, config: Config, login: Login, start: Start) -> None:
    """While it is asked for the next token, requests go on with the one that is still good."""
    clock = Clock()
    first, second = lab.api.token(USER), lab.api.token(USER)
    login.grant(first, expires=iso(clock.time + 1000))
    proxy = start(of_exec(lab, config, login, clock))
    assert proxy.get(WEB).status == 200
    clock.time += 950
    login.grant(second, expires=iso(clock.time + 1000))
    login.hold()
    proxy.running.look_again()
    before = Asking(lambda: proxy.get(WEB))
    login.wait()
    meanwhile = Asking(lambda: proxy.get(WEB))
    try:
        assert meanwhile.reply(within=10).status == 200
    finally:
        login.let_go()
        assert before.reply().status == 200
        assert meanwhile.reply().status == 200
    assert tokens(lab)[0] == first


@pytest.mark.usefixtures("impatient")
def test_a_token_that_ends_while_the_exec_plugin_is_slow(
    lab: Lab, config: Config, login: Login, start: Start
) -> None:
    """Who is refused meanwhile waits for what it brings, and it isn't run again for that."""
    clock = Clock()
    first, second = lab.api.token(USER), lab.api.token(USER)
    login.grant(first, expires=iso(clock.time + 1000))
    proxy = start(of_exec(lab, config, login, clock))
    assert proxy.get(WEB).status == 200
    clock.time += 950
    login.grant(second, expires=iso(clock.time + 1000))
    login.hold()
    proxy.running.look_again()
    before = Asking(lambda: proxy.get(WEB))
    login.wait()
    lab.api.revoke(first)
    meanwhile = [Asking(lambda: proxy.get(WEB)) for _ in range(3)]
    lab.api.wait_for(f"GET {WEB}", times=3)
    settle(proxy)
    login.let_go()
    for asking in (before, *meanwhile):
        assert asking.reply().status == 200
    assert login.runs == 2


def test_the_end_of_a_process_whose_exec_plugin_hangs(
    lab: Lab, config: Config, login: Login, tmp_path: Path
) -> None:
    """Nobody waits for it: the process ends when what was under way has had its time."""
    login.grant(lab.api.token(USER))
    login.hold()
    config.write(login.user())
    args = ("--port=0", "--drain-timeout=0", f"--kubeconfig={config.file}")
    with Running("proxy", *args, env=environment({"HOME": str(tmp_path)})) as process:
        where = process.out.line().removeprefix("Starting to serve on ")
        connection = HTTPConnection(where, timeout=DEADLINE)
        connection.request("GET", WEB)
        login.wait()
        process.send(signal.SIGTERM)
        try:
            assert process.process.wait(10) == 0
        finally:
            login.let_go()
            connection.close()


def test_a_slow_exec_plugin_is_waited_for_where_there_is_no_token(
    lab: Lab, config: Config, login: Login, start: Start
) -> None:
    """At the start, by all who come meanwhile, and it is run once."""
    login.grant(lab.api.token(USER))
    login.hold()
    config.write(login.user())
    proxy = start(config.server())
    askings = [Asking(lambda: proxy.get(WEB)) for _ in range(4)]
    login.wait()
    assert lab.api.requests == []
    login.let_go()
    for asking in askings:
        assert asking.reply().status == 200
    assert login.runs == 1


def test_an_exec_plugin_that_fails(lab: Lab, config: Config, login: Login, start: Start) -> None:
    """The token that there is goes on, until the server doesn't accept it; then clients are told why."""
    clock = Clock()
    first, second = lab.api.token(USER), lab.api.token(USER)
    login.grant(first, expires=iso(clock.time + 1000))
    proxy = start(of_exec(lab, config, login, clock))
    assert proxy.get(WEB).status == 200
    clock.time += 950
    login.fail()
    for _ in range(2):
        proxy.running.look_again()
        assert proxy.get(WEB).status == 200
    assert tokens(lab) == [first]
    lab.api.revoke(first)
    assert proxy.get(WEB).status == 502
    assert "ended with 3, and said: no network" in why(proxy)
    login.recover()
    login.grant(second, expires=iso(clock.time + 1000))
    assert proxy.get(WEB).status == 200
    assert tokens(lab) == [first, second]


def test_an_exec_plugin_that_fails_from_the_start(
    lab: Lab, config: Config, login: Login, start: Start
) -> None:
    """Nothing is sent as nobody; once it works, it serves."""
    login.grant(lab.api.token(USER))
    login.fail()
    config.write(login.user())
    proxy = start(config.server())
    reply = proxy.get(WEB)
    assert (reply.status, lab.api.requests) == (502, [])
    assert "no credentials" in reply.message
    login.recover()
    assert proxy.get(WEB).status == 200


@pytest.mark.parametrize("log_requests", ["all", "refused", "none"])
def test_why_there_are_no_credentials_is_in_the_log(
    lab: Lab, config: Config, login: Login, start: Start, log_requests: str
) -> None:
    """Clients are told that it is there; so it is, also where requests aren't logged."""
    login.fail("sign in first")
    config.write(login.user())
    proxy = start(config.server(), log_requests=log_requests)
    reply = proxy.get(WEB)
    assert reply.status == 502
    assert "its log says why" in reply.message
    settle(proxy)
    assert "sign in first" in str(proxy.log.lines)


def test_an_exec_plugin_that_brings_certificates(
    lab: Lab, config: Config, login: Login, start: Start
) -> None:
    """They rotate as others do."""
    clock = Clock()
    lab.api.allow_all("another")
    login.grant("", expires=iso(clock.time + 1000), certificate=lab.api.client_certificate(USER))
    proxy = start(of_exec(lab, config, login, clock))
    assert proxy.get(WEB).status == 200
    clock.time += 950
    login.grant("", expires=iso(clock.time + 1000), certificate=lab.api.client_certificate("another"))
    until_user(lab, proxy, "another")
    assert [request.user for request in lab.api.requests][0] == USER


def until_user(lab: Lab, proxy: Proxied, user: str) -> None:
    """Ask until the server takes one for this user."""
    for _ in range(1000):
        proxy.running.look_again()
        assert proxy.get(WEB).status == 200
        if lab.api.requests[-1].user == user:
            return
    raise AssertionError(f"the last of many is {lab.api.requests[-1].user}'s")


def test_a_password(lab: Lab, config: Config, start: Start) -> None:
    """As HTTP's basic authentication; a new one is sent when the file has it."""
    lab.api.allow_all("system:anonymous")  # which whoever brings a password is to the tests' server
    for password in ("first", "sécond"):
        config.write({"username": "app", "password": password})
        proxy = start(config.server())
        assert proxy.get(WEB, Authorization="Basic Y2xpZW50OmNsaWVudA==").status == 200
        expected = base64.b64encode(f"app:{password}".encode()).decode()
        assert lab.api.requests[-1].header("Authorization") == f"Basic {expected}"
        assert len([h for h in lab.api.requests[-1].headers if h[0].lower() == "authorization"]) == 1


def test_whom_the_kubeconfig_acts_as(lab: Lab, config: Config, start: Start) -> None:
    """That is sent, and nothing that a client says of it."""
    token = lab.api.token(USER)
    config.write({"token": token, "as": "jane", "as-groups": ["lab"], "as-uid": "7"})
    proxy = start(config.server())
    theirs = {
        "Impersonate-User": "root",
        "impersonate-group": "system:masters",
        "IMPERSONATE-UID": "0",
        "Impersonate-Extra-Scopes": "all",
        "X-Remote-User": "root",
        "Authorization": "Bearer own",
    }
    assert proxy.request("GET", WEB, headers=theirs).status == 200
    told = {
        name.lower(): value
        for name, value in lab.api.requests[-1].headers
        if name.lower().startswith(("impersonate", "x-remote", "authorization"))
    }
    assert told == {
        "authorization": f"Bearer {token}",
        "impersonate-user": "jane",
        "impersonate-group": "lab",
        "impersonate-uid": "7",
    }


def test_nobody_is_acted_as_unless_the_kubeconfig_says_so(lab: Lab, proxy: Proxied) -> None:
    """A client can't choose, not even by naming such a header in Connection."""
    sent = "Impersonate-User: root\r\nConnection: close, Impersonate-User, Authorization\r\nAuthorization: Bearer x\r\n"
    answer = proxy.raw(f"GET {WEB} HTTP/1.1\r\nHost: localhost\r\n{sent}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    headers = dict(lab.api.requests[-1].headers)
    assert headers["Authorization"] == f"Bearer {lab.mount.token}"
    assert not [name for name in headers if name.lower().startswith("impersonate")]


def test_an_opaque_token(lab: Lab, config: Config, start: Start) -> None:
    """Not all tokens of kubeconfigs are JSON Web Tokens."""
    config.write({"token": "opaque"})
    lab.api.script(f"GET {WEB}", behaviour.body(json.dumps({"kind": "Pod"}).encode()))
    assert start(config.server()).get(WEB).json == {"kind": "Pod"}
    assert lab.api.requests[-1].header("Authorization") == "Bearer opaque"
