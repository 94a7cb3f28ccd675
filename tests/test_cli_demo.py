"""``kmetad demo``"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import urllib.request
from pathlib import Path

import pexpect
import pytest

import kmetad as package
from tests import namespaces
from tests.cli import DEADLINE, Running, environment, eventually, kmetad
from tests.test_packaging import plain_environment

SCENES = [
    ("~ label       version            v1 → v2", "⇒ labels: told the load balancer: version=v2"),
    ("+ annotation  log-level          debug", "⇒ log-level: process PID logs at debug now, with no restart"),
    ("~ resource    app.limits.cpu     500m → 1500m", "⇒ limits: sized the worker pool for 1500m"),
    ("~ token       token              until 20", "⇒ session: logged in again with the new token"),
    ("~ file        settings/greeting  changed", "⇒ app: the app re-read its settings: bonjour"),
    ("- label       beta               yes", "⇒ labels: told the load balancer: no beta any more"),
]


@pytest.fixture
def own(tmp_path: Path) -> dict[str, str]:
    """Variables with which a demo lives under a directory of the test's."""
    return {"TMPDIR": str(tmp_path)}


def processes_of(directory: Path) -> list[str]:
    """The command lines of processes that have to do with a directory."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue  # it has ended meanwhile
        if os.fsencode(directory) in command:
            found.append(command.replace(b"\0", b" ").decode())
    return found


def test_every_scene_with_what_the_plugin_did(own: dict[str, str], tmp_path: Path) -> None:
    """Each change, what was done about it below it, and what to try next; nothing is left behind."""
    done = kmetad("demo", env=own)
    assert (done.stderr, done.returncode) == ("", 0)
    lines = [line.strip() for line in done.stdout.splitlines()]
    for change, deed in SCENES:
        at = next(at for at, line in enumerate(lines) if line.startswith(change))
        pattern = re.escape(deed).replace("PID", r"\d+")
        assert re.fullmatch(pattern + r" \(\d+ ms\)", lines[at + 1])
    assert (
        'log goes on: {"pod":{"name":"web-1","version":"v2"},"level":"INFO","msg":"served a request"}'
        in done.stdout
    )
    assert re.search(r"in a browser, too: http://127\.0\.0\.1:[0-9]+/\n", done.stdout)
    assert 'kmetad_changes_total{type="label"} 2.0' in done.stdout
    assert "kmetad demo --keep" in done.stdout.partition("Try next")[2]
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []


def test_on_a_terminal(own: dict[str, str]) -> None:
    """In colour, and one line for both where they fit; at the end the page stays until Enter, for a last look."""
    env = environment({**own, "COLUMNS": "120", "TERM": "xterm"})
    demo = pexpect.spawn(
        sys.executable, ["-m", "kmetad", "demo"], env=env, timeout=DEADLINE, encoding="utf-8"
    )
    demo.expect(r"(http://127\.0\.0\.1:[0-9]+)/ stays for")
    shown = demo.before or ""
    with urllib.request.urlopen(f"{demo.match[1]}/livez", timeout=DEADLINE) as answer:  # type: ignore[index]
        assert answer.read() == b"ok\n"
    demo.sendline("")
    demo.expect(pexpect.EOF)
    demo.close()
    assert demo.exitstatus == 0
    assert "\033[" in shown
    plain = re.sub("\033\\[[0-9]+m", "", shown)
    change, deed = SCENES[0]
    assert re.search(re.escape(change) + " +" + re.escape(deed), plain)


def test_a_kept_demo_is_changed_from_a_second_terminal(own: dict[str, str], tmp_path: Path) -> None:
    """Labels, annotations and limits; each shows up in the first terminal with what came of it."""
    with Running("demo", "--keep", env=own) as kept:
        assert "http://127.0.0.1:" in kept.out.until("The Pod stays")
        directory = tmp_path / f"kmetad-demo-{os.geteuid()}"
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        toml = str(directory / "kmetad.toml")
        (status,) = (
            lane
            for lane in json.loads(kmetad("status", "-c", toml, "-o", "json").stdout)["lanes"]
            if lane["name"] == "status"
        )
        assert status["state"] == "idle"
        kept.out.until("--simulate")
        for assignment, change, deed in (
            ("metadata.labels['tier']=gold", "+ label       tier", "told the load balancer: tier=gold"),
            ("metadata.labels['sum']=a=b", "+ label       sum", "told the load balancer: sum=a=b"),
            ("metadata.annotations['log-level']=warning", "debug → warning", "logs at warning now"),
            ("app.limits.cpu=2", "1500m → 2", "sized the worker pool for 2"),
            ("limits.memory=1Gi", "256Mi → 1Gi", "sized the worker pool for 1Gi"),
        ):
            done = kmetad("demo", "set", assignment, env=own)
            assert (done.stderr, done.returncode) == ("", 0)
            assert "the demo's terminal shows" in done.stdout
            kept.out.until(change)
            assert deed in kept.out.line()
        assert "already" in kmetad("demo", "set", "app.limits.cpu=2000m", env=own).stdout
        # The other commands that it names work as well.
        assert kmetad("get", "metadata.labels['tier']", "-c", toml).stdout == "gold\n"
        assert "labels " in kmetad("check", "-c", toml, "--simulate", "label:tier=gold2").stdout
        another = kmetad("demo", "--keep", env=own)
        assert another.returncode == 2
        assert "a demo is kept already" in another.stderr
        kept.send(signal.SIGINT)
        assert kept.wait() == 0
        assert kept.err.rest() == []
    assert not directory.exists()
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["set"], "FIELDPATH=VALUE"),
        (["set", "metadata.labels['tier']"], "has no value"),
        (["set", "metadata.labls['tier']=x"], "metadata.labels"),
        (["set", "metadata.labels['tier']=x"], "no demo is kept"),
        (["--keep", "set", "metadata.labels['tier']=x"], "expected"),
        (["get"], "invalid choice"),
    ],
)
def test_what_cannot_be_set(arguments: list[str], said: str, own: dict[str, str]) -> None:
    """Exit code 2, and why."""
    done = kmetad("demo", *arguments, env=own)
    assert (done.stdout, done.returncode) == ("", 2)
    assert said in done.stderr


def test_fields_that_the_demo_cannot_change(own: dict[str, str]) -> None:
    """It says which it can; a quantity that is none is told too."""
    with Running("demo", "--keep", env=own) as kept:
        kept.out.until("--simulate")
        for assignment, said in (
            ("metadata.name=x", "metadata.annotations['KEY']"),
            ("requests.cpu=1", "app.limits.cpu"),
            ("other.limits.cpu=1", "app.limits.cpu"),
            ("app.limits.cpu=much", "quantity"),
        ):
            done = kmetad("demo", "set", assignment, env=own)
            assert (done.stdout, done.returncode) == ("", 2)
            assert said in done.stderr


@pytest.mark.parametrize("arguments", [["--keep"], ["set", "metadata.labels['tier']=x"]])
def test_a_directory_of_somebody_else_is_refused(
    arguments: list[str], own: dict[str, str], tmp_path: Path
) -> None:
    """The well-known place must be private, and no link."""
    place = tmp_path / f"kmetad-demo-{os.geteuid()}"
    place.mkdir()
    place.chmod(0o777)
    done = kmetad("demo", *arguments, env=own)
    assert done.returncode == 2
    assert "isn't private" in done.stderr
    place.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    place.symlink_to(tmp_path / "elsewhere")
    done = kmetad("demo", *arguments, env=own)
    assert done.returncode == 2
    assert str(place) in done.stderr


def test_the_rest_of_a_killed_demo_is_in_nobody_s_way(own: dict[str, str], tmp_path: Path) -> None:
    """Its processes end with it, and the next one takes its place."""
    with Running("demo", "--keep", env=own) as kept:
        kept.out.until("--simulate")
        kept.process.kill()
        kept.wait()
    eventually(lambda: processes_of(tmp_path) == [])
    assert "no demo is kept" in kmetad("demo", "set", "app.limits.cpu=2", env=own).stderr
    with Running("demo", "--keep", env=own) as again:
        again.out.until("--simulate")


def test_the_runtime_directory_is_preferred(tmp_path: Path) -> None:
    """Where the system offers one, a kept demo lives there."""
    with Running("demo", "--keep", env={"XDG_RUNTIME_DIR": str(tmp_path)}) as kept:
        assert f"{tmp_path}/kmetad-demo-" in kept.out.until("The Pod stays")


def test_a_kept_one_ends_with_its_terminal(own: dict[str, str], tmp_path: Path) -> None:
    """As by Ctrl-C: nothing is left."""
    with Running("demo", "--keep", env=own) as kept:
        kept.out.until("--simulate")
        kept.send(signal.SIGHUP)
        assert kept.wait() == 0
    assert list(tmp_path.iterdir()) == []


def test_interrupted_it_cleans_up(own: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C in the middle: quiet, and nothing is left."""
    with Running("demo", env=own) as demo:
        demo.out.line()
        demo.send(signal.SIGINT)
        assert demo.wait() in (130, 0)  # 0: it was faster
        assert demo.err.rest() == []
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []


def test_nowhere_to_write() -> None:
    """As on a read-only root: exit code 2, and what to do."""
    script = 'for at in /tmp /var/tmp /; do mount --bind $at $at && mount -o remount,bind,ro $at; done; cd /; exec "$@"'
    done = subprocess.run(
        [*namespaces.own("mount"), "sh", "-c", script, "sh", sys.executable, "-m", "kmetad", "demo"],
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.stdout, done.returncode) == ("", 2)
    assert "set TMPDIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_kmetad_reload_it_says_what_is_missing(tmp_path: Path) -> None:
    """A Python with everything but the plugin: exit code 2, and how to get it."""
    import msgspec

    packages = Path(msgspec.__file__).parent.parent
    for entry in packages.iterdir():
        if not entry.name.startswith(("kmetad_reload", "_kmetad_reload", "kmetad-reload")):
            (tmp_path / entry.name).symlink_to(entry)
    root = Path(package.__file__).parent.parent
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(root)!r}]; "
    code += "from kmetad._cli.main import main; sys.exit(main(['demo']))"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert (done.stdout, done.returncode) == ("", 2)
    assert "pip install kmetad-reload" in done.stderr
