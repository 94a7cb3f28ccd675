"""Tokens and CAs that rotate under the proxy: no request fails that needn't."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace as with_other
from http.client import HTTPException

import pytest
from kmetad_ambassador import identity
from kmetad_ambassador.exchange import REPEATABLE

from kmetad.api import Mounted
from tests.apiserver import Authority, behaviour
from tests.apiserver.connection import Exchange
from tests.apiserver.recorded import recorded
from tests.proxied import Start
from tests.proxying import DEADLINE, USER, Lab, Proxied
from tests.trusted import (
    MERGE,
    READS,
    REFUSED,
    WEB,
    Asking,
    Config,
    Login,
    Watching,
    header,
    loaded,
    settle,
    tokens,
    why,
)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look is waited for, however busy this machine is."""
    monkeypatch.setattr(identity, "PATIENCE", DEADLINE)


@pytest.fixture
def writing(lab: Lab, start: Start) -> Proxied:
    """A proxy that lets writes through."""
    return start(lab.server, allow_write=True)


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


def answering_once(exchange: Exchange) -> None:
    """The usual answer, and then the end of the connection, without a word before."""
    exchange.serve()
    exchange.close()


# -- under load ----------------------------------------------------------------------


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


# -- what is empty, half-written, or gone for a moment -------------------------------


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


# -- a 401 ---------------------------------------------------------------------------


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


# -- many at once --------------------------------------------------------------------


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
