"""Containers by runc, as a container runtime under a kubelet makes them; restricted as Pod Security asks."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import pytest

from tests.cli import DEADLINE, Output

NONROOT = 65532
PATH = "/opt/kmetad/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MEMORY = 256 * 2**20

Mount = Mapping[str, Any]


def bind(source: Path, target: str, *options: str) -> Mount:
    """A directory of this machine's, read-only unless ``rw`` is said."""
    writable = options or ("ro",)
    return {"destination": target, "type": "bind", "source": str(source), "options": ["rbind", *writable]}


def scratch(directory: Path, target: str) -> Mount:
    """An emptyDir: everybody may write there, and programs may run from it."""
    directory.mkdir()
    directory.chmod(0o777)
    return bind(directory, target, "rw")


@functools.cache
def memory_limit() -> Mapping[str, Any]:
    """A limit of memory for a container where this machine allows one, else none. Skips without runc."""
    if os.geteuid() != 0:
        pytest.skip("needs root: runc makes namespaces and mounts")
    if shutil.which("runc") is None:
        pytest.skip("needs runc")
    limit = {"memory": {"limit": MEMORY}}
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory, "root")
        root.mkdir()
        shutil.copy(busybox(), root)
        told = ""
        for given in (limit, {}):
            with Container(Path(directory), root, ["/busybox", "true"], resources=given) as probe:
                ended = probe.wait()
                if ended.code == 0:
                    return given
                told = ended.err
    pytest.skip(f"runc can't run anything here: {told}")


@functools.cache
def busybox() -> Path:
    """A program that needs nothing of an image. Skips the test where there is none that is static."""
    found = shutil.which("busybox")
    if found is None or subprocess.run(["ldd", found], capture_output=True).returncode == 0:
        pytest.skip("needs Debian's busybox-static")
    return Path(found)


class Ended(NamedTuple):
    """How a container ended: the exit code of its process 1, which is 128 + n for signal n, and what was written."""

    code: int
    out: str
    err: str


class Container:
    """A container that runs; leaving the ``with`` block ends it.

    Its own process, mount, network, host name and IPC namespaces, no capabilities, no way to new ones; the
    root is read-only. ``host_network``: this machine's network instead.
    """

    def __init__(
        self,
        directory: Path,
        root: Path,
        argv: Sequence[str],
        *,
        mounts: Sequence[Mount] = (),
        env: Mapping[str, str] | None = None,
        user: int = NONROOT,
        host_network: bool = False,
        resources: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = f"kmetad-test-{uuid.uuid4().hex}"
        self._runc = ["runc", "--root", str(directory / "runc")]
        home = directory / self.name
        home.mkdir(parents=True)
        kinds = ["pid", "mount", "uts", "ipc", *([] if host_network else ["network"])]
        kinds_of_capabilities = ("bounding", "effective", "permitted", "inheritable", "ambient")
        config = {
            "ociVersion": "1.0.2",
            "process": {
                "args": list(argv),
                "cwd": "/",
                "env": [f"{name}={value}" for name, value in ({"PATH": PATH} | dict(env or {})).items()],
                "user": {"uid": user, "gid": user},
                "capabilities": {kind: [] for kind in kinds_of_capabilities},
                "noNewPrivileges": True,
            },
            "root": {"path": str(root), "readonly": True},
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {
                    "destination": "/dev",
                    "type": "tmpfs",
                    "source": "tmpfs",
                    "options": ["nosuid", "mode=755"],
                },
                *mounts,
            ],
            "linux": {
                "namespaces": [{"type": kind} for kind in kinds],
                "cgroupsPath": f"/{self.name}",
                "resources": memory_limit() if resources is None else resources,
            },
        }
        (home / "config.json").write_text(json.dumps(config))
        self.process = subprocess.Popen(
            [*self._runc, "run", "--bundle", str(home), self.name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out, self.err = Output(self.process.stdout), Output(self.process.stderr)

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run([*self._runc, "delete", "--force", self.name], capture_output=True)
        self.process.wait(DEADLINE)
        self.out.close()
        self.err.close()

    def send(self, number: signal.Signals) -> None:
        """Send process 1 a signal, as a runtime does for the kubelet."""
        subprocess.run([*self._runc, "kill", self.name, number.name], check=True, capture_output=True)

    def exec(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run one more command in it, as an exec probe and ``kubectl exec`` do."""
        return subprocess.run(
            [*self._runc, "exec", self.name, *argv], capture_output=True, text=True, timeout=DEADLINE
        )

    def wait(self) -> Ended:
        """Its end, with all that was written and not yet taken by ``line`` or ``until``."""
        code = self.process.wait(DEADLINE)
        return Ended(code, "\n".join(self.out.rest()), "\n".join(self.err.rest()))
