"""``python -m container.image``: the image that container/Containerfile describes, without an engine or a registry.

What it says of the image is read from the Containerfile's last stage, so that both make the same. The
archive holds an OCI image layout (https://github.com/opencontainers/image-spec/blob/main/image-layout.md),
which podman, skopeo, containerd and Docker (25 and later) load.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import platform
import shlex
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from container import bundle

CONTAINERFILE = bundle.HERE / "Containerfile"
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}
"""Names of uname(2) that Go, and so OCI, has another for."""


@dataclass
class Image:
    """What a Containerfile's last stage says."""

    base: str = ""
    copied: list[tuple[str, str]] = field(default_factory=list)  # from another stage: source, target
    user: str = ""
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    environ: list[str] = field(default_factory=list)
    labels: dict[str, str] = field(default_factory=dict)

    def config(self, layer: str) -> dict[str, Any]:
        """OCI's image configuration; ``layer`` is the digest of the layer's tar."""
        created = datetime.fromtimestamp(bundle.epoch(), UTC).isoformat().replace("+00:00", "Z")
        machine = platform.machine()
        return {
            "created": created,
            "architecture": ARCHITECTURES.get(machine, machine),
            "os": "linux",
            "config": {
                "User": self.user,
                "Env": self.environ,
                "Entrypoint": self.entrypoint,
                "Cmd": self.command,
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [layer]},
            "history": [{"created": created, "created_by": "container/Containerfile"}],
        }


def described(text: str) -> Image:
    """The last stage of a Containerfile. ValueError for an instruction that is unknown here."""
    image = Image()
    for line in text.replace("\\\n", " ").splitlines():
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            image = Image(base=rest.partition(" AS ")[0])
        elif image.base != "scratch" or not instruction or instruction.startswith("#"):
            continue
        elif instruction == "COPY":
            _, source, target = rest.split()
            image.copied.append((source, target))
        elif instruction == "LABEL":
            image.labels |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif instruction == "ENV":
            image.environ.append(rest)
        elif instruction == "USER":
            image.user = rest
        elif instruction == "ENTRYPOINT":
            image.entrypoint = json.loads(rest)
        elif instruction == "CMD":
            image.command = json.loads(rest)
        else:
            raise ValueError(f"{CONTAINERFILE}: container.image doesn't know {instruction}")
    return image


def write(image: Image, root: Path, file: Path) -> None:
    """Write an archive of the image whose only layer is what is under ``root``."""
    with tempfile.TemporaryDirectory(dir=file.parent) as directory:
        layout, layer = Path(directory, "layout"), Path(directory, "layer.tar")
        blobs = layout / "blobs" / "sha256"
        blobs.mkdir(parents=True)

        def blob(content: bytes, kind: str) -> dict[str, Any]:
            digest = hashlib.sha256(content).hexdigest()
            (blobs / digest).write_bytes(content)
            return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

        def document(content: dict[str, Any], kind: str) -> dict[str, Any]:
            return blob(json.dumps(content, sort_keys=True).encode(), kind)

        bundle.archive(root, layer)
        content = layer.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        config = document(image.config(f"sha256:{digest}"), "application/vnd.oci.image.config.v1+json")
        packed = blob(gzip.compress(content, 6, mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
        kind = "application/vnd.oci.image.manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [packed]}
        name = {"org.opencontainers.image.ref.name": image.labels["org.opencontainers.image.version"]}
        index = {"schemaVersion": 2, "manifests": [document(manifest, kind) | {"annotations": name}]}
        (layout / "index.json").write_text(json.dumps(index, sort_keys=True))
        (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        bundle.archive(layout, file)


def main() -> int:
    """Write it; 0, or 1 if there is no bundle."""
    parser = argparse.ArgumentParser(
        prog="python -m container.image", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--root", type=Path, default=bundle.ROOT, help="where the bundle is (%(default)s)")
    parser.add_argument(
        "--archive", type=Path, default=Path("dist"), metavar="DIRECTORY", help="(%(default)s)"
    )
    options = parser.parse_args()
    if not os.path.exists(f"{options.root}{bundle.PREFIX}/bin/kmetad"):
        print(
            f"container.image: no bundle for {bundle.PREFIX} in {options.root}; make bundle", file=sys.stderr
        )
        return 1
    image = described(CONTAINERFILE.read_text())
    version = image.labels["org.opencontainers.image.version"]
    options.archive.mkdir(parents=True, exist_ok=True)
    file = options.archive / f"kmetad-{version}-linux-{platform.machine()}.oci.tar"
    write(image, options.root, file)
    print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
