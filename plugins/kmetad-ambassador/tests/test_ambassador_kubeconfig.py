"""Kubeconfigs behind the proxy: what they name may change, run a command, and fail."""

from __future__ import annotations

import base64
import json
import signal
import threading
from collections.abc import Callable
from dataclasses import replace as with_other
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from kmetad_ambassador import identity

from tests.apiserver import Authority, behaviour
from tests.apiserver.connection import Exchange
from tests.cli import Running, environment
from tests.proxied import Start
from tests.proxying import DEADLINE, USER, Lab, Proxied
from tests.trusted import (
    BOTH,
    REFUSED,
    WEB,
    Asking,
    Clock,
    Config,
    Login,
    Watching,
    loaded,
    replace,
    settle,
    tokens,
    why,
)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look is waited for, however busy this machine is."""
    monkeypatch.setattr(identity, "PATIENCE", DEADLINE)


@pytest.fixture
def impatient(_patient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was found last is sent where a look takes long."""
    monkeypatch.setattr(identity, "PATIENCE", 0.01)


def iso(seconds: float) -> str:
    """A time as an exec plugin prints it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


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
