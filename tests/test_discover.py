"""kmetad._sources.discover: what there is to read when nobody has said."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from kmetad._sources.content import NOTHING, Source
from kmetad._sources.discover import VOLUMES, discover
from kmetad._sources.environment import Environment
from kmetad._sources.serviceaccount import DIRECTORY, ServiceAccount
from kmetad._sources.volume import Volume as VolumeSource
from kmetad.testing.kubelet import ServiceAccountVolume, Volume
from tests.unprivileged import as_nobody

KEY = b"k" * 32


def found(root: Path) -> list[tuple[str, str | None]]:
    """Names and paths below the root, which stands for ``/``."""
    return [
        (source.name, source.path and "/" + os.path.relpath(source.path, root))
        for source in discover({}, digest_key=KEY, root=str(root))
    ]


def volume(root: Path, path: str, **payload: dict[str, str]) -> Volume:
    """A volume at a path below the root."""
    (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
    made = Volume(root / path.lstrip("/"))
    made.write(**payload)
    return made


def mountinfo(root: Path, mounts: Sequence[tuple[str, str]]) -> None:
    """The kernel's list of mount points and their file systems."""
    lines = [
        f"{n} 1 0:{n} / {point} rw,relatime shared:1 - {kind} {kind} rw"
        for n, (point, kind) in enumerate(mounts)
    ]
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "mountinfo").write_text("\n".join([*lines, "a broken line", ""]))


def test_nothing(tmp_path: Path) -> None:
    """Outside a Pod there is only the environment."""
    assert found(tmp_path) == [("env", None)]


def test_this_machine() -> None:
    """On a real machine it finds something readable or nothing, and never fails."""
    sources = discover(os.environ, digest_key=KEY)
    assert sum(isinstance(source, Environment) for source in sources) == 1


def test_everything(tmp_path: Path) -> None:
    """Volumes first, then the environment, then the service account; each readable at once."""
    for path in VOLUMES:
        volume(tmp_path, path, labels={"path": path})
    (tmp_path / DIRECTORY.lstrip("/")).parent.mkdir(parents=True)
    ServiceAccountVolume(tmp_path / DIRECTORY.lstrip("/")).rotate()
    sources = discover({"POD_NAME": "web"}, digest_key=KEY, root=str(tmp_path))
    assert [type(source) for source in sources] == [*[VolumeSource] * 3, Environment, ServiceAccount]
    assert [source.name for source in sources] == ["podinfo", "downward", "pod", "env", "token"]
    contents = [source.read(NOTHING) for source in sources]
    assert [content.labels.get("path") for content in contents] == [*VOLUMES, None, None]
    assert contents[3].fields == {"metadata.name": "web"}
    assert list(contents[4].tokens) == ["token"]


@pytest.mark.parametrize("payload", [{"labels": {}}, {"annotations": {"a": "1"}}])
def test_one_map_is_enough(tmp_path: Path, payload: dict[str, dict[str, str]]) -> None:
    """A volume that holds labels or annotations, if only empty ones."""
    volume(tmp_path, "/etc/podinfo", **payload)
    assert found(tmp_path) == [("podinfo", "/etc/podinfo"), ("env", None)]


def test_a_conventional_directory_of_plain_files(tmp_path: Path) -> None:
    """Files that are mounted alone are found too: watching them will never see a change, and that is told elsewhere."""
    (tmp_path / "etc" / "podinfo").mkdir(parents=True)
    (tmp_path / "etc" / "podinfo" / "labels").write_text('a="1"')
    assert found(tmp_path) == [("podinfo", "/etc/podinfo"), ("env", None)]


def test_a_directory_of_something_else(tmp_path: Path) -> None:
    """Not by its name alone: there must be something that the Downward API writes."""
    (tmp_path / "etc" / "podinfo").mkdir(parents=True)
    (tmp_path / "etc" / "podinfo" / "name").write_text("x")
    volume(tmp_path, "/etc/downward", files={"name": "x"})
    assert found(tmp_path) == [("env", None)]


def test_mounts(tmp_path: Path) -> None:
    """Any other mount that is swapped and holds labels or annotations; each once, with a name of its own."""
    for path in ("/etc/podinfo", "/data/podinfo", "/srv/env", "/with blank", "/back\\slash"):
        volume(tmp_path, path, labels={"a": "1"})
    volume(tmp_path, "/etc/app", files={"app.conf": "x"})
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "labels").write_text('a="1"')
    points = ["/", "/proc", "/etc/app", "/home", "/none", "/etc/podinfo", "/data/podinfo", "/srv/env"]
    mountinfo(tmp_path, [(point, "tmpfs") for point in [*points, "/with\\040blank", "/back\\134slash"]])
    assert found(tmp_path) == [
        ("podinfo", "/etc/podinfo"),
        ("podinfo-2", "/data/podinfo"),
        ("env-2", "/srv/env"),
        ("with blank", "/with blank"),
        ("back\\slash", "/back\\slash"),
        ("env", None),
    ]


@pytest.mark.parametrize("kind", ["nfs4", "fuse.sshfs", "cifs", "autofs", "ceph"])
def test_mounts_that_may_hang(tmp_path: Path, kind: str) -> None:
    """What waits for another machine isn't looked into."""
    volume(tmp_path, "/far", labels={"a": "1"})
    mountinfo(tmp_path, [("/far", kind)])
    assert found(tmp_path) == [("env", None)]


def test_one_directory_by_two_paths(tmp_path: Path) -> None:
    """A link to a volume is no second volume."""
    volume(tmp_path, "/etc/podinfo", labels={})
    (tmp_path / "etc" / "downward").symlink_to("podinfo")
    assert found(tmp_path) == [("podinfo", "/etc/podinfo"), ("env", None)]


def test_a_directory_that_may_not_be_entered() -> None:
    """A conventional one is among them, so that reading says which permission is missing."""
    root = Path(tempfile.mkdtemp(prefix="kmetad-"))
    try:
        root.chmod(0o755)
        made = volume(root, "/etc/podinfo", labels={})
        os.chmod(made.path, 0o700 if os.geteuid() == 0 else 0)
        assert as_nobody(lambda: found(root)) == [("podinfo", "/etc/podinfo"), ("env", None)]
    finally:
        os.chmod(made.path, 0o755)
        shutil.rmtree(root)


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    """Finding doesn't read: a volume with a fault is found like any other."""
    made = volume(tmp_path, "/etc/podinfo", labels={})
    made.write(files={"labels": "broken"})
    sources: list[Source] = discover({}, digest_key=KEY, root=str(tmp_path))
    assert sources[0].name == "podinfo"
