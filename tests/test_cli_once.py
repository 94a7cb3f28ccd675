"""``kmetad run --once``: wait, fill the environment, become the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.cli import DEADLINE, Running, environment, kmetad

FILLER = """\
import os, sys, threading
from kmetad import hookimpl

class Plugin:
    @hookimpl
    def kmetad_on_start(self, snapshot):
        if "HANGS" in os.environ:
            print("hangs", file=sys.stderr, flush=True)
            threading.Event().wait()
        if "FAILS" in os.environ:
            raise RuntimeError("no")
        self.greeting = "hello"

    @hookimpl
    def kmetad_app_env(self, snapshot):
        return {"GREETING": f"{self.greeting} {snapshot.labels['app']}", "APP": "of the plugin"}

    @hookimpl
    def kmetad_on_stop(self):
        print("stopped", file=sys.stderr)
"""
BYSTANDER = """\
from kmetad import hookimpl

class Plugin:
    @hookimpl
    def kmetad_on_start(self, snapshot):
        raise AssertionError("nobody needs this plugin")
"""


class Setup:
    """A directory with plugins, a volume that isn't there yet, and a configuration."""

    def __init__(self, root: Path) -> None:
        root.chmod(0o755)
        self.root = root
        self.volume = Volume(root / "podinfo")
        self.toml = root / "kmetad.toml"
        for name, text in (("filler", FILLER), ("bystander", BYSTANDER)):
            (root / f"{name}.py").write_text(text)
            (root / f"{name}.py").chmod(0o644)
        self.write()

    def write(self, more: str = "", run: str = "", timeout: str = "1m") -> None:
        """The volume, three variables, and what a test adds."""
        self.toml.write_text(
            f'[run]\nsync_timeout = "{timeout}"\nenv.APP = "{{metadata.labels[\'app\']}}"\n'
            f'env.NOTE = "{{metadata.annotations[\'note\']}}"\nenv.PLAIN = "a{{{{b}}}}"\n{run}\n'
            f'[volumes.podinfo]\npath = "{self.root}/podinfo"\n{more}'
        )

    def plugin(self, name: str) -> str:
        """A table of the TOML."""
        return f'[plugins.{name}]\npath = "{self.root}/{name}.py"\n'

    def once(
        self, *command: str, options: tuple[str, ...] = (), env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command."""
        return kmetad("run", "--once", "-c", str(self.toml), *options, "--", *command, env=env)


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    """In a directory of the test's own."""
    return Setup(tmp_path)


def test_the_environment_is_filled(setup: Setup) -> None:
    """By ``[run.env]``, then by plugins; all else is inherited. Other plugins aren't called."""
    setup.volume.write(labels={"app": "web"}, annotations={"note": "a\nb ü \udcff"})
    setup.write(setup.plugin("filler") + setup.plugin("bystander"))
    code = (
        "import os; print(*(os.environb[n] for n in (b'APP', b'NOTE', b'PLAIN', b'GREETING', b'INHERITED')))"
    )
    done = setup.once(sys.executable, "-c", code, env={"INHERITED": "yes", "APP": "before"})
    assert done.stdout == r"b'of the plugin' b'a\nb \xc3\xbc \xff' b'a{b}' b'hello web' b'yes'" + "\n"
    assert (done.stderr, done.returncode) == ("stopped\n", 0)


def test_the_first_snapshot_is_waited_for(setup: Setup) -> None:
    """A volume that isn't there yet."""
    with Running("run", "--once", "-c", str(setup.toml), "--", "sh", "-c", "echo $APP") as running:
        setup.volume.write(labels={"app": "web"}, annotations={"note": ""})
        assert running.wait() == 0
        assert running.out.rest() == ["web"]
        assert running.err.rest() == []


def test_but_not_for_ever(setup: Setup) -> None:
    """It is said what is missing, and the variables that need it are left out; the container's own remain."""
    setup.write(timeout="50ms")
    done = setup.once("sh", "-c", 'echo "$APP,${NOTE-unset},$PLAIN"; exit 7', env={"APP": "before"})
    assert (done.stdout, done.returncode) == ("before,unset,a{b}\n", 7)
    lines = done.stderr.splitlines()
    assert "were not ready within 50ms (run.sync_timeout)" in lines[0]
    assert lines[1].startswith("kmetad: podinfo: ")
    assert lines[2:] == [
        "kmetad: run.env.APP: left out, for there is no metadata.labels['app'] now",
        "kmetad: run.env.NOTE: left out, for there is no metadata.annotations['note'] now",
    ]


def test_a_value_that_no_environment_can_hold(setup: Setup) -> None:
    """It is left out, and said without being shown."""
    setup.volume.write(labels={"app": "web"}, annotations={"note": "secret\0"})
    done = setup.once("sh", "-c", "echo ${NOTE-unset}")
    assert (done.stdout, done.returncode) == ("unset\n", 0)
    assert done.stderr == "kmetad: run.env.NOTE: refused: the value holds a NUL\n"


def test_a_plugin_that_fails(setup: Setup) -> None:
    """It has its tries until the deadline; then the command is started without its variables."""
    setup.volume.write(labels={"app": "web"}, annotations={"note": ""})
    setup.write(setup.plugin("filler"), timeout="50ms")
    done = setup.once("sh", "-c", "echo $APP ${GREETING-unset}", env={"FAILS": "1"})
    assert (done.stdout, done.returncode) == ("web unset\n", 0)
    assert "plugin.raised" in done.stderr
    assert "were not ready within" in done.stderr


def test_tags_are_for_those_who_stay(setup: Setup) -> None:
    """Nobody is left who could put them into lines, and that is said."""
    setup.volume.write(labels={"app": "web"}, annotations={"note": "x"})
    setup.write("[plugins.logtag]\ntags = { app = \"metadata.labels['app']\" }\n")
    done = setup.once("echo", "{}")
    assert (done.stdout, done.returncode) == ("{}\n", 0)
    assert done.stderr.startswith("kmetad: plugins.logtag: the app's lines get no tags")


def test_it_is_replaced(setup: Setup) -> None:
    """The process becomes the command: same pid, no thread, no child; as a shell's exec leaves it."""
    setup.volume.write(labels={"app": "web"}, annotations={"note": ""})
    setup.write(setup.plugin("filler"))
    report = (
        "import os; me = os.getpid(); print(me, os.getcwd(), os.nice(0), sorted(os.listdir('/proc/self/fd')));"
        "print(os.listdir('/proc/self/task') == [str(me)], open(f'/proc/{me}/task/{me}/children').read());"
        "print([l for l in open('/proc/self/status') if l.startswith(('SigBlk', 'SigIgn', 'PPid', 'NSpgid'))]);"
        "print(open('/proc/self/limits').read(), open('/proc/self/oom_score_adj').read())"
    )
    command = [sys.executable, "-c", report]
    read, write = os.pipe()
    found = []
    for start in ([], [sys.executable, "-m", "kmetad", "run", "--once", "-c", str(setup.toml), "--"]):
        with subprocess.Popen(
            [*start, *command],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=setup.root,
            pass_fds=[read],
            preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2}),
        ) as process:
            out, _ = process.communicate(timeout=DEADLINE)
            found.append(out.replace(str(process.pid), "PID", 1))
    os.close(read)
    os.close(write)
    assert found[0].startswith("PID")
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_while_it_waits(setup: Setup, number: signal.Signals, code: int) -> None:
    """It ends; the command is never started."""
    setup.volume.write(labels={"app": "web"})
    setup.write(setup.plugin("filler"), run='drain_timeout = "0s"')
    command = ("run", "--once", "-c", str(setup.toml), "--", "echo", "started")
    with Running(*command, env={"HANGS": "1"}) as running:
        running.err.until("hangs")
        running.send(number)
        assert running.wait() == code
        assert running.out.rest() == []
        assert f"kmetad: {number.name} came before the command was started" in running.err.rest()


def test_an_ignored_signal_stays_ignored(setup: Setup) -> None:
    """As nohup(1) has it: kmetad sets no handler for it, and the command starts with it ignored."""
    setup.volume.write(labels={"app": "web"})
    done = subprocess.run(
        ["sh", "-c", 'trap "" HUP TERM; exec "$@"', "sh", sys.executable, "-m", "kmetad", "run", "--once"]
        + ["-c", str(setup.toml), "--", "sh", "-c", "kill -HUP $$; kill -TERM $$; echo $APP"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.stdout, done.returncode) == ("web\n", 0)


def test_commands_that_cannot_be_run(setup: Setup) -> None:
    """126 and 127, with a message."""
    setup.volume.write(labels={"app": "web"}, annotations={"note": ""})
    (setup.root / "plain").write_text("echo hi")
    for command, code, said in (
        ("nosuchcommand", 127, "no such command in PATH"),
        (str(setup.root / "nowhere"), 127, "no such file"),
        (str(setup.root / "plain"), 126, "permission denied"),
        (str(setup.root), 126, "is a directory"),
    ):
        done = setup.once(command)
        assert (done.stdout, done.returncode) == ("", code)
        assert done.stderr.startswith("kmetad: ")
        assert said in done.stderr


def test_a_script_without_an_interpreter_line(setup: Setup) -> None:
    """/bin/sh runs it, as a shell would."""
    setup.volume.write(labels={"app": "web"}, annotations={"note": ""})
    script = setup.root / "script"
    script.write_text('echo "$APP $1"')
    script.chmod(0o755)
    assert setup.once(str(script), "one").stdout == "web one\n"


def test_faults_of_the_configuration(setup: Setup) -> None:
    """A plugin's are told, and an end with --strict; one of [run] always is."""
    setup.volume.write(labels={"app": "web"}, annotations={"note": ""})
    setup.write("[plugins.nowhere]\n")
    done = setup.once("sh", "-c", "echo $APP")
    assert (done.stdout, done.returncode) == ("web\n", 0)
    assert "kmetad: plugins.nowhere" in done.stderr
    done = setup.once("sh", "-c", "echo $APP", options=("--strict",))
    assert (done.stdout, done.returncode) == ("", 125)
    assert "kmetad: plugins.nowhere" in done.stderr
    setup.toml.write_text("[run]\nstop_timeout = 3\n")
    done = setup.once("true")
    assert (done.stdout, done.returncode) == ("", 125)
    assert "run.stop_timeout" in done.stderr


def test_nothing_is_configured() -> None:
    """Then there is nothing to wait for, and the command just runs."""
    done = kmetad("run", "--once", "--", "echo", "hi")
    assert (done.stdout, done.stderr, done.returncode) == ("hi\n", "", 0)
