"""exec, attach and port-forward: what was HTTP becomes SPDY or WebSocket, and carries a program's streams.

As the kubelet does it, and its clients expect: a program's streams are SPDY's, each of which says
its ``streamType``, or they are WebSocket's messages, each of which begins with its channel's number.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from tests.apiserver import spdy, websocket
from tests.apiserver.answers import TEXT, Headers, bad_request, dumps
from tests.apiserver.connection import Exchange, head
from tests.apiserver.containers import Process, program, service
from tests.apiserver.objects import Object

if TYPE_CHECKING:
    from tests.apiserver.server import ApiServer

SUBRESOURCES = ("exec", "attach", "portforward")
SPDY, WEBSOCKET = "SPDY/3.1", "websocket"

_CHANNELS = "channel.k8s.io"
_BY_SPDY = (f"v4.{_CHANNELS}", f"v3.{_CHANNELS}", f"v2.{_CHANNELS}", _CHANNELS)
_BY_WEBSOCKET = (f"v5.{_CHANNELS}", f"v4.{_CHANNELS}")
"""From version 4 on the end is told as a Status; before as a mere message, and a success not at all."""
_WITHOUT_RESIZE = _BY_SPDY[2:]
_FORWARD = "portforward.k8s.io"
_FORWARD_TUNNELLED = f"{SPDY}+{_FORWARD}"

_ASKED = ("stdin", "stdout", "stderr")
_NUMBERS = {"stdin": 0, "stdout": 1, "stderr": 2, "error": 3, "resize": 4}
_CLOSED = 255
"""The channels of WebSocket's messages; the last one says which of the others has ended."""

_KILLED = 137
"""How a command ends whose Pod is deleted."""


class _Unswitched(Exception):
    """Both sides have no protocol in common: what the kubelet says of it, which is passed on as it is."""

    def __init__(self, status: int, message: str, headers: Headers = ()) -> None:
        super().__init__(message)
        body = f"{message}\n".encode()
        about = [*headers, ("Content-Type", TEXT), ("Content-Length", str(len(body)))]
        self.answer = head(status, about) + body


def serve(server: ApiServer, exchange: Exchange, pod: Object, subresource: str) -> None:
    """Switch the protocol, and do what is asked for until either side ends it. Raises the refusal."""
    request = exchange.request
    if not pod["spec"].get("nodeName"):
        raise bad_request(f"pod {pod['metadata']['name']} does not have a host assigned")
    if subresource != "portforward":
        _check_container(pod, request.query.get("container", ""))
    if "upgrade" not in [value.lower() for value in request.headers_of("Connection")]:
        raise bad_request("Upgrade request required")
    try:
        if subresource == "portforward":
            _forward(server, exchange)
        else:
            _command(server, exchange, pod, attach=subresource == "attach")
    except _Unswitched as refusal:
        exchange.raw(refusal.answer)


def _check_container(pod: Object, wanted: str) -> None:
    name, spec = pod["metadata"]["name"], pod["spec"]
    names = [each["name"] for each in spec["containers"]]
    if not wanted and len(names) != 1:
        raise bad_request(
            f"a container name must be specified for pod {name}, choose one of: [{' '.join(names)}]"
        )
    others = [*(spec.get("initContainers") or ()), *(spec.get("ephemeralContainers") or ())]
    if wanted and wanted not in [*names, *(each["name"] for each in others)]:
        raise bad_request(f"container {wanted} is not valid for pod {name}")


# The switch.


def _switch(exchange: Exchange, by_spdy: tuple[str, ...], by_websocket: tuple[str, ...]) -> tuple[str, str]:
    """Agree on a protocol, and on the version of what is done in it."""
    wanted = (exchange.request.header("Upgrade") or "").lower()
    if wanted == WEBSOCKET:
        return WEBSOCKET, _switch_to_websocket(exchange, by_websocket)
    if wanted != SPDY.lower():
        raise _Unswitched(400, f"unable to upgrade: missing upgrade headers in request: {wanted!r}")
    offered = exchange.request.headers_of("X-Stream-Protocol-Version")
    if not offered:
        raise _Unswitched(400, "unable to upgrade: X-Stream-Protocol-Version is required")
    version = next((each for each in offered if each in by_spdy), None)
    if version is None:
        accepted = [("X-Accepted-Stream-Protocol-Versions", each) for each in by_spdy]
        message = f"client supports [{' '.join(offered)}], server accepts [{' '.join(by_spdy)}]"
        raise _Unswitched(403, f"unable to upgrade: unable to negotiate protocol: {message}", accepted)
    exchange.switch(SPDY, [("X-Stream-Protocol-Version", version)])
    return SPDY, version


def _switch_to_websocket(exchange: Exchange, known: tuple[str, ...]) -> str:
    request = exchange.request
    key = request.header("Sec-WebSocket-Key")
    if request.method != "GET" or not key:
        raise _Unswitched(400, "bad request method, or a challenge that is missing")
    if request.header("Sec-WebSocket-Version") != "13":
        raise _Unswitched(400, "missing or bad WebSocket Version", [("Sec-WebSocket-Version", "13")])
    offered = request.headers_of("Sec-WebSocket-Protocol")
    version = next((each for each in offered if each in known), None)
    if version is None:
        raise _Unswitched(403, f"requested protocol(s) are not supported: {offered}; supports {list(known)}")
    accepted = [("Sec-WebSocket-Accept", websocket.accept(key)), ("Sec-WebSocket-Protocol", version)]
    exchange.switch(WEBSOCKET, accepted)
    return version


# exec and attach.


class _Channels:
    """A program's streams as WebSocket's messages."""

    def __init__(self, exchange: Exchange, streams: frozenset[str]) -> None:
        self._session = websocket.Session(exchange.raw)
        self._streams = streams
        lowest = next((name for name in ("stdout", "stderr") if name in streams), "error")
        self._session.message(bytes([_NUMBERS[lowest]]))  # so does the real one, as a sign that it is there

    ready = True

    @property
    def closed(self) -> bool:
        """Whether the client wants no more."""
        return self._session.closed

    def receive(self, data: bytes) -> Iterator[bytes]:
        """What comes on stdin; b"" is its end."""
        for kind, message in self._session.receive(data):
            if kind in (websocket.TEXT, websocket.BINARY) and "stdin" in self._streams:
                if message[:1] == bytes([_NUMBERS["stdin"]]) and len(message) > 1:
                    yield message[1:]
                elif message == bytes([_CLOSED, _NUMBERS["stdin"]]):
                    yield b""

    def write(self, name: str, data: bytes) -> None:
        """Send something on a stream, if the client wants that one."""
        if name in self._streams:
            for at in range(0, len(data), spdy.MAX_DATA):
                self._session.message(bytes([_NUMBERS[name]]) + data[at : at + spdy.MAX_DATA])

    def end(self, told: bytes) -> None:
        """Say how it has ended."""
        self._session.message(bytes([_NUMBERS["error"]]) + told)
        self._session.close()


class _Streams:
    """A program's streams as SPDY's, which the client opens one by one."""

    closed = False

    def __init__(self, exchange: Exchange, streams: frozenset[str]) -> None:
        self._session = spdy.Session(exchange.raw)
        self._wanted = {*streams, "error"}
        self._opened: dict[str, int] = {}

    @property
    def ready(self) -> bool:
        """Whether the client has opened all that it wants."""
        return self._wanted <= self._opened.keys()

    def receive(self, data: bytes) -> Iterator[bytes]:
        """What comes on stdin; b"" is its end."""
        for event in self._session.receive(data):
            if isinstance(event, spdy.Opened):
                self._opened[event.headers.get("streamtype", "")] = event.stream
                self._session.reply(event.stream)
            elif not isinstance(event, spdy.Data | spdy.Ended | spdy.Reset):
                continue
            elif event.stream == self._opened.get("stdin"):
                yield event.data if isinstance(event, spdy.Data) else b""

    def write(self, name: str, data: bytes) -> None:
        """Send something on a stream, if the client wants that one."""
        if name in self._wanted and name in self._opened:
            self._session.data(self._opened[name], data)

    def end(self, told: bytes) -> None:
        """Say how it has ended."""
        for name in ("stdout", "stderr", "error"):
            if name in self._opened:
                self._session.data(self._opened[name], told if name == "error" else b"", end=True)
        self._session.go_away()


def _command(server: ApiServer, exchange: Exchange, pod: Object, *, attach: bool) -> None:
    given = parse_qsl(urlsplit(exchange.request.path).query, keep_blank_values=True)
    streams = {name for name, value in given if name in _ASKED and value.lower() in ("1", "true")}
    if not streams:
        raise _Unswitched(400, "you must specify at least 1 of stdin, stdout, stderr")
    if terminal := exchange.request.query.get("tty", "").lower() in ("1", "true"):
        streams.discard("stderr")  # which has one way out
    command = [value for name, value in given if name == "command"]
    if attach:  # to a container that prints what is typed
        command = ["cat"] if "stdin" in streams else ["sleep"]
    key = pod["metadata"]["namespace"], pod["metadata"]["name"]
    with server.store.feed() as feed:
        seen = len(server.logs.get(key, ()))
        protocol, version = _switch(exchange, _BY_SPDY, _BY_WEBSOCKET)
        if terminal and version not in _WITHOUT_RESIZE:
            streams.add("resize")
        carrier = (_Channels if protocol == WEBSOCKET else _Streams)(exchange, frozenset(streams))
        out, err = (functools.partial(carrier.write, name) for name in ("stdout", "stderr"))
        process = Process(program(command, server.files.setdefault(key, {}), out, err))
        if "stdin" not in streams:
            process.feed(b"")
        while not carrier.closed:
            if carrier.ready:
                process.begin()
                for line in server.logs.get(key, [])[seen:] if attach else ():
                    out(f"{line}\n".encode())
                    seen += 1
                if process.code is None and server.get("Pod", *key) is None:
                    process.code = 0 if attach else _KILLED
            if process.code is not None:
                carrier.end(_told(process.code, command, version))
                break
            data = exchange.receive(feed)
            if data is None:
                list(feed.take())  # what it is will be seen above
            elif not data:
                return
            else:
                for typed in carrier.receive(data):
                    _type(process, typed, terminal=terminal)
        exchange.finish()


def _type(process: Process, typed: bytes, *, terminal: bool) -> None:
    """Give a program what was typed; at a terminal Ctrl-D is the end."""
    before, ctrl_d, _ = typed.partition(b"\x04") if terminal else (typed, b"", b"")
    if before or not ctrl_d:
        process.feed(before)
    if ctrl_d:
        process.feed(b"")


def _told(code: int, command: list[str], version: str) -> bytes:
    """What the error stream says in the end."""
    if code == 0:
        return _status({"metadata": {}, "status": "Success"}) if version in _BY_WEBSOCKET else b""
    why = f"error executing command [{' '.join(command)}], exit code {code}"
    message = f"command terminated with non-zero exit code: {why}"
    if version not in _BY_WEBSOCKET:
        return message.encode()
    return _status(
        {
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    )


def _status(told: Object) -> bytes:
    return dumps(told).rstrip()


# port-forward.


def _forward(server: ApiServer, exchange: Exchange) -> None:
    channels = (f"v4.{_CHANNELS}",)
    protocol, version = _switch(exchange, (_FORWARD,), (_FORWARD_TUNNELLED, *channels))
    if version in channels:
        forwards: _Forwards | _ForwardChannels = _ForwardChannels(exchange, server.ports)
    else:
        forwards = _Forwards(exchange, server.ports, tunnelled=protocol == WEBSOCKET)
    while data := exchange.receive():
        forwards.receive(data)
        if forwards.closed:
            exchange.finish()
            break


class _Forwards:
    """Connections to ports as SPDY's streams: of every two with one ``requestID`` one is for errors.

    ``tunnelled`` is SPDY in WebSocket's messages, as newer clients want it.
    """

    def __init__(self, exchange: Exchange, ports: dict[int, bytes | None], *, tunnelled: bool) -> None:
        self._ports = ports
        self._tunnel = websocket.Session(exchange.raw) if tunnelled else None
        self._session = spdy.Session(self._tunnel.message if self._tunnel else exchange.raw)
        self._errors: dict[str, int] = {}
        self._open: dict[int, tuple[Process, str]] = {}  # what listens, and the request

    @property
    def closed(self) -> bool:
        """Whether the client wants no more."""
        return self._tunnel is not None and self._tunnel.closed

    def receive(self, data: bytes) -> None:
        """Do what is asked for."""
        pieces = [data]
        if self._tunnel is not None:
            pieces = [piece for kind, piece in self._tunnel.receive(data) if kind == websocket.BINARY]
        for piece in pieces:
            for event in self._session.receive(piece):
                self._take(event)

    def _take(self, event: spdy.Event) -> None:
        if isinstance(event, spdy.Opened):
            self._session.reply(event.stream)
            request = event.headers.get("requestid", "")
            if event.headers.get("streamtype") == "error":
                self._errors[request] = event.stream
            else:
                self._connect(event.stream, int(event.headers.get("port", "0")), request)
        elif isinstance(event, spdy.Data | spdy.Ended | spdy.Reset) and event.stream in self._open:
            process, request = self._open[event.stream]
            process.feed(event.data if isinstance(event, spdy.Data) else b"")
            if process.code is not None:
                self._end(event.stream, request)

    def _connect(self, stream: int, port: int, request: str) -> None:
        page = self._ports.get(port, b"")
        if page is None:
            self._end(stream, request, _refused(port))
            return
        process = Process(service(page, functools.partial(self._session.data, stream)))
        process.begin()
        self._open[stream] = process, request

    def _end(self, stream: int, request: str, why: bytes = b"") -> None:
        self._open.pop(stream, None)
        self._session.data(stream, b"", end=True)
        self._session.data(self._errors.pop(request), why, end=True)


class _ForwardChannels:
    """Connections to ports as WebSocket's channels: for every port that is asked for one, and one for errors."""

    def __init__(self, exchange: Exchange, ports: dict[int, bytes | None]) -> None:
        self._session = websocket.Session(exchange.raw)
        self._processes: dict[int, Process] = {}
        given = parse_qsl(urlsplit(exchange.request.path).query)
        wanted = [int(port) for name, value in given if name == "ports" for port in value.split(",")]
        for channel in range(2 * len(wanted)):
            self._write(channel, struct.pack("<H", wanted[channel // 2]))
        for channel, port in zip(range(0, 2 * len(wanted), 2), wanted, strict=True):
            page = ports.get(port, b"")
            if page is None:
                self._write(channel + 1, _refused(port))
                continue
            self._processes[channel] = Process(service(page, functools.partial(self._write, channel)))
            self._processes[channel].begin()

    @property
    def closed(self) -> bool:
        """Whether the client wants no more."""
        return self._session.closed

    def receive(self, data: bytes) -> None:
        """Do what is asked for."""
        for kind, message in self._session.receive(data):
            if kind == websocket.BINARY and len(message) > 1 and message[0] in self._processes:
                self._processes[message[0]].feed(message[1:])

    def _write(self, channel: int, data: bytes) -> None:
        self._session.message(bytes([channel]) + data)


def _refused(port: int) -> bytes:
    why = f"failed to connect to localhost:{port}: dial tcp4 127.0.0.1:{port}: connect: connection refused"
    return f"error forwarding port {port} to pod: {why}".encode()
