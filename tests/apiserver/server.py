"""The server: what the tests hold, and the threads behind it."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Any

from tests.apiserver import api, behaviour, containers, discovery
from tests.apiserver.access import (
    NOBODY,
    Identity,
    Rule,
    Rules,
    Tokens,
    bearer,
    service_account,
    uid_of,
    user_named,
)
from tests.apiserver.answers import Refusal, text
from tests.apiserver.behaviour import Behaviour
from tests.apiserver.connection import Connection, Exchange, Request
from tests.apiserver.discovery import Resource
from tests.apiserver.mount import Mount
from tests.apiserver.objects import Object
from tests.apiserver.patches import merge
from tests.apiserver.store import Feed, Key, Store
from tests.apiserver.tls import Authority, Issued

DEADLINE = 30.0
"""Seconds after which a test gives up waiting; never how long anything should take."""

Matcher = str | Callable[[Request], bool]
PROXY_USER = "kubectl-proxy"
_PROXY_HOSTS = ("localhost", "127.0.0.1", "[::1]")


@dataclass
class Script:
    """What some requests get in place of their answer."""

    matcher: Matcher
    act: Behaviour
    left: float
    used: int = 0

    def stop(self) -> None:
        """Let it happen no more."""
        self.left = 0


def matches(matcher: Matcher, request: Request) -> bool:
    """Whether a request is meant: by a function, or by words of which every one has to be true.

    ``/a/path`` (with ``*``) is the path without the query, ``GET`` the method, ``watch`` a verb,
    and ``pods`` or ``pods/status`` a resource.
    """
    if not isinstance(matcher, str):
        return matcher(request)
    for word in matcher.split():
        if word.startswith("/"):
            if not fnmatchcase(request.where, word):
                return False
        elif word not in (request.method, request.verb, request.resource, "*"):
            return False
    return True


class ApiServer:
    """An API server on 127.0.0.1, for as long as the ``with`` block.

    Nobody may do anything but what every cluster allows, until ``allow`` says more. With
    ``tls=False`` it is what ``kubectl proxy`` serves: plain HTTP, and who brings no token acts as
    ``PROXY_USER``.
    """

    def __init__(self, *, tls: bool = True, authority: Authority | None = None) -> None:
        self.tls = tls
        self.authority = authority or Authority()
        self.clients = Authority("client-ca")
        self.store = Store()
        self.tokens = Tokens()
        self.rules = Rules()
        self.uid = uid_of("flowschema")
        self.requests: list[Request] = []
        self.unfinished: list[bytes] = []  # what came of requests that weren't whole, or none at all
        self.failed_handshakes: list[str] = []
        self.logs: dict[tuple[str, str], list[str]] = {}
        self.files: dict[tuple[str, str], dict[str, bytes]] = {}  # in Pods, by their paths
        self.ports: dict[int, bytes | None] = {80: containers.PAGE}  # None refuses; all others echo
        self.closing = Feed()
        self.host = "127.0.0.1"
        self._changed = threading.Condition()
        self._scripts: list[Script] = []
        self._watches: list[Exchange] = []
        self._connections: dict[int, Connection] = {}
        self._threads: list[threading.Thread] = []
        self._accepted = 0
        self._closed = False
        self._context = self._new_context() if tls else None
        self._listening = socket.create_server((self.host, 0), backlog=128)
        self.port = int(self._listening.getsockname()[1])
        self.url = f"{'https' if tls else 'http'}://{self.host}:{self.port}"
        self.put({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "default"}})
        self._accepting = threading.Thread(target=self._accept, name="apiserver")

    def __enter__(self) -> ApiServer:
        self._accepting.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cut all connections, and wait for all threads."""
        if self._closed:
            return
        self._closed = True
        self.closing.push(behaviour.close)
        try:
            self._listening.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listening.close()
        self._accepting.join()
        self.hang_up()
        for thread in self._threads:
            thread.join()
        self.closing.close()

    # Who there is, and what they may do.

    def token(self, user: str, *, expires: float | None = None, **more: Any) -> str:
        """A new token for a user; see ``Tokens.issue``."""
        return self.tokens.issue(user, expires=expires, **more)

    def revoke(self, token: str) -> None:
        """Answer 401 to a token from now on."""
        self.tokens.revoke(token)

    def client_certificate(self, user: str, groups: Iterable[str] = (), *, expired: bool = False) -> Issued:
        """A certificate that makes its holder this user, in these groups."""
        return self.clients.client(user, groups, expired=expired)

    def allow(
        self,
        user: str,
        verbs: Iterable[str] = (),
        resources: Iterable[str] = (),
        groups: Iterable[str] = ("",),
        namespace: str = "",
        names: Iterable[str] = (),
    ) -> None:
        """Grant a user (or a group of this name) verbs on resources, in a namespace or, with "", everywhere."""
        self.rules.allow(user, namespace, Rule(tuple(verbs), tuple(groups), tuple(resources), tuple(names)))

    def allow_all(self, user: str) -> None:
        """Grant a user everything."""
        self.rules.allow(user, "", Rule(("*",), ("*",), ("*",)))
        self.rules.allow(user, "", Rule(("*",), paths=("*",)))

    def forbid(self, user: str) -> None:
        """Take from a user all that was granted."""
        self.rules.forget(user)

    def mount(
        self,
        directory: str | os.PathLike[str],
        user: str | None = None,
        *,
        token: str | None = None,
        namespace: str | None = None,
    ) -> Mount:
        """Write a service account's volume, for a user whose token is made, or with a token that is given."""
        account = service_account(user or "")
        where = namespace or (account[0] if account else "default")
        if token is None:
            token = self.token(user or f"system:serviceaccount:{where}:default")
        return Mount(directory, where, token, self.authority.pem)

    def rotate_certificate(
        self,
        authority: Authority | None = None,
        *,
        certificate: Issued | None = None,
        keep_connections: bool = False,
    ) -> None:
        """Show a certificate of another authority from now on, and close what connections there are.

        ``certificate`` is one that the authority issued: for another name, or one that has expired.
        """
        self.authority = authority or Authority()
        self._context = self._new_context(certificate)
        if not keep_connections:
            self.hang_up()

    # What comes in.

    def script(self, matcher: Matcher, act: Behaviour | bytes | str, times: float = 1) -> Script:
        """Let the next requests that match have this in place of their answer.

        ``act`` is a behaviour, bytes that are sent as they are, or the name of a recorded answer.
        Of several scripts that match the oldest is used up first. See ``matches`` for matchers.
        """
        if isinstance(act, bytes):
            act = behaviour.raw(act)
        elif isinstance(act, str):
            act = behaviour.as_recorded(act)
        script = Script(matcher, act, times)
        with self._changed:
            self._scripts.append(script)
        return script

    def wait_for(self, matcher: Matcher, times: int = 1, timeout: float = DEADLINE) -> Request:
        """Wait until so many requests that match have come since the beginning: the last of them."""

        def found() -> list[Request]:
            return [request for request in self.requests if matches(matcher, request)]

        with self._changed:
            if not self._changed.wait_for(lambda: len(found()) >= times, timeout):
                came = [f"{request.method} {request.path}" for request in self.requests]
                raise AssertionError(f"{matcher!r} came {len(found())} times, not {times}: {came}")
            return found()[times - 1]

    def wait_until(self, so: Callable[[], bool], timeout: float = DEADLINE) -> None:
        """Wait until something is so; that is looked at whenever something has come, or a connection gone."""
        with self._changed:
            if not self._changed.wait_for(so, timeout):
                raise AssertionError("it has not come to this")

    def hang_up(self) -> None:
        """Cut all connections that there are."""
        with self._changed:
            connections = list(self._connections.values())
        for connection in connections:
            connection.hang_up()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    # Watches.

    @property
    def watches(self) -> int:
        """How many are open, and have sent what there was when they began."""
        return len(self._watches)

    def wait_for_watches(self, count: int = 1, timeout: float = DEADLINE) -> None:
        """Wait until so many are open, not more and not fewer."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._watches) == count, timeout):
                raise AssertionError(f"{len(self._watches)} watches are open, not {count}")

    def interrupt(self, act: Behaviour) -> None:
        """Let this happen to all open watches, after the events so far."""
        self.store.push(act)

    def bookmark(self) -> None:
        """Send all open watches a BOOKMARK."""
        self.interrupt(behaviour.bookmark)

    @contextmanager
    def watching_now(self, exchange: Exchange) -> Iterator[None]:
        """Count an open watch."""
        with self._changed:
            self._watches.append(exchange)
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._watches.remove(exchange)
                self._changed.notify_all()

    # The objects.

    def put(self, given: Mapping[str, Any]) -> Object:
        """Create or replace an object, as somebody who may do everything: as it is now."""
        resource = discovery.resource_of(given["apiVersion"], given["kind"])
        metadata = dict(given["metadata"])
        namespace = metadata.setdefault("namespace", "default") if resource.namespaced else ""
        key = Key(resource.storage, namespace, metadata["name"])
        if resource.kind == "Namespace":
            given = {"status": {"phase": "Active"}, **given}
        with self.store.lock:
            before = self.store.get(key)
            old = before["metadata"] if before else {}
            metadata.setdefault(
                "uid", old.get("uid") or uid_of(f"{resource.plural}/{namespace}/{metadata['name']}")
            )
            metadata.setdefault("creationTimestamp", old.get("creationTimestamp") or _now())
            return self.store.put(key, {**given, "metadata": metadata})

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """An object, or None; the namespace is "" for those that are in none."""
        return self.store.get(self._key(kind, namespace, name))

    def change(self, kind: str, namespace: str, name: str, **parts: Mapping[str, Any]) -> Object:
        """Merge into parts of an object, as a JSON merge patch does."""
        key = self._key(kind, namespace, name)
        with self.store.lock:
            before = self.store.get(key)
            if before is None:
                raise LookupError(f"there is no {kind} {namespace}/{name}")
            return self.store.put(key, merge(before, parts))

    def label(self, namespace: str, name: str, **labels: str | None) -> Object:
        """Set a Pod's labels; None removes one. For other keys: ``label("lab", "web", **{"a/b": "c"})``."""
        return self.change("Pod", namespace, name, metadata={"labels": labels})

    def annotate(self, namespace: str, name: str, **annotations: str | None) -> Object:
        """Likewise its annotations."""
        return self.change("Pod", namespace, name, metadata={"annotations": annotations})

    def remove(self, kind: str, namespace: str, name: str) -> Object | None:
        """Take an object away."""
        return self.store.remove(self._key(kind, namespace, name))

    def objects(self, kind: str, namespace: str = "") -> list[Object]:
        """All objects of a kind (in a namespace)."""
        storage = self._resource(kind).storage
        return list(self.store.at(-1, storage, namespace).values())

    def compact(self) -> None:
        """Forget the past: an older resourceVersion is too old from now on."""
        self.store.compact()

    def log(self, namespace: str, name: str, *lines: str) -> None:
        """Let a Pod's container write lines."""
        self.logs[namespace, name] = [*self.logs.get((namespace, name), []), *lines]
        self.store.push(lambda exchange: None)

    def _resource(self, kind: str) -> Resource:
        for resource in discovery.resources().values():
            if resource.kind == kind:
                return resource
        raise LookupError(f"no resource of kind {kind}")

    def _key(self, kind: str, namespace: str, name: str) -> Key:
        return Key(self._resource(kind).storage, namespace, name)

    # What connections call.

    def handle(self, exchange: Exchange) -> None:
        """Answer a request, or do what is scripted for it."""
        request = exchange.request
        api.understand(request)
        try:
            request.user = self._identify(exchange).name
        except Refusal:
            request.user = ""
        with self._changed:
            script = self._script_for(request)
            self.requests.append(request)
            self._changed.notify_all()
        if script is not None:
            script.act(exchange)
        else:
            self.serve(exchange)

    def note_switch(self, request: Request, protocol: str) -> None:
        """From now on a request's connection has another protocol."""
        with self._changed:
            request.switched = protocol
            self._changed.notify_all()

    def note_received(self, request: Request, data: bytes) -> None:
        """This came after a switch."""
        with self._changed:
            request.after += data
            self._changed.notify_all()

    def serve(self, exchange: Exchange) -> None:
        """Answer a request."""
        if not self.tls and _refused_by_proxy(exchange.request):
            exchange.answer(text("Forbidden\n", 403))
            return
        try:
            api.serve(self, exchange, self._identify(exchange))
        except Refusal as refusal:
            exchange.answer(refusal.answer())

    def _identify(self, exchange: Exchange) -> Identity:
        found = bearer(exchange.request.header("Authorization"), self.tokens)
        if found is not None:
            return found
        if not self.tls:
            return user_named(PROXY_USER)
        subject = [
            pair for part in (exchange.connection.certificate or {}).get("subject", ()) for pair in part
        ]
        for key, name in subject:
            if key == "commonName":
                return user_named(name, [group for kind, group in subject if kind == "organizationName"])
        return NOBODY

    def _script_for(self, request: Request) -> Script | None:
        for script in self._scripts:
            if script.left > 0 and matches(script.matcher, request):
                script.left -= 1
                script.used += 1
                return script
        return None

    def _new_context(self, certificate: Issued | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (certificate or self.authority.server()).load(context)
        context.load_verify_locations(cadata=self.clients.pem.decode("ascii"))
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return  # closed
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._context is not None:
                    sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            except OSError:  # whoever it was has gone again
                sock.close()
                continue
            self._accepted += 1
            connection = Connection(self, sock, self._accepted)
            thread = threading.Thread(
                target=self._run, args=(connection,), name=f"apiserver-{self._accepted}"
            )
            with self._changed:
                self._connections[connection.number] = connection
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: Connection) -> None:
        try:
            connection.run()
        finally:
            with self._changed:
                del self._connections[connection.number]
                self._changed.notify_all()


def _refused_by_proxy(request: Request) -> bool:
    """What ``kubectl proxy`` keeps to itself."""
    host = (request.header("Host") or "").rpartition(":")[0] or (request.header("Host") or "")
    return host not in _PROXY_HOSTS or request.resource in ("pods/exec", "pods/attach")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
