"""Secrets are put in wherever there is room for one, and everything is made to fail: nobody ever says them."""

from __future__ import annotations

import base64
import gc
import json
import logging
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import replace as with_other
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from kmetad_ambassador import exchange as exchanges
from kmetad_ambassador.answer import Answer
from kmetad_ambassador.back import Back
from kmetad_ambassador.connect import Connector
from kmetad_ambassador.front import Front
from kmetad_ambassador.gate import Gate
from kmetad_ambassador.identity import Identity
from kmetad_ambassador.line import Line
from kmetad_ambassador.reader import Reader

from tests import proxying
from tests.apiserver import Authority, behaviour
from tests.apiserver.connection import Exchange
from tests.apiserver.recorded import recorded
from tests.cli import Running, environment, eventually
from tests.proxying import DEADLINE, Lab, Log, Proxied, Reply
from tests.trusted import MERGE, PODS, WEB, Config, Login, Middle, header, settle

Start = Callable[..., Proxied]

LOCAL = "MARKER-local-token"
THEIRS = "MARKER-authorization-of-the-client"
COOKIE = "MARKER-cookie"
QUERY = "MARKER-value-of-the-query"
BODY = "MARKER-body"
SENT = {"Authorization": f"Bearer {THEIRS}", "Cookie": COOKIE, "X-Own": COOKIE}


class Everything(Log):
    """A log of everything, with tracebacks as a log shows them; ``inside`` has those with all local values."""

    made: list[Everything] = []

    def __init__(self) -> None:
        super().__init__()
        self.inside: list[str] = []
        self.made.append(self)

    def exception(self, event: str, **values: Any) -> None:
        """Note what is being handled, too."""
        kind, error, trace = sys.exc_info()
        assert kind is not None and error is not None
        told = traceback.TracebackException(kind, error, trace, capture_locals=True)
        self.inside.append("".join(told.format()))
        self.info(event, exception="".join(traceback.format_exception(error)), **values)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], str]:
    """All that proxies log from here on, and that asyncio does."""
    monkeypatch.setattr(proxying, "Log", Everything)
    monkeypatch.setattr(Everything, "made", [])
    caplog.set_level(logging.DEBUG)

    def all_of_it() -> str:
        lines = [repr(line) for log in Everything.made for line in log.lines]
        return "\n".join([*lines, caplog.text])

    return all_of_it


def parts(token: str) -> list[str]:
    """A secret in pieces that would be seen where it is cut or wrapped; of a JSON Web Token what is its own."""
    own = token.split(".")[1:] if token.count(".") == 2 else [token]
    return [part[at : at + 16] for part in own for at in range(0, len(part) - 15, 16)]


def said(output: str | bytes, *secrets: str) -> list[str]:
    """What of these is in it, also in base64."""
    text = output if isinstance(output, str) else output.decode("latin-1")
    found = [part for secret in secrets for part in parts(secret) if part in text]
    encoded = [base64.b64encode(secret.encode()).decode()[:16] for secret in secrets]
    return found + [part for part in encoded if part in text]


def shown() -> str:
    """The ``repr`` of every object of the package's that there is."""
    places = ("kmetad_ambassador", "kmetad.api")
    found = [each for each in gc.get_objects() if str(type(each).__module__).startswith(places)]
    assert found
    return "\n".join(f"{each!r} {each!s}" for each in found)


def ask(proxy: Proxied, method: str = "GET", path: str = WEB, **more: str) -> Reply:
    """A request with something in every place."""
    body = json.dumps({"metadata": {"annotations": {"a": BODY}}}).encode() if method != "GET" else None
    headers = {**SENT, **({"Content-Type": MERGE} if body else {}), **more}
    return proxy.request(method, f"{path}?fieldManager={QUERY}&{QUERY.lower()}={QUERY}", body, headers)


def own(reply: Reply) -> bytes:
    """What the proxy says itself; what the server said is the server's to say."""
    if not reply.body.startswith(b'{"kind": "Status"'):
        return b""
    assert "kmetad proxy: " in reply.message
    return reply.body


# -- faults on the way ------------------------------------------------------------------


FAULTS: dict[str, behaviour.Behaviour] = {
    "close": behaviour.close,
    "reset": behaviour.reset,
    "reset in the body": behaviour.reset_in_body,
    "too short": behaviour.too_short,
    "too long": behaviour.too_long,
    "no HTTP": behaviour.not_http,
    "no chunks": behaviour.not_chunked,
    "an HTML page": behaviour.html(),
    "huge headers": behaviour.huge_headers(),
    "401": behaviour.as_recorded("401-garbage-token"),
    "403": behaviour.as_recorded("403-app-delete"),
    "a switch": behaviour.raw(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
    ),
    "what it was sent": lambda exchange: exchange.raw(
        f"HTTP/1.1 200 {exchange.request.headers}\r\n\0{exchange.request.headers}\r\n\r\n".encode()
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_faults_of_the_server(lab: Lab, start: Start, heard: Callable[[], str], kind: str) -> None:
    """Whatever it does, with reads and writes: nothing of it is in the log, in a refusal, in the counters."""
    proxy = start(lab.server, allow_write=True)
    lab.api.script(lambda request: True, FAULTS[kind], times=math.inf)
    replies = []
    for method in ("GET", "PATCH"):
        try:
            replies.append(ask(proxy, method))
        except (OSError, HTTPException):
            pass  # it was cut, and so is the client
    settle(proxy)
    replies.append(proxy.get("/healthz?verbose"))
    secrets = (lab.mount.token, THEIRS, COOKIE, QUERY, BODY)
    told = heard()
    assert WEB in told, "it is logged"
    assert said(told, *secrets) == []
    for reply in replies:
        assert said(own(reply), *secrets) == []
    assert said(replies[-1].body, *secrets) == []
    assert f"Bearer {lab.mount.token}" in [r.header("Authorization") for r in lab.api.requests]


def test_faults_of_the_connection(lab: Lab, start: Start, heard: Callable[[], str]) -> None:
    """No connection, no TLS, no trust, a proxy that refuses."""
    secrets = (lab.mount.token, THEIRS, COOKIE, QUERY, BODY)
    bodies = b""
    with Middle(lab.api) as middle:
        behind = with_other(lab.server, url=f"https://127.0.0.1:{middle.port}")
        direct, proxied = (
            start(behind),
            start(with_other(lab.server, proxy=f"http://127.0.0.1:{middle.port}")),
        )
        for act in (middle.hang_up, middle.says(b"no TLS"), middle.decoy(Authority().server())):
            middle.act = act
            for proxy in (direct, proxied):
                reply = ask(proxy)
                assert reply.status == 502
                bodies += reply.body
        assert said(bytes(middle.said), lab.mount.token) == []
    eventually(lambda: heard().count("ambassador.refused") == 6)
    assert said(heard(), *secrets) == []
    assert said(bodies, *secrets) == []


def test_what_is_refused(lab: Lab, start: Start, heard: Callable[[], str], tmp_path: Path) -> None:
    """By each check, with a local token that is right, wrong, of another kind, or missing."""
    (tmp_path / "local").write_text(f"{LOCAL}\n")
    proxy = start(lab.server, token_file=str(tmp_path / "local"), reject_methods=("^PUT$",), max_body="1Ki")
    right = f"Bearer {LOCAL}"
    headers: list[dict[str, str]] = [
        {"Authorization": right},
        {"Authorization": f"Bearer {THEIRS}"},
        {"Authorization": f"Basic {base64.b64encode(THEIRS.encode()).decode()}"},
        {"Authorization": THEIRS},
        {"Authorization": f"Bearer {LOCAL}{THEIRS}"},
        {"Authorization": f"Bearer {LOCAL[:-1]}"},
        {"Authorization": right, "Host": "elsewhere.test"},
        {"Authorization": right, "Origin": "http://elsewhere.test"},
        {"Authorization": right, "Expect": THEIRS},
        {"Authorization": right, "Transfer-Encoding": THEIRS},
        {"Authorization": right, "Upgrade": THEIRS, "Connection": "Upgrade, close"},
        {"Authorization": right, "Content-Length": THEIRS},
        {"Authorization": right, "Content-Length": "1025"},
    ]
    asked = [("GET", WEB), ("GET", f"{PODS}/web/exec"), ("PUT", WEB), ("TRACE", WEB), ("DELETE", WEB)]
    asked += [("GET", "/api/../x"), ("GET", "/a%2fb"), ("GET", "relative"), ("GET", "//x"), ("POST", PODS)]
    answers = b""
    for given in headers:
        for method, path in asked:
            lines = {"Host": "localhost", "Connection": "close", **SENT, **given}
            body = BODY.encode() if method in ("PUT", "POST") else b""
            if body and not {"Content-Length", "Transfer-Encoding"} & set(lines):
                lines["Content-Length"] = str(len(body))
            head = f"{method} {path}?token={QUERY}&x=%zz{QUERY} HTTP/1.1\r\n"
            if path == WEB:
                head = f"{method} {path}?token={QUERY} HTTP/1.1\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            answers += proxy.raw(f"{head}\r\n".encode() + body)
    answers += proxy.get("/healthz?verbose", Authorization=right).body
    for kind in ("host", "origin", "token", "filter", "rule", "target", "method", "request", "limit"):
        assert f"refused {kind} ".encode() in answers, kind
    secrets = (lab.mount.token, LOCAL, THEIRS, COOKIE, QUERY, BODY)
    assert said(heard(), *secrets) == []
    assert said(answers, *secrets) == []
    for request in lab.api.requests:
        assert said(repr(request.headers), LOCAL, THEIRS) == []


def test_what_is_no_request(lab: Lab, proxy: Proxied, heard: Callable[[], str], start: Start) -> None:
    """Another protocol, lines that end nowhere, headers that are none."""
    proxy = start(lab.server)
    answers = b""
    for data in (
        f"{THEIRS}\r\n\r\n",
        f"GET {WEB} HTTP/1.1\r\nHost: localhost\r\nAuthorization{THEIRS}\r\n\r\n",
        f"GET {WEB} HTTP/1.1\r\nHost: localhost\r\nX {THEIRS}: a\r\n\r\n",
        f"GET {WEB} HTTP/1.1\r\nHost: localhost\r\nX: \0{THEIRS}\r\n\r\n",
        f"GET {WEB} HTTP/{THEIRS}\r\n\r\n",
        f"GET {WEB} HTTP/1.1\r\nHost: localhost\r\nX: {THEIRS * 5000}\r\n\r\n",
        f"POST {PODS} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n{THEIRS}\r\n",
    ):
        answers += proxy.raw(data.encode())
    assert answers.count(b"HTTP/1.1 4") == 7
    assert said(answers, THEIRS) == []
    assert said(heard(), THEIRS) == []


# -- faults inside ----------------------------------------------------------------------


def raising(*_: Any, **__: Any) -> Any:
    """What should never happen."""
    raise RuntimeError("a fault inside")


INSIDE: dict[str, tuple[type, str]] = {
    "a check": (Gate, "check"),
    "a look": (Identity, "_read"),
    "a connection": (Connector, "_reach"),
    "its TLS": (Connector, "_secure"),
    "the body": (exchanges.Exchange, "_body"),
    "the framing": (exchanges.Exchange, "_framing"),
    "sending": (Back, "send"),
}


@pytest.mark.parametrize("kind", INSIDE)
def test_faults_inside(
    lab: Lab, start: Start, heard: Callable[[], str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """One client is cut, or told that there is none to be had; it is logged with a traceback, and others are served."""
    proxy = start(lab.server, allow_write=True)
    assert ask(proxy).status == 200
    proxy.running.look_again()
    lab.api.hang_up()
    with monkeypatch.context() as patched:
        patched.setattr(*INSIDE[kind], raising)
        with pytest.raises(OSError):  # noqa: PT011 - of either side
            ask(proxy, "PATCH")
    proxy.log.wait_for("ambassador.fault")
    secrets = (lab.mount.token, THEIRS, COOKIE, QUERY, BODY)
    assert "a fault inside" in heard()
    assert said(heard(), *secrets) == []
    assert ask(proxy).status == 200


@pytest.mark.parametrize("kind", INSIDE)
def test_tracebacks_with_their_values(
    lab: Lab, start: Start, heard: Callable[[], str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Tools that show the values of a traceback's variables find no token of the proxy's."""
    proxy = start(lab.server, allow_write=True)
    with monkeypatch.context() as patched:
        patched.setattr(*INSIDE[kind], raising)
        with pytest.raises(OSError):  # noqa: PT011
            ask(proxy, "PATCH")
    proxy.log.wait_for("ambassador.fault")
    (told,) = Everything.made[0].inside
    assert "kmetad_ambassador/" in told and "self = " in told
    assert said(told, lab.mount.token) == []


def test_a_line_that_fails(
    lab: Lab, start: Start, heard: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the bytes are: also with all values, no token is shown."""
    proxy = start(lab.server)

    def send(self: Line, data: bytes) -> int:
        raise RuntimeError("a fault inside")

    with monkeypatch.context() as patched:
        patched.setattr(Line, "_send", send)
        with pytest.raises(OSError):  # noqa: PT011
            ask(proxy)
    proxy.log.wait_for("ambassador.fault")
    assert said(heard(), lab.mount.token, THEIRS, QUERY) == []
    for told in Everything.made[0].inside:
        assert said(told, lab.mount.token) == []


IN_CALLBACKS: dict[str, tuple[type, str]] = {
    "the head of an answer": (Answer, "head"),
    "its body": (Answer, "body"),
    "its end": (Answer, "end"),
    "a request": (Reader, "feed"),
    "writing to a client": (Front, "write"),
}


@pytest.mark.parametrize("kind", IN_CALLBACKS)
def test_faults_inside_callbacks(
    lab: Lab, start: Start, heard: Callable[[], str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """They aren't any task's: that client is cut all the same, or told without a word of it, and the log has it."""
    proxy = start(lab.server)
    with monkeypatch.context() as patched, proxy.connect() as sock:
        sock.settimeout(10)
        patched.setattr(*IN_CALLBACKS[kind], raising)
        sock.sendall(f"GET {WEB}?x={QUERY} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = proxying.received(sock)
    assert b"a fault inside" not in answer
    proxy.log.wait_for("ambassador.fault")
    assert said(heard(), lab.mount.token, QUERY) == []
    settle(proxy)
    assert proxy.running.tally.active == 0
    assert ask(proxy).status == 200


# -- what is shown of it all --------------------------------------------------------------


def test_objects_show_nothing(lab: Lab, start: Start, tmp_path: Path) -> None:
    """Whatever there is of the package's while requests are under way, by repr."""
    (tmp_path / "local").write_text(LOCAL)
    proxy = start(lab.server, token_file=str(tmp_path / "local"), allow_write=True)
    asked, go_on = threading.Semaphore(0), threading.Event()

    def hold(exchange: Exchange) -> None:
        asked.release()
        assert go_on.wait(DEADLINE)
        exchange.serve()

    lab.api.script(lambda request: True, hold, times=2)
    threads = [
        threading.Thread(target=ask, args=(proxy, method), kwargs={"Authorization": f"Bearer {LOCAL}"})
        for method in ("GET", "PATCH")
    ]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            assert asked.acquire(timeout=DEADLINE)
        everything = shown()
    finally:
        go_on.set()
        for thread in threads:
            thread.join()
    assert "Identity" in everything and "Passed" in everything
    assert said(everything, lab.mount.token, LOCAL, COOKIE, BODY) == []
    assert said(everything, QUERY) == []


def test_objects_of_a_kubeconfig_show_nothing(lab: Lab, start: Start, tmp_path: Path) -> None:
    """Nor do those that have a password, a client certificate or an exec plugin."""
    lab.api.allow_all("system:anonymous")
    config, login = Config(tmp_path, lab.api), Login(tmp_path / "login")
    issued = lab.api.client_certificate("jane")
    token = lab.api.token("jane")
    login.grant(token)
    key = "".join(issued.key.decode().splitlines()[1:-1])
    users = [
        {"username": "app", "password": "MARKER-of-a-password"},
        {
            "client-certificate-data": base64.b64encode(issued.certificate).decode(),
            "client-key-data": base64.b64encode(issued.key).decode(),
        },
        login.user("--secret=MARKER-of-an-argument", SECRET="MARKER-of-the-environment"),
    ]
    for user in users:
        config.write(user)
        proxy = start(config.server())
        ask(proxy)
        everything = shown() + repr(proxy.running) + repr(vars(proxy.running))
        assert said(everything, token, key, "MARKER-of-a-password", "MARKER-of-an-argument") == []
        assert said(everything, "MARKER-of-the-environment", f"app:{'MARKER-of-a-password'}") == []
    login.close()


def test_what_an_exec_plugin_is_given_and_prints(
    lab: Lab, start: Start, heard: Callable[[], str], login: Login, tmp_path: Path
) -> None:
    """Its arguments, its environment, and its output, good or not: in no log and in no refusal."""
    config = Config(tmp_path, lab.api)
    config.write(login.user("--password", "MARKER-of-an-argument", SECRET="MARKER-of-the-environment"))
    proxy = start(config.server())
    secrets = ("MARKER-of-an-argument", "MARKER-of-the-environment", "MARKER-of-what-it-prints")
    bodies = b""
    printed = tmp_path / "login" / "credential.json"
    for content in (
        "MARKER-of-what-it-prints",
        '"MARKER-of-what-it-prints"',
        '{"kind": "MARKER-of-what-it-prints"}',
        json.dumps({"kind": "ExecCredential", "apiVersion": "MARKER-of-what-it-prints", "status": {}}),
    ):
        printed.write_text(content)
        reply = ask(proxy)
        assert reply.status == 502
        bodies += reply.body
    login.grant("MARKER of what it prints that is no token")
    bodies += ask(proxy).body
    login.fail("no network")
    bodies += ask(proxy).body
    settle(proxy)
    assert ", exec" in heard()
    assert said(bodies, *secrets, "MARKER of what it prints") == []
    assert said(heard(), *secrets, "MARKER of what it prints") == []


def test_what_an_exec_plugin_says_isnt_for_clients(
    lab: Lab, start: Start, heard: Callable[[], str], login: Login, tmp_path: Path
) -> None:
    """Its standard error is for whoever runs the proxy: it may hold anything, and a client may be anybody."""
    config = Config(tmp_path, lab.api)
    config.write(login.user())
    login.fail("debug: signing in as jane with MARKER-of-a-password")
    proxy = start(config.server())
    reply = ask(proxy)
    assert reply.status == 502
    assert said(reply.body, "MARKER-of-a-password") == []
    proxy.log.wait_for("ambassador.refused")
    assert "ended with 3" in heard()


def test_a_process(lab: Lab, login: Login, tmp_path: Path) -> None:
    """Not on its command line, in its environment or its output, at debug level, from its start to its end."""
    token, second = lab.api.token(proxying.USER), lab.api.token(proxying.USER)
    login.grant(token)
    config = Config(tmp_path, lab.api)
    config.write(login.user("MARKER-of-an-argument", SECRET="MARKER-of-the-environment"))
    (tmp_path / "local").write_text(LOCAL)
    args = [
        "--port=0",
        "-v",
        "--allow-write",
        f"--token-file={tmp_path}/local",
        f"--kubeconfig={config.file}",
    ]
    secrets = (token, second, LOCAL, THEIRS, COOKIE, QUERY, BODY, "MARKER-of-an-argument")
    bodies = b""
    environ = environment({"HOME": str(tmp_path), "PYTHONDEVMODE": "1"})
    with Running("proxy", *args, "--log-format=console", env=environ) as process:
        where = process.out.line().removeprefix("Starting to serve on ")

        def get(method: str, path: str, authorization: str) -> int:
            connection = HTTPConnection(where, timeout=DEADLINE)
            headers = {**SENT, "Authorization": f"Bearer {authorization}", "Content-Type": MERGE}
            body = json.dumps({"metadata": {"annotations": {"a": BODY}}}) if method == "PATCH" else None
            connection.request(method, f"{path}?fieldManager={QUERY}", body, headers)
            answer = connection.getresponse()
            nonlocal bodies
            bodies += answer.read() if answer.status != 200 else b""
            connection.close()
            return answer.status

        assert get("GET", WEB, LOCAL) == 200
        assert get("PATCH", WEB, LOCAL) == 200
        assert get("GET", WEB, THEIRS) == 401
        assert get("GET", "/api/v1/namespaces/lab/secrets", LOCAL) == 403
        lab.api.script(f"GET {WEB}", behaviour.not_http)
        lab.api.script(f"GET {WEB}", behaviour.close)
        assert get("GET", WEB, LOCAL) == 502
        lab.api.revoke(token)
        login.fail("no network")
        assert get("GET", WEB, LOCAL) == 502
        login.recover()
        login.grant(second)
        assert get("GET", WEB, LOCAL) == 200
        lab.api.rotate_certificate(Authority())
        assert get("GET", WEB, LOCAL) == 502
        of_process = b"".join(
            Path(f"/proc/{process.process.pid}/{file}").read_bytes() for file in ("cmdline", "environ")
        )
        assert os.fsencode(str(config.file)) in of_process
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        output = "\n".join([*process.out.seen, *process.out.rest(), *process.err.seen, *process.err.rest()])
    assert output.count("ambassador.re") >= 8
    for told in (output, of_process, bodies):
        assert said(told, *secrets, "MARKER-of-the-environment") == []


def test_a_401_says_nothing(lab: Lab, start: Start, heard: Callable[[], str]) -> None:
    """With another token, and without one; both are secrets."""
    first, second = lab.mount.token, lab.api.token(proxying.USER)
    proxy = start(lab.server)

    def rotate_and_refuse(exchange: Exchange) -> None:
        lab.mount.rotate(token=second)
        behaviour.as_recorded("401-garbage-token")(exchange)

    lab.api.script(f"GET {WEB}", rotate_and_refuse)
    assert ask(proxy).status == 200
    lab.api.revoke(second)
    reply = ask(proxy)
    assert (reply.status, reply.body) == (401, recorded("401-garbage-token").body)
    settle(proxy)
    told = heard() + proxy.get("/healthz?verbose").body.decode()
    assert "token_renewals 1" in told
    assert said(told, first, second, THEIRS, QUERY) == []


# -- tokens in WebSocket's protocols --------------------------------------------------------


BEARER = "base64url.bearer.authorization.k8s.io."
TOKEN = base64.urlsafe_b64encode(THEIRS.encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ([f"{BEARER}{TOKEN}"], None),
        ([f"v4.channel.k8s.io, {BEARER}{TOKEN}"], "v4.channel.k8s.io"),
        ([f"{BEARER}{TOKEN},v4.channel.k8s.io,v5.channel.k8s.io"], "v4.channel.k8s.io, v5.channel.k8s.io"),
        ([f"a,\t{BEARER}{TOKEN} ,, b"], "a, b"),
        (["a", f"{BEARER}{TOKEN}", "b"], "a, b"),
        ([f"{BEARER.upper()}{TOKEN}"], None),
        ([f"{BEARER}{TOKEN}, {BEARER}{TOKEN}"], None),
        ([BEARER], None),
        (["base64.binary.k8s.io"], "base64.binary.k8s.io"),
    ],
)
@pytest.mark.parametrize("upgrade", [True, False])
def test_tokens_among_websockets_protocols(
    lab: Lab, start: Start, heard: Callable[[], str], given: list[str], sent: str | None, upgrade: bool
) -> None:
    """They are the client's, and go nowhere; the other protocols do."""
    proxy = start(lab.server)
    lab.api.script(f"GET {WEB}/log", behaviour.body(b"{}\n"))
    lines = "".join(f"Sec-WebSocket-Protocol: {value}\r\n" for value in given)
    lines += "Connection: Upgrade, close\r\nUpgrade: websocket\r\n" if upgrade else "Connection: close\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    answer = proxy.raw(f"GET {WEB}/log HTTP/1.1\r\nHost: localhost\r\n{key}{lines}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")
    (request,) = lab.api.requests
    values = [value for name, value in request.headers if name.lower() == "sec-websocket-protocol"]
    assert ", ".join(values) == (sent or "")
    assert bool(values) is bool(sent)
    for told in (repr(request.headers), heard()):
        assert BEARER not in told.lower()
        assert said(told, TOKEN, THEIRS) == []
    assert request.header("Authorization") == f"Bearer {lab.mount.token}"


# -- this file ----------------------------------------------------------------------------


def test_what_must_be_found_would_be(heard: Callable[[], str], lab: Lab, start: Start) -> None:
    """The search itself finds a secret, whole or cut, in a log, in base64; and the log has everything."""
    token = lab.mount.token
    assert said(f"x {token} y", token) and said(token[-60:], token)
    assert said(f"x {QUERY} y".encode(), QUERY)
    assert said(base64.b64encode(QUERY.encode()), QUERY)
    assert not said("nothing", token, QUERY)
    proxy = start(lab.server)
    assert header(ask(proxy), "Content-Type") == "application/json"
    proxy.log.wait_for("ambassador.request")
    logging.getLogger("asyncio").debug("of asyncio's")
    assert "ambassador.request" in heard() and "of asyncio's" in heard()
