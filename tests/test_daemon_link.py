"""The daemon of a wrapped app: what it says to its supervisor, and what it does when told."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmetad import _link
from kmetad.testing.kubelet import Volume
from tests.cli import eventually
from tests.daemons import DEADLINE, Supervised

PODINFO = '[volumes.podinfo]\npath = "DIR/podinfo"\n'
ENV = "[run]\nstop_timeout = '7s'\nenv.VERSION = \"v{metadata.labels['version']}\"\n"

ASKING = """
import msgspec
from kmetad import hookimpl

class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fail: int = 0
    restart: bool = False
    start: bool = True

class Plugin:
    def __init__(self, options, context):
        self.options, self.left, self.log, self.app = options, options.fail, context.log, context.app

    @hookimpl
    def kmetad_on_start(self, snapshot):
        if not self.options.start:
            raise RuntimeError("never")

    @hookimpl
    def kmetad_on_change(self, batch):
        self.batch = batch
        if self.options.restart:
            self.app.restart("because\\nof it")
        else:
            self.app.signal("SIGHUP")
        if self.left:
            self.left -= 1
            raise RuntimeError("not yet")
        self.log.info("told", pid=self.app.pid, starts=self.app.starts, wrapped=self.app.wrapped)

    @hookimpl
    def kmetad_on_app_start(self, pid, starts):
        self.log.info("app_start", pid=pid, starts=starts, known=self.app.pid)

    @hookimpl
    def kmetad_on_app_exit(self, code, signal, starts):
        self.log.info("app_exit", code=code, signal=signal, starts=starts, known=self.app.pid)

    @hookimpl
    def kmetad_app_env(self, snapshot):
        return {"FROM_PLUGIN": snapshot.labels["version"], "VERSION_OF": "asking"}

    @hookimpl
    def kmetad_on_stop(self):
        self.log.info("stop")
"""
TAGGING = """
from kmetad import LogTags, Skip, hookimpl

class Plugin:
    @hookimpl
    def kmetad_on_change(self, batch):
        raise Skip("nothing to do")

    @hookimpl
    def kmetad_log_tags(self, snapshot):
        return LogTags({"version": snapshot.labels["version"] * (20_000 if "huge" in snapshot.labels else 1)})
"""
TAGS = '[plugins.tagging]\npath = "DIR/tagging.py"\nlane.retry = { initial = "1ms", max = "1ms" }\n'

ONE = PODINFO + '[plugins.asking]\npath = "DIR/asking.py"\nlane.retry = { initial = "1ms", max = "1ms" }\n'

Start = Callable[..., Supervised]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Start]:
    """Starts daemons of wrapped apps, and kills what is left of them."""
    started: list[Supervised] = []
    tmp_path.chmod(0o755)
    (tmp_path / "asking.py").write_text(ASKING)
    (tmp_path / "tagging.py").write_text(TAGGING)

    def start(toml: str, *arguments: str, **environ: str) -> Supervised:
        started.append(Supervised(tmp_path, toml, *arguments, **environ))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """A volume with one label, ``version``."""
    made = Volume(tmp_path / "podinfo")
    made.write(labels={"version": "1"})
    return made


def test_from_hello_to_ready(daemon: Start, volume: Volume) -> None:
    """What comes first, and that the variables are there before it is ready."""
    kmetad = daemon(ENV + PODINFO)
    assert kmetad.hear("hello") == ()
    (settings,) = kmetad.hear("run")
    assert (settings["stop_timeout"], settings["start"]) == (7.0, "after-sync")
    kmetad.hear("environment")
    assert kmetad.variables == {"VERSION": "v1"}
    kmetad.hear("ready")
    kmetad.say("stop", 5.0)
    assert kmetad.wait() == 0
    assert kmetad.rest() == []


def test_nothing_to_fill(daemon: Start, volume: Volume) -> None:
    """The environment is said to be complete all the same, and no settings are said where no file has any."""
    kmetad = daemon("")
    kmetad.hear("ready")
    assert kmetad.heard == ["hello", "tags", "environment", "ready"]


def test_variables_follow_the_labels(daemon: Start, volume: Volume) -> None:
    """Only what differs is said; a variable whose field has gone is taken back."""
    kmetad = daemon(ENV + "env.APP = \"{metadata.labels['app']}\"\n" + PODINFO)
    kmetad.hear("environment")
    assert kmetad.variables == {"VERSION": "v1"}
    fault = kmetad.line("environment.variable")
    assert (fault["variable"], fault["fault"]) == (
        "APP",
        "left out, for there is no metadata.labels['app'] now",
    )
    volume.label("app", "web")
    kmetad.hear("environment")
    assert kmetad.variables == {"VERSION": "v1", "APP": "web"}
    assert kmetad.heard.count("variable") == 2
    volume.label("version", None)
    kmetad.hear("environment")
    assert kmetad.variables == {"APP": "web"}
    assert kmetad.line("environment.variable")["variable"] == "VERSION"


def test_a_value_that_no_environment_can_hold(daemon: Start, volume: Volume) -> None:
    """It is said once, without the value; what was there stays until there is a better one."""
    kmetad = daemon("[run]\nenv.NOTE = \"{metadata.annotations['note']}\"\n" + PODINFO)
    kmetad.line("environment.variable")
    for note, fault in (
        ("a", None),
        ("MARKER\0", "refused: the value holds a NUL; it stays as it was"),
        ("MARKER" * 30_000, "refused: with its name it has 180005 bytes, and no more than 131071 fit"),
        ("\udcff" * 131_066, None),
    ):
        volume.annotate("note", note)
        if fault:
            assert kmetad.line("environment.variable", variable="NOTE")["fault"].startswith(fault)
            assert kmetad.variables["NOTE"] == "a"
        else:
            kmetad.hear("variable")
            kmetad.hear("environment")
            assert kmetad.variables["NOTE"] == note
    kmetad.say("stop", 5.0)
    assert kmetad.wait() == 0
    assert "MARKER" not in json.dumps([line for line in kmetad.lines if line["event"] != "pod.changed"])


def test_a_plugin_fills_the_environment(daemon: Start, volume: Volume) -> None:
    """After ``on_start`` and after each delivery; over ``[run.env]``, and the later instance over the earlier."""
    kmetad = daemon(
        ENV + "env.VERSION_OF = 'run.env'\n" + ONE + ONE[len(PODINFO) :].replace("asking]", "two]")
    )
    kmetad.hear("ready")
    expected = {"VERSION": "v1", "FROM_PLUGIN": "1", "VERSION_OF": "asking"}
    assert kmetad.variables == expected
    volume.label("version", "2")
    while kmetad.variables != {**expected, "VERSION": "v2", "FROM_PLUGIN": "2"}:
        kmetad.hear("environment")


def test_a_fault_of_app_env_fails_the_delivery(daemon: Start, volume: Volume) -> None:
    """It is tried again, and what was there stays in force."""
    kmetad = daemon(ONE)
    kmetad.hear("ready")
    volume.update(labels={"version": None, "other": "1"})
    raised = kmetad.line("plugin.raised")
    assert (raised["hook"], raised["error"]) == ("on_change", "KeyError: 'version'")
    volume.label("version", "3")
    kmetad.hear("environment")
    assert kmetad.variables["FROM_PLUGIN"] == "3"


def tags_of(kmetad: Supervised) -> bytes:
    """The next tags of standard output that it says, where all have spoken."""
    tags, complete = kmetad.hear("tags")
    assert complete
    return bytes(tags["stdout"][0])


def test_tags_of_lines(daemon: Start, volume: Volume) -> None:
    """After ``on_start`` and each delivery, skipped ones too; what is too much is refused, once, and fails nothing."""
    kmetad = daemon('[run]\noutput = "tag"\n' + PODINFO + TAGS)
    assert tags_of(kmetad) == b'"pod":{"version":"1"}'
    volume.label("version", "2")
    assert tags_of(kmetad) == b'"pod":{"version":"2"}'
    volume.update(labels={"huge": "", "version": "3"})
    refused = kmetad.line("log_tags.refused")
    assert "all tags take 20020 bytes in each line, and no more than 16384 are allowed" in refused["fault"]
    volume.label("other", "")
    volume.update(labels={"huge": None, "version": "4"})
    assert tags_of(kmetad) == b'"pod":{"version":"4"}'
    kmetad.say("stop", 5.0)
    assert kmetad.wait() == 0
    events = [line["event"] for line in kmetad.lines]
    assert (events.count("log_tags.refused"), events.count("plugin.raised")) == (1, 0)


def test_a_fault_of_log_tags_fails_the_delivery(daemon: Start, volume: Volume) -> None:
    """It is tried again, and lines go on with the tags of before."""
    kmetad = daemon('[run]\noutput = "tag"\n' + PODINFO + TAGS)
    tags_of(kmetad)
    volume.label("version", None)
    raised = kmetad.line("plugin.raised")
    assert (raised["hook"], raised["error"]) == ("on_change", "KeyError: 'version'")
    volume.label("version", "3")
    assert tags_of(kmetad) == b'"pod":{"version":"3"}'


@pytest.mark.parametrize(("output", "advised"), [("auto", True), ("inherit", True), ("tag", False)])
def test_tags_that_reach_no_line(output: str, advised: bool, daemon: Start, volume: Volume) -> None:
    """It is said at the start."""
    kmetad = daemon(f'[run]\noutput = "{output}"\n' + PODINFO + TAGS)
    kmetad.line("source.watched", source="podinfo")
    kmetad.say("stop", 5.0)
    assert kmetad.wait() == 0
    advice = [line["advice"] for line in kmetad.lines if line["event"] == "config.advice"]
    assert any("kmetad_log_tags" in sentence for sentence in advice) is advised


def test_signals_are_asked_for(daemon: Start, volume: Volume) -> None:
    """At once, by number; each try of a delivery asks again."""
    kmetad = daemon(ONE + "fail = 1\n")
    kmetad.say("app_started", 4711, 3)
    kmetad.hear("ready")
    volume.label("version", "2")
    assert kmetad.hear("signal") == (signal.SIGHUP,)
    assert kmetad.hear("signal") == (signal.SIGHUP,)
    told = kmetad.line("told")
    assert (told["pid"], told["starts"], told["wrapped"]) == (4711, 3, True)


def test_a_restart_finds_its_variables(daemon: Start, volume: Volume) -> None:
    """It is asked for once, when a delivery has succeeded; by then the variables of that delivery are in force."""
    kmetad = daemon(ENV + ONE + "fail = 2\nrestart = true\n")
    kmetad.hear("ready")
    volume.label("version", "2")
    assert kmetad.hear("restart") == ("asking: because of it",)
    assert kmetad.variables == {"VERSION": "v2", "FROM_PLUGIN": "2", "VERSION_OF": "asking"}
    assert sum(line["event"] == "plugin.raised" for line in kmetad.lines) == 0
    kmetad.line("told")
    kmetad.say("stop", 5.0)
    kmetad.wait()
    assert [line["event"] for line in kmetad.lines].count("plugin.raised") == 2
    assert "restart" not in kmetad.rest()


def test_what_the_app_does_is_told(daemon: Start, volume: Volume) -> None:
    """In order, on the lane's thread, and also to a plugin whose ``on_start`` comes later; the same start once."""
    kmetad = daemon(ONE)
    kmetad.say("app_started", 10, 1)
    kmetad.say("app_started", 10, 1)
    kmetad.say("app_exited", 143, 15, 1)
    kmetad.say("app_started", 11, 2)
    seen = [kmetad.line("app_start"), kmetad.line("app_exit"), kmetad.line("app_start", starts=2)]
    assert [(line.get("pid"), line.get("code"), line.get("signal"), line["starts"]) for line in seen] == [
        (10, None, None, 1),
        (None, 143, 15, 1),
        (11, None, None, 2),
    ]
    assert sum(line["event"] == "app_start" for line in kmetad.lines) == 2


def test_ready_waits_for_the_volume(daemon: Start, tmp_path: Path) -> None:
    """Each that is declared, not only the first."""
    Volume(tmp_path / "podinfo").write(labels={"version": "1"})
    kmetad = daemon(ENV + PODINFO + '[volumes.late]\npath = "DIR/late"\n')
    kmetad.hear("environment")
    kmetad.line("source.fault", source="late")
    assert "ready" not in kmetad.heard
    Volume(tmp_path / "late").write(labels={"more": "1"})
    kmetad.hear("ready")


def test_ready_waits_for_on_start(daemon: Start, volume: Volume) -> None:
    """A plugin that fails keeps the app from being told that all is there."""
    kmetad = daemon(ONE + "start = false\n")
    kmetad.line("plugin.raised", hook="on_start", attempt=3)
    kmetad.say("stop", 5.0)
    kmetad.wait()
    kmetad.rest()
    assert "ready" not in kmetad.heard


@pytest.mark.parametrize(
    "more", ["[plugins.relaod]\n", "[watch]\nrescan = 3\n", "[run]\nrestart = 7\n", "[run"]
)
def test_with_faults_it_is_never_ready(daemon: Start, volume: Volume, more: str) -> None:
    """It says why, and watches on with what is usable: the app is there already. No settings that are faulty."""
    kmetad = daemon(PODINFO + more)
    kmetad.line("config.fault")
    kmetad.line("kmetad.started")
    kmetad.say("stop", 5.0)
    assert kmetad.wait() == 0
    kmetad.rest()
    assert kmetad.heard == ["hello", *([] if "[run" in more else ["run"]), "tags", "environment"]


def test_strict(daemon: Start, volume: Volume) -> None:
    """No fault: it is said before anything is watched. A fault: 125."""
    kmetad = daemon(ONE, "--strict")
    kmetad.hear("checked")
    assert kmetad.heard == ["hello", "run", "checked"]
    kmetad = daemon(PODINFO + "[plugins.relaod]\n", "--strict")
    assert kmetad.wait() == 125
    assert kmetad.rest() == []


def test_strict_is_for_the_start(daemon: Start, volume: Volume) -> None:
    """A configuration that comes later, with a fault, doesn't take the daemon from an app that runs."""
    kmetad = daemon(ONE, "--strict")
    kmetad.hear("ready")
    kmetad.toml.write_text("[plugins.relaod]\n")
    kmetad.process.send_signal(signal.SIGHUP)
    kmetad.line("config.kept")
    kmetad.toml.write_text(ONE.replace("DIR", os.path.dirname(volume.path)))
    kmetad.process.send_signal(signal.SIGHUP)
    kmetad.line("kmetad.started")
    assert kmetad.end() == 0


def test_advice(daemon: Start, volume: Volume) -> None:
    """Variables of a plugin come too late for an app that is started at once."""
    kmetad = daemon(ONE)
    assert "plugins.asking has variables for the app" in kmetad.line("config.advice")["advice"]


def test_stop(daemon: Start, volume: Volume) -> None:
    """Plugins are asked to end, within the time that is left; one that hangs is given up."""
    kmetad = daemon(ONE)
    kmetad.hear("ready")
    kmetad.say("app_exited", 0, 0, 1)
    kmetad.say("stop", 20.0)
    assert kmetad.wait() == 0
    events = [line["event"] for line in kmetad.lines]
    assert events.index("app_exit") < events.index("stop") < events.index("kmetad.stopped")


def test_a_stop_that_takes_too_long(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """The supervisor's time counts, not the configuration's."""
    (tmp_path / "hangs.py").write_text(
        "from kmetad import hookimpl\nimport threading\nclass Plugin:\n    @hookimpl\n"
        "    def kmetad_on_stop(self):\n        threading.Event().wait()\n"
    )
    kmetad = daemon("[run]\ndrain_timeout = '10m'\n" + PODINFO + '[plugins.hangs]\npath = "DIR/hangs.py"\n')
    kmetad.hear("ready")
    kmetad.say("stop", 0.05)
    assert kmetad.wait() == 0
    assert [line["hook"] for line in kmetad.lines if line["event"] == "lane.given_up"] == ["on_stop"]


def test_it_ends_with_its_supervisor(daemon: Start, volume: Volume) -> None:
    """The end of the link is the end of the daemon, plugins included."""
    kmetad = daemon(ONE)
    kmetad.hear("ready")
    kmetad.link.close()
    assert kmetad.wait() == 0
    assert "stop" in [line["event"] for line in kmetad.lines]


PARENT = """
import socket, subprocess, sys, time
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
daemon = subprocess.Popen([sys.executable, "-P", "-m", "kmetad._daemon", "--config", sys.argv[1],
                           "--link", str(theirs.fileno())], pass_fds=[theirs.fileno()], start_new_session=True)
while b"ready" not in ours.recv(1 << 18):
    pass
print(daemon.pid, flush=True)
sys.stdin.read()
"""


def test_it_is_killed_with_its_supervisor(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """Also where it hangs in a way that no thread of it can do anything, and somebody else holds the link."""
    (tmp_path / "kmetad.toml").write_text(PODINFO.replace("DIR", str(tmp_path)))
    command = [sys.executable, "-c", PARENT, str(tmp_path / "kmetad.toml")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.kill(pid, signal.SIGSTOP)
        watched = os.pidfd_open(pid)
        parent.kill()
        parent.wait(DEADLINE)
    try:
        eventually(lambda: bool(select.select([watched], [], [], 0)[0]))
    finally:
        os.close(watched)


def test_term_ends_the_daemon_alone(daemon: Start, volume: Volume) -> None:
    """With 0, like everybody who is asked to end; its supervisor starts it again."""
    kmetad = daemon(ONE)
    kmetad.hear("ready")
    assert kmetad.end(signal.SIGTERM) == 0


def test_a_new_configuration(daemon: Start, volume: Volume) -> None:
    """HUP: the same process, the same link; it says hello, and what was said before is void."""
    kmetad = daemon(ENV + ONE)
    kmetad.hear("ready")
    assert kmetad.variables == {"VERSION": "v1", "FROM_PLUGIN": "1", "VERSION_OF": "asking"}
    niceness = os.getpriority(os.PRIO_PROCESS, kmetad.process.pid)
    kmetad.toml.write_text("[run]\nenv.NEW = '{metadata.labels.version}'\n")
    kmetad.process.send_signal(signal.SIGHUP)
    kmetad.line("config.kept")
    text = "[run]\nstop_timeout = '9s'\nenv.NEW = \"{metadata.labels['version']}\"\n" + PODINFO
    kmetad.toml.write_text(text.replace("DIR", str(kmetad.directory)))
    kmetad.process.send_signal(signal.SIGHUP)
    kmetad.hear("hello")
    (settings,) = kmetad.hear("run")
    assert settings["stop_timeout"] == 9.0
    kmetad.hear("environment")
    assert kmetad.variables == {"NEW": "1"}
    kmetad.hear("ready")
    assert os.getpriority(os.PRIO_PROCESS, kmetad.process.pid) == niceness
    kmetad.say("app_started", 9, 9)
    kmetad.say("stop", 5.0)
    assert kmetad.wait() == 0


def test_what_plugins_start_has_no_descriptor_of_it(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """Neither before nor after HUP: the end of the daemon has to be the end of the link."""
    report = tmp_path / "report"
    toml = (
        PODINFO + '[plugins.reload]\nmatch = ["label:*"]\n'
        f'exec = ["sh", "-c", "ls /proc/self/fd | wc -l > {report}.$KMETAD_NEW"]\n'
    )
    kmetad = daemon(toml)
    kmetad.hear("ready")
    volume.label("version", "2")
    kmetad.line("reload.applied")
    kmetad.process.send_signal(signal.SIGHUP)
    kmetad.hear("ready")
    volume.label("version", "3")
    kmetad.line("reload.applied")
    # Standard input, output and error, and the directory that ls reads.
    assert [Path(f"{report}.{version}").read_text().strip() for version in (2, 3)] == ["4", "4"]


def test_no_standard_error(daemon: Start, volume: Volume, tmp_path: Path) -> None:
    """Whoever closed it wants no log, and has a daemon all the same."""
    (tmp_path / "kmetad.toml").write_text((ENV + PODINFO).replace("DIR", str(tmp_path)))
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(DEADLINE)
    command = [sys.executable, "-P", "-m", "kmetad._daemon", "--config", str(tmp_path / "kmetad.toml")]
    with ours, theirs:
        process = subprocess.Popen(
            ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command, "--link", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        kinds = []
        while "ready" not in kinds:
            message = _link.receive(ours)
            assert message is not None
            kinds.append(message[0])
        files = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in (0, 1, 2)]
        assert files == ["/dev/null"] * 3
        _link.send(ours, "stop", 5.0)
        assert process.wait(DEADLINE) == 0
