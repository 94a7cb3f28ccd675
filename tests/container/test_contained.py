"""kmetad around an app in an image that has no Python, no shell and no C library, restricted as Pod Security asks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from container import bundle
from kmetad.testing.kubelet import Volume
from tests.apiserver import ApiServer
from tests.cli import eventually
from tests.container import runc
from tests.container.runc import Container, bind, scratch
from tests.test_packaging import PLUGINS

pytestmark = pytest.mark.timeout(300)  # seconds: the first test waits until the bundle is built

BUSYBOX = "/bin/busybox"
PYTHON = f"{bundle.PREFIX}/bin/python3"
USER = "system:serviceaccount:lab:app"

PLUGIN = """
import csv, ctypes, sqlite3, ssl
from kmetad import hookimpl

class Plugin:
    @hookimpl
    def kmetad_on_start(self, snapshot):
        print("the level is", snapshot.labels["level"], flush=True)

    @hookimpl
    def kmetad_on_label(self, change):
        database = sqlite3.connect(":memory:")
        print("the level was", *database.execute("select ? || ' and is ' || ?", (change.old, change.new)).fetchone())
"""
TOML = """
[volumes.podinfo]
path = "/etc/podinfo"

[plugins.level]
path = "/etc/kmetad/level.py"
"""

Run = Callable[..., Container]


@pytest.fixture
def run(tree: Path, root: Path, tmp_path: Path) -> Run:
    """Runs a command in the app's image, with the bundle mounted."""

    def start(*argv: str, mounts: Sequence[runc.Mount] = (), **more: Any) -> Container:
        return Container(tmp_path, root, argv, mounts=[bind(tree, bundle.PREFIX), *mounts], **more)

    return start


def around(*app: str) -> tuple[str, ...]:
    """kmetad as the entrypoint of an app that busybox has."""
    return ("kmetad", "run", "--", BUSYBOX, *app)


def test_the_app_is_a_child_of_process_1_and_its_exit_is_kmetads(run: Run) -> None:
    """Code and output of the app are the container's."""
    with run(*around("sh", "-c", 'echo "child of $PPID, user $(busybox id -u)"; exit 7')) as container:
        assert container.wait()[:2] == (7, f"child of 1, user {runc.NONROOT}")


def test_the_app_inherits_nothing_of_the_bundle(run: Run) -> None:
    """Its environment is the container's: no LD_LIBRARY_PATH, no PYTHON…, no LC_CTYPE."""
    with run(BUSYBOX, "env", env={"A": "b"}) as alone, run(*around("env"), env={"A": "b"}) as wrapped:
        assert wrapped.wait() == alone.wait()


@pytest.mark.parametrize(
    ("app", "code"),
    [("sleep 1000 & wait", 143), ("trap 'exit 3' TERM; sleep 1000 & wait", 3)],
    ids=["plain", "trap"],
)
def test_term_reaches_the_app(run: Run, app: str, code: int) -> None:
    """As the kubelet sends it, to process 1; and the container ends by itself, leftovers and all."""
    with run(*around("sh", "-c", f"echo ready; {app}")) as container:
        assert container.out.line() == "ready"
        container.send(signal.SIGTERM)
        assert container.wait().code == code


def test_process_1_reaps_orphans(run: Run) -> None:
    """Grandchildren whose parent is gone leave no zombie."""
    orphans = "for i in 1 2 3 4 5; do (busybox sleep 0.01 &); done"
    with run(*around("sh", "-c", f"{orphans}; echo ready; exec busybox sleep 1000")) as container:
        container.out.until("ready")

        def ended() -> bool:
            there = [
                line.split(None, 1)
                for line in container.exec(BUSYBOX, "ps", "-o", "stat,args").stdout.splitlines()
            ]
            assert "busybox sleep 1000" in [args for _, args in there]
            return not any(state.startswith("Z") or args == "busybox sleep 0.01" for state, args in there)

        eventually(ended, "an end of all orphans")


@pytest.fixture
def pod(tmp_path: Path) -> tuple[Volume, list[runc.Mount]]:
    """The volume of a Pod, and all that its container mounts."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"level": "info"})
    settings = tmp_path / "kmetad"
    settings.mkdir()
    (settings / "kmetad.toml").write_text(TOML)
    (settings / "level.py").write_text(PLUGIN)
    return volume, [
        bind(tmp_path / "podinfo", "/etc/podinfo"),
        bind(settings, "/etc/kmetad"),
        scratch(tmp_path / "run", "/run/kmetad"),
    ]


def test_the_daemon_watches_and_plugins_import_what_python_has(
    run: Run, pod: tuple[Volume, list[runc.Mount]]
) -> None:
    """A swap from outside reaches a plugin by `path` that needs sqlite3; an exec probe sees the daemon ready."""
    volume, mounts = pod
    with run(*around("sleep", "1000"), mounts=mounts) as container:
        container.err.until("the level is info")
        assert volume.label("level", "debug")
        container.err.until("the level was info and is debug")
        ready = eventually(
            lambda: (done := container.exec("kmetad", "status")).returncode == 0 and done, "ready"
        )
        assert "level" in ready.stdout
        container.send(signal.SIGTERM)
        assert container.wait().code == 143


def test_it_keeps_within_the_containers_memory(run: Run) -> None:
    """The limit that the container has is the one in whose cgroup kmetad runs."""
    if not runc.memory_limit():
        pytest.skip("no limits of memory can be set here")
    read = "for f in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do busybox cat $f; done"
    groups = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
    with run(*around("sh", "-c", f"PATH=/bin; {read} 2>/dev/null; exit 0"), mounts=[groups]) as container:
        assert str(runc.MEMORY) in container.wait().out.split()


HOSTILE = {
    "LD_LIBRARY_PATH": "/app/lib",
    "PYTHONHOME": "/app",
    "PYTHONPATH": "/app",
    "PYTHONSTARTUP": "/app/start.py",
    "LANG": "de_DE.UTF-8",
    "TZ": "Europe/Berlin",
    "OPENSSL_CONF": "/nowhere",
}


def test_the_apps_variables_mislead_nothing(run: Run, root: Path) -> None:
    """Neither libraries nor modules of the app's image are taken for kmetad's, and no locale has to be there."""
    (root / "app" / "lib").mkdir(parents=True)
    for name in ("libc.so.6", "libz.so.1", "libssl.so.3", "libpython3.11.so.1.0"):
        (root / "app" / "lib" / name).write_bytes(b"\x7fELF no library")
    for name in ("os.py", "json.py", "kmetad.py", "sitecustomize.py"):
        (root / "app" / name).write_text("raise SystemExit('the wrong one')\n")
    told = (
        "import ctypes, json, kmetad, os, ssl, sys, time, zlib\n"
        "ctypes.CDLL('libgcc_s.so.1')\n"
        "print(sys.prefix, sys.executable, sys.getfilesystemencoding(), sys.stdout.encoding, os.path.expanduser('~'))\n"
        "print(*{line.split()[-1] for line in open('/proc/self/maps') if '/app' in line})\n"
    )
    with run(PYTHON, "-c", told, env=HOSTILE | {"HOME": ""}) as container:
        ended = container.wait()
        assert ended.code == 0, ended.err
        assert ended.out.splitlines()[0].split()[:4] == [bundle.PREFIX, PYTHON, "utf-8", "utf-8"]
        assert len(ended.out.splitlines()) == 1
    hostile = HOSTILE | {"PYTHONHASHSEED": "none", "PYTHONINSPECT": "1", "PYTHONVERBOSE": "1"}
    with run(*around("env"), env=hostile) as container:
        ended = container.wait()
        assert (ended.code, "import" in ended.err) == (0, False), ended.err
        environ = dict(line.split("=", 1) for line in ended.out.splitlines())
        assert environ == hostile | {"PATH": runc.PATH, "HOME": "/"}


def test_its_libraries_are_found_without_proc(tree: Path, root: Path) -> None:
    """By their fixed place: the loader knows $ORIGIN from /proc, and not at all where a start gives more rights."""
    runc.memory_limit()  # root, or none of this can be
    shutil.copytree(tree, root / bundle.PREFIX.lstrip("/"), symlinks=True, copy_function=os.link)
    command = ["/usr/sbin/chroot", root, f"{bundle.PREFIX}/bin/kmetad", "--version"]
    done = subprocess.run(command, env=HOSTILE, capture_output=True, text=True)
    assert done.stdout.startswith("kmetad "), done.stderr


def test_names_are_looked_up(run: Run, root: Path) -> None:
    """In /etc/hosts, although the image's own nsswitch.conf asks for a module that is nowhere."""
    (root / "etc").mkdir()
    (root / "etc" / "hosts").write_text("10.1.2.3 api.test\n")
    (root / "etc" / "nsswitch.conf").write_text("hosts: myhostname files dns\n")
    program = "import socket; print(socket.getaddrinfo('api.test', 443)[0][4])"
    with run(PYTHON, "-c", program) as container:
        assert container.wait().out == "('10.1.2.3', 443)"


def test_plugins_and_their_commands_are_found(run: Run) -> None:
    """By their entry points, which a frozen application would have lost."""
    with run("kmetad", "plugins", "list") as container:
        listed = {line.split()[-1] for line in container.wait().out.splitlines()}
        assert set(PLUGINS) <= listed


def test_the_api_server_is_reached_over_verified_tls(run: Run, tmp_path: Path) -> None:
    """By `kmetad api`, with the mounted CA and token: OpenSSL's own files are nowhere in the image."""
    with ApiServer() as server:
        token = server.token(USER)
        server.mount(tmp_path / "account", token=token, namespace="lab")
        env = {"KUBERNETES_SERVICE_HOST": server.host, "KUBERNETES_SERVICE_PORT": str(server.port)}
        account = bind(tmp_path / "account", "/var/run/secrets/kubernetes.io/serviceaccount")
        with run(
            "kmetad", "api", "whoami", env=env, mounts=[account], user=0, host_network=True
        ) as container:
            ended = container.wait()
        assert ended.code == 0, ended.err
        assert USER in ended.out
        with run(
            "kmetad", "proxy", "--port", "0", env=env, mounts=[account], user=0, host_network=True
        ) as proxy:
            port = proxy.out.until("127.0.0.1:").rpartition(":")[2]
            got = proxy.exec(BUSYBOX, "wget", "-q", "-O-", f"http://127.0.0.1:{port}/version")
            assert "gitVersion" in got.stdout, got.stderr
            proxy.send(signal.SIGTERM)
            assert proxy.wait().code == 0


def test_the_demo_plays(run: Run, tmp_path: Path) -> None:
    """The whole of it, with a place for temporary files and nothing else."""
    with run("kmetad", "demo", mounts=[scratch(tmp_path / "tmp", "/tmp")]) as container:
        ended = container.wait()
        assert ended.code == 0, ended.err
        assert "That was all" in ended.out


def test_every_module_is_imported(run: Run) -> None:
    """All of kmetad and its plugins, and every extension module that was kept, with its libraries."""
    program = """
import importlib, kmetad, pkgutil, sys, warnings
warnings.simplefilter("ignore")
names = [module.name for module in pkgutil.iter_modules([path for path in sys.path if "dynload" in path])]
for package in pkgutil.iter_modules([path for path in sys.path if "site-packages" in path]):
    if package.name.startswith("kmetad"):
        walked = pkgutil.walk_packages(importlib.import_module(package.name).__path__, package.name + ".")
        names += [module.name for module in walked if module.name != "kmetad.testing.pytest_plugin"]
for name in names:
    importlib.import_module(name)
print(*names)
"""
    with run(PYTHON, "-c", program) as container:
        ended = container.wait()
    assert ended.code == 0, ended.err
    assert {"_ssl", "_sqlite3", "_ctypes", "kmetad._daemon.daemon", "kmetad_reload.http"} <= set(
        ended.out.split()
    )
