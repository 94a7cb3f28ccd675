"""What is at each path."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from kmetad_status import Options, Plugin
from kmetad_status.history import History
from kmetad_status.server import Server
from structlog.testing import capture_logs

from kmetad import Fail
from kmetad.hookspecs import Context
from kmetad.metadata import Digest, Token
from kmetad.podview import pod
from kmetad.status import LaneStatus, plain
from kmetad.testing import Host
from tests.asking import Client, get, say

Serve = Callable[..., tuple[Host, str]]
PATHS = (
    "/",
    "/page.css",
    "/page.js",
    "/icon.svg",
    "/livez",
    "/readyz",
    "/metrics",
    "/api/status",
    "/api/metadata",
)


SHUT = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


@pytest.mark.parametrize("path", [*PATHS, "/api/timeline", "/nothing"])
def test_headers(host: tuple[Host, str], path: str) -> None:
    """Every answer, a refusal too, has the headers that keep a browser from doing more with it; so has HEAD."""
    got = get(host[1], path)
    assert SHUT.items() <= got.headers.items()
    assert "set-cookie" not in got.headers and "access-control-allow-origin" not in got.headers
    head = get(host[1], path, "HEAD")
    assert (head.status, head.body) == (got.status, b"")
    if path != "/metrics":  # whose numbers are of the moment
        assert {**head.headers, "date": ""} == {**got.headers, "date": ""}


def test_the_page(host: tuple[Host, str]) -> None:
    """It is served whole, and what it refers to is there."""
    page = get(host[1], "/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    referred = re.findall(r'(?:src|href)="([^"#]+)"', page.text)
    assert {"page.css", "page.js"} <= {name.removeprefix("/") for name in referred}
    for name in referred:
        assert get(host[1], "/" + name.removeprefix("/")).status == 200


def test_health(serve: Serve) -> None:
    """It lives; it is ready when kmetad is, and says why it isn't."""
    host, where = serve(lag_limit="10s")
    assert get(where, "/livez").body == b"ok\n"
    not_ready = get(where, "/readyz")
    assert (not_ready.status, not_ready.text) == (503, host.status.unready[0] + "\n")
    lanes = (LaneStatus("nginx", "parked", behind_seconds=9.9), LaneStatus("logs", "idle"))
    host.status = replace(host.status, ready=True, unready=(), lanes=lanes)
    assert get(where, "/readyz?verbose").body == b"ok\n"
    host.status = replace(host.status, lanes=(replace(lanes[0], behind_seconds=12.3), lanes[1]))
    late = get(where, "/readyz")
    assert late.status == 503
    assert (
        late.text
        == "plugin nginx has been behind for 12s, longer than lag_limit allows (10s): it is parked\n"
    )
    assert get(where, "/livez").status == 200


def test_a_reason_is_a_line(host: tuple[Host, str]) -> None:
    """Whatever a plugin's error holds: who reads lines takes none for another reason."""
    plugin, where = host
    plugin.status = replace(plugin.status, unready=("plugin x: a\nplugin y: b\r\n", "c"))
    assert get(where, "/readyz").text == "plugin x: a plugin y: b\nc\n"


def test_without_a_limit_nobody_is_too_late(host: tuple[Host, str]) -> None:
    """`lag_limit` is off unless somebody sets it: a plugin that is parked takes no Pod out of its Services."""
    late = LaneStatus("nginx", "parked", behind_seconds=1e6)
    host[0].status = replace(host[0].status, ready=True, unready=(), lanes=(late,))
    assert get(host[1], "/readyz").status == 200


def test_documents(host: tuple[Host, str]) -> None:
    """The same as the commands print, in ASCII, whatever bytes a volume holds."""
    plugin, where = host
    assert get(where, "/api/status").document == plain(plugin.status)
    plugin.set(
        labels={"app": "\udcff<b>é"}, fields={"metadata.name": "web"}, resources={"app.limits.cpu": "250m"}
    )
    token = Token(1767323045, ("api",), Digest(b"secret"))
    plugin.snapshot = replace(
        plugin.snapshot, tokens={"account": token, "other": replace(token, expires=None)}
    )
    got = get(where, "/api/metadata")
    assert got.body.isascii() and got.headers["content-type"] == "application/json"
    assert got.document == pod(plugin.snapshot) | {
        "tokens": {
            "account": {"expires": "2026-01-02T03:04:05Z", "audiences": ["api"]},
            "other": {"expires": None, "audiences": ["api"]},
        }
    }


def test_timeline(host: tuple[Host, str]) -> None:
    """Changes and outcomes, oldest first; of many changes of an outcome the first 20."""
    plugin, where = host
    assert get(where, "/api/timeline").document == {"events": [], "truncated": False}
    plugin.set(labels={f"n{at:02}": "1" for at in range(30)})
    plugin.applied(replace(plugin.outcomes[-1], error="x" * 5000, result="failed"))
    found = get(where, "/api/timeline").document
    kinds = [one["event"] for one in found["events"]]
    assert kinds == ["change"] * 31 + ["outcome"]
    boot = found["events"][0]["id"].rpartition("-")[0]
    assert [one["id"] for one in found["events"]] == [f"{boot}-{number}" for number in range(1, 33)]
    assert found["events"][0]["data"]["old"] == "web"
    outcome = found["events"][-1]["data"]
    assert (outcome["count"], len(outcome["changes"]), len(outcome["error"])) == (31, 20, 2001)
    assert outcome["changes"][0] == {"type": "label", "key": "app"}


def test_the_history_is_bounded(serve: Serve) -> None:
    """By number, and by bytes; what has gone is admitted."""
    plugin, where = serve(history=100)
    for number in range(150):
        plugin.set(labels={"n": str(number)})
    found = get(where, "/api/timeline").document
    assert (len(found["events"]), found["truncated"]) == (100, True)
    assert found["events"][-1]["data"]["new"] == "149"
    for number in range(30):
        plugin.set(annotations={"big": f"{number}" + "x" * 100_000})
    large = get(where, "/api/timeline")
    assert 1 << 20 < len(large.body) < (2 << 20) + 100_000
    assert large.document["events"][-1]["data"]["new"].startswith("29x")


def test_one_connection_for_many(host: tuple[Host, str]) -> None:
    """It is kept; requests that are sent without waiting are answered in their order."""
    client = Client(host[1])
    for path in (*PATHS, "/nothing", "/api/timeline"):
        assert client.ask(path).status in (200, 404, 503)
    client.close()
    paths = ("/livez", "/api/metadata", "/nothing", "/livez")
    sent = "".join(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths)
    got = say(host[1], sent.encode())
    assert re.findall(rb"HTTP/1.1 (\d+)", got) == [b"200", b"200", b"404", b"200"]


def test_no_answer_waits_for_an_acknowledgement(host: tuple[Host, str]) -> None:
    """A body, or an event, goes out at once, and not 40 ms later, when the client acknowledges the head (Nagle)."""
    plugin, where = host
    client = Client(where)
    client.ask("/livez")
    running: Any = plugin.plugin._running
    (connection,) = running._server._connections
    sock = connection.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    client.close()


def test_large_answers_in_order(host: tuple[Host, str]) -> None:
    """Several that are larger than what the kernel takes at once, asked for at once."""
    plugin, where = host
    for number in range(15):
        plugin.set(annotations={"big": f"{number}" + "x" * 50_000})
    once = len(get(where, "/api/timeline").body)
    asked = b"GET /api/timeline HTTP/1.1\r\nHost: localhost\r\n\r\n" * 4
    got = say(where, asked + b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert got.count(b"HTTP/1.1 200 OK") == 5 and got.endswith(b"\r\n\r\nok\n") and len(got) > 4 * once


def test_old_clients(host: tuple[Host, str]) -> None:
    """HTTP/1.0, as of probes that name no Host, gets an answer and the end."""
    got = say(host[1], b"GET /livez HTTP/1.0\r\n\r\n", end=False)
    assert got.startswith(b"HTTP/1.1 200 OK") and got.endswith(b"\r\n\r\nok\n")


def test_unix_socket(tmp_path: Path, serve: Serve) -> None:
    """For this user alone, by any Host's name; what a killed daemon left is replaced, and it goes at the end."""
    path = tmp_path / "s"
    left = connectable(path)
    left.close()
    plugin, where = serve(unix_socket=str(path))
    assert where == f"unix:{path}"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert get(where, "/livez", Host="anything.example").body == b"ok\n"
    other = Host(Plugin, unix_socket=str(path))
    with pytest.raises(Exception, match="something is there already"):
        other.start()
    assert get(where, "/livez").status == 200
    plugin.stop()
    assert not path.exists()


def connectable(path: Path) -> socket.socket:
    """A socket at a path."""
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    return made


def test_ipv6(serve: Serve) -> None:
    """Where it listens is a URL that can be opened; where there is no IPv6, it says so."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        with pytest.raises(Fail, match=r"\[::1\]:0 can't be listened at"):
            serve(address="::1")
        return
    _, where = serve(address="::1")
    assert where.startswith("http://[::1]:")
    assert get(where, "/livez", Host=where.removeprefix("http://")).status == 200


def test_the_same_fault_again_and_again() -> None:
    """asyncio tells of a lack of descriptors for each client that waits: the log has it once a second."""
    loop = asyncio.new_event_loop()
    with capture_logs() as logs:
        Server(loop, Options(), Context("status", structlog.get_logger()), History(100, "boot"))
        for message in ["no descriptors"] * 100 + ["another"]:
            loop.call_exception_handler({"message": message})
    loop.close()
    said = [log["fault"] for log in logs if log["event"] == "status.fault"]
    assert said[-1] == "another"
    assert 1 <= said.count("no descriptors") <= 2


def test_what_fails_is_said_and_logged(host: tuple[Host, str], capsys: pytest.CaptureFixture[str]) -> None:
    """A fault behind a path is a 500 of that path; the others go on."""
    plugin, where = host
    plugin.snapshot = None  # type: ignore[assignment]
    got = get(where, "/api/metadata")
    assert (got.status, got.text) == (500, "kmetad-status failed to answer; kmetad's log says why\n")
    assert get(where, "/livez").status == 200
