"""The client: one object for one API server, with plain dicts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakSet

from kmetad.api.credentials import NO_HEADERS
from kmetad.api.exchange import PATCHES, Answer, Request
from kmetad.api.find import find_server
from kmetad.api.objects import LONGEST, Object, parse, whole_list
from kmetad.api.paths import target
from kmetad.api.server import Server
from kmetad.api.transport import Transport

if TYPE_CHECKING:
    from kmetad.api.watch import Watch
    from kmetad.metadata import Token

Query = Mapping[str, object]
Patch = Literal["merge", "strategic", "json", "apply"]

_PAGE = 500
"""Objects that are asked for at once, as kubectl does."""
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Client:
    """What may be asked of an API server. May be used from several threads at once.

    Nothing is imported or opened before the first call. ``server``: ``find_server()`` where nothing is
    said. ``timeout``: seconds that one call may take, with all of its answer and all pages of a list;
    resolving a name isn't counted, nor the exec plugin of a kubeconfig. ``warn`` is told what the server
    warns of (a field that it doesn't know), ``counted`` of each request: its method, and the status of its
    answer, or None where there was none.

    Tokens and CAs that rotate are followed; after a 401 the token is read afresh and the call made once more.
    Whatever is refused raises StatusError, or what else ApiError has below it; ValueError is for a path that
    is none. Nothing else is tried again: whoever calls knows better when, as a plugin by ``kmetad.Retry``.

    >>> client = Client()  # doctest: +SKIP
    >>> client.get("/api/v1/namespaces/lab/pods/web")["status"]["phase"]  # doctest: +SKIP
    'Running'
    """

    def __init__(
        self,
        server: Server | None = None,
        *,
        timeout: float = 10.0,
        warn: Callable[[str], object] = lambda text: None,
        counted: Callable[[str, int | None], object] = lambda method, status: None,
    ) -> None:
        from kmetad import __version__

        self.server = find_server() if server is None else server
        self.timeout = timeout
        self._transport = Transport(self.server, f"kmetad/{__version__}", warn, counted)
        self._watches: WeakSet[Watch] = WeakSet()
        self._lock = threading.Lock()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop its watches, and close the connections that are kept open. It may be used again."""
        with self._lock:
            watches = list(self._watches)
        for watch in watches:
            watch.stop()
        self._transport.close()

    @property
    def namespace(self) -> str:
        """Where whoever asks is at home: the Pod's, or the kubeconfig's; empty where nothing says."""
        return self.server.namespace

    def token(self) -> Token | None:
        """Expiry and audiences of the token that is sent; None where none is. Raises CredentialsError."""
        return self.server.credentials.token() if self.server.secure else None

    # -- verbs -------------------------------------------------------------------------

    def get(self, path: str, query: Query = _NOTHING) -> Object:
        """One object, or whatever the path holds as an object of JSON."""
        with self._transport.call(self.timeout) as call:
            return self._transport.get(call, path, query)

    def list(self, path: str, query: Query = _NOTHING, *, page_size: int = _PAGE) -> Object:
        """A whole List, ``page_size`` objects a request, with the resourceVersion to watch from.

        Where the server forgets in the middle of it what the first page was of, it is asked for
        everything at once.
        """
        with self._transport.call(self.timeout) as call:
            return whole_list(partial(self._transport.get, call), path, query, page_size)

    def watch(self, path: str, query: Query = _NOTHING, *, resource_version: str = "") -> Watch:
        """Changes to what a path lists, as they come, for as long as it isn't stopped: see Watch.

        Without ``resource_version`` it begins with the whole list.
        """
        from kmetad.api.watch import Watch

        made = Watch(self._transport, path, query, resource_version, timeout=self.timeout)
        with self._lock:
            self._watches.add(made)
        return made

    def create(self, path: str, body: Mapping[str, Any], query: Query = _NOTHING) -> Object:
        """Make an object; the path is that of its resource."""
        return self._object("POST", target(path, query), body)

    def patch(
        self,
        path: str,
        body: Mapping[str, Any] | Sequence[Any],
        query: Query = _NOTHING,
        *,
        type: Patch = "merge",
        field_manager: str = "kmetad",
        force: bool = False,
    ) -> Object:
        """Change a part of an object, in one of Kubernetes' four ways ("API concepts").

        ``merge`` replaces lists as a whole, conditions too; ``strategic`` merges those that have keys;
        ``json`` is a list of operations; ``apply`` says what ``field_manager`` wants, and what it no longer
        wants goes (with ``force`` also what another manager has, which is a Conflict else). Raises ValueError
        for ``force`` with any other.
        """
        if force and type != "apply":
            raise ValueError("force is for type='apply' alone: no other patch asks whose a field is")
        how = {**query, "fieldManager": field_manager} | ({"force": True} if force else {})
        return self._object("PATCH", target(path, how), body, PATCHES[type])

    def delete(self, path: str, body: Mapping[str, Any] | None = None, query: Query = _NOTHING) -> Object:
        """Delete an object; ``body`` may hold DeleteOptions."""
        return self._object("DELETE", target(path, query), body)

    def raw(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: Mapping[str, str] = _NOTHING,
        timeout: float | None = None,
        max_bytes: int = LONGEST,
    ) -> Answer:
        """Any request, and its answer's bytes: ``max_bytes`` at most, within ``timeout`` seconds (the client's).

        ``headers`` may not say who asks. Raises ValueError if they do.
        """
        owned = {"authorization", "host", "connection", "transfer-encoding", "content-length"}
        if taken := owned & {name.lower() for name in headers}:
            raise ValueError(f"the client sets {', '.join(sorted(taken))} itself")
        with self._transport.call(self.timeout if timeout is None else timeout) as call:
            return self._transport.whole(
                call, Request(method, target(path), body, headers), max_bytes=max_bytes
            )

    # -- how -----------------------------------------------------------------------------

    def _object(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> Object:
        from json import dumps  # escapes bytes that were no UTF-8, which msgspec can't

        sent = b"" if body is None else dumps(body, separators=(",", ":"), default=_plain).encode()
        request = Request(method, path, sent, {"Content-Type": content_type} if sent else NO_HEADERS)
        with self._transport.call(self.timeout) as call:
            answer = self._transport.whole(call, request)
        return parse(answer.body, str(request))


def _plain(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
