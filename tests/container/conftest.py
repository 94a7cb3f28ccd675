"""One bundle, and one image of it, for all tests."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from container import bundle as bundling
from container import image as imaging
from tests.container.runc import busybox
from tests.test_packaging import ROOT, plain_environment


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A directory that the first of all test processes fills, and the others wait for."""
    base = factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-gw") else base
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = shared / name
        if not (shared / f"{name}.done").exists():
            shutil.rmtree(made, ignore_errors=True)
            make(made)
            (shared / f"{name}.done").touch()
    return made


def build(root: Path) -> None:
    """Build a bundle, as `make bundle` does, of what this very environment has."""
    command = [sys.executable, "-m", "container.bundle", "--root", str(root)]
    done = subprocess.run(command, cwd=ROOT, env=plain_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a bundle for /opt/kmetad is built; nothing may change it."""
    return once(tmp_path_factory, "bundle", build)


@pytest.fixture(scope="session")
def tree(built: Path) -> Path:
    """The bundle's own directory."""
    return built / bundling.PREFIX.lstrip("/")


class Unpacked:
    """The image's archive, in a directory with what is in it: its documents, and its layer as ``root``."""

    def __init__(self, directory: Path) -> None:
        self.archive, self.layout, self.root = (directory / name for name in ("image.tar", "layout", "root"))

    def make(self, built: Path) -> None:
        """Write the archive, and unpack it as a runtime does."""
        self.layout.mkdir(parents=True)
        self.root.mkdir()
        imaging.write(imaging.described(imaging.CONTAINERFILE.read_text()), built, self.archive)
        subprocess.run(["tar", "-xf", self.archive, "-C", self.layout], check=True)
        (layer,) = self.manifest["layers"]
        subprocess.run(["tar", "-xzf", self.blob(layer), "-C", self.root], check=True)

    @property
    def manifest(self) -> dict[str, Any]:
        """The only one."""
        (one,) = json.loads((self.layout / "index.json").read_text())["manifests"]
        return self.document(one)

    @property
    def config(self) -> dict[str, Any]:
        """The image's configuration."""
        return self.document(self.manifest["config"])

    def document(self, descriptor: Mapping[str, Any]) -> dict[str, Any]:
        """What a descriptor points to."""
        document: dict[str, Any] = json.loads(self.blob(descriptor).read_bytes())
        return document

    def blob(self, descriptor: Mapping[str, Any]) -> Path:
        """Where it is."""
        kind, _, digest = descriptor["digest"].partition(":")
        return self.layout / "blobs" / kind / digest


@pytest.fixture(scope="session")
def image(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    """The image of that bundle."""
    return Unpacked(once(tmp_path_factory, "image", lambda directory: Unpacked(directory).make(built)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Somebody else's image: a static program, and nothing else at all."""
    made = tmp_path / "root"
    (made / "bin").mkdir(parents=True)
    shutil.copy(busybox(), made / "bin" / "busybox")
    tmp_path.chmod(0o755)
    return made
