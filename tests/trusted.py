"""Whom a proxy trusts, and as whom it asks: kubeconfigs that change, what stands in the way, and load."""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any

from kmetad.api import Credentials, Server, kubeconfig
from kmetad.api.kubeconfig import Kubeconfig
from tests.apiserver import ApiServer
from tests.apiserver.tls import Issued
from tests.proxying import DEADLINE, Lab, Proxied, Reply
from tests.relay import copy

WEB = "/api/v1/namespaces/lab/pods/web"
PODS = "/api/v1/namespaces/lab/pods"
MERGE = "application/merge-patch+json"
EXEC_API = "client.authentication.k8s.io/v1"


class Config:
    """A kubeconfig with one context for an API server, whose user and cluster are replaced by ``write``."""

    def __init__(self, directory: Path, api: ApiServer) -> None:
        self.file = directory / "kubeconfig"
        self._api = api

    def write(self, user: Mapping[str, Any] | None = None, **cluster: Any) -> None:
        """Put a whole new file there. A key of the cluster's that is None is left out."""
        ca = base64.b64encode(self._api.authority.pem).decode()
        of_cluster = {"server": self._api.url, "certificate-authority-data": ca}
        of_cluster |= {name.replace("_", "-"): value for name, value in cluster.items()}
        whole = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "lab",
            "clusters": [{"name": "c", "cluster": {k: v for k, v in of_cluster.items() if v is not None}}],
            "users": [{"name": "app", "user": dict(user or {})}],
            "contexts": [{"name": "lab", "context": {"cluster": "c", "user": "app", "namespace": "lab"}}],
        }
        replace(self.file, json.dumps(whole))

    def server(self) -> Server:
        """The server that it names."""
        return kubeconfig.server(str(self.file))

    def credentials(self, clock: Callable[[], float]) -> Credentials:
        """Its user's, with another clock."""
        return Kubeconfig(str(self.file), "lab", clock=clock)


def replace(file: Path, content: str | bytes) -> None:
    """Swap in another content, so that nobody reads half of it."""
    beside = file.with_name(f"{file.name}.new")
    beside.write_bytes(content.encode() if isinstance(content, str) else content)
    beside.rename(file)


class Clock:
    """Seconds since the epoch, as a test has them."""

    def __init__(self) -> None:
        self.time = 1_000_000_000.0

    def __call__(self) -> float:
        return self.time


class Login:
    """An exec plugin, a script that prints what ``grant`` was told last, and can be held while it runs.

    ``hold`` lets all its runs from then on wait; one goes on with each ``let_go``.
    """

    def __init__(self, directory: Path, *, name: str = "login") -> None:
        directory.mkdir(exist_ok=True)
        self._directory = directory
        self._name = name
        self._fifos: dict[str, int] = {}
        for each in ("begun", "gate"):
            os.mkfifo(directory / each)
            self._fifos[each] = os.open(directory / each, os.O_RDWR | os.O_NONBLOCK)
        script = directory / name
        script.write_text(
            "#!/bin/sh\n"
            'here="$(dirname "$0")"\n'
            'echo run >> "$here/runs"\n'
            'if [ -e "$here/held" ]; then echo run > "$here/begun"; head -c 1 "$here/gate" > /dev/null; fi\n'
            'if [ -e "$here/fails" ]; then cat "$here/fails" >&2; exit 3; fi\n'
            'cat "$here/credential.json"\n'
        )
        script.chmod(0o755)

    def close(self) -> None:
        """Nobody is held any more."""
        for descriptor in self._fifos.values():
            os.close(descriptor)

    def user(self, *args: str, **env: str) -> dict[str, Any]:
        """A user's entry with it."""
        return {
            "exec": {
                "apiVersion": EXEC_API,
                "command": str(self._directory / self._name),
                "args": list(args),
                "env": [{"name": name, "value": value} for name, value in env.items()],
                "interactiveMode": "Never",
            }
        }

    def grant(self, token: str, *, expires: str | None = None, certificate: Issued | None = None) -> None:
        """Print this from now on."""
        status: dict[str, Any] = {"token": token} if token else {}
        if expires is not None:
            status["expirationTimestamp"] = expires
        if certificate is not None:
            status["clientCertificateData"] = certificate.certificate.decode()
            status["clientKeyData"] = certificate.key.decode()
        printed = {"kind": "ExecCredential", "apiVersion": EXEC_API, "status": status}
        replace(self._directory / "credential.json", json.dumps(printed))

    def fail(self, said: str = "no network") -> None:
        """End with 3 from now on, having said this."""
        (self._directory / "fails").write_text(said)

    def recover(self) -> None:
        """Fail no more."""
        (self._directory / "fails").unlink()

    def hold(self) -> None:
        """Let runs wait that begin from now on."""
        (self._directory / "held").touch()

    def wait(self) -> None:
        """Until one more of those has begun."""
        assert select.select([self._fifos["begun"]], [], [], DEADLINE)[0], "it wasn't run"
        os.read(self._fifos["begun"], 4)

    def let_go(self, runs: int = 1) -> None:
        """Let so many go on."""
        os.write(self._fifos["gate"], b"x" * runs)

    @property
    def runs(self) -> int:
        """How often it was run."""
        file = self._directory / "runs"
        return len(file.read_text().splitlines()) if file.exists() else 0


class Middle:
    """A port in front of a server, with something behind it that can be replaced: ``act`` gets each client's socket.

    ``said`` is all that clients said, where ``act`` notes it.
    """

    def __init__(self, to: ApiServer | None = None, *, host: str = "127.0.0.1") -> None:
        self.to = ("127.0.0.1", 0) if to is None else (to.host, to.port)
        self.act: Callable[[socket.socket], None] = self.relay
        self.said = bytearray()
        self.clients = 0
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, 0), family=family)
        self.host, self.port = host, int(self._listening.getsockname()[1])
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="middle")]
        self._threads[0].start()

    def __enter__(self) -> Middle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._threads[0].join()
        for sock in self._sockets:
            _cut(sock)
        for thread in self._threads:
            thread.join()

    def wait_for_clients(self, count: int) -> None:
        """Until so many have connected, since the beginning."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.clients >= count, DEADLINE)

    def relay(self, client: socket.socket) -> None:
        """Pass everything on, both ways."""
        with socket.create_connection(self.to) as server:
            self._sockets.append(server)
            back = threading.Thread(target=copy, args=(server, client))
            back.start()
            copy(client, server)
            back.join()

    def hold(self, client: socket.socket) -> None:
        """Say nothing."""
        self._closing.wait()

    def hang_up(self, client: socket.socket) -> None:
        """Close it at once."""

    def says(self, data: bytes) -> Callable[[socket.socket], None]:
        """Say this, whatever comes, and close it; what came is noted."""

        def act(client: socket.socket) -> None:
            self.said += client.recv(65536)
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while more := client.recv(65536):
                self.said += more

        return act

    def tunnel(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> Any:
        """Be an HTTP proxy, which notes all that clients say."""

        def act(client: socket.socket) -> None:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (more := client.recv(65536)):
                    return
                head += more
            self.said += head
            client.sendall(answer)
            with socket.create_connection(self.to) as server:
                self._sockets.append(server)
                back = threading.Thread(target=copy, args=(server, client))
                back.start()
                try:
                    while data := client.recv(65536):
                        self.said += data
                        server.sendall(data)
                    server.shutdown(socket.SHUT_WR)
                except OSError:
                    pass
                back.join()

        return act

    def decoy(self, shown: Issued) -> Callable[[socket.socket], None]:
        """Be a TLS server with this certificate, which notes what clients say after the handshake, and answers 200."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        shown.load(context)

        def act(client: socket.socket) -> None:
            client.settimeout(DEADLINE)
            with context.wrap_socket(client, server_side=True) as tls:
                while data := tls.recv(65536):
                    self.said += data
                    tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        return act

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return  # closed
            self._sockets.append(sock)
            self._threads.append(threading.Thread(target=self._run, args=(self.act, sock), name="middle"))
            self._threads[-1].start()
            with self._changed:
                self.clients += 1
                self._changed.notify_all()

    def _run(self, act: Callable[[socket.socket], None], sock: socket.socket) -> None:
        with sock:
            try:
                act(sock)
            except OSError:
                pass  # the other side has gone


def _cut(sock: socket.socket) -> None:
    try:
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        pass


Ask = tuple[str, str, bytes | None]
"""Method, target, body."""
READS: Sequence[Ask] = (("GET", WEB, None), ("GET", PODS, None))
BOTH: Sequence[Ask] = (*READS, ("PATCH", WEB, b'{"metadata":{"annotations":{"load":"yes"}}}'))


class Load:
    """Clients that ask without a pause, each on one connection while that lives; ``faults`` is what went wrong."""

    def __init__(self, proxy: Proxied, asks: Sequence[Ask], threads: int) -> None:
        self.faults: list[str] = []
        self._proxy = proxy
        self._asks = asks
        self._done = 0
        self._changed = threading.Condition()
        self._ending = False
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def more(self, requests: int) -> None:
        """Wait until so many more have been answered, or one has failed."""
        with self._changed:
            until = self._done + requests
            assert self._changed.wait_for(lambda: self._done >= until or self.faults, DEADLINE)

    def end(self) -> None:
        """Wait for all threads."""
        self._ending = True
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        connection: HTTPConnection | None = None
        while not self._ending:
            if connection is None:
                connection = HTTPConnection("localhost", self._proxy.port, timeout=DEADLINE)
                connection.sock = self._proxy.connect()
            number += 1
            method, target, body = self._asks[number % len(self._asks)]
            fault = None
            try:
                headers = {"Content-Type": MERGE} if body else {}
                connection.request(method, target, body, headers)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != 200:
                    fault = f"{method} {target}: {answer.status} {content!r}"
                if answer.will_close:
                    connection.close()
                    connection = None
            except (OSError, HTTPException) as error:
                fault = f"{method} {target}: {error!r}"
                if connection is not None:
                    connection.close()
                    connection = None
            with self._changed:
                self._done += 1
                if fault is not None:
                    self.faults.append(fault)
                self._changed.notify_all()
        if connection is not None:
            connection.close()


@contextmanager
def loaded(proxy: Proxied, asks: Sequence[Ask] = BOTH, threads: int = 4) -> Iterator[Load]:
    """While this lasts, requests are made."""
    load = Load(proxy, asks, threads)
    try:
        yield load
    finally:
        load.end()


class Watching:
    """An open watch of the Pods, through a proxy; ``label`` changes the Pod and waits for the event of it."""

    def __init__(self, lab: Lab, proxy: Proxied) -> None:
        self._lab = lab
        self._changes = 0
        self._connection = HTTPConnection("localhost", proxy.port, timeout=DEADLINE)
        self._connection.sock = proxy.connect()
        self._connection.request("GET", f"{PODS}?watch=1")
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200

    def __enter__(self) -> Watching:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answer.close()
        self._connection.close()

    def label(self, key: str) -> None:
        """Set the Pod's label, and read on until an event shows it."""
        self._lab.api.label("lab", "web", **{key: "seen"})
        while True:
            line = self._answer.readline()
            assert line, "the watch has ended"
            if key in json.loads(line)["object"]["metadata"].get("labels", {}):
                return

    def rest(self) -> bytes:
        """All that still comes; raises IncompleteRead where it doesn't end in order."""
        return self._answer.read()


class Asking:
    """A request in a thread of its own; ``reply`` waits for what it got."""

    def __init__(self, ask: Callable[[], Reply]) -> None:
        self._got: Reply | BaseException | None = None
        self._ask = ask
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def reply(self, within: float = DEADLINE) -> Reply:
        """Fails the test if none comes within so many seconds."""
        self._thread.join(within)
        assert not self._thread.is_alive(), "no answer"
        if isinstance(self._got, BaseException):
            raise self._got
        assert self._got is not None
        return self._got

    def _run(self) -> None:
        try:
            self._got = self._ask()
        except BaseException as error:
            self._got = error


def header(reply: Reply, name: str) -> str | None:
    """One of an answer's headers, however it is written."""
    return {key.lower(): value for key, value in reply.headers.items()}.get(name.lower())


def settle(proxy: Proxied) -> None:
    """Until the proxy's loop has seen all that had come to it: it answers in the order in which things come."""
    for _ in range(3):
        assert proxy.get("/healthz").status == 200


REFUSED = "401-garbage-token"
"""What the API server says of a token that it doesn't know."""


def tokens(lab: Lab) -> list[str]:
    """Those that the API server was sent, in their order, each once for as long as it was the same."""
    sent = [(request.header("Authorization") or "").removeprefix("Bearer ") for request in lab.api.requests]
    return [token for at, token in enumerate(sent) if at == 0 or sent[at - 1] != token]


def why(proxy: Proxied) -> str:
    """What the log says of the first request that was refused."""
    return str(proxy.log.wait_for("ambassador.refused"))
