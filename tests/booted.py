"""A machine with systemd as its process 1, in namespaces (systemd-nspawn), on which kmetad is a service.

Its root is a directory of the test's own with this machine's /usr, read-only; so nothing is downloaded. kmetad is
in /opt/kmetad, as the unit has it: what the tests run, by the interpreter that runs them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import pytest

from tests.cli import DEADLINE, eventually
from tests.listening import Listening
from tests.namespaces import own
from tests.test_packaging import ROOT

UNITS = ROOT / "systemd"

_MASKED = [
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "ldconfig.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-logind.service",
    "systemd-networkd.service",
    "systemd-random-seed.service",
    "systemd-resolved.service",
    "systemd-sysusers.service",
    "systemd-timesyncd.service",
    "systemd-tmpfiles-setup.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-udevd.service",
    "systemd-update-done.service",
    "systemd-update-utmp.service",
]
"""Of a machine's first start, or for its hardware."""

_GROUP = """
for hierarchy in "" systemd unified; do
    above=/sys/fs/cgroup/$hierarchy
    if [ -e "$above/cgroup.procs" ]; then mkdir -p "$above/$1" && echo $$ >"$above/$1/cgroup.procs"; fi
done
shift
exec "$@"
"""
"""A control group of its own, of each hierarchy that systemd uses: two machines at once would have the same one."""


class Machine:
    """See the module. Leaving the ``with`` block ends it.

    ``root`` is its root directory, for the test to write into. Skips the test where no such machine can be.
    """

    def __init__(self, directory: Path) -> None:
        if "--user" in own("mount", "pid") or shutil.which("systemd-nspawn") is None:
            pytest.skip("a machine of its own takes root, and systemd-nspawn (package systemd-container)")
        self.root = directory / "root"
        self._group = f"kmetad-test-{os.getpid()}"
        self._log = directory / "nspawn.log"
        self._listening = Listening(directory / "notify")
        self._made = self._make_root()

    def __enter__(self) -> Machine:
        options = [f"--bind-ro={source}:{target}" for source, target in self._made.items()]
        with self._log.open("wb") as log:
            self._nspawn = subprocess.Popen(
                ["sh", "-c", _GROUP, "sh", self._group]
                + ["systemd-nspawn", "--quiet", "--boot", f"--directory={self.root}", *options]
                + [
                    "--register=no",
                    "--keep-unit",
                    "--private-network",
                    "--console=pipe",
                    "--notify-ready=yes",
                ]
                + ["--machine=kmetad-test", "systemd.unit=basic.target"],
                env={**os.environ, "NOTIFY_SOCKET": str(self._listening.path)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self.leader = int(self._listening.until("X_NSPAWN_LEADER_PID")["X_NSPAWN_LEADER_PID"])
            self._listening.until("READY")
        except TimeoutError:
            self._nspawn.kill()
            self._nspawn.wait(DEADLINE)
            raise AssertionError(f"it doesn't boot: {self._log.read_text(errors='replace')}") from None
        finally:
            # nspawn passes on all that systemd says; where nobody reads it, it waits for ever, at its end, too.
            self._listening.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(self("journalctl --no-pager --output=cat", check=False))
        try:
            os.kill(self.leader, signal.SIGKILL)
            self._nspawn.wait(DEADLINE)
        finally:
            self._nspawn.kill()
        for above in ("", "systemd", "unified"):
            for path, _, _ in os.walk(f"/sys/fs/cgroup/{above}/{self._group}", topdown=False):
                eventually(lambda: _removed(path), f"{path} is left")  # noqa: B023  # called at once

    def __call__(self, command: str, *, check: bool = True) -> str:
        """What a command prints there, as root; both outputs. Fails the test if it fails."""
        enter = ["nsenter", f"--target={self.leader}", "--all", "--root", "--wd"]
        done = subprocess.run(
            [*enter, "env", "-i", "PATH=/usr/bin:/usr/sbin", "sh", "-c", command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE,
        )
        assert not check or done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def shown(self, name: str, unit: str = "kmetad") -> str:
        """A property of a unit, as ``systemctl show`` has it."""
        return self(f"systemctl show --property={name} --value {unit}").strip()

    def log(self, unit: str = "kmetad") -> str:
        """What a unit has logged, and systemd of it."""
        return self(f"journalctl --no-pager --output=cat --unit={unit}")

    def write(self, path: str, text: str) -> None:
        """A file there."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def _make_root(self) -> dict[str, str]:
        """Answers what is to be bound into it, and where."""
        for name in ("dev", "proc", "sys", "run", "tmp", "usr", "var/lib", "opt/site", "opt/source", "srv"):
            (self.root / name).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            (self.root / name).symlink_to(f"usr/{name}")
        self.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n")
        self.write("/etc/group", "root:x:0:\nnogroup:x:65534:\n")
        self.write("/etc/os-release", "ID=test\n")
        self.write("/etc/machine-id", "")
        for name in _MASKED:
            (self.root / "etc/systemd/system").mkdir(parents=True, exist_ok=True)
            (self.root / "etc/systemd/system" / name).symlink_to("/dev/null")
        shutil.copy("/etc/ld.so.cache", self.root / "etc/ld.so.cache")
        for unit in UNITS.glob("*.service"):
            shutil.copy(unit, self.root / "etc/systemd/system")
        bound = {"/usr": "/usr", str(ROOT): "/opt/source", _site_packages(): "/opt/site"}
        home = Path(sys.base_prefix)
        if not home.is_relative_to("/usr"):
            bound[str(home)] = "/opt/python"
            (self.root / "opt/python").mkdir()
            home = Path("/opt/python")
            for name in ("kmetad.service.d", "kmetad@.service.d"):
                path = f"/etc/systemd/system/{name}/python.conf"
                self.write(path, "[Service]\nEnvironment=LD_LIBRARY_PATH=/opt/python/lib\n")
        self._install(home)
        return bound

    def _install(self, home: Path) -> None:
        """A virtual environment in /opt/kmetad, whose packages are elsewhere."""
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.write("/opt/kmetad/pyvenv.cfg", f"home = {home}/bin\ninclude-system-site-packages = false\n")
        (self.root / "opt/kmetad/bin").mkdir()
        (self.root / "opt/kmetad/bin/python3").symlink_to(f"{home}/bin/{version}")
        script = (ROOT / "scripts" / "kmetad").read_text().partition("\n")[2]
        self.write("/opt/kmetad/bin/kmetad", f"#!/opt/kmetad/bin/python3\n{script}")
        (self.root / "opt/kmetad/bin/kmetad").chmod(0o755)
        plugins = [f"/opt/source/plugins/{path.name}" for path in (ROOT / "plugins").iterdir()]
        paths = "\n".join(["/opt/site", "/opt/source", *plugins])
        self.write(f"/opt/kmetad/lib/{version}/site-packages/kmetad.pth", paths)


def _site_packages() -> str:
    import msgspec

    return str(Path(msgspec.__file__).parents[1])


def _removed(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # what ends there hasn't ended yet
    return True
