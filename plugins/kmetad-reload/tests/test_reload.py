"""kmetad-reload: a change runs a command, or signals a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kmetad_reload import Plugin
from kmetad_reload.command import variables
from structlog.testing import capture_logs

from kmetad import Fail, PluginError
from kmetad.testing import Host
from tests.cli import eventually

DEADLINE = 20.0


def host(**options: Any) -> Host:
    """The plugin in a host, started."""
    made = Host(Plugin, **options)
    made.start(labels={"app": "a"})
    return made


def test_command_gets_the_changes(tmp_path: Path) -> None:
    """As JSON lines on standard input, and as variables for a single one."""
    script = "env | grep ^KMETAD_ | sort > $0.env; cat > $0.json"
    made = host(exec=["sh", "-c", script, str(tmp_path / "out")])
    made.set(labels={"app": "b"})
    change = json.loads((tmp_path / "out.json").read_text())
    assert (change["type"], change["key"], change["old"], change["new"]) == ("label", "app", "a", "b")
    assert (tmp_path / "out.env").read_text().split() == [
        "KMETAD_GENERATION=2",
        "KMETAD_KEY=app",
        "KMETAD_NEW=b",
        "KMETAD_OLD=a",
        "KMETAD_OP=changed",
        "KMETAD_SOURCE=podinfo",
        "KMETAD_TYPE=label",
    ]
    made.set(labels={"app": "c", "tier": "gold"})
    assert (tmp_path / "out.env").read_text() == ""
    lines = (tmp_path / "out.json").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == ["app", "tier"]


def test_values_reach_no_shell(tmp_path: Path) -> None:
    """Whoever may patch the Pod can't run anything by a value."""
    hostile = f"$(touch {tmp_path}/pwned); `touch {tmp_path}/pwned`\n'\""
    made = host(exec=[sys.executable, "-c", "import os; print(os.environ['KMETAD_NEW'])"])
    with capture_logs() as logs:
        made.set(labels={"app": hostile})
    assert not (tmp_path / "pwned").exists()
    assert any("touch" in log.get("line", "") for log in logs)


@pytest.mark.parametrize("value", ["a\0b", "x" * (128 * 1024)], ids=["NUL", "too long"])
def test_what_no_environment_can_hold_is_left_out(value: str) -> None:
    """It is in the JSON alone, and the command runs all the same."""
    made = host(exec=[sys.executable, "-c", "import os; assert 'KMETAD_NEW' not in os.environ"])
    batch = made.set(annotations={"note": value})
    assert batch is not None
    assert "KMETAD_NEW" not in variables(batch)
    assert variables(batch)["KMETAD_KEY"] == "note"


def test_bytes_that_are_no_text() -> None:
    """They reach the command's environment as they were."""
    made = host(exec=[sys.executable, "-c", "import os; assert os.environb[b'KMETAD_NEW'] == b'\\xff'"])
    made.set(annotations={"note": "\udcff"})


def test_output_is_logged_line_by_line() -> None:
    """With nothing in it that a terminal would obey."""
    made = host(exec=["printf", "one\\n\\033[31mtwo\\r\\nthree"])
    with capture_logs() as logs:
        made.set(labels={"app": "b"})
    assert [log["line"] for log in logs if log["event"] == "reload.output"] == ["one", " [31mtwo", "three"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["false"], "false: exited with 1"),
        (["sh", "-c", "kill -9 $$"], "sh: was ended by SIGKILL"),
        (["/nothing/of/this/name"], r"can't be run: No such file"),
        (["/etc/passwd"], r"can't be run: Permission denied"),
    ],
)
def test_command_that_fails(command: list[str], message: str) -> None:
    """It raises, so that the lane tries again."""
    made = host(exec=command)
    with pytest.raises(Fail, match=message):
        made.set(labels={"app": "b"})


def test_command_that_never_ends(tmp_path: Path) -> None:
    """After ``timeout`` it is killed, with what it started."""
    pids = tmp_path / "pids"
    made = host(exec={"command": ["sh", "-c", f"sleep 1000 & echo $! $$ > {pids}; wait"], "timeout": "300ms"})
    with pytest.raises(Fail, match=r"not done after 0.3 s, so it was killed"):
        made.set(labels={"app": "b"})

    def is_gone(pid: str) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    eventually(lambda: all(map(is_gone, pids.read_text().split())))


def test_input_that_nobody_reads() -> None:
    """A command that doesn't read its standard input is no fault, however much there is."""
    made = host(exec=["true"])
    made.set(annotations={str(number): "x" * 1000 for number in range(1000)})


def test_signal_to_a_pid_file(tmp_path: Path) -> None:
    """The process that the file names gets it."""
    pid_file = tmp_path / "pid"
    code = "import signal; print('ready', flush=True); signal.sigwait({signal.SIGHUP}); print('got it')"
    block = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP}); "
    with subprocess.Popen([sys.executable, "-c", block + code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        pid_file.write_text(f"{process.pid}\n")
        host(signal="HUP", pid_file=str(pid_file)).set(labels={"app": "b"})
        assert process.communicate(timeout=DEADLINE)[0] == "got it\n"


def test_signal_to_the_app() -> None:
    """Without a pid file it is for the app that kmetad wraps."""
    made = host(signal="usr1")
    made.app_started(17)
    with capture_logs() as logs:
        made.set(labels={"app": "b"})
    assert made.app.signals == [signal.SIGUSR1]
    assert (logs[-1]["event"], logs[-1]["did"]) == ("reload.applied", "SIGUSR1 to the app (17)")


def test_restart_of_the_app() -> None:
    """The reason names keys, not values, and not too many of them."""
    made = host(restart=True)
    made.set(labels={"app": "secret"})
    made.set(labels=dict.fromkeys("abcde", "1"))
    assert made.app.restarts == ["label:app", "label:a, label:app, label:b and 3 more"]
    assert made.app.signals == []


@pytest.mark.parametrize("options", [{"signal": "HUP"}, {"restart": True}])
def test_without_an_app(options: dict[str, Any]) -> None:
    """It is a fault at the start, not of each delivery; with a pid file or a command there is none."""
    with pytest.raises(PluginError, match="is for the app that kmetad wraps, and it wraps none"):
        Host.without_app(Plugin, **options)
    Host.without_app(Plugin, signal="HUP", pid_file="/run/x.pid")
    Host.without_app(Plugin, exec=["true"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read: No such file or directory; is the app up"),
        ("", "is empty: the app is starting"),
        ("nginx", "holds no process number"),
        ("-1", "holds no process number"),
        ("0", "names process 0, which is our own process group"),
        ("4194305", "no process 4194305"),
    ],
)
def test_pid_file_that_helps_nobody(tmp_path: Path, content: str | None, message: str) -> None:
    """What is wrong is said, nobody is signalled, and it is tried again."""
    pid_file = tmp_path / "pid"
    if content is not None:
        pid_file.write_text(content)
    with pytest.raises(Fail, match=message):
        host(signal=signal.SIGUSR1.value, pid_file=str(pid_file)).set(labels={"app": "b"})


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to have a process that another user may not signal")
def test_signal_that_is_not_permitted(tmp_path: Path) -> None:
    """EPERM is explained."""
    code = (
        "import os, sys\n"
        "from kmetad import Fail\n"
        "from kmetad_reload.pidfile import send\n"
        "import signal\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: send(signal.SIGHUP, sys.argv[1])\n"
        "except Fail as error: print(error)\n"
    )
    pid_file = tmp_path / "pid"
    pid_file.write_text("1")
    for place in (tmp_path, *tmp_path.parents):
        if place != Path("/"):
            place.chmod(place.stat().st_mode | 0o111)
    pid_file.chmod(0o644)
    done = subprocess.run(
        [sys.executable, "-c", code, str(pid_file)], capture_output=True, text=True, check=False
    )
    assert "not permitted to signal process 1" in done.stdout, done.stderr
