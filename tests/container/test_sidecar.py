"""kmetad's own image as a sidecar, and as an init container that brings kmetad into an image that isn't yours."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from container import bundle
from kmetad.testing.kubelet import Volume
from tests.cli import eventually
from tests.container.conftest import Unpacked
from tests.container.runc import Container, bind, scratch

pytestmark = pytest.mark.timeout(300)  # seconds: the first test waits until the image is built

TOML = """
[volumes.podinfo]
path = "/etc/podinfo"

[plugins.copy]
use = "reload"
actions = [{ write = { file = "/out/level", format = "template", template = "level={metadata.labels['level']}" } }]
"""
COPY = [f"{bundle.PREFIX}/bin/kmetad-copy", "/target"]


def test_the_image_is_a_sidecar(image: Unpacked, tmp_path: Path) -> None:
    """As its user and by its own command: it acts on a swap, says that it is ready, and ends when it is told to."""
    tmp_path.chmod(0o755)
    config = image.config["config"]
    volume, written = Volume(tmp_path / "podinfo"), tmp_path / "out" / "level"
    volume.write(labels={"level": "info"})
    (tmp_path / "kmetad").mkdir()
    (tmp_path / "kmetad" / "kmetad.toml").write_text(TOML)
    mounts = [
        bind(tmp_path / "podinfo", "/etc/podinfo"),
        bind(tmp_path / "kmetad", "/etc/kmetad"),
        scratch(written.parent, "/out"),
        scratch(tmp_path / "run", "/run/kmetad"),
    ]
    env = dict(pair.split("=", 1) for pair in config["Env"])
    user = int(config["User"].partition(":")[0])
    command = [*config["Entrypoint"], *config["Cmd"]]
    with Container(tmp_path, image.root, command, env=env, user=user, mounts=mounts) as container:
        eventually(lambda: written.exists() and written.read_text() == "level=info", "what is at the start")
        eventually(lambda: container.exec("kmetad", "status").returncode == 0, "ready")
        assert volume.label("level", "debug")
        eventually(lambda: written.read_text() == "level=debug", "what the swap brought")
        assert container.exec("kmetad", "get", "metadata.labels['level']").stdout == "debug\n"
        container.send(signal.SIGTERM)
        assert container.wait().code == 0
    assert written.stat().st_uid == user


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An emptyDir that two containers share."""
    scratch(tmp_path / "target", "/target")
    return tmp_path / "target"


def copied(image: Unpacked, directory: Path, target: Path) -> None:
    """Run the init container, on a root that it can't write to."""
    with Container(directory, image.root, COPY, mounts=[bind(target, "/target", "rw")]) as container:
        ended = container.wait()
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_a_copy_works_in_an_image_that_is_not_yours(
    image: Unpacked, root: Path, tmp_path: Path, target: Path
) -> None:
    """kmetad-copy brings it all into the shared directory, which the app's container has at /opt/kmetad."""
    copied(image, tmp_path, target)
    command = ["kmetad", "run", "--", "/bin/busybox", "sh", "-c", "exit 9"]
    with Container(tmp_path, root, command, mounts=[bind(target, bundle.PREFIX)]) as container:
        assert container.wait().code == 9
    original = image.root / bundle.PREFIX.lstrip("/")
    names = {str(path.relative_to(original)) for path in original.rglob("*")}
    assert {str(path.relative_to(target)) for path in target.rglob("*")} == names
    assert os.readlink(target / "bin" / "python3") == "../python3"


def test_a_second_copy_replaces_what_differs_and_nothing_else(
    image: Unpacked, tmp_path: Path, target: Path
) -> None:
    """As after an init container that was stopped half-way: each file is there whole, and what was is left alone."""
    copied(image, tmp_path, target)
    kept, other, gone = (target / name for name in ("python3._pth", "LICENSES", "bin/kmetad"))
    other.write_text("other")
    gone.unlink()
    (target / "bin" / "python3").unlink()
    (target / "bin" / "python3.part").symlink_to("../python3")
    before = {path: path.stat().st_ino for path in (kept, other)}
    copied(image, tmp_path, target)
    assert kept.stat().st_ino == before[kept]
    assert other.stat().st_ino != before[other]
    original = image.root / bundle.PREFIX.lstrip("/")
    for path in (kept, other, gone):
        assert path.read_bytes() == (original / path.relative_to(target)).read_bytes()
        assert path.stat().st_mode == (original / path.relative_to(target)).stat().st_mode
    assert not list(target.rglob("*.part"))
    assert os.readlink(target / "bin" / "python3") == "../python3"


def test_a_target_that_cannot_be_written_is_named(image: Unpacked, tmp_path: Path, target: Path) -> None:
    """1, and what to look at, where the volume belongs to somebody else or isn't mounted."""
    target.chmod(0o755)
    shutil.copy(image.root / "opt/kmetad/LICENSES", target)
    with Container(tmp_path, image.root, COPY, mounts=[bind(target, "/target", "rw")]) as container:
        ended = container.wait()
    assert ended.code == 1
    assert "Permission denied: '/target/" in ended.err
    assert "user 65532" in ended.err
    with Container(tmp_path, image.root, COPY[:1]) as container:
        assert container.wait().code == 2


def test_a_target_that_is_none_is_told(image: Unpacked, tmp_path: Path) -> None:
    """1: nothing is mounted, although root could write there; the place is kmetad's own; it is full."""
    root = tmp_path / "image"
    shutil.copytree(image.root, root, symlinks=True, copy_function=os.link)
    for place, wrong in {"/nowhere": "is no directory", bundle.PREFIX: "is kmetad's own"}.items():
        with Container(tmp_path, root, [COPY[0], place], user=0) as container:
            ended = container.wait()
        assert (ended.code, f"kmetad-copy: {place} {wrong}; name " in ended.err) == (1, True), ended.err
    small = {"destination": "/target", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]}
    with Container(tmp_path, root, COPY, mounts=[small], user=0) as container:
        ended = container.wait()
    assert (ended.code, ended.err.endswith("; it takes up to 60 MB")) == (1, True), ended.err


def test_a_copy_that_fails_leaves_no_command(image: Unpacked, tmp_path: Path, target: Path) -> None:
    """They come last: where one is, all is. Nor is a file left in part."""
    for make, remove, path in (
        (Path.mkdir, Path.rmdir, target / "LICENSES"),
        (Path.touch, Path.unlink, target / "licenses"),
    ):
        make(path)
        with Container(tmp_path, image.root, COPY, mounts=[bind(target, "/target", "rw")]) as container:
            ended = container.wait()
        assert (ended.code, str(Path("/target", path.name)) in ended.err.replace("/./", "/")) == (1, True)
        assert not (target / "bin").exists()
        assert not list(target.rglob("*.part"))
        remove(path)
