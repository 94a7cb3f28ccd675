"""kmetad run without a command: the daemon as a process, from a swap to a hook, and every fault at the start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.cli import DEADLINE, environment, eventually, kmetad
from tests.daemons import Daemon
from tests.test_packaging import ROOT


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Starts daemons, and kills what is left of them."""
    started: list[Daemon] = []
    tmp_path.chmod(0o755)

    def start(toml: str, *arguments: str, **environ: str) -> Daemon:
        started.append(Daemon(tmp_path, toml, *arguments, **environ))
        return started[-1]

    yield start
    for one in started:
        one.close()


PODINFO = '[volumes.podinfo]\npath = "DIR/podinfo"\n'
ONE = PODINFO + '[plugins.recorder]\npath = "DIR/recorder.py"\n'


def test_a_swap_reaches_a_hook(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Start, one line for a batch, the plugin told; and all ends by TERM with 0, ``on_stop`` included."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "web"}, annotations={"kubernetes.io/config.seen": "1"})
    kmetad = daemon(ONE)
    started = kmetad.line("kmetad.started")
    assert (started["plugins"], started["labels"], started["sources"]) == (
        ["recorder"],
        1,
        ["podinfo", "env"],
    )
    kmetad.line("source.watched", source="podinfo")
    kmetad.seen("start")
    volume.label("app", "api")
    assert kmetad.line("told")["keys"] == ["label:app"]
    assert kmetad.line("pod.changed")["changes"] == ["label:app web → api"]
    volume.annotate("kubernetes.io/config.seen", "2")  # a restarted kubelet: noise
    volume.label("app", "web")
    assert kmetad.line("told")["now"] == {"app": "web"}
    assert kmetad.end() == 0
    told = [line["keys"] for line in kmetad.lines if line["event"] == "told"]
    assert told == [["label:app"], ["label:app"]]
    events = [line["event"] for line in kmetad.lines]
    assert events.index("start") < events.index("told")
    assert events.index("stop") < events.index("kmetad.stopped")
    assert kmetad.process.stdout is not None
    assert kmetad.process.stdout.read() == ""  # standard output is the app's
    assert {"event": "text", "text": "to standard output\n"} in kmetad.lines


def test_a_plugin_that_raises_is_tried_again(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """It is logged with the instance's name, and delays nobody."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "web"})
    kmetad = daemon(
        ONE
        + 'fail = 2\n[plugins.recorder.lane]\nretry = { initial = "1ms", max = "1ms" }\n'
        + '[plugins.other]\npath = "DIR/recorder.py"\n'
    )
    kmetad.line("kmetad.started")
    kmetad.seen("start", plugin="recorder")
    kmetad.seen("start", plugin="other")
    volume.label("app", "api")
    kmetad.line("told", plugin="recorder", attempt=3)
    raised = [line for line in kmetad.lines if line["event"] == "plugin.raised"]
    assert [(line["plugin"], line["attempt"]) for line in raised] == [("recorder", 1), ("recorder", 2)]
    assert "RuntimeError: not yet" in raised[0]["exception"]
    kmetad.seen("told", plugin="other", attempt=1)
    assert kmetad.end(signal.SIGINT) == 0


def test_a_broken_plugin_is_the_end(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Without an app there is nothing that would have to run on: 125. Each fault is told by file, line and place."""
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    (tmp_path / "broken.py").write_text("1 / 0")
    kmetad = daemon(
        ONE + '[plugins.broken]\npath = "DIR/broken.py"\n[plugins.relaod]\n'
        '[plugins.typo]\npath = "DIR/recorder.py"\nfial = 1\n'
    )
    assert kmetad.wait() == 125
    faults = [line["fault"] for line in kmetad.lines if line["event"] == "config.fault"]
    assert len(faults) == 3
    assert "ZeroDivisionError" in faults[0]
    assert "broken.py:1" in faults[0]
    assert "did you mean reload?" in faults[1]
    assert "kmetad.toml:10: plugins.typo.fial" in faults[2]
    assert 'did you mean "fail"?' in faults[2]


@pytest.mark.parametrize(
    ("toml", "arguments", "told"),
    [
        ("[volumes.podinfo", (), "isn't TOML"),
        ("[run]\nstop_timeout = 3", (), "run.stop_timeout"),
        ("[daemon]\nnice = 99", (), "daemon.nice"),
        ("[plugins.relaod]", (), "no plugin 'relaod' is installed"),
        ("[plugins.relaod]", ("--strict",), "no plugin 'relaod' is installed"),
        ("[watch]\nrescan = 3", (), "watch.rescan"),
    ],
)
def test_faults_that_end_it(
    daemon: Callable[..., Daemon], toml: str, arguments: tuple[str, ...], told: str
) -> None:
    """Any, with --strict and without: 125."""
    kmetad = daemon(toml, *arguments)
    assert kmetad.wait() == 125
    assert told in json.dumps(kmetad.lines)


def test_reads_the_configuration_again(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """HUP: a good one takes effect in the same process, a broken one changes nothing."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"app": "web"})
    kmetad = daemon(ONE)
    kmetad.line("kmetad.started", plugins=["recorder"])
    kmetad.seen("start")
    (tmp_path / "broken.py").write_text("1 / 0")
    for broken, told in (
        ("[volumes", "isn't TOML"),
        ('[plugins.b]\npath = "DIR/broken.py"', "ZeroDivisionError"),
    ):
        kmetad.toml.write_text(broken.replace("DIR", str(tmp_path)))
        kmetad.process.send_signal(signal.SIGHUP)
        kmetad.line("config.kept")
        assert told in json.dumps([line for line in kmetad.lines if line["event"] == "config.fault"])
    volume.label("app", "api")
    kmetad.line("told")
    kmetad.toml.write_text(ONE.replace("recorder]", "again]").replace("DIR", str(tmp_path)))
    kmetad.process.send_signal(signal.SIGHUP)
    kmetad.line("kmetad.started", plugins=["again"])
    kmetad.seen("start", plugin="again")
    volume.label("app", "web")
    kmetad.line("told", plugin="again")
    assert kmetad.end() == 0


def test_a_volume_that_is_not_there_yet(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """It is said, waited for, and told of when it comes."""
    kmetad = daemon(ONE)
    assert "isn't there" in kmetad.line("source.fault", status="lost")["error"]
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    kmetad.line("source.recovered", source="podinfo")
    assert kmetad.end() == 0


def test_advice_at_the_start(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """What will never work is said: a label only in the environment, a match that matches nothing."""
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    kmetad = daemon(
        "[env]\nZONE = \"metadata.labels['zone']\"\n" + ONE + 'match = ["label:ap", "file:*"]\n', ZONE="a"
    )
    texts = [kmetad.line("config.advice")["advice"] for _ in range(3)]
    assert "only in the environment" in texts[0]
    assert texts[1].endswith("'label:ap' matches nothing there is now; there are label:app")
    assert texts[2].endswith("there is no file at all")
    assert kmetad.end() == 0


def test_options_for_an_app_that_is_not_there(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """A daemon alone says which of them do nothing; those that are for it, too, are left out."""
    Volume(tmp_path / "podinfo").write(labels={"app": "web"})
    kmetad = daemon('[run]\nrestart = "always"\ndrain_timeout = "1s"\nenv.A = "a"\n' + PODINFO)
    advice = kmetad.line("config.advice")["advice"]
    assert advice.startswith("run.restart, run.start, run.env can't do anything")
    assert kmetad.end() == 0


def test_limits_of_its_own(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """``[daemon]`` is applied: priority, memory, and what the kernel kills first."""
    kmetad = daemon(PODINFO + '[daemon]\nmemory_limit = "256Mi"\nnice = 3\noom_score_adj = 700\n')
    kmetad.line("kmetad.started")
    pid = kmetad.process.pid
    assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "700"
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert next(line for line in limits.splitlines() if line.startswith("Max data size")).split()[3] == str(
        256 << 20
    )
    for _ in range(2):
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 3)
        kmetad.process.send_signal(signal.SIGHUP)  # the same process, which is nice once
        kmetad.line("kmetad.started")
    assert kmetad.end() == 0


def test_secrets_never_appear(daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    """Not the token's value, nor the content of a file that isn't metadata, at any level."""
    from kmetad.testing.kubelet import ServiceAccountVolume

    marker = "MARKERofaSECRET"
    account = ServiceAccountVolume(tmp_path / "account")
    account.write(files={"token": marker, "ca.crt": marker, "namespace": "default"})
    settings = Volume(tmp_path / "settings")
    settings.write(files={"password": marker})
    kmetad = daemon(
        '[token]\npath = "DIR/account"\n[volumes.settings]\npath = "DIR/settings"\nkind = "files"\n'
        '[plugins.recorder]\npath = "DIR/recorder.py"\nfail = 1\n'
        '[plugins.recorder.lane]\nretry = { initial = "1ms" }\n',
        "-v",
    )
    kmetad.line("source.fault", source="token")  # no whole token
    kmetad.seen("start")
    settings.file("password", marker + "2")
    account.file("ca.crt", marker + "2")
    kmetad.line("told")
    account.file("token", marker + ".half")
    settings.file("other", "x")
    kmetad.line("told", keys=["file:settings/other"])
    assert kmetad.end() == 0
    assert marker not in json.dumps(kmetad.lines)


# Its process runs something that is imported: what the file of a plugin has is no module for it.
SPAWNING = """
import multiprocessing
from kmetad import hookimpl

class Plugin:
    def __init__(self, context):
        self.log = context.log

    @hookimpl
    def kmetad_on_start(self, snapshot):
        process = multiprocessing.get_context("spawn").Process(target=print, args=("spawned",))
        process.start()
        process.join()
        self.log.info("spawned", code=process.exitcode)
"""


class Script(Daemon):
    """The same by the command ``kmetad``, which is a script."""

    def started(self, arguments: tuple[str, ...], environ: dict[str, str]) -> subprocess.Popen[str]:
        """Start the process."""
        command = [sys.executable, str(ROOT / "scripts" / "kmetad"), "run", "-c", str(self.toml), *arguments]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, text=True
        )


@pytest.mark.parametrize("kind", [Daemon, Script])
def test_a_plugin_may_spawn_processes(kind: type[Daemon], tmp_path: Path) -> None:
    """``multiprocessing`` runs the main module again, as docs/plugins.md allows: that starts no second daemon."""
    tmp_path.chmod(0o755)
    (tmp_path / "spawning.py").write_text(SPAWNING)
    kmetad = kind(tmp_path, '[plugins.spawning]\npath = "DIR/spawning.py"\n')
    try:
        assert kmetad.line("spawned")["code"] == 0
        assert kmetad.end() == 0
        assert len([line for line in kmetad.lines if line["event"] == "kmetad.started"]) == 1
    finally:
        kmetad.close()


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closed: str, tmp_path: Path) -> None:
    """Without an app, too: who wants no log gets none, and all else is as ever."""
    toml = tmp_path / "kmetad.toml"
    toml.write_text(f'[state]\ndir = "{tmp_path}"\n')
    command = [sys.executable, "-m", "kmetad", "run", "-c", str(toml)]
    with subprocess.Popen(["sh", "-c", f'exec "$@" {closed}', "sh", *command], env=environment()) as daemon:
        eventually(lambda: kmetad("status", "-c", str(toml)).returncode == 0, "readiness")
        daemon.terminate()
        assert daemon.wait(DEADLINE) == 0
