"""A restart that is verified: the app that runs afterwards says what it was started with."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.cli import kmetad as command
from tests.programs.conftest import Started

APP = """
import http.server, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = os.environ["VERSION"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
if os.environ["VERSION"] == "broken":
    sys.exit("this version is broken")
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
TOML = """
[run]
env = { VERSION = "{metadata.labels['version']}" }
restart = "on-failure"

[volumes.podinfo]
path = "DIR/podinfo"

[plugins.version]
use = "reload"
match = ["label:version"]
restart = true
on_failure = ["PYTHON", "-c", "print('rolled back')"]

[plugins.version.verify]
http = { url = "http://127.0.0.1:PORT/", contains = "{metadata.labels['version']}" }
within = "WITHIN"
interval = "50ms"

[plugins.version.lane]
retry = { attempts = 1 }
"""


@pytest.fixture
def podinfo(tmp_path: Path) -> Volume:
    """Of version 1."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"version": "1"}, annotations={})
    return volume


def toml(port: int, within: str) -> str:
    """The configuration."""
    return TOML.replace("PYTHON", sys.executable).replace("PORT", str(port)).replace("WITHIN", within)


def test_the_new_process_is_asked(podinfo: Volume, port: int, started: Started, tmp_path: Path) -> None:
    """Not the old one, which would have answered as well; and it has the new variables."""
    kmetad = started(toml(port, "20s"), "--", sys.executable, "-c", APP, str(port))
    podinfo.label("version", "2")
    applied = kmetad.line("reload.applied")
    assert (applied["did"], applied["verified"]) == (
        "restarted the app",
        f"GET http://127.0.0.1:{port}/: 200 OK",
    )


def test_one_that_does_not_come_up(podinfo: Volume, port: int, started: Started) -> None:
    """What was found is told, with what was done about it; the next change is tried again, and verified."""
    kmetad = started(toml(port, "400ms"), "--", sys.executable, "-c", APP, str(port))
    podinfo.label("version", "broken")
    failed = kmetad.line("plugin.failed")["error"]
    assert failed.startswith("verify: not within 0.4 s: GET http://127.0.0.1:")
    assert "; on_failure: ran " in failed
    assert kmetad.seen("reload.output")["line"] == "rolled back"
    kmetad.line("lane.parked")


def test_simulated(podinfo: Volume, port: int, tmp_path: Path) -> None:
    """``kmetad check --simulate`` says which rules would fire, what each would do, and what is refused."""
    file = tmp_path / "kmetad.toml"
    more = f"""
[plugins.level]
use = "reload"
match = ["annotation:example.com/log-level"]
values = {{ "log-level" = ["debug", "info"] }}

[plugins.level.http]
url = "http://127.0.0.1:{port}/"
json = {{ level = "{{metadata.annotations['example.com/log-level']:-info}}" }}
"""
    file.write_text(toml(port, "1s").replace("DIR", str(tmp_path)) + more)
    text = "annotation:example.com/log-level="
    done = command("check", "-c", str(file), "--simulate", text + "debug")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert f'POST http://127.0.0.1:{port}/ with {{"level": "debug"}}' in lines
    assert "version isn't told: its match is for others" in lines
    done = command("check", "-c", str(file), "--simulate", text + "trace", "--simulate", "label:version=2")
    assert "refuses it, and does nothing: annotation example.com/log-level is 'trace'" in done.stdout
    assert "restart the app, and wait until it runs again" in done.stdout
    assert "if it can't be verified: run [" in done.stdout
    assert done.returncode == 0
