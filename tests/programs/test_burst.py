"""A burst of swaps is a few reloads, the last one with the last content."""

from __future__ import annotations

import http.server
import threading
import time
from pathlib import Path

from kmetad.testing.kubelet import Volume
from tests.cli import eventually
from tests.programs.conftest import Started
from tests.programs.test_servers import server

SWAPS, SECONDS = 1000, 5.0
TOML = """
[volumes.settings]
path = "DIR/settings"
kind = "files"

[plugins.burst]
use = "reload"
match = ["file:settings/*"]
http = "http://127.0.0.1:PORT/"

[plugins.burst.lane]
debounce = "200ms"
max_wait = "2s"
"""


def test_a_thousand_swaps_in_five_seconds(tmp_path: Path, started: Started) -> None:
    """Two to six, however the swaps fall."""
    found: list[int] = []

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        found.append(int((tmp_path / "settings" / "number").read_text()))
        request.send_response(200)
        request.send_header("Content-Length", "0")
        request.end_headers()

    volume = Volume(tmp_path / "settings")
    volume.write(files={"number": "0"})
    with server(handle) as port:
        kmetad = started(TOML.replace("PORT", str(port)))
        begun = time.monotonic()
        for number in range(1, SWAPS + 1):
            time.sleep(max(0.0, begun + number * SECONDS / SWAPS - time.monotonic()))  # the burst's own pace
            volume.write(files={"number": str(number)})
        eventually(lambda: found[-1:] == [SWAPS])
        assert kmetad.end() == 0
    assert 2 <= len(found) <= 6
    assert found == sorted(found)
    assert found[-1] == SWAPS


def test_what_comes_during_a_reload_is_one_more(tmp_path: Path, started: Started) -> None:
    """Never a second one beside it, and none is lost; a swap that changes nothing that is matched is none."""
    found: list[int] = []
    entered, go = threading.Event(), threading.Event()

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        found.append(int((tmp_path / "settings" / "number").read_text()))
        entered.set()
        assert go.wait(30)
        request.send_response(200)
        request.send_header("Content-Length", "0")
        request.end_headers()

    volume = Volume(tmp_path / "settings")
    volume.write(files={"number": "0", "other": "0"})
    with server(handle) as port:
        toml = TOML.replace("PORT", str(port)).replace("settings/*", "settings/number")
        kmetad = started(toml.replace("200ms", "1ms"))
        volume.write(files={"number": "1", "other": "0"})
        assert entered.wait(30)
        for number in range(2, 12):
            volume.write(files={"number": str(number), "other": "0"})
        assert found == [1]
        go.set()
        for _ in range(2):
            kmetad.line("reload.applied")
        assert found == [1, 11]
        for other in range(1, 10):
            volume.write(files={"number": "11", "other": str(other)})
        volume.write(files={"number": "12", "other": "9"})
        kmetad.line("reload.applied")
        assert kmetad.end() == 0
    assert found == [1, 11, 12]
