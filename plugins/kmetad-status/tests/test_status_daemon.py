"""In a real daemon: beside an app and without one, replaced, killed, idle."""

from __future__ import annotations

import base64
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kmetad.testing import Host, Volume
from tests.asking import Listener, get
from tests.cli import eventually, inside
from tests.daemons import Daemon
from tests.waking import Quiet, wake_ups

SECRET = "only-for-the-app"
TOML = """
[token]
path = "DIR/account"
[volumes.podinfo]
path = "DIR/podinfo"
[volumes.settings]
path = "DIR/settings"
kind = "files"
[plugins.recorder]
path = "DIR/recorder.py"
lane.debounce = "0s"
[plugins.status]
unix_socket = "DIR/status.sock"
lane.debounce = "0s"
"""


STUBBORN = """
import os
from kmetad import Fail, hookimpl

class Plugin:
    @hookimpl
    def kmetad_on_change(self, batch):
        if not os.path.exists("DIR/go"):
            raise Fail("not yet")
"""


def token(number: int) -> str:
    """A service account's, with a secret in each of its parts."""
    claims = {"exp": int(time.time()) + 3600, "aud": ["api"], "secret": f"{SECRET}-{number}"}
    parts = (b'{"alg":"none"}', json.dumps(claims).encode(), f"{SECRET}-{number}".encode())
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


class Pod:
    """Volumes, and a daemon on them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.podinfo = Volume(directory / "podinfo")
        self.podinfo.write({"app": "web"}, {"note": "a"}, {"name": "web"})
        self.settings = Volume(directory / "settings")
        self.settings.write(files={"password": SECRET})
        self.account = Volume(directory / "account")
        self.said = [token(0)]
        self.account.write(files={"token": token(0), "ca.crt": SECRET, "namespace": "lab"})
        self.where = f"unix:{directory / 'status.sock'}"

    def start(self, *arguments: str, more: str = "") -> Daemon:
        """Start it, and wait until it listens."""
        self.daemon = Daemon(self.directory, TOML + more, *arguments)
        self.line = self.daemon.line("status.listens")
        return self.daemon


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    """Nothing runs yet."""
    made = Pod(tmp_path)
    yield made
    if made.daemon.process.poll() is None:
        made.daemon.end()
    made.daemon.close()


def ready(where: str) -> str:
    """What /readyz says."""
    return get(where, "/readyz").text


def test_beside_an_app(pod: Pod) -> None:
    """What it shows is what the commands show; and what the metrics count is what has happened."""
    kmetad = pod.start("--", "sleep", "1000")
    assert pod.line["at"] == pod.where
    eventually(lambda: ready(pod.where) == "ok\n", "readiness")
    kmetad.seen("start")
    pod.podinfo.label("app", "api")
    kmetad.line("told", keys=["label:app"])
    eventually(
        lambda: len(get(pod.where, "/api/timeline").document["events"]) == 2, "a change and its outcome"
    )

    def shown() -> bool:
        said = inside("status", "-o", "json", env={"RUNTIME_DIRECTORY": str(pod.directory)})
        return bool(json.loads(said.stdout) == get(pod.where, "/api/status").document)

    eventually(shown, "the same status")
    families = {
        one.name: one.samples for one in text_string_to_metric_families(get(pod.where, "/metrics").text)
    }
    values = {
        (name, *one.labels.values()): one.value for name, samples in families.items() for one in samples
    }
    assert values["kmetad_app_running",] == 1
    assert values["kmetad_swaps", "podinfo"] == 1
    assert values["kmetad_changes", "label"] == 1
    assert values["kmetad_deliveries", "recorder", "applied"] == 2
    assert 3000 < values["kmetad_token_remaining_seconds", "token"] <= 3600
    assert values["kmetad_app_starts",] == 1


def test_no_secret_is_shown(pod: Pod) -> None:
    """No token, neither the first nor the next, no file's content, and no digest of one, on any path or in the log."""
    kmetad = pod.start("-v")
    with Listener(pod.where, "change,outcome,status,metadata") as listener:
        pod.account.write(files={"token": token(1), "ca.crt": SECRET + "2", "namespace": "lab"})
        pod.settings.write(files={"password": SECRET + "3"})
        seen = [listener.next()]
        while not {"token", "file"} <= {one.data["type"] for one in seen if one.event == "change"}:
            seen.append(listener.next())
    changed = next(one.data for one in seen if one.event == "change" and one.data["type"] == "token")
    assert changed["new"]["audiences"] == ["api"]
    paths = (
        "/",
        "/livez",
        "/readyz",
        "/metrics",
        "/api/status",
        "/api/metadata",
        "/api/timeline",
        f"/{SECRET}",
    )
    shown = b"".join(get(pod.where, path).body for path in paths) + repr(seen).encode()
    assert b'"audiences":["api"]' in shown
    assert kmetad.end() == 0
    shown += json.dumps(kmetad.lines).encode()
    for text in (
        SECRET,
        *token(0).split("."),
        *token(1).split(".")[1:],
        base64.b64encode(SECRET.encode()).decode(),
    ):
        assert text.encode() not in shown.replace(b'{"alg":"none"}', b"")
    assert b"igest" not in shown


def test_a_volume_that_is_lost(pod: Pod) -> None:
    """It isn't ready meanwhile, and says why; it lives."""
    pod.start()
    eventually(lambda: ready(pod.where) == "ok\n", "readiness")
    (pod.directory / "settings").rename(pod.directory / "away")
    eventually(lambda: ready(pod.where) != "ok\n", "its end")
    got = get(pod.where, "/readyz")
    assert got.status == 503 and got.text.startswith("volume settings is lost: ")
    assert get(pod.where, "/livez").status == 200
    (pod.directory / "away").rename(pod.directory / "settings")
    eventually(lambda: ready(pod.where) == "ok\n", "readiness again")


def test_a_plugin_that_is_behind(pod: Pod) -> None:
    """`lag_limit` makes the Pod unready for as long as an instance doesn't come to what the Pod is."""
    (pod.directory / "stubborn.py").write_text(STUBBORN.replace("DIR", str(pod.directory)))
    lane = 'lane.retry = { initial = "50ms", max = "50ms" }'
    pod.start(more=f'lag_limit = "150ms"\n[plugins.stubborn]\npath = "DIR/stubborn.py"\n{lane}\n')
    eventually(lambda: ready(pod.where) == "ok\n", "readiness")
    pod.podinfo.label("app", "api")
    eventually(lambda: ready(pod.where).startswith("plugin stubborn has been behind for "), "the lag")
    (pod.directory / "go").touch()
    eventually(lambda: ready(pod.where) == "ok\n", "readiness again")


def test_a_new_configuration(pod: Pod) -> None:
    """The stream ends, and whoever comes back is told that these are another daemon's numbers."""
    kmetad = pod.start()
    pod.podinfo.label("app", "1")
    with Listener(pod.where, last="") as listener:
        last = listener.hello
        kmetad.toml.write_text(kmetad.toml.read_text() + "\nhistory = 200\n")
        while listener.line() is not None:
            pass
    kmetad.line("status.listens", at=pod.where)
    with Listener(pod.where, last=last.id) as listener:
        assert listener.hello.data["boot"] != last.data["boot"]
        assert listener.next().event == "reset"
        pod.podinfo.label("app", "2")
        assert listener.next().data["new"] == "2"
    assert kmetad.end() == 0
    assert not (pod.directory / "status.sock").exists()


def test_a_daemon_that_is_killed(pod: Pod) -> None:
    """The next one takes the place of the socket that it left, while the app runs on."""
    kmetad = pod.start("--", "sleep", "1000")
    daemon = get(pod.where, "/api/status").document["pid"]
    with Listener(pod.where) as listener:
        os.kill(daemon, signal.SIGKILL)
        with pytest.raises(AssertionError, match="the stream ended"):
            listener.next()
    kmetad.line("status.listens", at=pod.where)
    now = get(pod.where, "/api/status").document
    assert now["pid"] != daemon
    assert now["app"]["starts"] == 1


def test_nothing_wakes_while_nobody_listens(pod: Pod) -> None:
    """No thread of the daemon, in a second and a half, after somebody has listened and gone."""
    kmetad = pod.start()
    eventually(lambda: ready(pod.where) == "ok\n", "readiness")
    get(pod.where, "/metrics")
    with Listener(pod.where, "change,outcome,status,metadata"):
        pod.podinfo.label("app", "api")
        kmetad.line("told", keys=["label:app"])
    eventually(Quiet(kmetad.process.pid), "a second and a half without a wake-up")


def test_what_happens_wakes_nobody_where_nobody_listens(serve: Callable[..., tuple[Host, str]]) -> None:
    """The history grows, and the thread that would tell it sleeps on; when somebody listens, it is woken."""
    plugin, where = serve()
    (thread,) = (one.native_id for one in threading.enumerate() if one.name == "status-test")

    def grown() -> int:
        before = wake_ups(os.getpid(), thread)
        for number in range(100):
            plugin.set(labels={"n": str(number)})
        return wake_ups(os.getpid(), thread) - before

    eventually(lambda: grown() == 0, "a history that grows in silence")
    with Listener(where) as listener:
        assert grown() > 0
        assert listener.next().event == "change"
