"""The image: what the Containerfile says, and what container.image makes of it."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import tomllib

import pytest

from container import bundle
from container import image as imaging
from tests.container.conftest import Unpacked
from tests.test_packaging import ROOT

CONTAINERFILE = imaging.CONTAINERFILE.read_text()
pytestmark = pytest.mark.timeout(300)  # seconds: the first test waits until it is built


def test_containerfile_says_what_the_interface_does() -> None:
    """An otherwise empty image, no root, `kmetad run` unless told otherwise, and kmetad on the PATH of an exec."""
    described = imaging.described(CONTAINERFILE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert described.base == "scratch"
    assert described.copied == [("/bundle", "/")]
    assert "--root /bundle\n" in CONTAINERFILE
    assert described.user == "65532:65532"
    assert described.entrypoint == [f"{bundle.PREFIX}/bin/kmetad"]
    assert described.command == ["run"]
    assert described.environ == [f"PATH={bundle.PREFIX}/bin"]
    assert described.labels == {
        "org.opencontainers.image.title": project["name"],
        "org.opencontainers.image.description": project["description"],
        "org.opencontainers.image.version": project["version"],
        "org.opencontainers.image.licenses": project["license"],
    }


def test_containerfile_copies_what_is_there() -> None:
    """Everything that its first stage wants exists, and nothing names an architecture."""
    copies = [
        line.split()[1:-1]
        for line in CONTAINERFILE.splitlines()
        if line.startswith("COPY ") and "--" not in line
    ]
    assert ["kmetad"] in copies
    for source in sum(copies, []):
        assert (ROOT / source).exists(), source
    assert not any(name in CONTAINERFILE for pair in imaging.ARCHITECTURES.items() for name in pair)


def test_an_unknown_instruction_is_no_guess() -> None:
    """Else an instruction that is added would be missing from the image that is built without an engine."""
    with pytest.raises(ValueError, match="doesn't know STOPSIGNAL"):
        imaging.described("FROM scratch\nSTOPSIGNAL TERM\n")


def test_the_archive_is_whole(image: Unpacked) -> None:
    """Each blob has the digest and the size that are said of it, and so has the layer unpacked."""
    for descriptor in (image.manifest["config"], *image.manifest["layers"]):
        content = image.blob(descriptor).read_bytes()
        assert descriptor["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        assert descriptor["size"] == len(content)
    (layer,) = image.manifest["layers"]
    unpacked = gzip.decompress(image.blob(layer).read_bytes())
    assert image.config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(unpacked).hexdigest()}"]


def test_the_image_is_as_described(image: Unpacked) -> None:
    """What a runtime reads is what the Containerfile says, and in its root is the bundle alone."""
    described, config = imaging.described(CONTAINERFILE), image.config["config"]
    assert config["User"] == described.user
    assert config["Entrypoint"] == described.entrypoint
    assert config["Cmd"] == described.command
    assert config["Env"] == described.environ
    assert config["Labels"] == described.labels
    (layer,) = image.manifest["layers"]
    listed = subprocess.check_output(["tar", "-tzf", image.blob(layer)], text=True).splitlines()
    assert listed[:2] == ["opt/", "opt/kmetad/"]
    assert [path for path in listed[2:] if not path.startswith("opt/kmetad/")] == []
