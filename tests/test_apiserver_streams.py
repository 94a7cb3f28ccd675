"""exec, attach and port-forward at the tests' API server, frame by frame, and by another client than kubectl."""

from __future__ import annotations

import json
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.apiserver import ApiServer, behaviour, pod, spdy, websocket
from tests.apiserver.containers import PAGE
from tests.apiserver.kubeconfig import kubeconfig

ADMIN = "kubernetes-admin"
POD = "/api/v1/namespaces/lab/pods/web"
V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
FORWARD = "portforward.k8s.io"
TUNNELLED = f"SPDY/3.1+{FORWARD}"
SUCCESS = b'{"metadata":{},"status":"Success"}'
CONTAINER = {"name": "main", "image": "lab.local/base:1"}


def failure(command: str, code: int) -> bytes:
    """What the error stream says of another exit code, to the byte."""
    message = (
        f"command terminated with non-zero exit code: error executing command [{command}], exit code {code}"
    )
    told = {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
    return json.dumps(told, separators=(",", ":")).encode()


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """A server with a Pod that runs, and one who may do everything."""
    with ApiServer() as server:
        server.put({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "lab"}})
        server.put(pod("web", "lab", labels={"app": "web"}))
        server.allow_all(ADMIN)
        yield server


def everything(sock: socket.socket) -> bytes:
    """What comes on a connection until its end, or until it is cut."""
    found = b""
    try:
        while data := sock.recv(65536):
            found += data
    except ConnectionResetError:
        pass
    return found


class Wire:
    """One connection, with nothing between the test and the bytes."""

    def __init__(self, server: ApiServer, user: str = ADMIN) -> None:
        context = ssl.create_default_context(cadata=server.authority.pem.decode())
        sock = socket.create_connection((server.host, server.port), 30)
        self.socket = context.wrap_socket(sock, server_hostname=server.host)
        self.token = server.token(user)
        self.left = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Say something."""
        self.socket.sendall(data)

    def ask(self, method: str, path: str, *lines: str) -> bytes:
        """Say a request: the head of its answer. What has come behind that is left."""
        head = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.token}", *lines, "", ""]
        self.send("\r\n".join(head).encode())
        while b"\r\n\r\n" not in self.left:
            self.left += self.socket.recv(65536)
        answer, _, self.left = self.left.partition(b"\r\n\r\n")
        return answer

    def spdy(self, path: str, *versions: str) -> bytes:
        """Ask for SPDY."""
        offered = [f"X-Stream-Protocol-Version: {version}" for version in versions]
        return self.ask(
            "POST", path, "Connection: Upgrade", "Upgrade: SPDY/3.1", "Content-Length: 0", *offered
        )

    def websocket(self, path: str, *protocols: str, version: str = "13") -> bytes:
        """Ask for WebSocket, with RFC 6455's own key."""
        return self.ask(
            "GET",
            path,
            "Connection: keep-alive, Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            f"Sec-WebSocket-Version: {version}",
            f"Sec-WebSocket-Protocol: {', '.join(protocols)}",
        )

    def receive(self) -> bytes:
        """What comes next."""
        data, self.left = self.left, b""
        return data or self.socket.recv(65536)

    def events(self, session: Any, until: Callable[[list[Any]], bool]) -> list[Any]:
        """What a session makes of what comes, until there is enough of it, or it has ended."""
        found: list[Any] = []
        while not until(found) and (data := self.receive()):
            found += session.receive(data)
        return found

    def status(self) -> dict[str, Any]:
        """The body of an answer that has been asked for, which is a Status."""
        while not self.left.endswith(b"}\n"):
            self.left += self.socket.recv(65536)
        return json.loads(self.left)


def query(**asked: Any) -> str:
    """A query; lists are several of one name."""
    return urlencode(asked, doseq=True)


def exec_path(*command: str, subresource: str = "exec", **more: str) -> str:
    """The path that runs a command."""
    streams = {"stdin": "true", "stdout": "true", "stderr": "true", **more}
    return f"{POD}/{subresource}?{query(command=command, **streams)}"


def test_exec_by_spdy(server: ApiServer) -> None:
    """Streams are answered one by one; the end comes on all of them, the Status on its own, then GOAWAY."""
    with Wire(server) as wire:
        head = wire.spdy(exec_path("cat"), "v9.channel.k8s.io", V4, "v3.channel.k8s.io").split(b"\r\n")
        assert head == [
            b"HTTP/1.1 101 Switching Protocols",
            b"Connection: Upgrade",
            b"Upgrade: SPDY/3.1",
            b"X-Stream-Protocol-Version: v4.channel.k8s.io",
        ]
        session = spdy.Session(wire.send, client=True)
        error, stdin, stdout, stderr = (
            session.open({"streamType": name}) for name in ("error", "stdin", "stdout", "stderr")
        )
        assert wire.events(session, lambda found: len(found) == 4) == [
            spdy.Replied(stream, {}) for stream in (error, stdin, stdout, stderr)
        ]
        session.data(stdin, b"hello")
        assert wire.events(session, bool) == [spdy.Data(stdout, b"hello")]
        number = session.ping()
        assert wire.events(session, bool) == [spdy.Pong(number)]
        session.data(stdin, b" and goodbye", end=True)
        assert wire.events(session, lambda found: False) == [
            spdy.Data(stdout, b" and goodbye"),
            spdy.Ended(stdout),
            spdy.Ended(stderr),
            spdy.Data(error, SUCCESS),
            spdy.Ended(error),
            spdy.GoneAway(stderr, 0),
        ]
    request = server.requests[-1]
    assert (request.verb, request.resource, request.switched) == ("create", "pods/exec", "SPDY/3.1")
    assert request.raw.startswith(b"POST ") and request.raw.endswith(b"\r\n\r\n")
    assert request.after[:4] == struct.pack("!HH", 0x8003, spdy.SYN_STREAM)


def test_exec_by_spdy_waits_for_its_streams(server: ApiServer) -> None:
    """Nothing is run before all streams are there, and what was typed before isn't lost."""
    with Wire(server) as wire:
        wire.spdy(exec_path("cat", stderr="false"), V4)
        session = spdy.Session(wire.send, client=True)
        stdin = session.open({"streamtype": "stdin"})
        session.data(stdin, b"early", end=True)
        error = session.open({"streamtype": "error"})
        stdout = session.open({"streamtype": "stdout"})
        found = wire.events(session, lambda found: False)
        assert [event for event in found if isinstance(event, spdy.Data)] == [
            spdy.Data(stdout, b"early"),
            spdy.Data(error, SUCCESS),
        ]


@pytest.mark.parametrize(
    ("version", "command", "told"),
    [
        (V4, "exit 3", failure("exit 3", 3)),
        (V4, "nosuch", failure("nosuch", 127)),
        ("v3.channel.k8s.io", "false", json.loads(failure("false", 1))["message"].encode()),
        ("channel.k8s.io", "true", b""),
    ],
)
def test_what_the_error_stream_says(server: ApiServer, version: str, command: str, told: bytes) -> None:
    """From version 4 on a Status; before it a message, or nothing."""
    with Wire(server) as wire:
        wire.spdy(exec_path(*command.split(), stdin="false"), version)
        session = spdy.Session(wire.send, client=True)
        error, *_ = (session.open({"streamType": name}) for name in ("error", "stdout", "stderr"))
        found = wire.events(session, lambda found: False)
        said = [event for event in found if isinstance(event, spdy.Data) and event.stream == error]
        assert b"".join(event.data for event in said) == told


@pytest.mark.parametrize("version", [V5, V4])
def test_exec_by_websocket(server: ApiServer, version: str) -> None:
    """Messages begin with their channel; in version 5 stdin can be ended, before it ends with all."""
    with Wire(server) as wire:
        head = wire.websocket(exec_path("cat"), "x", version).split(b"\r\n")
        assert head == [
            b"HTTP/1.1 101 Switching Protocols",
            b"Connection: Upgrade",
            b"Upgrade: websocket",
            b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            f"Sec-WebSocket-Protocol: {version}".encode(),
        ]
        session = websocket.Session(wire.send, client=True)
        assert wire.events(session, bool) == [(websocket.BINARY, b"\x01")]
        session.message(b"\x00hello")
        assert wire.events(session, bool) == [(websocket.BINARY, b"\x01hello")]
        session.message(b"now", websocket.PING)
        assert wire.events(session, bool) == [(websocket.PONG, b"now")]
        if version == V5:
            session.message(b"\xff\x00")
            end = [(websocket.BINARY, b"\x03" + SUCCESS), (websocket.CLOSE, struct.pack("!H", 1000))]
        else:
            session.close()
            end = [(websocket.CLOSE, struct.pack("!H", 1000))]
        assert wire.events(session, lambda found: False) == end
    request = server.requests[-1]
    assert (request.verb, request.resource, request.switched) == ("get", "pods/exec", "websocket")


def test_a_terminal_has_one_way_out(server: ApiServer) -> None:
    """With ``tty`` nothing comes on stderr, and a new size of the window is taken."""
    with Wire(server) as wire:
        wire.websocket(exec_path("sh", "-c", "nosuch", tty="true"), V5)
        session = websocket.Session(wire.send, client=True)
        session.message(b'\x04{"Width":80,"Height":24}')
        found = wire.events(session, lambda found: False)
        assert [message[:1] for _, message in found] == [
            b"\x01",
            b"\x03",
            b"\x03",
        ]  # the last is 1000's first byte


def test_a_terminal_by_spdy(server: ApiServer) -> None:
    """With ``tty`` there is a stream for the window's size, that is waited for, too; Ctrl-D is the end."""
    with Wire(server) as wire:
        wire.spdy(exec_path("cat", tty="true"), V4)
        session = spdy.Session(wire.send, client=True)
        error, stdin, stdout, resize = (
            session.open({"streamType": name}) for name in ("error", "stdin", "stdout", "resize")
        )
        session.data(resize, b'{"Width":80,"Height":24}')
        session.data(stdin, b"typed\x04")
        found = wire.events(session, lambda found: False)
        assert spdy.Replied(resize, {}) in found
        assert [event for event in found if isinstance(event, spdy.Data)] == [
            spdy.Data(stdout, b"typed"),
            spdy.Data(error, SUCCESS),
        ]


def forwarded(wire: Wire, session: spdy.Session, port: int, number: int) -> tuple[int, int]:
    """A connection to a port: the streams for its errors, and its data."""
    asked = {"port": str(port), "requestID": str(number)}
    pair = session.open({"streamType": "error", **asked}), session.open({"streamType": "data", **asked})
    session.data(pair[0], b"", end=True)
    return pair


@pytest.mark.parametrize("tunnelled", [False, True])
def test_port_forward(server: ApiServer, tunnelled: bool) -> None:
    """Connections come and go on their own streams, also where SPDY goes through WebSocket."""
    server.ports[9] = None
    with Wire(server) as wire:
        if tunnelled:
            assert f"Sec-WebSocket-Protocol: {TUNNELLED}".encode() in wire.websocket(
                f"{POD}/portforward", TUNNELLED
            )
            tunnel = websocket.Session(wire.send, client=True)
            session = spdy.Session(tunnel.message, client=True)
        else:
            assert f"Version: {FORWARD}".encode() in wire.spdy(f"{POD}/portforward", FORWARD)
            session = spdy.Session(wire.send, client=True)

        def events(count: int) -> list[spdy.Event]:
            found: list[spdy.Event] = []
            while len(found) < count:
                data = wire.receive()
                for piece in [data] if not tunnelled else [each for _, each in tunnel.receive(data)]:
                    found += session.receive(piece)
            return found

        first = forwarded(wire, session, 7, 0)
        second = forwarded(wire, session, 80, 1)
        third = forwarded(wire, session, 9, 2)
        found = events(9)
        assert {event.stream for event in found if isinstance(event, spdy.Replied)} == {
            *first,
            *second,
            *third,
        }
        assert [event for event in found if not isinstance(event, spdy.Replied)] == [
            spdy.Ended(third[1]),
            spdy.Data(
                third[0],
                b"error forwarding port 9 to pod: failed to connect to localhost:9: "
                b"dial tcp4 127.0.0.1:9: connect: connection refused",
            ),
            spdy.Ended(third[0]),
        ]
        session.data(first[1], b"hello")
        assert events(1) == [spdy.Data(first[1], b"hello")]
        session.data(second[1], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert events(3) == [spdy.Data(second[1], PAGE), spdy.Ended(second[1]), spdy.Ended(second[0])]
        session.data(first[1], b"", end=True)
        assert events(2) == [spdy.Ended(first[1]), spdy.Ended(first[0])]


def test_port_forward_by_channels(server: ApiServer) -> None:
    """The older way through WebSocket: two channels a port, which first say which it is."""
    server.ports[9] = None
    with Wire(server) as wire:
        wire.websocket(f"{POD}/portforward?ports=7&ports=9", V4)
        session = websocket.Session(wire.send, client=True)
        found = wire.events(session, lambda found: len(found) == 5)
        assert [message for _, message in found[:4]] == [b"\0\7\0", b"\1\7\0", b"\2\x09\0", b"\3\x09\0"]
        assert found[4].data.startswith(b"\3error forwarding port 9")
        session.message(b"\0hello")
        assert wire.events(session, bool) == [(websocket.BINARY, b"\0hello")]


def test_attach_by_spdy(server: ApiServer) -> None:
    """What is typed comes back, beside what the container writes of itself."""
    with Wire(server) as wire:
        wire.spdy(exec_path(subresource="attach"), V4)
        session = spdy.Session(wire.send, client=True)
        names = ("error", "stdin", "stdout", "stderr")
        streams = {name: session.open({"streamType": name}) for name in names}
        wire.events(session, lambda found: len(found) == 4)
        server.log("lab", "web", "of itself")
        assert wire.events(session, bool) == [spdy.Data(streams["stdout"], b"of itself\n")]
        session.data(streams["stdin"], b"typed")
        assert wire.events(session, bool) == [spdy.Data(streams["stdout"], b"typed")]
        server.remove("Pod", "lab", "web")
        assert spdy.Data(streams["error"], SUCCESS) in wire.events(session, lambda found: False)


@pytest.mark.parametrize(
    ("subresource", "verb", "upgrade"),
    [
        (subresource, *how)
        for subresource in ("exec", "attach", "portforward")
        for how in (("create", "SPDY/3.1"), ("get", "websocket"))
    ],
)
def test_refused_before_any_switch(server: ApiServer, subresource: str, verb: str, upgrade: str) -> None:
    """SPDY is a create, WebSocket a get and a create: without the rights it is 403, in HTTP."""

    def refused() -> str:
        with Wire(server, "some") as wire:
            path = exec_path("true", subresource=subresource)
            head = wire.spdy(path, V4, FORWARD) if verb == "create" else wire.websocket(path, V5, TUNNELLED)
            if head.startswith(b"HTTP/1.1 101"):
                return ""
            told = wire.status()
            assert (head.split()[1], told["code"], told["reason"]) == (b"403", 403, "Forbidden")
            return told["message"]

    why = (
        f'pods "web" is forbidden: User "some" cannot VERB resource "pods/{subresource}" in API group "" '
        'in the namespace "lab"'
    )
    assert refused() == why.replace("VERB", verb)
    assert server.requests[-1].switched == ""
    server.allow("some", [verb], [f"pods/{subresource}"], namespace="lab")
    assert refused() == ("" if verb == "create" else why.replace("VERB", "create"))
    server.allow("some", ["create"], [f"pods/{subresource}"], namespace="lab")
    assert refused() == ""
    assert server.requests[-1].switched == upgrade


def test_what_can_not_be_switched(server: ApiServer) -> None:
    """No such Pod or container, no node, no upgrade, another protocol, another version: each has its answer."""
    server.put(pod("two", "lab", spec={"containers": [CONTAINER, {**CONTAINER, "name": "side"}]}))
    server.put(pod("new", "lab", spec={"nodeName": ""}))
    upgrade = ("Connection: Upgrade", "Upgrade: SPDY/3.1")
    at = "/api/v1/namespaces/lab/pods"
    for path, lines, code, words in (
        (f"{at}/nosuch/exec", upgrade, 404, 'pods "nosuch" not found'),
        (f"{at}/new/exec", upgrade, 400, "pod new does not have a host assigned"),
        (f"{at}/web/exec?container=x", upgrade, 400, "container x is not valid for pod web"),
        (
            f"{at}/two/exec",
            upgrade,
            400,
            "a container name must be specified for pod two, choose one of: [main side]",
        ),
        (f"{at}/web/exec", (), 400, "Upgrade request required"),
        (f"{at}/web/portforward", ("Connection: close",), 400, "Upgrade request required"),
    ):
        with Wire(server) as wire:
            head = wire.ask("POST", path, "Content-Length: 0", *lines)
            assert (int(head.split()[1]), wire.status()["message"]) == (code, words)
    with Wire(server) as wire:
        head = wire.spdy(exec_path("true"), "v9.channel.k8s.io")
        assert head.startswith(b"HTTP/1.1 403")
        assert head.count(b"X-Accepted-Stream-Protocol-Versions: ") == 4
        assert wire.receive() == (
            b"unable to upgrade: unable to negotiate protocol: client supports [v9.channel.k8s.io], server accepts "
            b"[v4.channel.k8s.io v3.channel.k8s.io v2.channel.k8s.io channel.k8s.io]\n"
        )
        assert wire.spdy(exec_path("true")).startswith(b"HTTP/1.1 400")
        wire.receive()
        assert wire.spdy(exec_path("true", stdin="0", stdout="0", stderr="0"), V4).startswith(b"HTTP/1.1 400")
        wire.receive()
        assert wire.websocket(exec_path("true"), "x").startswith(b"HTTP/1.1 403")
        wire.receive()
        assert wire.websocket(exec_path("true"), V4, version="8").startswith(b"HTTP/1.1 400")
        wire.receive()
        again = wire.ask(
            "POST", exec_path("true"), "Connection: Upgrade", "Upgrade: h2c", "Content-Length: 0"
        )
        assert again.startswith(b"HTTP/1.1 400")
    assert not any(request.switched for request in server.requests)


def test_a_client_that_goes_ends_it(server: ApiServer) -> None:
    """A command that never ends does so with its client's connection; so it does with the server."""
    with Wire(server) as wire:
        wire.websocket(exec_path("sleep", "infinity"), V5)
    server.wait_until(lambda: server.connections == 0)
    with Wire(server) as wire:
        wire.websocket(exec_path("sleep", "infinity"), V5)
        server.close()
        assert wire.receive() == b"\x82\x01\x01"
        assert everything(wire.socket) == b""


def test_a_pod_that_goes_ends_it(server: ApiServer) -> None:
    """A command whose Pod is deleted is killed."""
    with Wire(server) as wire:
        wire.websocket(exec_path("sleep", "infinity"), V5)
        session = websocket.Session(wire.send, client=True)
        wire.events(session, bool)
        server.remove("Pod", "lab", "web")
        told = wire.events(session, bool)[0].data
        assert told == b"\x03" + failure("sleep infinity", 137)


def test_what_is_no_frame_ends_it(server: ApiServer) -> None:
    """Garbage in place of frames ends the connection."""
    for ask in (
        lambda wire: wire.spdy(exec_path("cat"), V4),
        lambda wire: wire.websocket(exec_path("cat"), V5),
    ):
        with Wire(server) as wire:
            ask(wire)
            wire.send(b"\xff" * 100)
            everything(wire.socket)
    server.wait_until(lambda: server.connections == 0)


def test_tunnels_of_anything(server: ApiServer) -> None:
    """A scripted switch sends its first bytes with the head, then every byte back, and notes what came."""
    server.script("create pods/exec", behaviour.switched("x/1", b"first"))
    server.script("create pods/attach", behaviour.switched_and_ended("x/1", b"only this"))
    with Wire(server) as wire:
        assert wire.spdy(exec_path("cat"), V4).split(b"\r\n")[2] == b"Upgrade: x/1"
        assert wire.receive() == b"first"
        wire.send(b"\0any bytes")
        assert wire.receive() == b"\0any bytes"
    request = server.wait_for(lambda request: request.switched == "x/1")
    assert bytes(request.after) == b"\0any bytes"
    with Wire(server) as wire:
        wire.spdy(exec_path(subresource="attach"), V4)
        assert wire.left + everything(wire.socket) == b"only this"


def test_requests_are_kept_as_they_came() -> None:
    """Every byte, chunks with their framing and trailers too; what is no whole request is kept apart."""
    first = b"POST /api/v1/namespaces/lab/pods?x HTTP/1.1\r\nHOST:  localhost \r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b'03\r\n{"k\r\n5\r\n":1}\n\r\n0\r\nTrailer: t\r\n\r\n'
    second = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
    half = b"GET /half HTTP/1.1\r\nHo"
    with ApiServer(tls=False) as server:
        for data, answers in ((first + body + second + half, 2), (b"nonsense\r\n\r\n", 0), (b"", 0)):
            with socket.create_connection((server.host, server.port), 30) as sock:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                assert everything(sock).count(b"HTTP/1.1 ") == answers
        assert [request.raw for request in server.requests] == [first + body, second]
        assert server.requests[0].body == b'{"k":1}\n'
        assert server.unfinished == [half, b"nonsense\r\n\r\n"]


def test_the_official_client_of_python(server: ApiServer, tmp_path: Path) -> None:
    """It has a WebSocket of its own, and reads output and exit codes as from any cluster."""
    from kubernetes import client, config
    from kubernetes.stream import stream

    path = tmp_path / "kubeconfig"
    path.write_text(kubeconfig(server, server.token(ADMIN), "lab"), "utf-8")
    with config.new_client_from_config(str(path)) as api:
        asked = {"stdout": True, "stderr": True, "stdin": False, "tty": False, "_preload_content": False}
        call = client.CoreV1Api(api).connect_get_namespaced_pod_exec
        for command, out, code in ((["echo", "hello"], "hello\n", 0), (["exit", "3"], "", 3)):
            running = stream(call, "web", "lab", command=command, **asked)
            running.run_forever(timeout=30)
            assert (running.read_stdout(), running.returncode) == (out, code)
            running.sock.shutdown()  # its own close() leaves a socket open that the server has ended
    assert [request.switched for request in server.requests] == ["websocket", "websocket"]
