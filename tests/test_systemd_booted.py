"""kmetad as a service of a real systemd, with the unit's own sandbox around it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from kmetad.testing.kubelet import Volume
from tests.booted import Machine
from tests.cli import eventually
from tests.test_systemd_units import EXPOSURE, drop_ins

TOML = """
[state]
dir = "/var/lib/kmetad"
[volumes.podinfo]
path = "/srv/podinfo"
[plugins.shown]
use = "reload"
match = ["label:*"]
exec = ["cat"]
[plugins.written]
use = "reload"
match = ["label:*"]
write = { file = "/run/kmetad/pod.json", format = "json" }
"""
AMBASSADOR = """
[api]
kubeconfig = "/run/credentials/kmetad.service/kubeconfig"
[plugins.ambassador]
"""
KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts: [{name: here, context: {cluster: here, user: me}}]
clusters: [{name: here, cluster: {server: "http://127.0.0.1:9"}}]
users: [{name: me}]
"""
OTHERS = """
[volumes.others]
path = "/srv/others"
[plugins.signalled]
use = "reload"
match = ["label:*"]
signal = "HUP"
pid_file = "/run/waiting.pid"
"""
WAITING = """
[Service]
DynamicUser=yes
KillMode=process
ExecStart=/bin/sh -c 'trap "echo has the signal" HUP; echo waits; while :; do sleep 0.1; done'
"""


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One for all tests here."""
    directory = tmp_path_factory.mktemp("machine")
    for path in (directory, *directory.parents[:2]):
        path.chmod(0o755)
    machine = Machine(directory)
    machine.write("/etc/systemd/system/waiting.service", WAITING)
    with machine:
        yield machine


@pytest.fixture
def service(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Machine]:
    """The same, where kmetad is stopped and forgotten in the end. What it has logged is shown where a test fails."""
    machine.write("/etc/kmetad/kmetad.toml", TOML)
    machine("systemctl daemon-reload")
    yield machine
    print(machine.log())
    machine("systemctl stop kmetad 'kmetad@*'; systemctl reset-failed")
    machine("rm -rf /etc/systemd/system/kmetad.service.d/test.conf /var/lib/kmetad* /var/lib/private /srv/*")
    machine("journalctl --quiet --rotate && journalctl --quiet --vacuum-time=1s")


def podinfo(machine: Machine) -> Volume:
    """What kmetad watches there."""
    volume = Volume(machine.root / "srv/podinfo")
    volume.write(labels={"app": "web"})
    return volume


def drop_in(machine: Machine, *texts: str) -> None:
    """What `systemctl edit kmetad` would have made."""
    machine.write("/etc/systemd/system/kmetad.service.d/test.conf", "".join(texts))
    machine("systemctl daemon-reload")


def events(machine: Machine, event: str) -> list[dict[str, object]]:
    """The lines of kmetad's log with that event."""
    lines = [json.loads(line) for line in machine.log().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def told(machine: Machine) -> list[tuple[str | None, str | None]]:
    """What the plugin's command, `cat`, was told: a label before and after."""
    lines = [json.loads(str(line["line"])) for line in events(machine, "reload.output")]
    return [(line["old"], line["new"]) for line in lines]


def test_from_start_to_stop(service: Machine) -> None:
    """It waits and says why, is ready, reacts to a swap, is reloaded as the same process, and stops."""
    service("systemctl start --no-block kmetad")
    why = "Not ready: volume podinfo is lost: "
    eventually(lambda: service.shown("StatusText").startswith(why), "it says what it waits for")
    assert service.shown("ActiveState") == "activating"
    volume = podinfo(service)
    service("systemctl start kmetad")  # the job that there is already: it ends once the service is ready
    assert service.shown("ActiveState") == "active"
    assert service.shown("StatusText") == "Ready: 2 sources, 2 plugins, generation 2"
    volume.label("app", "api")
    eventually(lambda: ("web", "api") in told(service), "its plugin's command says what changed")
    eventually(lambda: '"api"' in service("cat /run/kmetad/pod.json"), "its plugin has written the file")
    assert "ready" in service("/opt/kmetad/bin/kmetad status")

    pid = service.shown("MainPID")
    service.write("/etc/kmetad/kmetad.toml", TOML + "[plugins.nothing]\n")
    assert "failed" in service("systemctl reload kmetad", check=False)
    assert "no plugin" in service.log() or "nothing" in service.log()
    service.write("/etc/kmetad/kmetad.toml", TOML)
    service("systemctl reload kmetad")
    eventually(lambda: len(events(service, "kmetad.started")) == 2, "it starts anew")
    eventually(lambda: service.shown("SubState") == "running", "it is ready again")
    assert (service.shown("MainPID"), service.shown("NRestarts")) == (pid, "0")
    service("systemctl stop kmetad")
    assert (service.shown("Result"), service.shown("ExecMainStatus")) == ("success", "0")
    assert events(service, "kmetad.stopped")
    assert not events(service, "daemon.limit_refused")


def test_its_sandbox(service: Machine) -> None:
    """What the unit promises is in force: for systemd's own analysis of what runs, and for the kernel."""
    podinfo(service)
    service("systemctl start kmetad")
    analysed = service("systemd-analyze security --no-pager kmetad")
    exposure = re.search(r"Overall exposure level for kmetad.service: ([0-9.]+)", analysed)
    assert exposure is not None, analysed
    assert float(exposure[1]) <= EXPOSURE
    pid = service.shown("MainPID")
    status = dict(line.split(":\t", 1) for line in service(f"cat /proc/{pid}/status").splitlines())
    assert not {"0", "65534"} & set(status["Uid"].split())
    assert {status[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"], status["CoreDumping"]) == ("1", "2", "0")
    assert service(f"readlink /proc/{pid}/ns/user") != service("readlink /proc/1/ns/user")
    assert re.search(r"Max core file size +0 +0 ", service(f"cat /proc/{pid}/limits"))
    inside = f"nsenter --target {pid} --mount"
    for path in ("/etc", "/srv", "/usr", "/opt/kmetad"):
        assert "Read-only file system" in service(f"{inside} touch {path}/x", check=False)


def test_a_hung_daemon_is_replaced(service: Machine) -> None:
    """By the watchdog; the log has where it hung, and its plugins go on where they were."""
    drop_in(service, "[Service]\nWatchdogSec=1s\n")
    volume = podinfo(service)
    service("systemctl start kmetad")
    volume.label("app", "api")
    eventually(lambda: ("web", "api") in told(service), "it works")
    service("kill -STOP $(systemctl show --property=MainPID --value kmetad)")
    volume.label("app", "job")
    eventually(lambda: service.shown("NRestarts") == "1", "it is started again")
    eventually(lambda: ("api", "job") in told(service), "the plugin is told what it doesn't know")
    log = service.log()
    assert "Watchdog timeout" in log
    assert "Fatal Python error: Aborted" in log
    service("systemctl start kmetad")
    assert service.shown("StatusText").startswith("Ready: ")


def test_faults_end_it(service: Machine) -> None:
    """A TOML with faults is tried a few times; then the service has failed, and says why."""
    drop_in(service, "[Unit]\nStartLimitBurst=3\n[Service]\nRestartSec=10ms\n")
    service.write("/etc/kmetad/kmetad.toml", "[plugins.nothing]\n")
    assert service("systemctl start kmetad", check=False)
    eventually(lambda: service.shown("ActiveState") == "failed", "it gives up")
    assert service.shown("NRestarts") == "3"
    assert service.shown("StatusText").startswith("Not ready: the configuration has a fault: ")


def test_the_api_server(service: Machine) -> None:
    """By credentials that only root may read, and for whoever asks on this machine."""
    podinfo(service)
    (credentials,) = drop_ins("kubeconfig:/etc/kmetad/kubeconfig")
    drop_in(service, credentials)
    service.write("/etc/kmetad/kubeconfig", KUBECONFIG)
    (service.root / "etc/kmetad/kubeconfig").chmod(0o600)
    service.write("/etc/kmetad/kmetad.toml", TOML + AMBASSADOR)
    service("systemctl start kmetad")
    asked = service("curl --silent --show-error http://127.0.0.1:8001/api")
    assert "127.0.0.1:9" in asked, asked  # where nobody is; but it knows whom to ask


def test_others_files_and_processes(service: Machine) -> None:
    """Nobody else's by default; by the drop-ins of docs/systemd.md."""
    podinfo(service)
    others = Volume(service.root / "srv/others")
    others.write(labels={"team": "a"})
    (service.root / "srv/others").chmod(0o700)
    service("systemctl start waiting")
    service("systemctl show --property=MainPID --value waiting >/run/waiting.pid")
    service.write("/etc/kmetad/kmetad.toml", TOML + OTHERS)
    service("systemctl start --no-block kmetad")
    eventually(lambda: "volume others is unreadable" in service.shown("StatusText"), "it may not read them")
    service("systemctl stop kmetad")
    drop_in(service, *drop_ins("CAP_DAC_READ_SEARCH"), *drop_ins("CAP_KILL"))
    service("systemctl start kmetad")
    others.label("team", "b")
    eventually(lambda: "has the signal" in service.log("waiting"), "the signal comes")
    service("systemctl stop waiting")


def test_commands_of_root(service: Machine) -> None:
    """As root, by the drop-in of docs/systemd.md, a plugin may have systemd do something."""
    volume = podinfo(service)
    service("systemctl start kmetad && systemctl stop kmetad")  # what it has kept is root's from then on
    drop_in(service, *drop_ins("User=root"))
    service.write("/etc/kmetad/kmetad.toml", TOML.replace('["cat"]', '["systemctl", "start", "waiting"]'))
    service("systemctl start kmetad")
    volume.label("app", "api")
    eventually(lambda: service.shown("ActiveState", "waiting") == "active", "its command has started it")
    service("systemctl stop waiting")


def test_instances(service: Machine) -> None:
    """Each has its own TOML and its own directories; one that has no TOML isn't started."""
    podinfo(service)
    for name in ("one", "two"):
        service.write(f"/etc/kmetad/{name}.toml", TOML.replace("/kmetad", f"/kmetad-{name}"))
    service("systemctl start kmetad@one kmetad@two kmetad@three")
    for name in ("one", "two"):
        unit = f"kmetad@{name}"
        assert service.shown("StatusText", unit) == "Ready: 2 sources, 2 plugins, generation 1"
        assert "podinfo" in service(f"/opt/kmetad/bin/kmetad status -c /etc/kmetad/{name}.toml")
        assert '"web"' in service(f"cat /run/kmetad-{name}/pod.json")
    assert service.shown("ConditionResult", "kmetad@three") == "no"
