"""A watch that goes on: over clean ends, broken connections, expired versions and renewed tokens."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Literal, NamedTuple, Self

from kmetad.api import status
from kmetad.api.call import Call
from kmetad.api.errors import (
    ApiError,
    BadAnswer,
    CredentialsError,
    Gone,
    ServerError,
    StatusError,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from kmetad.api.objects import LONGEST, Object, parse, whole_list
from kmetad.api.paths import target
from kmetad.api.transport import Stream, Transport

SECONDS = 300.0
"""So long the server is asked to keep one request open: as client-go, five minutes at least, less a random part."""
GRACE = 15.0
"""Seconds beyond that, after which a connection that says nothing is taken for dead."""
_PAGE = 500
"""Objects of a list that are asked for at once, as kubectl does."""
_PAGES = 6
"""So many times the time of one call is what a whole list has: there is nothing to follow without it."""
_FIRST, _MOST = 0.5, 30.0
"""Seconds before the next request: doubling from the first to the most, half of them at random."""
_MOST_ASKED = 300.0
"""Seconds that the server may ask for, by Retry-After."""
_CALM = 30.0
"""A request that was open for so many seconds was none of those that fail at once."""


class WatchEvent(NamedTuple):
    """What happened to an object; or with LISTED, all there is."""

    type: Literal["LISTED", "ADDED", "MODIFIED", "DELETED"]
    object: Object
    """The object, after the change (of DELETED: before it); of LISTED a List: what isn't in it has gone."""


class Watch:
    """An iterator of events, for one thread; ``stop`` is for any. As a context manager it is stopped at its end.

    It begins with LISTED, unless it was given a version. It comes again, to be compared with what is known,
    whenever the server has forgotten the version that was reached (410), or fails over it. Everything that may
    pass is waited out, each time a little longer, and it goes on where it was. What won't pass is raised:
    Forbidden, NotFound, BadRequest and the like, and Unauthorized or CredentialsError if it was never accepted.

    ``seconds``: how long the server may keep one request; ``grace``: how much longer a connection that says
    nothing is waited for. ``wait`` sleeps so many seconds, and answers whether it was stopped meanwhile.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        query: Mapping[str, object],
        resource_version: str = "",
        *,
        timeout: float = 10.0,
        seconds: float = SECONDS,
        grace: float = GRACE,
        wait: Callable[[float], bool] | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        target(path, query)  # a path that is none is told of here, not by the first event
        self.fault: ApiError | None = None
        """Why it had to begin a new request last; None: the server had ended the one before."""
        self.requests = 0
        """How many it has begun."""
        self._transport = transport
        self._path = path
        self._query = query
        self._version = resource_version
        self._timeout = timeout
        self._seconds = seconds
        self._grace = grace
        self._stopping = threading.Event()
        self._wait = wait or self._stopping.wait
        self._uniform = uniform
        self._clock = clock
        self._lock = threading.RLock()  # a signal's handler may stop it while this very thread has the lock
        self._call: Call | None = None
        self._accepted = False
        self._events = self._run()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WatchEvent:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        try:
            self._events.close()
        except ValueError:
            pass  # another thread is in it, and has just been told

    def stop(self) -> None:
        """No event comes any more, and whoever waits for one is told so at once.

        Only a name that is being resolved, or an exec plugin that runs, is waited for.
        """
        with self._lock:
            self._stopping.set()
            if self._call is not None:
                self._call.cut()

    def _run(self) -> Generator[WatchEvent]:
        failures = 0
        while not self._stopping.is_set():
            begun = self._clock()
            fault: ApiError | None = None
            try:
                if not self._version:
                    yield self._listed()
                yield from self._follow()
            except Gone as error:
                fault, self._version = error, ""
            except (Unreachable, BadAnswer, ServerError, TooManyRequests) as error:
                fault = error
            except StatusError as error:
                if error.code != 408 and not (self._accepted and isinstance(error, Unauthorized)):
                    raise
                fault = error  # 408: a proxy's; 401: the kubelet may be a little later than the server
            except CredentialsError as error:
                if not self._accepted:
                    raise
                fault = error  # such as of an exec plugin, for a moment
            if isinstance(fault, ServerError) and fault.code in (500, 504):
                self._version = ""  # seen for one that it can't read, or that it hasn't reached
            self.fault = fault
            failures = 0 if self._clock() - begun >= _CALM else failures + 1
            if not self._stopping.is_set():
                self._wait(self._pause(failures, fault))

    def _listed(self) -> WatchEvent:
        with self._under_way(self._transport.call(_PAGES * self._timeout)) as call:
            listed = whole_list(partial(self._transport.get, call), self._path, self._query, _PAGE)
        version = listed["metadata"].get("resourceVersion")
        if not isinstance(version, str) or not version:
            raise BadAnswer(f"GET {self._path}: a List without a resourceVersion can't be followed")
        self._accepted = True
        self._version = version
        return WatchEvent("LISTED", listed)

    def _follow(self) -> Iterator[WatchEvent]:
        """One request, to its end."""
        with self._under_way(self._transport.call()) as call:
            self.requests += 1
            with self._begin(call) as stream:
                self._accepted = True
                for line in _lines(stream, self._path):
                    event = self._understand(line)
                    if event is not None:
                        yield event
                    if self._stopping.is_set():
                        return

    @contextmanager
    def _under_way(self, call: Call) -> Iterator[Call]:
        """``stop`` cuts this call, also if it came before it."""
        with call:
            with self._lock:
                self._call = call
                if self._stopping.is_set():
                    call.cut()
            try:
                yield call
            finally:
                with self._lock:
                    self._call = None

    def _begin(self, call: Call) -> Stream:
        seconds = max(1, round(self._seconds * self._uniform(0.8, 1.0)))
        query = {
            **self._query,
            "watch": True,
            "allowWatchBookmarks": True,
            "resourceVersion": self._version,
            "timeoutSeconds": seconds,
        }
        return self._transport.stream(call, target(self._path, query), patience=seconds + self._grace)

    def _understand(self, line: bytes) -> WatchEvent | None:
        """The event of a line; None for a bookmark. Raises for an ERROR what the same refusal would."""
        read = parse(line, f"GET {self._path} (watch)")
        kind, thing = read.get("type"), read.get("object")
        if not isinstance(thing, dict):
            raise BadAnswer(f"GET {self._path} (watch): an event without an object")
        if kind == "ERROR":
            code = thing.get("code")
            raise status.from_status(
                f"GET {self._path} (watch)", thing, code if isinstance(code, int) else 500
            )
        metadata = thing.get("metadata")
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if isinstance(version, str) and version:
            self._version = version
        if kind in ("ADDED", "MODIFIED", "DELETED"):
            return WatchEvent(kind, thing)
        return None

    def _pause(self, failures: int, fault: ApiError | None) -> float:
        """Seconds until the next request; also after a clean end, for a server may end each one at once."""
        most = min(_MOST, _FIRST * 2.0 ** min(max(0, failures - 1), 10))
        pause = self._uniform(most / 2, most)
        after = getattr(fault, "retry_after", None)
        return pause if after is None else max(pause, min(after, _MOST_ASKED) + self._uniform(0, _FIRST))


def _lines(stream: Stream, path: str) -> Iterator[bytes]:
    """Whole lines as they come. Raises Unreachable for one that is torn: its event will come again."""
    held = bytearray()
    while data := stream.read():
        begun = len(held)
        held += data
        end = held.rfind(b"\n", begun)
        if end >= 0:
            whole = bytes(held[:end])
            del held[: end + 1]
            yield from filter(None, whole.split(b"\n"))
        if len(held) > LONGEST:
            raise BadAnswer(f"GET {path} (watch): an event of more than {LONGEST >> 20} MiB")
    if held.strip():
        raise Unreachable(f"GET {path} (watch): the connection broke in the middle of an event")
