"""The stream of events: nothing is missed without a word, and nobody is waited for."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from kmetad_status import audience, connection, documents
from kmetad_status.history import History
from kmetad_status.stream import Stream

from kmetad.podview import pod
from kmetad.status import LaneStatus, Status, plain
from kmetad.testing import Host
from tests.asking import Listener, connect, everything, get
from tests.cli import eventually

Serve = Callable[..., tuple[Host, str]]


def test_changes_as_they_come(host: tuple[Host, str]) -> None:
    """Each as INTERFACE's JSON has it, in order, under an id; outcomes only for those who want them."""
    plugin, where = host
    with Listener(where) as changes, Listener(where, "outcome,change") as both:
        boot = changes.hello.data["boot"]
        assert changes.hello.data == {"boot": boot, "last": None}
        batch = plugin.set(labels={"app": "api"}, annotations={})
        assert batch is not None
        lines = batch.json_lines().splitlines()
        for number in range(1, 3):
            told = changes.next()
            assert (told.event, told.id) == ("change", f"{boot}-{number}")
            assert str(told.data["key"]) in lines[number - 1]
            assert both.next() == told
        plugin.applied(plugin.outcomes[-1])
        outcome = both.next()
        assert (outcome.event, outcome.id) == ("outcome", f"{boot}-3")
        assert outcome.data["result"] == "applied" and outcome.data["count"] == 2
        plugin.set(labels={"app": "web"})
        assert changes.next().id == f"{boot}-4"


def test_text_can_not_break_out(host: tuple[Host, str]) -> None:
    """Line ends, and what looks like an event, are data."""
    plugin, where = host
    evil = "a\n\nevent: reset\ndata: {}\n\n\r\r\u2028\udcff"
    with Listener(where, "change,metadata") as listener:
        listener.until("metadata")
        plugin.set(annotations={"note": evil})
        assert listener.next().data["new"] == evil
        assert listener.next().data["metadata"]["annotations"] == {"note": evil}


def test_resume(host: tuple[Host, str]) -> None:
    """Whoever comes back gets what came meanwhile, be it that nothing had come before it went."""
    plugin, where = host
    with Listener(where) as listener:
        first = listener.hello.id
    plugin.set(labels={"app": "1"})
    plugin.set(labels={"app": "2"})
    with Listener(where, last=first) as listener:
        assert listener.hello.data["last"].endswith("-2")
        assert listener.hello.id == first
        one = listener.next()
        assert one.data["new"] == "1"
        assert listener.next().data["new"] == "2"
    with Listener(where, last=one.id) as listener:
        assert listener.next().data["new"] == "2"
    with Listener(where) as listener:
        plugin.set(labels={"app": "3"})
        assert listener.next().data["new"] == "3"


@pytest.mark.parametrize(
    "last", ["other-1", "", "-", "BOOT-", "BOOT-99", "BOOT--1", "BOOT-1x", "BOOT-²", "BOOT-" + "9" * 5000]
)
def test_a_place_that_is_none(host: tuple[Host, str], last: str) -> None:
    """Of another daemon, or of none at all: the client is told to read everything again, and goes on from there."""
    plugin, where = host
    plugin.set(labels={"app": "1"})
    with Listener(where) as listener:
        boot = listener.hello.data["boot"]
    with Listener(where, last=last.replace("BOOT", boot).encode().decode("latin-1")) as listener:
        reset = listener.next()
        assert (reset.event, reset.id) == ("reset", f"{boot}-1")
        plugin.set(labels={"app": "2"})
        assert listener.next().data["new"] == "2"


def test_what_has_gone_meanwhile(serve: Serve) -> None:
    """The same where the history goes back less far."""
    plugin, where = serve(history=100)
    with Listener(where) as listener:
        first = listener.hello.id
    for number in range(101):
        plugin.set(labels={"n": str(number)})
    with Listener(where, last=first) as listener:
        assert listener.next().event == "reset"
    kept = get(where, "/api/timeline").document["events"]
    with Listener(where, last=kept[0]["id"]) as listener:
        assert [listener.next().id for _ in range(99)] == [one["id"] for one in kept[1:]]


def test_a_slow_reader(host: tuple[Host, str]) -> None:
    """It holds up nobody, has what it can take, and is told what it missed when it reads on."""
    plugin, where = host
    with Listener(where) as slow, Listener(where) as quick:
        for number in range(150):
            plugin.set(annotations={"note": f"{number}-" + "x" * 50_000})
            assert quick.next().data["new"].startswith(f"{number}-")
        told = slow.until("reset")
        assert told.id == quick_id(plugin)
        plugin.set(labels={"app": "done"})
        assert slow.next().data["new"] == "done"


def quick_id(plugin: Host) -> str:
    """Of the newest event."""
    history: History = plugin.plugin._history
    return history.name(history.last)


def test_a_reader_that_takes_nothing(host: tuple[Host, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is hung up on after a while."""
    monkeypatch.setattr(connection, "PATIENCE", 0.3)
    plugin, where = host
    with Listener(where):
        for number in range(100):
            plugin.set(annotations={"big": f"{number}-" + "x" * 50_000})
        eventually(lambda: not plugin.plugin._running._server._connections, "the end of the slow one")


def test_status(host: tuple[Host, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and then when it differs, but for the clock of a hook that runs."""
    monkeypatch.setattr(audience, "LOOK", 0.02)
    looks: list[Status] = []
    told_apart = documents.told_apart

    def look(now: Status) -> object:
        looks.append(now)
        return told_apart(now)

    monkeypatch.setattr(documents, "told_apart", look)
    plugin, where = host
    lane = LaneStatus("nginx", "delivering", hook="on_change", hook_seconds=1.0)
    plugin.status = replace(plugin.status, lanes=(lane,))
    with Listener(where, "status") as listener:
        told = listener.next()
        assert (told.event, told.id, told.data) == ("status", None, plain(plugin.status))
        plugin.status = replace(plugin.status, lanes=(replace(lane, hook_seconds=2.0),))
        looks.clear()
        eventually(lambda: len(looks) > 2, "several looks")  # were it told of this one, it would come first
        plugin.status = replace(plugin.status, ready=True, unready=())
        assert listener.next().data["ready"] is True


def test_a_status_that_comes_and_goes(host: tuple[Host, str]) -> None:
    """Whoever comes in between is told of both ends of it, and those who were there as well."""
    plugin, where = host
    first = plugin.status
    with Listener(where, "status") as early:
        assert early.next().data == plain(first)
        plugin.status = replace(first, ready=True)
        with Listener(where, "status") as late:
            assert late.next().data["ready"] is True
            assert early.next().data["ready"] is True
            plugin.status = first
            assert late.next().data["ready"] is False
            assert early.next().data["ready"] is False


def test_a_newcomer_is_told_alone(host: tuple[Host, str]) -> None:
    """Who comes later is told what is; those who know it aren't told again."""
    plugin, where = host
    with Listener(where, "status") as early:
        early.next()
        with Listener(where, "status") as late:
            late.next()
            plugin.status = replace(plugin.status, ready=True)
            assert early.next().data["ready"] is True


def test_where_nothing_is_to_be_looked_at(host: tuple[Host, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks any more when only those are left who listen to changes; they sleep until there is one."""
    monkeypatch.setattr(audience, "LOOK", 0.02)
    plugin, where = host
    watched: Any = plugin.plugin._running._server._audience
    with Listener(where) as changes:
        with Listener(where, "status") as listener:
            listener.next()
            eventually(lambda: watched._look is not None, "looking")
        eventually(lambda: watched._look is None, "nobody looking")
        assert len(watched) == 1
        plugin.set(labels={"app": "api"})
        assert changes.next().data["new"] == "api"


def test_who_listens_to_no_events_misses_none(host: tuple[Host, str]) -> None:
    """What the status is has no place among the events: an id of another daemon's is no reset there."""
    with Listener(host[1], "status", last="other-7") as listener:
        assert listener.next().event == "status"


def test_metadata(host: tuple[Host, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, and then with each change, without waiting for the next look."""
    monkeypatch.setattr(audience, "LOOK", 1000.0)
    plugin, where = host
    with Listener(where, "metadata") as listener:
        told = listener.next()
        assert (told.event, told.id, told.data) == ("metadata", None, pod(plugin.snapshot) | {"tokens": {}})
        plugin.set(labels={"app": "api"})
        assert listener.next().data["metadata"]["labels"] == {"app": "api"}


def test_changes_that_are_noise_show_in_the_metadata(
    host: tuple[Host, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the instance isn't told of (`match`, `watch.ignore`) is seen by looking."""
    monkeypatch.setattr(audience, "LOOK", 0.02)
    plugin, where = host
    with Listener(where, "metadata") as listener:
        listener.next()
        plugin.snapshot = replace(plugin.snapshot, labels={"app": "quiet"})
        assert listener.next().data["metadata"]["labels"] == {"app": "quiet"}


def test_signs_of_life(host: tuple[Host, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A comment now and then, and how long to wait before coming back; no timer is left when all have gone."""
    monkeypatch.setattr(audience, "ALIVE", 0.05)
    plugin, where = host
    with connect(where) as sock:
        sock.sendall(b"GET /api/events?of=change,status HTTP/1.0\r\n\r\n")
        got = b""
        while got.count(b"\n:\n\n") < 1 or got.count(b":\n\n") < 3:
            got += sock.recv(1000)
        assert b"\r\n\r\nretry: 1000\nevent: hello\n" in got
    watched: Any = plugin.plugin._running._server._audience
    eventually(lambda: not len(watched) and (watched._look, watched._alive) == (None, None))


def test_head_opens_no_stream(host: tuple[Host, str]) -> None:
    """The headers, and then the next request may come."""
    got = get(host[1], "/api/events", "HEAD")
    assert (got.status, got.headers["content-type"], got.body) == (200, "text/event-stream", b"")
    assert not len(host[0].plugin._running._server._audience)


def test_a_stream_behind_an_answer(host: tuple[Host, str]) -> None:
    """Asked for together with something else: it comes, and that its client hangs up is seen."""
    plugin, where = host
    with connect(where) as sock:
        sock.sendall(
            b"".join(b"GET %s HTTP/1.1\r\nHost: [::]\r\n\r\n" % path for path in (b"/livez", b"/api/events"))
        )
        got = b""
        while b"event: hello" not in got:
            got += sock.recv(1000)
        sock.shutdown(socket.SHUT_WR)
        everything(sock)
    eventually(lambda: not plugin.plugin._running._server._connections, "nobody being connected")


def test_what_comes_behind_a_stream(host: tuple[Host, str]) -> None:
    """Whoever sends more on that connection is not listened to, and it costs nothing."""
    plugin, where = host
    with Listener(where) as listener:
        for _ in range(50):
            listener.sock.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
        plugin.set(labels={"app": "api"})
        assert listener.next().data["new"] == "api"
        (connection,) = plugin.plugin._running._server._connections
        assert connection._http.trailing_data[0] == b""


def test_the_end(serve: Serve) -> None:
    """Streams end in order when the plugin stops, at once; a client that waits for the next request, too."""
    plugin, where = serve()
    with Listener(where) as listener, connect(where) as kept:
        begun = time.monotonic()
        plugin.stop()
        assert listener.answer.read() == b""
        assert everything(kept) == b""
        assert time.monotonic() - begun < 20
        with pytest.raises(ConnectionRefusedError):
            connect(where)
        plugin.set(labels={"app": "late"})  # what still comes is no fault


def test_whoever_comes_in_the_last_moment(serve: Serve) -> None:
    """Between the kernel, the loop and the end, nobody is forgotten with an open connection."""
    for _ in range(20):
        plugin, where = serve()
        last = [connect(where) for _ in range(3)]
        plugin.stop()
        for sock in last:
            assert everything(sock) == b""
            sock.close()


def test_the_history_alone() -> None:
    """Whatever a stream asks for, it gets each event once and in order, or a reset."""
    history = History(5, "b")
    stream = Stream(history, frozenset(["change"]), None)
    assert b"event: hello" in b"".join(stream.next()) and stream.next() == []
    history.add("outcome", b"1")
    history.add("change", b"2", b"3")
    assert b"".join(stream.next()).count(b"event: change") == 2
    history.add("change", *[b"4"] * 6)
    assert b"event: reset\nid: b-9\n" in b"".join(stream.next())
    assert stream.next() == []
    assert history.after(9) == ()
    history.add("change", b"x" * (3 << 20))
    assert history.after(9) is None  # larger than all that may be kept
    assert b"event: reset\nid: b-10\n" in b"".join(stream.next())
    assert b"".join(history.timeline()) == b'{"events":[],"truncated":true}'


def test_a_timeline_stays_as_it_was() -> None:
    """Whoever reads it slowly gets what was there when it was asked for, as long as was said, and holds no copy."""
    history = History(2, "b")
    history.add("change", b"1", b"2")
    timeline = history.timeline()
    length = sum(map(len, timeline))
    history.add("change", b"3")
    assert len(b"".join(timeline)) == length
    assert b'"id":"b-1","event":"change","data":1}' in b"".join(timeline)
    assert timeline.truncated is False and history.timeline().truncated is True
