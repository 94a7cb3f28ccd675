"""A token is put in, everything is run at debug level, with errors, tracebacks and crashes: nobody ever says it."""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmetad.api import ApiError, Client, Server
from kmetad.api.credentials import Mounted
from kmetad.testing import Volume
from tests.apiserver import ApiServer, Authority, behaviour, pod
from tests.apiserver.kubeconfig import kubeconfig
from tests.apiserver.mount import Mount
from tests.cli import DEADLINE, environment, eventually, inside

APP = "system:serviceaccount:lab:app"
WEB = "/api/v1/namespaces/lab/pods/web"

PLUGIN = """
import logging, os, sys
from kmetad import hookimpl

logging.basicConfig(level=logging.DEBUG)

class Plugin:
    def __init__(self, context):
        self.context = context

    @hookimpl
    def kmetad_on_start(self, snapshot):
        client = self.context.api()
        headers = client.server.credentials.headers()
        self.context.log.debug("client", client=client, server=client.server, headers=headers, token=client.token(),
                               everything=vars(client), transport=vars(client._transport))
        print(client.server, headers)
        for path in ("/api/v1/namespaces/lab/pods/web", "/api/v1/secrets", "/nope"):
            try:
                client.get(path)
            except Exception as error:
                self.context.log.exception("refused", error=error, arguments=error.args, more=vars(error))

    @hookimpl
    def kmetad_on_label(self, change):
        if change.new == "raise":
            self.context.api().get("/api/v1/secrets")
        if change.new == "crash":
            import faulthandler
            faulthandler.enable()
            os.abort()
        if change.new == "thread":
            import threading
            threading.Thread(target=self.context.api().get, args=("/api/v1/secrets",)).start()

    @hookimpl
    def kmetad_on_token(self, change):
        print(change, repr(change), change.as_json(change.new))
        self.context.log.info("renewed", change=change)
"""
TOML = """
[state]
dir = "DIR/state"
[token]
path = "DIR/account"
[volumes.podinfo]
path = "DIR/podinfo"
[plugins.caller]
path = "DIR/caller.py"
lane.retry = { initial = "10ms", max = "10ms" }
[plugins.report]
applied = { version = "metadata.labels['version']" }
condition = "kmetad.dev/Applied"
events = "all"
"""


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """One that has a Pod."""
    with ApiServer() as running:
        running.put(pod("web", "lab"))
        running.allow(APP, ["get", "patch"], ["pods"], namespace="lab")
        yield running


@pytest.fixture
def mounted(server: ApiServer, tmp_path: Path) -> Mount:
    """A service account's volume."""
    return server.mount(tmp_path / "account", APP)


def parts(token: str) -> list[str]:
    """What must never be seen: the claims and the signature, as far as a cut or wrapped text would show them."""
    return [part[at : at + 24] for part in token.split(".")[1:] for at in range(0, len(part) - 24, 24)]


def said(output: str | bytes, *tokens: str) -> list[str]:
    """What of these tokens is in it."""
    text = output if isinstance(output, str) else output.decode("utf-8", "replace")
    return [part for token in tokens for part in parts(token) if part in text]


def environ(server: ApiServer, directory: Path) -> dict[str, str]:
    """What a container of this Pod has."""
    return environment(
        {
            "KUBERNETES_SERVICE_HOST": server.host,
            "KUBERNETES_SERVICE_PORT": str(server.port),
            "RUNTIME_DIRECTORY": str(directory),
            "HOME": str(directory),
            "PYTHONDEVMODE": "1",
            "POD_NAME": "web",
            "POD_NAMESPACE": "lab",
        }
    )


def test_a_daemon_that_has_it_all(server: ApiServer, mounted: Mount, tmp_path: Path) -> None:
    """At debug level, around an app: refusals, tracebacks, a crash in a hook, a thread's fault, a new token."""
    first = mounted.token
    (tmp_path / "caller.py").write_text(PLUGIN)
    (tmp_path / "state").mkdir()
    (tmp_path / "kmetad.toml").write_text(TOML.replace("DIR", str(tmp_path)))
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"version": "1"})
    output = tmp_path / "output"
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "kmetad", "run", "-v", "-c", str(tmp_path / "kmetad.toml"), "--", "sleep", "600"],
            stdout=out,
            stderr=out,
            env=environ(server, tmp_path),
        )  # fmt: skip

    def has(text: str) -> Callable[[], bool]:
        return lambda: re.search(text, output.read_text("utf-8", "replace")) is not None

    try:
        eventually(has('"event": "refused"'))
        for step, seen in (
            ("raise", '"event": "plugin.raised".*Forbidden'),
            ("thread", '"event": "plugin.thread_died".*Forbidden'),
            ("crash", "Fatal Python error: Aborted"),
            ("2", '"event": "plugin.suspected"'),
        ):
            volume.update(labels={"version": step})
            eventually(has(seen))
        second = server.token(APP)
        mounted.rotate(token=second)
        server.revoke(first)
        eventually(has('"event": "renewed"'))
        states = [
            subprocess.run(
                [sys.executable, "-m", "kmetad", "status", "-o", form, "-c", str(tmp_path / "kmetad.toml")],
                env=environ(server, tmp_path),
                capture_output=True,
                timeout=DEADLINE,
            )
            for form in ("text", "json")
        ]
    finally:
        process.terminate()
        process.wait(DEADLINE)
    everything = output.read_bytes() + b"".join(done.stdout + done.stderr for done in states)
    everything += b"".join(file.read_bytes() for file in (tmp_path / "state").rglob("*") if file.is_file())
    assert b"Traceback" in everything and b"<secret>" in everything and len(everything) > 5000
    assert said(everything, first, second) == []


COMMANDS = [
    ["get"],
    ["get", "-o", "json"],
    ["check"],
    ["check", "--simulate", "label:version=3", "--simulate", "token:serviceaccount"],
    *(
        ["api", *words, "-o", form]
        for form in ("table", "json", "yaml")
        for words in (["cluster-info"], ["paths"], ["resources"], ["whoami"], ["get", WEB], ["can-i", "--list"])
    ),
    ["api", "can-i", "get", "secrets"],
    ["api", "get", "/api/v1/secrets"],
    ["api", "whoami", "--insecure-skip-tls-verify"],
    ["api", "whoami", "--server", "https://127.0.0.1:1"],
    ["api", "whoami", "--server", "https://127.0.0.1:1/SOMETHING"],
]  # fmt: skip


def run_all(lines: list[list[str]], env: dict[str, str]) -> str:
    """All that these commands say."""
    done = [inside(*line, env=env) for line in lines]
    return "".join(one.stdout + one.stderr for one in done)


def test_every_command(server: ApiServer, mounted: Mount, tmp_path: Path) -> None:
    """With the Pod's token, and with it in a kubeconfig; also where it is refused, and where nobody listens."""
    token = mounted.token
    Volume(tmp_path / "podinfo").write(labels={"version": "1"})
    toml = TOML.replace("DIR", str(tmp_path)).partition("[plugins")[0]
    (tmp_path / "kmetad.toml").write_text(f'{toml}[log]\nlevel = "debug"\n')
    config = tmp_path / "config"
    config.write_text(kubeconfig(server, token=token, namespace="lab"))
    own, other = ["-c", str(tmp_path / "kmetad.toml")], ["--kubeconfig", str(config)]
    in_pod = [[*command, *own] for command in COMMANDS]
    elsewhere = [[*command, *other] for command in COMMANDS if command[0] == "api"]
    for lines, known in ((in_pod, APP), (elsewhere, APP)):
        heard = run_all(lines, environ(server, tmp_path))
        assert known in heard and "403 Forbidden" in heard and "isn't TOML" not in heard
        assert said(heard, token) == []
    server.revoke(token)
    for lines in (in_pod, elsewhere):
        heard = run_all([line for line in lines if line[0] == "api"], environ(server, tmp_path))
        assert "401 Unauthorized" in heard
        assert said(heard, token) == []


def test_tracebacks_with_their_values(server: ApiServer, mounted: Mount, tmp_path: Path) -> None:
    """Tools that print the values of a traceback's variables find none of it, whatever the call ended by."""
    token = mounted.token
    account = Mounted(str(mounted.path))
    refuse = [
        *("403-app-delete", "401-garbage-token", "410-list-exact-compacted"),
        *(behaviour.reset, behaviour.html(502), behaviour.not_json, behaviour.not_http, behaviour.bomb()),
        behaviour.redirect("https://elsewhere"),
    ]
    errors: list[ApiError] = []
    with Client(Server(server.url, account)) as client:
        for act in refuse:
            script = server.script(f"GET {WEB}", act, times=math.inf)
            with pytest.raises(ApiError) as caught:
                client.get(WEB)
            errors.append(caught.value)
            script.stop()
        server.rotate_certificate(Authority())
        with pytest.raises(ApiError) as caught:
            client.get(WEB)
        errors.append(caught.value)
    with Client(Server("https://127.0.0.1:1", account)) as client, pytest.raises(ApiError) as caught:
        client.get(WEB)
    errors.append(caught.value)
    everything = ""
    for error in errors:
        inner = error.__traceback__ and error.__traceback__.tb_next  # the test itself knows it
        told = traceback.TracebackException(type(error), error, inner, capture_locals=True)
        shown = "".join(told.format())
        assert "kmetad/api/" in shown
        assert said(shown, token) == [], type(error)
        everything += shown
    assert "<secret>" in everything, "values are shown, and this is how a token looks"


def test_what_must_be_found_would_be() -> None:
    """The search itself finds a token, whole or cut."""
    token = "a." + "b" * 48 + "." + os.urandom(96).hex()
    assert said(f"x {token} y", token)
    assert said(token[-60:], token)
    assert not said("nothing", token)
