"""The plugin: in a host, and in the real daemon."""

from __future__ import annotations

import gc
import http.client
import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kmetad_ambassador import Options, Plugin

from kmetad import Context, Fail
from kmetad.api import Client, CredentialsError, NoServer, Server
from kmetad.metadata import Snapshot
from kmetad.testing import Host
from tests.apiserver import Authority, behaviour
from tests.cli import inside, kmetad
from tests.daemons import Daemon
from tests.proxying import USER, Lab

WEB = "/api/v1/namespaces/lab/pods/web"


def ask(where: str, path: str = WEB) -> tuple[int, Any]:
    """The status, and the object."""
    connection = http.client.HTTPConnection(where, timeout=30)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


class Hosted(Host):
    """The plugin with an API server."""

    def __init__(self, server: Server, **options: Any) -> None:
        super().__init__(Plugin, **{"port": 0, **options})
        self.api = Client(server)

    @property
    def where(self) -> str:
        """It listens there, as others are told."""
        return str(self.outcomes[-1].detail["listens"])


@pytest.fixture
def hosted(lab: Lab) -> Iterator[Callable[..., Hosted]]:
    """Makes hosts, and stops them; nothing is left."""
    made: list[Hosted] = []

    def make(server: Server | None = None, **options: Any) -> Hosted:
        made.append(Hosted(server or lab.server, **options))
        return made[-1]

    yield make
    for one in made:
        one.stop()
    assert [thread.name for thread in threading.enumerate() if thread.name == "ambassador"] == []


def test_it_passes_on(lab: Lab, hosted: Callable[..., Hosted]) -> None:
    """From its start on, with the account of the Pod, and says where."""
    host = hosted()
    host.start()
    status, found = ask(host.where)
    assert (status, found["metadata"]["name"]) == (200, "web")
    assert lab.api.requests[-1].user == USER
    assert ask(host.where, "/api/v1/namespaces/lab/secrets")[0] == 403
    where = host.where
    host.stop()
    with pytest.raises(ConnectionRefusedError):
        ask(where)


def test_starting_again_is_no_second_one(hosted: Callable[..., Hosted]) -> None:
    """Where its start came too late for lane.timeout, it runs all the same."""
    host = hosted()
    host.start()
    where = host.where
    plugin: Any = host.instance.plugin
    assert plugin.kmetad_on_start() == {"listens": where}
    assert [thread.name for thread in threading.enumerate()].count("ambassador") == 1
    assert ask(where)[0] == 200


def test_a_port_that_is_taken(hosted: Callable[..., Hosted]) -> None:
    """Is tried again, and had when it is free."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        host = hosted(port=port)
        with pytest.raises(
            Fail, match=f"127.0.0.1:{port} can't be listened at: another process has that port"
        ) as told:
            host.start()
        assert "choose another by port; 0 takes any" in str(told.value)
        assert told.value.retry
    host.start()
    assert ask(host.where)[0] == 200


def test_no_server() -> None:
    """Is a failure that may pass, in its own words."""
    for error in (NoServer("nobody knows"), CredentialsError("it can't be read")):

        def nobody(error: Exception = error) -> Client:
            raise error

        plugin = Plugin(Options(), Context("ambassador", None, api=nobody))
        with pytest.raises(Fail, match=str(error)) as told:
            plugin.kmetad_on_start()
        assert told.value.retry
        plugin.kmetad_on_stop()


def test_a_server_behind_a_proxy_that_it_cant_use() -> None:
    """Is a failure as well, and nothing is left of it."""
    server = Server("https://10.0.0.1", proxy="https://proxy:3128")
    plugin = Plugin(Options(port=0), Context("ambassador", None, api=lambda: Client(server)))
    with pytest.raises(Fail, match="proxy"):
        plugin.kmetad_on_start()
    gc.collect()  # an event loop that nobody closed would warn here


def test_a_new_token_and_a_new_ca(lab: Lab, hosted: Callable[..., Hosted]) -> None:
    """What comes after it was told goes with the new one."""
    host = hosted()
    host.start()
    assert ask(host.where)[0] == 200
    token = lab.api.token(USER)
    assert token != lab.mount.token
    lab.mount.rotate(token=token)
    plugin: Any = host.instance.plugin
    plugin.kmetad_on_token()
    assert ask(host.where)[0] == 200
    assert lab.api.requests[-1].header("Authorization") == f"Bearer {token}"
    other = Authority()
    lab.mount.rotate(ca=other.pem)
    lab.api.rotate_certificate(other)
    plugin.kmetad_on_trust()
    assert ask(host.where)[0] == 200


def test_hooks_before_and_after(hosted: Callable[..., Hosted]) -> None:
    """They mean nothing while it doesn't listen."""
    plugin: Any = hosted().instance.plugin
    plugin.kmetad_on_token()
    plugin.kmetad_on_trust()
    plugin.kmetad_on_stop()


def test_stopping_waits_for_what_is_under_way(lab: Lab, hosted: Callable[..., Hosted]) -> None:
    """For drain_timeout at most."""
    lab.api.script(f"GET {WEB}", behaviour.hang)
    host = hosted(drain_timeout="10ms")
    host.start()
    connection = http.client.HTTPConnection(host.where, timeout=30)
    connection.request("GET", WEB)
    lab.api.wait_for(f"GET {WEB}")
    host.stop()
    connection.close()


@pytest.mark.parametrize(
    ("options", "url", "told"),
    [
        ({}, "https://a", []),
        ({"address": "127.0.0.2"}, "https://a/", []),
        ({"address": "0.0.0.0"}, "https://a", ["set token_file", "set accept_hosts"]),
        ({"address": "::", "accept_hosts": (".*",)}, "https://a", ["set token_file"]),
        ({"address": "::", "token_file": "/dev/null"}, "https://a", ["set accept_hosts"]),
        ({"token_file": "/no/such"}, "https://a", ["token_file: /no/such can't be read"]),
        ({"disable_filter": True}, "https://a", ["disable_filter: every web page"]),
        ({"disable_filter": True, "unix_socket": "/s"}, "https://a", ["whoever may open the socket"]),
        ({}, "http://a", ["http://a is plain http, so no credentials are sent there"]),
        ({}, "https://a/k8s", ["set append_server_path"]),
        ({"append_server_path": True}, "https://a/k8s", []),
    ],
)
def test_advice(options: dict[str, Any], url: str, told: list[str]) -> None:
    """What isn't as safe as it could be, in the TOML's words."""
    plugin = Plugin(Options(**options), Context("ambassador", None, api=lambda: Client(Server(url))))
    found = list(plugin.advice(Snapshot()))
    assert len(found) == len(told)
    for sentence, part in zip(found, told, strict=True):
        assert part in sentence


def test_advice_where_there_is_no_server() -> None:
    """A check elsewhere says what it can."""

    def nobody() -> Client:
        raise NoServer("none")

    plugin = Plugin(Options(disable_filter=True), Context("ambassador", None, api=nobody))
    assert len(list(plugin.advice(Snapshot()))) == 1


# -- in the daemon ---------------------------------------------------------------------

TOML = """
[token]
path = "DIR/account"
[plugins.ambassador]
port = 0
"""
HEARS = """
[plugins.hears]
path = "DIR/hears.py"
"""
PLUGIN = """
from kmetad import hookimpl

class Plugin:
    def __init__(self, context):
        self.log = context.log

    @hookimpl
    def kmetad_on_applied(self, outcome):
        self.log.info("heard", of=outcome.instance, **outcome.detail)
"""


@pytest.fixture
def daemon(lab: Lab) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons of a Pod of the lab, and kills what is left of them."""
    started: list[Daemon] = []
    (lab.directory / "hears.py").write_text(PLUGIN)

    def start(more: str = "") -> Daemon:
        started.append(Daemon(lab.directory, TOML + more + HEARS, **lab.environ))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_in_the_daemon(lab: Lab, daemon: Callable[..., Daemon]) -> None:
    """It listens, others hear where, the token may change, and stopping is in order."""
    kmetad = daemon()
    where = kmetad.line("heard", of="ambassador")["listens"]
    assert ask(where)[0] == 200
    request = kmetad.line("ambassador.request", plugin="ambassador")
    assert (request["verb"], request["resource"], request["status"]) == ("get", "pods", 200)
    lab.mount.rotate(token=lab.api.token(USER))
    kmetad.line("heard", of="ambassador")  # it was told of the new token
    assert ask(where)[0] == 200
    assert lab.api.requests[-1].header("Authorization") == f"Bearer {lab.mount.token}"
    assert kmetad.end() == 0
    assert lab.mount.token not in json.dumps(kmetad.lines)


def test_a_daemon_that_is_told_to_end_drains(lab: Lab, daemon: Callable[..., Daemon]) -> None:
    """For drain_timeout, and no longer than run.drain_timeout."""
    lab.api.script(f"GET {WEB}", behaviour.hang)
    kmetad = daemon('drain_timeout = "1h"\n[run]\ndrain_timeout = "100ms"\n')
    where = kmetad.line("heard", of="ambassador")["listens"]
    connection = http.client.HTTPConnection(where, timeout=30)
    connection.request("GET", WEB)
    lab.api.wait_for(f"GET {WEB}")
    assert kmetad.end(signal.SIGTERM) == 0
    connection.close()


def test_no_server_in_the_daemon(tmp_path: Path) -> None:
    """It is said, without a traceback, and tried again."""
    host = {"KUBERNETES_SERVICE_HOST": "", "KUBECONFIG": "", "HOME": str(tmp_path)}
    retry = '[plugins.ambassador.lane]\nretry = { initial = "1ms", max = "1ms" }\n'
    kmetad = Daemon(tmp_path, TOML + retry, **host)
    try:
        for attempt in (1, 2):
            told = kmetad.line("plugin.failed", plugin="ambassador", hook="on_start", attempt=attempt)
            assert told["error"].startswith("no API server is known")
            assert "exception" not in told
        assert kmetad.end() == 0
    finally:
        kmetad.close()


def test_check(lab: Lab, tmp_path: Path) -> None:
    """Warns of what isn't safe, of the server that [api] names, too."""
    toml = tmp_path / "kmetad.toml"
    toml.write_text(
        '[api]\nurl = "http://10.9.8.7"\n[plugins.ambassador]\naddress = "0.0.0.0"\naccept_hosts = [".*"]\n'
    )
    done = inside("check", "-c", str(toml))
    assert done.returncode == 0
    told = [line for line in done.stderr.splitlines() if "plugins.ambassador" in line]
    assert len(told) == 2
    assert "set token_file" in told[0]
    assert "http://10.9.8.7 is plain http" in told[1]
    toml.write_text('[plugins.ambassador]\nallow = ["get:pods:lab", "pods"]\n')
    done = inside("check", "-c", str(toml))
    assert (done.returncode, "allow: 'pods' is no rule" in done.stderr) == (2, True)


def test_it_is_listed() -> None:
    """With its options, as the TOML has them."""
    done = kmetad("plugins", "list", "-v")
    assert (done.stderr, done.returncode) == ("", 0)
    rows = [line.split(None, 2) for line in done.stdout.partition("ambassador ")[2].splitlines()]
    assert ["option", "allow", "list[str | table]"] in rows
    assert ["option", "idle_timeout", 'duration, default "1m"'] in rows
