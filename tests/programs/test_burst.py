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


LABELS = """
[volumes.podinfo]
path = "DIR/podinfo"

[plugins.number]
use = "reload"
match = ["label:number"]
http = { url = "http://127.0.0.1:PORT/", body = "{metadata.labels['number']}" }
"""


def test_what_comes_during_a_reload_is_one_more(tmp_path: Path, started: Started) -> None:
    """Never a second one beside it, and none is lost; a swap that changes nothing that is matched is none."""
    found: list[int] = []
    entered, go = threading.Event(), threading.Event()

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        found.append(int(request.rfile.read(int(request.headers["Content-Length"]))))
        entered.set()
        assert go.wait(30)
        request.send_response(200)
        request.send_header("Content-Length", "0")
        request.end_headers()

    podinfo = Volume(tmp_path / "podinfo")
    podinfo.write(labels={"number": "0", "other": "0"}, annotations={})
    with server(handle) as port:
        kmetad = started(LABELS.replace("PORT", str(port)))

        def has_seen(change: str) -> None:
            while not any(line.endswith(change) for line in kmetad.line("pod.changed")["changes"]):
                pass

        podinfo.label("number", "1")
        assert entered.wait(30)
        for number in range(2, 12):
            podinfo.label("number", str(number))
        has_seen("→ 11")
        assert found == [1]
        go.set()
        for _ in range(2):
            kmetad.line("reload.applied")
        assert found == [1, 11]
        for other in range(1, 10):
            podinfo.label("other", str(other))
        has_seen("→ 9")
        podinfo.label("number", "12")
        kmetad.line("reload.applied")
        assert kmetad.end() == 0
    assert found == [1, 11, 12]
