"""Clients of kmetad-status, for its tests: whole requests, bytes as they are, and a listener to events."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

DEADLINE = 30.0


@dataclass(frozen=True)
class Got:
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode()

    @property
    def document(self) -> Any:
        """The body, as JSON."""
        return json.loads(self.body)


def connect(where: str) -> socket.socket:
    """To what ``listens`` says."""
    if where.startswith("unix:"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(DEADLINE)
        sock.connect(where.removeprefix("unix:"))
        return sock
    parts = urlsplit(where)
    return socket.create_connection((parts.hostname, parts.port), DEADLINE)


class Client:
    """A connection that is kept."""

    def __init__(self, where: str) -> None:
        self._http = http.client.HTTPConnection("localhost")
        self._http.sock = connect(where)

    def ask(self, path: str, method: str = "GET", **headers: str) -> Got:
        """One request; the headers' names with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._http.request(method, path, headers=named)
        answer = self._http.getresponse()
        return Got(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def close(self) -> None:
        """Hang up."""
        self._http.close()


def get(where: str, path: str, method: str = "GET", **headers: str) -> Got:
    """One request on a connection of its own."""
    client = Client(where)
    try:
        return client.ask(path, method, **headers)
    finally:
        client.close()


def say(where: str, data: bytes, *, end: bool = True) -> bytes:
    """Send bytes, and then nothing more (``end``); answers all that comes back until the connection is closed."""
    with connect(where) as sock:
        try:
            sock.sendall(data)
            if end:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has hung up before it heard everything
        return everything(sock)


def everything(sock: socket.socket) -> bytes:
    """All that still comes."""
    got = bytearray()
    try:
        while piece := sock.recv(65536):
            got += piece
    except ConnectionResetError:
        pass
    return bytes(got)


@dataclass(frozen=True)
class Told:
    """A server-sent event."""

    event: str
    data: Any
    id: str | None


class Listener:
    """Listens to ``/api/events``; leaving the ``with`` block hangs up."""

    def __init__(self, where: str, of: str = "change", last: str | None = None) -> None:
        self._http = http.client.HTTPConnection("localhost")
        self._http.sock = self.sock = connect(where)
        named = {} if last is None else {"Last-Event-ID": last}
        self._http.request("GET", f"/api/events?of={of}", headers=named)
        self.answer = self._http.getresponse()
        assert self.answer.status == 200
        self.hello = self.next()
        assert self.hello.event == "hello"

    def __enter__(self) -> Listener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.answer.close()
        self._http.close()

    def line(self) -> str | None:
        """The next line, without its end; None when there will be none."""
        line = self.answer.readline()
        return line.decode().removesuffix("\n") if line else None

    def next(self) -> Told:
        """The next event; fails where the stream ends before."""
        fields: dict[str, str] = {}
        while (line := self.line()) != "" or "data" not in fields:
            assert line is not None, f"the stream ended after {fields}"
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value
        return Told(fields["event"], json.loads(fields["data"]), fields.get("id"))

    def until(self, event: str) -> Told:
        """The next event of this kind."""
        while (told := self.next()).event != event:
            pass
        return told
