"""Watches, and everything that ends them."""

from __future__ import annotations

import gc
import json
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kmetad.api import (
    ApiError,
    BadRequest,
    Client,
    Credentials,
    CredentialsError,
    Forbidden,
    Gone,
    NotFound,
    Server,
    ServerError,
    StatusError,
    TooManyRequests,
    Trust,
    Unauthorized,
    Unreachable,
    Watch,
    WatchEvent,
    find_server,
    path_of,
)
from kmetad.api.watch import _lines
from tests.apiserver import ApiServer, Authority, behaviour, pod
from tests.apiserver.behaviour import Behaviour
from tests.cli import eventually

APP = "system:serviceaccount:lab:app"
PODS = path_of("pods", namespace="lab")
DEADLINE = 60.0


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """One that has a Pod."""
    with ApiServer() as running:
        running.put(pod("web", "lab", labels={"n": "0"}))
        running.allow(APP, ["list", "watch"], ["pods"], namespace="lab")
        yield running


@pytest.fixture
def client(server: ApiServer, tmp_path: Path) -> Iterator[Client]:
    """In a Pod of it."""
    mounted = server.mount(tmp_path / "account", APP)
    with Client(find_server(url=server.url, token_path=str(mounted.path)), timeout=DEADLINE) as made:
        yield made


class Watched:
    """A watch with a thread of its own, that doesn't wait between requests, and notes how long it would have."""

    def __init__(self, client: Client, *, patient: bool = False, **options: Any) -> None:
        self.pauses: list[float] = []
        self.faults: list[ApiError | None] = []
        self.events: list[WatchEvent] = []
        self.ended: BaseException | None = None
        self._changed = threading.Condition()
        if not patient:
            options["wait"] = self._wait
        self.watch = Watch(client._transport, PODS, {}, timeout=DEADLINE, **options)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.faults.append(self.watch.fault)
        return False

    def _run(self) -> None:
        try:
            for event in self.watch:
                with self._changed:
                    self.events.append(event)
                    self._changed.notify_all()
        except ApiError as error:
            self.ended = error
        with self._changed:
            self.ended = self.ended or StopIteration()
            self._changed.notify_all()

    def until(self, condition: Callable[[], object]) -> None:
        """Wait until it holds, which only an event, or the end, can bring about."""
        with self._changed:
            assert self._changed.wait_for(lambda: condition() or self.ended, DEADLINE), self.events
            assert condition(), self.ended

    def seen(self, label: str) -> None:
        """Wait until the Pod was seen with this value."""
        self.until(lambda: self.events and labels(self.events[-1]) == [label])

    def end(self) -> BaseException | None:
        """How it ends by itself."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()
        return self.ended

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.watch.stop()
        self.end()


def labels(event: WatchEvent) -> list[str]:
    """The value of ``n`` of each Pod in it."""
    items = event.object["items"] if event.type == "LISTED" else [event.object]
    return [item["metadata"]["labels"]["n"] for item in items]


def types(watched: Watched) -> list[str]:
    """Of all events."""
    return [event.type for event in watched.events]


def test_what_happens(client: Client, server: ApiServer) -> None:
    """First all there is, then each change, from the version on that the list had."""
    with Watched(client) as watched:
        server.wait_for_watches()
        server.label("lab", "web", n="1")
        server.put(pod("other", "lab", labels={"n": "x"}))
        server.remove("Pod", "lab", "web")
        watched.until(lambda: len(watched.events) == 4)
        assert types(watched) == ["LISTED", "MODIFIED", "ADDED", "DELETED"]
        assert [labels(event) for event in watched.events] == [["0"], ["1"], ["x"], ["1"]]
        request = server.wait_for("watch")
    listed = watched.events[0].object["metadata"]["resourceVersion"]
    assert f"resourceVersion={listed}&" in request.path
    assert "allowWatchBookmarks=true" in request.path and "timeoutSeconds=" in request.path
    assert isinstance(watched.ended, StopIteration)


def test_from_a_version(client: Client, server: ApiServer) -> None:
    """With a version it doesn't list."""
    version = client.list(PODS)["metadata"]["resourceVersion"]
    server.label("lab", "web", n="1")
    with Watched(client, resource_version=version) as watched:
        watched.seen("1")
        assert types(watched) == ["MODIFIED"]


def test_a_selector(client: Client, server: ApiServer) -> None:
    """It counts for the list and for the watch."""
    server.put(pod("other", "lab", labels={"n": "9"}))
    watch = client.watch(PODS, {"fieldSelector": "metadata.name=web"})
    assert labels(next(watch)) == ["0"]
    server.label("lab", "other", n="10")
    server.label("lab", "web", n="1")
    assert labels(next(watch)) == ["1"]
    watch.stop()
    assert list(watch) == []


@pytest.mark.parametrize(
    ("behave", "fault"),
    [
        (behaviour.end, None),
        (behaviour.reset, Unreachable),
        (behaviour.close, Unreachable),
        (behaviour.torn_line, Unreachable),
        (behaviour.torn_connection, Unreachable),
        (behaviour.too_many_requests(3), TooManyRequests),
        (behaviour.unavailable, ServerError),
        (behaviour.html(502), ApiError),
        (behaviour.watch_error(500), ServerError),
        (behaviour.watch_error(503), ServerError),
        (behaviour.status(408, "Timeout", "too slow"), StatusError),
        (behaviour.lines(b'{"type":"ERROR","object":{}}\n'), ServerError),
        (behaviour.lines(b'{"type":"MODIFIED"}\n'), ApiError),
        (behaviour.not_http, Unreachable),
    ],
)
def test_it_goes_on(
    client: Client, server: ApiServer, behave: Behaviour, fault: type[ApiError] | None
) -> None:
    """Whatever may pass: a new request, from where it was; nothing is missed, and nothing comes twice."""
    server.script("watch", behave, times=3)
    with Watched(client) as watched:
        server.wait_for("watch", times=4)
        server.wait_for_watches()
        server.label("lab", "web", n="1")
        watched.seen("1")
        server.label("lab", "web", n="2")
        watched.seen("2")
    changes = [event for event in watched.events if event.type != "LISTED"]
    assert [labels(event) for event in changes] == [["1"], ["2"]]
    assert len(watched.pauses) >= 3
    # Of an error that the server has with a version (seen: one that it can't read) nobody knows when it passes.
    forgotten = isinstance(watched.faults[0], ServerError) and watched.faults[0].code == 500
    assert types(watched).count("LISTED") == (4 if forgotten else 1)
    assert all(isinstance(f, fault) if fault else f is None for f in watched.faults[:3])


def test_open_watches_that_end(client: Client, server: ApiServer) -> None:
    """The same in the middle of one, with changes before, between and after."""
    with Watched(client) as watched:
        for number, act in enumerate((behaviour.end, behaviour.reset, behaviour.torn_line, behaviour.close)):
            server.wait_for_watches()
            server.label("lab", "web", n=f"{number}a")
            watched.seen(f"{number}a")
            server.interrupt(act)
            server.label("lab", "web", n=f"{number}b")
            watched.seen(f"{number}b")
    assert types(watched) == ["LISTED"] + ["MODIFIED"] * 8


def test_no_hot_loop(client: Client, server: ApiServer) -> None:
    """A server that ends each watch at once is asked more and more rarely, within bounds; so is one that fails."""
    for behave in (behaviour.end, behaviour.close):
        script = server.script("watch", behave, times=20)
        with Watched(client, uniform=max) as watched:
            server.wait_for("watch", times=len([r for r in server.requests if r.verb == "watch"]) + 21)
        assert watched.pauses[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
        assert set(watched.pauses[8:20]) == {30.0}
        script.stop()


def test_pauses_are_jittered(client: Client, server: ApiServer) -> None:
    """Half of each is chance, so that many clients don't come back together."""
    server.script("watch", behaviour.end, times=6)
    with Watched(client, uniform=lambda low, high: low) as watched:
        server.wait_for("watch", times=7)
    assert watched.pauses[:6] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0]


def test_a_watch_that_lasted_begins_anew_soon(client: Client, server: ApiServer) -> None:
    """What was open for a while was none of those that fail at once."""
    server.script("watch", behaviour.end, times=4)
    times = iter([0.0, 1.0, 1.0, 2.0, 2.0, 302.0, 302.0, 303.0, *[303.0] * 100])
    with Watched(client, uniform=max, clock=lambda: next(times)) as watched:
        server.wait_for("watch", times=5)
    assert watched.pauses[:4] == [0.5, 1.0, 0.5, 0.5]


def test_retry_after(client: Client, server: ApiServer) -> None:
    """The server's own word is the least that is waited, where it isn't for days."""
    for seconds in (7, 86400):
        server.script("watch", behaviour.too_many_requests(seconds))
    server.script("watch", behaviour.too_many_requests(1), times=6)
    with Watched(client, uniform=max) as watched:
        server.wait_for("watch", times=9)
    assert watched.pauses[:8] == [7.5, 300.5, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_how_long_a_request_is_kept(client: Client, server: ApiServer) -> None:
    """Five minutes, less a random fifth; one that is quiet until the server ends it is none that has broken."""
    for uniform, seconds in ((min, 240), (max, 300)):
        with Watched(client, uniform=uniform):
            server.wait_for_watches()
        server.wait_for_watches(0)
        assert f"timeoutSeconds={seconds}" in server.requests[-1].path
    with Watched(client, seconds=1.0, grace=0.5, uniform=max) as watched:
        server.wait_for("watch", times=4)
    assert watched.faults[:1] == [None]


def test_a_kind_of_event_that_nobody_knows(client: Client, server: ApiServer) -> None:
    """It is passed over, and what it says of the version is kept."""
    thing = {"metadata": {"name": "x", "resourceVersion": "305"}}
    server.script("watch", behaviour.events({"type": "SOMETHING", "object": thing}))
    with Watched(client) as watched:
        assert "resourceVersion=305" in server.wait_for("watch", times=2).path
    assert types(watched) == ["LISTED"]


def test_a_credential_that_cannot_be_had_for_a_moment(client: Client, server: ApiServer) -> None:
    """As of an exec plugin without a network: waited out by a watch that was accepted, and raised by any other."""
    account = client.server.credentials
    broken: list[int] = []

    class Moody(Credentials):
        def trust(self) -> Trust:
            return account.trust()

        def headers(self) -> Mapping[str, str]:
            if broken and broken.pop():
                raise CredentialsError("no network")
            return account.headers()

    with Client(Server(server.url, Moody()), timeout=DEADLINE) as moody:
        with Watched(moody) as watched:
            server.wait_for_watches()
            broken.append(1)
            server.interrupt(behaviour.end)
            server.label("lab", "web", n="1")
            watched.seen("1")
        assert any(isinstance(fault, CredentialsError) for fault in watched.faults)
        broken.append(1)
        with Watched(moody) as watched:
            assert isinstance(watched.end(), CredentialsError)


def test_a_watch_that_nobody_has_any_more(client: Client, server: ApiServer) -> None:
    """Leaving its loop is enough: the connection ends with it."""
    for event in client.watch(PODS):
        assert event.type == "LISTED"
        break
    watch = client.watch(PODS)
    assert [next(watch).type for _ in range(1)] == ["LISTED"]
    server.label("lab", "web", n="1")
    assert next(watch).type == "MODIFIED"
    server.wait_for_watches()
    del watch, event
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # as of anything that nobody closes
        gc.collect()
    server.wait_for_watches(0)
    assert not client._watches


def expired_in_stream(exchange: behaviour.Exchange) -> None:
    """As an API server says it while the watch is open."""
    behaviour.watch_error(410)(exchange)


@pytest.mark.parametrize(
    "behave", [expired_in_stream, behaviour.status(410, "Expired", "too old resource version")],
    ids=["in the stream", "as the status"],
)  # fmt: skip
def test_expired(client: Client, server: ApiServer, behave: Behaviour) -> None:
    """Either 410: it lists again, and says so; what changed meanwhile is in that list."""
    with Watched(client) as watched:
        server.wait_for_watches()
        server.label("lab", "web", n="1")
        watched.seen("1")
        server.script("watch", behave)
        server.interrupt(behaviour.end)
        watched.until(lambda: types(watched).count("LISTED") == 2)
        assert labels(watched.events[-1]) == ["1"]
        server.label("lab", "web", n="2")
        watched.seen("2")
    assert types(watched) == ["LISTED", "MODIFIED", "LISTED", "MODIFIED"]
    assert any(isinstance(fault, Gone) for fault in watched.faults)


def test_compacted(client: Client, server: ApiServer) -> None:
    """A version that is really forgotten."""
    version = client.list(PODS)["metadata"]["resourceVersion"]
    for number in range(5):
        server.label("lab", "web", n=str(number))
    server.compact()
    server.label("lab", "web", n="5")
    with Watched(client, resource_version=version) as watched:
        watched.seen("5")
        assert types(watched)[0] == "LISTED"


def test_a_version_that_the_server_cannot_read(client: Client, server: ApiServer) -> None:
    """That is a 500, and stays one: it lists instead of asking for ever."""
    with Watched(client, resource_version="abc") as watched:
        watched.seen("0")
    assert types(watched) == ["LISTED"]
    assert isinstance(watched.faults[0], ServerError)


def test_bookmarks(client: Client, server: ApiServer) -> None:
    """They move the version on, and nobody else is told: after one, a forgotten past does no harm."""
    with Watched(client) as watched:
        server.wait_for_watches()
        server.compact()
        server.put(pod("elsewhere", "other"))
        server.bookmark()
        server.interrupt(behaviour.end)
        server.wait_for("watch", times=2)
        server.wait_for_watches()
        server.label("lab", "web", n="1")
        watched.seen("1")
    assert types(watched) == ["LISTED", "MODIFIED"]


def test_a_dead_connection(client: Client, server: ApiServer) -> None:
    """One that says nothing for longer than the server was asked to keep it is given up."""
    script = server.script("watch", behaviour.silence)
    with Watched(client, seconds=1.0, grace=0.1, uniform=max) as watched:
        server.wait_for("watch", times=2)
        assert script.used == 1
        assert isinstance(watched.faults[0], Unreachable)


def test_a_line_in_bits(client: Client, server: ApiServer) -> None:
    """Cut anywhere, in the middle of a character too."""
    thing = {**pod("web", "lab", labels={"n": "ü€𝄞"}), "apiVersion": "v1", "kind": "Pod"}
    thing["metadata"]["resourceVersion"] = "99999"
    for size in (1, 2, 3, 7, 4096):
        server.script("watch", behaviour.events({"type": "MODIFIED", "object": thing}, split=size))
        watch = client.watch(PODS, resource_version="1")
        assert labels(next(watch)) == ["ü€𝄞"]
        watch.stop()


@pytest.mark.parametrize(
    ("behave", "kind"),
    [
        ("watch-403", Forbidden),
        (behaviour.watch_error(403), Forbidden),
        ("path-404", NotFound),
        ("400-bad-continue", BadRequest),
        ("406-accept", StatusError),
        ("401-garbage-token", Unauthorized),
    ],
)
def test_what_will_not_pass(
    client: Client, server: ApiServer, behave: Behaviour | str, kind: type[StatusError]
) -> None:
    """It is raised, after one request."""
    script = server.script("watch", behave, times=9)
    with Watched(client, resource_version="1") as watched:
        assert isinstance(watched.end(), kind)
    assert script.used == 1


def test_a_role_without_list(client: Client, server: ApiServer) -> None:
    """The list that it begins with may be what is forbidden."""
    server.forbid(APP)
    server.allow(APP, ["watch"], ["pods"], namespace="lab")
    with Watched(client) as watched:
        ended = watched.end()
    assert isinstance(ended, Forbidden) and ended.verb == "list"


def test_a_token_that_ends_meanwhile(client: Client, server: ApiServer, tmp_path: Path) -> None:
    """Once accepted, a 401 is waited out: the kubelet may be a little later than the server."""
    old = Path(tmp_path, "account", "token").read_text()
    with Watched(client) as watched:
        server.wait_for_watches()
        server.revoke(old)
        server.interrupt(behaviour.end)
        server.wait_for(lambda request: request.verb == "watch" and not request.user, times=2)
        server.mount(tmp_path / "account", APP)
        server.label("lab", "web", n="1")
        watched.seen("1")
    assert any(isinstance(fault, Unauthorized) for fault in watched.faults)


def test_rotation_meanwhile(client: Client, server: ApiServer, tmp_path: Path) -> None:
    """Another token and another CA, with the connection cut: it goes on."""
    with Watched(client) as watched:
        for number in range(3):
            server.wait_for_watches()
            after = Authority()
            mounted = server.mount(tmp_path / "account", APP)
            mounted.rotate(ca=after.pem)
            server.rotate_certificate(after)
            server.label("lab", "web", n=f"r{number}")
            watched.seen(f"r{number}")
    assert types(watched) == ["LISTED"] + ["MODIFIED"] * 3


class TestStop:
    """Stopped from another thread, it ends at once."""

    def test_while_nothing_comes(self, client: Client, server: ApiServer) -> None:
        """In the middle of a request."""
        with Watched(client) as watched:
            server.wait_for_watches()
            watched.watch.stop()
            assert isinstance(watched.end(), StopIteration)
        server.wait_for_watches(0)

    def test_with_events_that_have_come(self, client: Client, server: ApiServer) -> None:
        """They aren't told any more."""
        thing = {**pod("web", "lab", labels={"n": "1"}), "apiVersion": "v1", "kind": "Pod"}
        one = {"type": "MODIFIED", "object": thing}
        server.script("watch", behaviour.events(one, one, one))
        watch = client.watch(PODS, resource_version="1")
        assert next(watch).type == "MODIFIED"
        watch.stop()
        assert list(watch) == []

    def test_while_it_connects(self, client: Client, server: ApiServer) -> None:
        """To a server that takes no connection: its backlog is full."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            port = listening.getsockname()[1]
            full = [socket.socket() for _ in range(8)]
            for one in full:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            with (
                Client(Server(f"http://127.0.0.1:{port}"), timeout=DEADLINE) as other,
                Watched(other, resource_version="1") as watched,
            ):
                eventually(lambda: watched.watch._call is not None and watched.watch._call._line is not None)
                watched.watch.stop()
                assert isinstance(watched.end(), StopIteration)
            for one in full:
                one.close()

    def test_while_it_lists(self, client: Client, server: ApiServer) -> None:
        """Also if no answer comes to that."""
        server.script("list", behaviour.hang)
        with Watched(client) as watched:
            server.wait_for("list")
            watched.watch.stop()
            assert isinstance(watched.end(), StopIteration)

    def test_while_it_waits(self, client: Client, server: ApiServer) -> None:
        """Between two requests, which may be half a minute."""
        server.script("watch", behaviour.too_many_requests(1000))
        with Watched(client, patient=True) as watched:
            server.wait_for("watch")
            watched.watch.stop()
            assert isinstance(watched.end(), StopIteration)

    def test_before_it_begins(self, client: Client, server: ApiServer) -> None:
        """Then nothing is sent."""
        watch = client.watch(PODS)
        watch.stop()
        assert list(watch) == []
        assert server.requests == []

    def test_with_its_client(self, client: Client, server: ApiServer) -> None:
        """Closing the client stops its watches."""
        ended: list[list[WatchEvent]] = []
        watch = client.watch(PODS)
        thread = threading.Thread(target=lambda: ended.append(list(watch)))
        thread.start()
        server.wait_for_watches()
        client.close()
        thread.join(DEADLINE)
        assert [event.type for event in ended[0]] == ["LISTED"]

    def test_by_leaving_its_block(self, client: Client, server: ApiServer) -> None:
        """As a context manager."""
        with client.watch(PODS) as watch:
            assert next(watch).type == "LISTED"
        assert list(watch) == []


class Chunks:
    """A stream of bytes in these pieces."""

    def __init__(self, chunks: list[bytes]) -> None:
        self._chunks = iter([*filter(None, chunks), b""])

    def read(self) -> bytes:
        """The next."""
        return next(self._chunks)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=9))),
    st.lists(st.integers(1, 50)),
    st.booleans(),
)
def test_lines_of_any_bits(things: list[dict[str, str]], sizes: list[int], torn: bool) -> None:
    """However the stream is cut, the lines are the same; one that is torn is told of, after all whole ones."""
    lines = [json.dumps(thing, ensure_ascii=False).encode() for thing in things]
    data = b"".join(line + b"\n" for line in lines) + (b'{"torn' if torn else b"")
    chunks = []
    for size in sizes:
        chunks.append(data[:size])
        data = data[size:]
    got = []
    stream: Any = Chunks([*chunks, data])
    try:
        for line in _lines(stream, "/x"):
            got.append(line)
    except Unreachable:
        assert torn
    else:
        assert not torn
    assert got == lines


def test_a_path_that_is_none(client: Client) -> None:
    """It is told at once."""
    with pytest.raises(ValueError, match="no path"):
        client.watch("pods")
