"""The whole thing: a daemon on a volume, an API server, and kubectl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kmetad.testing import Volume
from tests.apiserver import ApiServer, pod
from tests.apiserver.kubeconfig import kubeconfig
from tests.cli import eventually, inside
from tests.daemons import Daemon

USER = "system:serviceaccount:lab:web"
KEY = "kmetad.dev/applied-version"

RULE = """
import os, sys, time
from kmetad import Fail, hookimpl

class Plugin:
    def __init__(self, context):
        self.log = context.log

    @hookimpl
    def kmetad_on_start(self, snapshot):
        self.log.info("begun", imported=[name for name in ("kmetad.api", "urllib3", "ssl") if name in sys.modules])

    @hookimpl
    def kmetad_on_change(self, batch):
        version = batch.current.labels.get("version", "")
        if version == "bad":
            raise Fail("nobody can run that")
        with open("DIR/takes") as takes:  # blocks until somebody says that the app has it
            takes.read()
        self.log.info("taken", imported=[name for name in ("kmetad.api", "urllib3", "ssl") if name in sys.modules])
"""

TOML = """
[log]
level = "debug"
[watch]
ignore = []
[token]
path = "DIR/account"
[volumes.podinfo]
path = "DIR/podinfo"
[plugins.rule]
path = "DIR/rule.py"
match = ["label:version"]
lane.retry = { initial = "10ms" }
[plugins.report]
"""
REPORT = """
applied = { version = "metadata.labels['version']" }
condition = "kmetad.dev/Applied"
events = "failures"
container = "web"
"""


class Lab:
    """A Pod on an API server, its volume, and the daemon beside it."""

    def __init__(self, server: ApiServer, directory: Path) -> None:
        self.server = server
        self.directory = directory
        uid = server.put(pod("web", "lab", labels={"version": "v1"}))["metadata"]["uid"]
        server.put({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "lab"}})
        server.allow(USER, ["patch"], ["pods/status"], namespace="lab")
        server.allow(USER, ["create", "patch"], ["events"], namespace="lab")
        server.allow_all("admin")
        self.token = server.mount(directory / "account", USER).token
        self.volume = Volume(directory / "podinfo")
        self.volume.write({"version": "v1"}, {}, {"name": "web", "namespace": "lab", "uid": uid})
        self._writing = threading.Lock()
        (directory / "rule.py").write_text(RULE.replace("DIR", str(directory)))
        os.mkfifo(directory / "takes")
        (directory / "config").write_text(kubeconfig(server, server.token("admin"), "lab"))

    def run(self, report: str = REPORT) -> Daemon:
        """Start the daemon."""
        at = {"KUBERNETES_SERVICE_HOST": self.server.host, "KUBERNETES_SERVICE_PORT": str(self.server.port)}
        return Daemon(self.directory, TOML + report, "-v", **at)

    def sync(self) -> dict[str, Any]:
        """Do what the kubelet does: write labels and annotations as they are. Answers the Pod's metadata."""
        found = self.server.get("Pod", "lab", "web")
        assert found is not None
        metadata: dict[str, Any] = found["metadata"]
        with self._writing:
            self.volume.update(labels=metadata["labels"], annotations=metadata.get("annotations") or {})
        return metadata

    def applied(self) -> str | None:
        """The annotation, after the kubelet had its turn."""
        text: str | None = (self.sync().get("annotations") or {}).get(KEY)
        return text

    def status(self) -> str | None:
        """The condition's."""
        found = self.server.get("Pod", "lab", "web")
        assert found is not None
        told = (c["status"] for c in found["status"]["conditions"] if c["type"] == "kmetad.dev/Applied")
        return next(told, None)

    def take(self) -> None:
        """Let the app have it."""
        with open(self.directory / "takes", "w"):
            pass

    def kubectl(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run it as an administrator."""
        kubectl = shutil.which("kubectl")
        if kubectl is None:
            pytest.skip("needs kubectl (Debian's kubernetes-client)")
        env = {**os.environ, "KUBECONFIG": str(self.directory / "config"), "HOME": str(self.directory)}
        return subprocess.run([kubectl, *argv], env=env, capture_output=True, text=True, timeout=60)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """With nothing running yet."""
    with ApiServer() as server:
        yield Lab(server, tmp_path)


@pytest.fixture
def daemon(lab: Lab) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons, and kills what is left of them."""
    started: list[Daemon] = []

    def start(*report: str) -> Daemon:
        started.append(lab.run(*report))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_from_label_to_annotation(lab: Lab, daemon: Callable[..., Daemon]) -> None:
    """When the app really has it, and not before; never in a loop; and the token is nowhere."""
    kmetad = daemon()
    kmetad.line("begun")
    eventually(lambda: (lab.applied(), lab.status()) == ("v1", "True"))
    lab.server.label("lab", "web", version="v2")
    lab.sync()
    with open(lab.directory / "takes", "w"):  # opens when the rule is waiting for it
        assert lab.applied() == "v1"
    eventually(lambda: lab.applied() == "v2")
    kmetad.line("taken")
    lab.server.label("lab", "web", version="bad")
    eventually(lambda: (lab.applied(), lab.status()) == ("v2", "False"))
    eventually(lambda: len(lab.server.objects("Event", "lab")) == 1)
    (event,) = lab.server.objects("Event", "lab")
    assert event["message"] == "rule: nobody can run that (label:version=bad)"
    lab.server.label("lab", "web", version="v3")
    lab.sync()
    lab.take()
    eventually(lambda: (lab.applied(), lab.status()) == ("v3", "True"))
    lab.server.remove("Pod", "lab", "web")
    lab.volume.label("version", "v4")
    lab.take()
    kmetad.line("report.pod_gone")
    # A look, then an apply each for v1, v2, the failure (one whose text stays), v3, and v4 in vain.
    patches = [request for request in lab.server.requests if request.resource == "pods/status"]
    assert len(patches) == 6
    assert kmetad.end() == 0
    assert lab.token not in json.dumps(kmetad.lines)
    assert lab.token.rpartition(".")[2] not in json.dumps(kmetad.lines)


def test_nothing_is_imported_for_nothing(lab: Lab, daemon: Callable[..., Daemon]) -> None:
    """What there is for API calls comes with the first of them."""
    kmetad = daemon('events = "failures"')
    assert kmetad.line("begun")["imported"] == []
    lab.volume.label("version", "v2")
    lab.take()
    assert kmetad.line("taken")["imported"] == []
    assert kmetad.end() == 0
    assert lab.server.requests == []


def test_kubectl(lab: Lab, daemon: Callable[..., Daemon]) -> None:
    """What README.md's lines show."""
    daemon().line("begun")
    eventually(lambda: lab.applied() == "v1")
    assert lab.kubectl("label", "pod", "web", "version=bad", "--overwrite").returncode == 0
    lab.sync()
    eventually(lambda: lab.status() == "False")
    eventually(lambda: bool(lab.server.objects("Event", "lab")))
    described = lab.kubectl("describe", "pod", "web").stdout
    assert "ApplyFailed" in described
    assert "rule: nobody can run that" in described
    assert lab.kubectl("label", "pod", "web", "version=v2", "--overwrite").returncode == 0
    lab.sync()
    lab.take()
    waited = lab.kubectl("wait", "--for=condition=kmetad.dev/Applied", "pod/web", "--timeout=30s")
    assert waited.returncode == 0, waited.stderr
    path = r"{.metadata.annotations.kmetad\.dev/applied-version}"
    assert lab.kubectl("get", "pod", "web", "-o", f"jsonpath={path}").stdout == "v2"


def test_kubectl_waits_for_the_value(lab: Lab, daemon: Callable[..., Daemon]) -> None:
    """Until the app really has it."""
    version = json.loads(lab.kubectl("version", "--client", "-o", "json").stdout)["clientVersion"]
    if int(version["minor"].rstrip("+")) < 23:
        pytest.skip(f"kubectl {version['gitVersion']} can't wait for a jsonpath: 1.23 and later can")
    path = r"{.metadata.annotations.kmetad\.dev/applied-version}"
    daemon().line("begun")
    lab.kubectl("label", "pod", "web", "version=v3", "--overwrite")
    lab.sync()
    short = lab.kubectl("wait", f"--for=jsonpath={path}=v3", "pod/web", "--timeout=1s")
    assert "timed out" in short.stderr
    lab.take()
    waited = lab.kubectl("wait", f"--for=jsonpath={path}=v3", "pod/web", "--timeout=30s")
    assert waited.returncode == 0, waited.stderr


def test_check_knows_the_others(tmp_path: Path) -> None:
    """``after`` naming an instance that the TOML doesn't have is told before anything runs."""
    Volume(tmp_path / "podinfo").write(labels={"version": "v1"}, files={"name": "web", "uid": "u"})
    (tmp_path / "rule.py").write_text(RULE)
    toml = tmp_path / "kmetad.toml"
    toml.write_text(TOML.replace("DIR", str(tmp_path)) + REPORT + 'after = ["rule", "rulle"]\n')
    done = inside("check", "-c", str(toml))
    assert done.returncode == 0
    assert "plugins.report: after: there is no instance rulle; there are rule" in done.stderr
