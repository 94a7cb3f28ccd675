"""``context.api()``: plugins that call the API server, in daemons that run."""

from __future__ import annotations

import re
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmetad._config import parse
from kmetad.api import Client, NoServer, find_server, path_of
from kmetad.hookspecs import Context, hookimpl
from kmetad.testing import Host, Volume
from tests.apiserver import ApiServer, behaviour, pod
from tests.apiserver.kubeconfig import kubeconfig
from tests.cli import eventually
from tests.daemons import Daemon

APP = "system:serviceaccount:lab:app"
WEB = "/api/v1/namespaces/lab/pods/web"

CALLER = """
import sys
import msgspec
from kmetad import Retry, hookimpl

HEAVY = ("kmetad.api.client", "urllib3", "ssl", "http.client")

class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    does: str = "get"

class Plugin:
    def __init__(self, options, context):
        self.options, self.context = options, context

    def imported(self):
        return [name for name in HEAVY if name in sys.modules]

    @hookimpl
    def kmetad_on_start(self, snapshot):
        self.context.log.info("started", imported=self.imported())

    @hookimpl
    def kmetad_on_change(self, batch):
        if self.options.does == "nothing":
            return self.context.log.info("told", imported=self.imported())
        from kmetad.api import TooManyRequests
        client = self.context.api()
        try:
            labels = client.get("/api/v1/namespaces/lab/pods/web")["metadata"]["labels"]
        except TooManyRequests as error:
            raise Retry("the server says so", after=error.retry_after) from error
        self.context.log.info("called", labels=labels, url=client.server.url, client=id(client))
"""
TOML = """
[volumes.podinfo]
path = "DIR/podinfo"
[token]
path = "DIR/account"
[plugins.one]
path = "DIR/caller.py"
[plugins.two]
path = "DIR/caller.py"
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons that watch a volume, and kills what is left of them."""
    started: list[Daemon] = []
    (tmp_path / "caller.py").write_text(CALLER)
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})

    def start(toml: str, **environ: str) -> Daemon:
        started.append(Daemon(tmp_path, toml, **environ))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """One that has a Pod."""
    with ApiServer() as running:
        running.put(pod("web", "lab", labels={"app": "web"}))
        running.allow(APP, ["get"], ["pods"], namespace="lab")
        yield running


def label(directory: Path, **labels: str) -> None:
    """Change the Pod's labels, in the volume."""
    Volume(directory / "podinfo").update(labels=labels)


def in_cluster(server: ApiServer) -> dict[str, str]:
    """What the kubelet tells a container."""
    return {"KUBERNETES_SERVICE_HOST": server.host, "KUBERNETES_SERVICE_PORT": str(server.port)}


def test_one_client_for_all(daemon: Callable[..., Daemon], server: ApiServer, tmp_path: Path) -> None:
    """It is made for the first that asks, with the mounted token, and shared with its connections."""
    server.mount(tmp_path / "account", APP)
    kmetad = daemon(TOML, **in_cluster(server))
    for name in ("one", "two"):
        assert kmetad.seen("started", plugin=name)["imported"] == []
    label(tmp_path, app="v2")
    calls = [kmetad.seen("called", plugin=name) for name in ("one", "two")]
    assert [call["labels"] for call in calls] == [{"app": "web"}] * 2
    assert calls[0]["client"] == calls[1]["client"]
    assert calls[0]["url"] == server.url
    assert {request.user for request in server.requests} == {APP}


def test_nobody_pays_for_what_nobody_uses(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Deliveries without a call import neither the client nor HTTP and TLS."""
    kmetad = daemon(
        TOML.replace('caller.py"', 'caller.py"\ndoes = "nothing"'), KUBERNETES_SERVICE_HOST="127.0.0.1"
    )
    kmetad.line("started")
    label(tmp_path, app="v2")
    assert kmetad.line("told")["imported"] == []


def test_the_url_of_the_toml(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Such as an ambassador's, which gets no token."""
    with ApiServer(tls=False) as proxy:
        proxy.put(pod("web", "lab", labels={"app": "web"}))
        proxy.allow("kubectl-proxy", ["get"], ["pods"], namespace="lab")
        proxy.mount(tmp_path / "account", APP)
        kmetad = daemon(f'[api]\nurl = "{proxy.url}"\n' + TOML, KUBERNETES_SERVICE_HOST="127.0.0.1")
        kmetad.line("started")
        label(tmp_path, app="v2")
        assert kmetad.line("called")["url"] == proxy.url
        assert proxy.requests[0].header("Authorization") is None


def test_what_else_the_toml_says(daemon: Callable[..., Daemon], server: ApiServer, tmp_path: Path) -> None:
    """A kubeconfig; the environment's proxy, which lets nothing through here; what the server warns of is logged."""
    (tmp_path / "config").write_text(kubeconfig(server, server.token(APP), "lab"))
    warning = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nWarning: 299 - "old"\r\n\r\n%b'
    body = b'{"metadata":{"labels":{}}}'
    server.script(f"GET {WEB}", behaviour.raw(warning % (len(body), body)), times=2)
    kmetad = daemon('[api]\nkubeconfig = "DIR/config"\n' + TOML)
    kmetad.line("started")
    label(tmp_path, app="v2")
    assert kmetad.line("api.warning")["said"] == "old"
    assert kmetad.seen("called")["url"] == server.url
    kmetad.close()
    (tmp_path / "config").write_text(
        kubeconfig(server, server.token(APP)).replace(server.url, "https://api.invalid")
    )
    kmetad = daemon(
        '[api]\nproxy_from_env = true\nkubeconfig = "DIR/config"\n' + TOML, https_proxy="http://127.0.0.1:1"
    )
    kmetad.line("started")
    label(tmp_path, app="v3")
    assert "nobody listens at http://127.0.0.1:1, the proxy" in kmetad.line("plugin.raised")["error"]


def test_without_a_server(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """The hook fails with a sentence that says what was looked for, and is tried again."""
    kmetad = daemon(TOML, HOME=str(tmp_path), KUBECONFIG="", KUBERNETES_SERVICE_HOST="")
    kmetad.line("started")
    label(tmp_path, app="v2")
    said = kmetad.line("plugin.raised")["error"]
    assert said.startswith("NoServer: no API server is known: this is no Pod")


def test_a_server_that_hangs_holds_up_nobody_else(
    daemon: Callable[..., Daemon], server: ApiServer, tmp_path: Path
) -> None:
    """One lane waits for its answer; the other gets its own meanwhile."""
    server.mount(tmp_path / "account", APP)
    script = server.script(f"GET {WEB}", behaviour.hang)
    kmetad = daemon('[run]\ndrain_timeout = "100ms"\n' + TOML, **in_cluster(server))
    kmetad.line("started")
    label(tmp_path, app="v2")
    assert kmetad.line("called")["labels"] == {"app": "web"}
    assert script.used == 1
    assert kmetad.end() == 0


def test_when_the_server_says_later(daemon: Callable[..., Daemon], server: ApiServer, tmp_path: Path) -> None:
    """A 429 becomes a Retry with the server's own time."""
    server.mount(tmp_path / "account", APP)
    server.script(f"GET {WEB}", behaviour.too_many_requests(1))
    kmetad = daemon(TOML, **in_cluster(server))
    kmetad.line("started")
    label(tmp_path, app="v2")
    later = kmetad.seen("plugin.asks_for_later")
    assert later["after"] == 1.0
    kmetad.seen("called", plugin=later["plugin"])


class Caller:
    """A plugin in the test's own process."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @hookimpl
    def kmetad_on_start(self, snapshot: object) -> dict[str, str]:
        return {"version": self._context.api().get("/version")["gitVersion"]}


def test_the_host_of_plugin_tests(server: ApiServer, tmp_path: Path) -> None:
    """It has no server until the test gives it a client."""
    host = Host(Caller)
    with pytest.raises(NoServer, match=r"Host\.api"):
        host.start()
    mounted = server.mount(tmp_path / "account", APP)
    with Client(find_server(url=server.url, token_path=str(mounted.path))) as host.api:
        host.start()
    assert host.outcomes[-1].detail["version"].startswith("v1.")


# -- docs/api.md


def examples() -> list[str]:
    """The indented blocks of the page's part about plugins."""
    page = (Path(__file__).parent.parent / "docs" / "api.md").read_text()
    part = page.partition("## From a plugin or an app\n")[2].partition("\n## ")[0]
    return [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", part, re.MULTILINE)]


def test_the_page_s_plugin(daemon: Callable[..., Daemon], server: ApiServer, tmp_path: Path) -> None:
    """It does what the page says."""
    plugin, _, _ = examples()
    (tmp_path / "seen.py").write_text(plugin)
    server.mount(tmp_path / "account", APP)
    server.allow(APP, ["patch"], ["pods"], namespace="lab")
    toml = TOML.partition("[plugins")[0] + '[plugins.seen]\npath = "DIR/seen.py"\n'
    kmetad = daemon(toml, POD_NAME="web", **in_cluster(server))
    kmetad.line("kmetad.started")
    label(tmp_path, app="v2")
    server.wait_for("PATCH")

    def annotated() -> bool:
        stored = server.get("Pod", "lab", "web")
        return stored is not None and stored["metadata"].get("annotations") == {"example.com/seen": "v2"}

    eventually(annotated)


def test_the_page_s_toml() -> None:
    """Each of its options exists; of url and kubeconfig only one may be set."""
    _, toml, _ = examples()
    url, *others = [line.removeprefix("# ") for line in toml.splitlines() if "=" in line]
    assert len(others) == 2
    assert parse(f"[api]\n{url}\n{others[1]}\n", "f").problems == ()
    assert parse("[api]\n" + "\n".join(others), "f").problems == ()


def test_the_page_s_watch(server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what there is, and what happens."""
    server.allow(APP, ["list", "watch"], ["pods"], namespace="lab")
    mounted = server.mount(tmp_path / "account", APP)
    with Client(find_server(url=server.url, token_path=str(mounted.path))) as client:
        thread = threading.Thread(
            target=exec, args=(examples()[2], {"client": client, "path_of": path_of, "print": print})
        )
        thread.start()
        server.wait_for_watches()
        server.label("lab", "web", app="v2")
        said: list[str] = []

        def told() -> bool:
            said.append(capsys.readouterr().out)
            return "MODIFIED" in "".join(said)

        eventually(told)
        client.close()
        thread.join()
    assert [line.split()[0] for line in "".join(said).splitlines()] == ["LISTED", "MODIFIED"]
