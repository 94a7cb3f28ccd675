"""gunicorn, Redis, and a server that is reloaded as Prometheus is."""

from __future__ import annotations

import http.client
import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.cli import eventually
from tests.programs.conftest import Started, program
from tests.programs.recipes import moved

WEB = """
with open("DIR/settings/greeting") as file:
    GREETING = file.read().encode()

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", str(len(GREETING)))])
    return [GREETING]
"""


def get(port: int) -> str:
    """A server's answer; empty where it gives none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    except OSError:
        return ""
    finally:
        connection.close()


def test_gunicorn_serves_what_its_settings_say_now(tmp_path: Path, port: int, started: Started) -> None:
    """On HUP, its workers are new ones, and its process is the same."""
    pytest.importorskip("gunicorn")
    settings = Volume(tmp_path / "settings")
    settings.write(files={"greeting": "hello", "gunicorn.conf.py": "workers = 1\n"})
    (tmp_path / "web.py").write_text(WEB.replace("DIR", str(tmp_path)))
    toml = moved("gunicorn", {"/etc/web": "DIR/settings", "127.0.0.1:8000": f"127.0.0.1:{port}"})
    command = [sys.executable, "-m", "gunicorn", "-c", f"{tmp_path}/settings/gunicorn.conf.py"]
    command += [
        "--chdir",
        str(tmp_path),
        "--bind",
        f"127.0.0.1:{port}",
        "--pid",
        f"{tmp_path}/pid",
        "web:app",
    ]
    kmetad = started(toml, "--", *command)
    eventually(lambda: get(port) == "hello")
    pid = (tmp_path / "pid").read_text()
    settings.write(files={"greeting": "bonjour", "gunicorn.conf.py": "workers = 2\n"})
    applied = kmetad.line("reload.applied")
    assert applied["did"] == f"SIGHUP to the app ({pid.strip()})"
    eventually(lambda: get(port) == "bonjour")
    eventually(lambda: len(children(int(pid))) == 2)
    assert (tmp_path / "pid").read_text() == pid


def children(pid: int) -> list[str]:
    """The processes that it has started and that still run."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


REDIS = """
[volumes.podinfo]
path = "DIR/podinfo"

[plugins.maxmemory]
use = "reload"
match = ["annotation:example.com/maxmemory"]
values = { maxmemory = ["64mb", "128mb"] }
exec = ["PYTHON", "DIR/set.py"]
verify = ["PYTHON", "DIR/look.py"]

[plugins.maxmemory.lane]
retry = { attempts = 1 }
"""
SET = """
import os, subprocess
print(subprocess.check_output(["CLI", "-s", "DIR/socket", "config", "set", "maxmemory", os.environ["KMETAD_NEW"]]))
"""
LOOK = """
import os, subprocess, sys
value = subprocess.check_output(["CLI", "-s", "DIR/socket", "config", "get", "maxmemory"], text=True).split()[1]
sys.exit(f"{int(value) >> 20}mb" != os.environ["KMETAD_NEW"])
"""


def test_redis_is_reloaded_by_a_command(tmp_path: Path, started: Started) -> None:
    """Which has the value from a variable; a value that isn't allowed never gets there."""
    server, cli = program("redis-server"), program("redis-cli")
    for name, text in (("set.py", SET), ("look.py", LOOK)):
        (tmp_path / name).write_text(text.replace("DIR", str(tmp_path)).replace("CLI", cli))
    podinfo = Volume(tmp_path / "podinfo")
    podinfo.write(labels={}, annotations={"example.com/maxmemory": "64mb"})
    socket = str(tmp_path / "socket")
    options = [
        "--port",
        "0",
        "--unixsocket",
        socket,
        "--save",
        "",
        "--dir",
        str(tmp_path),
        "--daemonize",
        "no",
    ]
    kmetad = started(REDIS.replace("PYTHON", sys.executable), "--", server, *options)

    def maxmemory() -> str:
        done = subprocess.run(
            [cli, "-s", socket, "config", "get", "maxmemory"], capture_output=True, text=True
        )
        return "".join(done.stdout.split()[1:])

    eventually(lambda: maxmemory() == "0")
    podinfo.annotate("example.com/maxmemory", "128mb")
    kmetad.line("reload.applied")
    assert maxmemory() == str(128 << 20)
    podinfo.annotate("example.com/maxmemory", "1; flushall")
    failed = kmetad.line("plugin.failed")
    assert failed["error"].endswith("which is refused: allowed are 64mb, 128mb")
    kmetad.line("lane.parked")
    podinfo.annotate("example.com/maxmemory", "64mb")
    kmetad.line("reload.applied")
    assert maxmemory() == str(64 << 20)


@contextmanager
def server(handle: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[int]:
    """One of HTTP, on a free port, that has each request handled so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            handle(self)

        do_POST = do_PUT = do_GET  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield running.server_address[1]
        finally:
            running.shutdown()
            thread.join()


PROMETHEUS = """
[volumes.prometheus]
path = "DIR/prometheus"
kind = "files"

[plugins.prometheus]
use = "reload"
match = ["file:prometheus/*"]
http = "http://127.0.0.1:PORT/-/reload"

[plugins.prometheus.lane]
retry = { initial = "10ms", max = "20ms" }
"""


def test_a_reload_that_fails_twice_and_then_succeeds(tmp_path: Path, started: Started) -> None:
    """The server's own reason is in the log, and it isn't asked once more than that."""
    asked: list[str] = []

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(f"{request.command} {request.path}")
        if len(asked) == 1:
            body = b"failed to reload config: couldn't load configuration\n"
            request.send_response(500)
            request.send_header("Content-Length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)
        elif len(asked) == 2:
            request.close_connection = True
        else:
            request.send_response(200)
            request.send_header("Content-Length", "0")
            request.end_headers()

    volume = Volume(tmp_path / "prometheus")
    volume.write(files={"prometheus.yml": "a: 1\n"})
    with server(handle) as port:
        kmetad = started(PROMETHEUS.replace("PORT", str(port)))
        volume.write(files={"prometheus.yml": "a: 2\n"})
        first, second = kmetad.line("plugin.failed"), kmetad.line("plugin.failed")
        url = f"POST http://127.0.0.1:{port}/-/reload"
        assert first["error"] == (
            f"{url}: answered 500 Internal Server Error: failed to reload config: couldn't load configuration"
        )
        assert second["error"] == f"{url}: it closed the connection without an answer"
        assert kmetad.line("reload.applied")["did"] == f"{url}: 200 OK"
        assert kmetad.end() == 0
    assert asked == ["POST /-/reload"] * 3


def test_the_log_level_recipe(tmp_path: Path, started: Started) -> None:
    """At the start, at a change, and back to the default when the annotation has gone."""
    told: list[str] = []

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        told.append(f"{request.command} {json.loads(body)['level']}")
        request.send_response(204)
        request.end_headers()

    podinfo = Volume(tmp_path / "podinfo")
    key = "example.com/log-level"
    podinfo.write(labels={}, annotations={key: "warning"})
    with server(handle) as port:
        toml = moved("Log level", {"/etc/podinfo": "DIR/podinfo", "127.0.0.1:8080": f"127.0.0.1:{port}"})
        kmetad = started(toml.partition("[plugins.log-level-file]")[0])
        kmetad.seen("reload.applied")
        for value in ("debug", None):
            podinfo.annotate(key, value)
            kmetad.line("reload.applied")
        podinfo.annotate(key, 'x", "admin": "yes')
        assert "which is refused" in kmetad.line("plugin.failed")["error"]
    assert told == ["PUT warning", "PUT debug", "PUT info"]
