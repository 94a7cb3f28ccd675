"""A proxy of kmetad-ambassador's in front of the tests' API server, and clients of it that send what they are told."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any

from kmetad_ambassador import Options
from kmetad_ambassador.running import Running

from kmetad.api import Server, find_server
from tests.apiserver import ApiServer, pod

USER = "system:serviceaccount:lab:web"
DEADLINE = 30.0
"""Seconds after which a test gives up waiting; never how long anything should take."""


class Log:
    """What was logged, from whichever thread."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self._more = threading.Condition()

    def info(self, event: str, **values: Any) -> None:
        with self._more:
            self.lines.append({"event": event, **values})
            self._more.notify_all()

    debug = warning = error = exception = info

    def of(self, event: str, **values: Any) -> list[dict[str, Any]]:
        """The lines with this event and these values."""
        with self._more:
            return [line for line in self.lines if line.items() >= {"event": event, **values}.items()]

    def wait_for(self, event: str, times: int = 1, **values: Any) -> dict[str, Any]:
        """The last of so many such lines, when it has come."""
        with self._more:
            there = self._more.wait_for(lambda: len(self.of(event, **values)) >= times, DEADLINE)
            assert there, f"no {event} {values} in {self.lines}"
            return self.of(event, **values)[times - 1]


@dataclass(frozen=True)
class Reply:
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """Of a Status."""
        told: str = self.json["message"]
        return told


class Proxied:
    """A proxy, for as long as the ``with`` block or until ``stop``. It listens at ``host`` and ``port``."""

    def __init__(self, server: Server, options: Options | None = None, **given: Any) -> None:
        self.options = options or Options(**{"port": 0, **given})
        self.log = Log()
        self.running = Running(server, self.options, self.log)
        self.where = self.running.start()
        self.host, _, port = self.where.rpartition(":")
        self.port = int(port) if port.isdecimal() else 0
        self.url = f"http://{self.where}"
        self._stopped = False

    def __enter__(self) -> Proxied:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, seconds: float = 0.0) -> None:
        """Stop it; what is under way has so many seconds."""
        if not self._stopped:
            self._stopped = True
            self.running.stop(seconds)

    def connect(self) -> socket.socket:
        """A connection, for whatever bytes."""
        if self.options.unix_socket is not None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.settimeout(DEADLINE)
            made.connect(self.options.unix_socket)
            return made
        return socket.create_connection((self.host.strip("[]"), self.port), DEADLINE)

    def raw(self, data: bytes) -> bytes:
        """Send these bytes: all that comes until the proxy closes the connection, as ``Connection: close`` asks for."""
        with self.connect() as sock:
            try:
                sock.sendall(data)
            except OSError:
                pass  # it was closed before it had all
            return received(sock)

    def request(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """One request by a client that writes it well."""
        connection = HTTPConnection("localhost", self.port or 80, timeout=DEADLINE)
        connection.sock = self.connect()
        try:
            connection.request(method, target, body, {**(headers or {})})
            answer = connection.getresponse()
            return Reply(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, target: str, **headers: str) -> Reply:
        """GET; a header's name with _ for -."""
        return self.request(
            "GET", target, headers={name.replace("_", "-"): at for name, at in headers.items()}
        )


def received(sock: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    data = b""
    try:
        while chunk := sock.recv(65536):
            data += chunk
    except ConnectionResetError:
        pass
    return data


class Lab:
    """An API server with the Pod ``web``, and a service account that may do everything."""

    def __init__(self, server: ApiServer, directory: Path) -> None:
        self.api = server
        self.directory = directory
        server.put({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "lab"}})
        server.put(pod("web", "lab", labels={"app": "web"}))
        server.allow_all(USER)
        self.mount = server.mount(directory / "account", USER)
        self.environ = {"KUBERNETES_SERVICE_HOST": server.host, "KUBERNETES_SERVICE_PORT": str(server.port)}
        self.server = find_server(token_path=str(self.mount.path), environ=self.environ)
        """As a Pod of that account finds it."""
