"""The Containerfiles of README.md and docs/ are built and run: each instruction by what Linux itself has for it.

An image is an overlay on this machine's own root, which stands for every image that isn't
built here; kmetad's own is the bundle. A container is a chroot with a process namespace of its own. So no
registry is needed, and no container runtime, but root is.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from container.bundle import PREFIX
from kmetad.testing import kubelet
from tests.test_packaging import plain_environment
from tests.test_readme import BLOCKS, README, RUNNING, Block, configuration_of

PATH = "/usr/local/bin:/usr/bin:/bin"

PROLOGUE = """
set -eu
work=$1
mount --make-rprivate /
mount -t tmpfs tmpfs "$work"

image() {  # NAME LAYERS: a root of its own on top of these layers
    mkdir -p "$work/$1/own" "$work/$1/work" "$work/$1/root"
    mount -t overlay overlay -o "lowerdir=$2,upperdir=$work/$1/own,workdir=$work/$1/work" "$work/$1/root"
    mount --bind /proc "$work/$1/root/proc"
    mount --bind /dev "$work/$1/root/dev"
}

copy() {  # SOURCE TARGET: what a directory holds, or a file
    if [ -d "$1" ]; then mkdir -p "$2" && cp -a "$1/." "$2/"; else mkdir -p "$(dirname "$2")" && cp -a "$1" "$2"; fi
}
"""


@dataclass
class Image:
    """What a Containerfile makes; ``script`` are the shell's lines that make it."""

    name: str
    layers: str = "/"
    script: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    user: str = "0:0"
    directory: str = "/"

    def run(self, argv: list[str]) -> list[str]:
        """Shell lines that run a container: process 1, on a root file system that is read-only."""
        root = f'"$work/{self.name}/root"'
        variables = [f"{name}={value}" for name, value in ({"PATH": PATH} | self.environ).items()]
        command = shlex.join(["env", "-i", *variables, *argv])
        apart = f"unshare --pid --fork --mount-proc={root}/proc"
        return [
            f"umount {root}/proc",
            f"mount -o remount,ro {root}",
            f"{apart} chroot --userspec={self.user} {root} {command} || echo ended with $?",
        ]


def build(text: str, name: str, context: Path, known: dict[str, Image]) -> Image:
    """Translate a Containerfile. ``known`` are images that it may name; all others are this machine's root."""
    stages: dict[str, Image] = {}
    lines: list[str] = []
    image = Image(name)
    for line in filter(None, text.splitlines()):
        instruction, _, rest = line.partition(" ")
        root = f'"$work/{image.name}/root"'
        if instruction == "FROM":
            base, _, alias = rest.partition(" AS ")
            image = Image(alias or name)
            if base in known:
                image.layers = f"$work/{known[base].name}/own:{known[base].layers}"
                image.environ = dict(known[base].environ)
            stages[image.name] = image
            lines.append(f'image {image.name} "{image.layers}"')
        elif instruction == "COPY":
            *options, source, target = rest.split()
            given = dict(option.removeprefix("--").split("=") for option in options)
            origin = given.pop("from", None)
            home = f'"$work/{(stages | known)[origin].name}/root"' if origin else shlex.quote(str(context))
            lines.append(f"copy {home}/{source} {root}{target}")
            if mode := given.pop("chmod", None):
                lines.append(f"chmod {mode} {root}{target}")
            assert not given, line
        elif instruction == "RUN":
            lines.append(
                f"chroot {root} env PATH={PATH} sh -c {shlex.quote(f'cd {image.directory} && {rest}')} >&2"
            )
        elif instruction == "WORKDIR":
            image.directory = rest
        elif instruction == "ENV":
            variable, _, value = rest.partition("=")
            path = image.environ.get("PATH", PATH)
            image.environ[variable] = value.strip('"').replace("$PATH", path)
        elif instruction == "USER":
            image.user = rest
        elif instruction == "ENTRYPOINT":
            image.entrypoint = json.loads(rest)
        elif instruction == "CMD":
            image.command = json.loads(rest)
        else:
            pytest.fail(f"{instruction} isn't known here: {line}")
    image.script = lines
    return image


def unshared(script: list[str], work: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in a mount namespace of its own, which takes everything that it mounts with it."""
    work.mkdir()
    return subprocess.run(
        ["unshare", "--mount", "bash", "-c", "\n".join([PROLOGUE, *script]), "bash", str(work)],
        env=plain_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
    )


def of(file: Path, number: int) -> Block:
    """A file's Containerfile, counted from 0."""
    return [block for block in BLOCKS if block.file == file and block.language == "dockerfile"][number]


def test_every_containerfile_is_built() -> None:
    """Those that the test below knows are all there are."""
    assert [block for block in BLOCKS if block.language == "dockerfile"] == [
        of(README, 0),
        of(RUNNING, 0),
    ]


def test_images_are_built_and_run(built: Path, tmp_path: Path) -> None:
    """As an unprivileged process 1 on a read-only root, with what the documents' TOML asks for."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("needs Linux, and root, to mount")
    probe = unshared(["image probe /"], tmp_path / "probe")
    if probe.returncode:
        pytest.skip(f"mounting isn't permitted here: {probe.stderr.strip()}")

    context = tmp_path / "context"
    context.mkdir()
    (context / "kmetad.toml").write_text(configuration_of(of(RUNNING, 0)))
    podinfo = kubelet.Volume(tmp_path / "podinfo")
    podinfo.write(labels={"app": "web", "version": "7"}, annotations={})
    settings = kubelet.Volume(tmp_path / "settings")
    settings.write(files={"gunicorn.conf.py": "workers = 2\n"})

    place = f'"$work/kmetad/root{PREFIX}"'
    own = Image("kmetad", script=["image kmetad /", f"copy {built}{PREFIX} {place}"], user="65532:65532")
    known = {"your/kmetad": own}
    wrapped = build(of(RUNNING, 0).text, "wrapped", context, known)
    short = build(of(README, 0).text, "short", context, known)
    for image in (wrapped, short):
        assert image.command[0] == "gunicorn"  # in its place:
    told = 'echo "$0: user $(id -u), child of $PPID, version $APP_VERSION"; touch /file 2>/dev/null || exit 3'
    mounts = {"podinfo": "/etc/podinfo", "settings": "/etc/web"}
    done = unshared(
        [
            *own.script,
            *wrapped.script,
            *short.script,
            *(f'copy {tmp_path}/{volume} "$work/wrapped/root{path}"' for volume, path in mounts.items()),
            *own.run([f"{PREFIX}/bin/kmetad", "run", "--help"]),
            *wrapped.run([*wrapped.entrypoint, "sh", "-c", told, "wrapped"]),
            *short.run([*short.entrypoint, "sh", "-c", told, "short"]),
        ],
        tmp_path / "images",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: kmetad run"), done.stdout
    assert done.stdout.splitlines()[-4:] == [
        "wrapped: user 65532, child of 1, version 7",
        "ended with 3",
        "short: user 0, child of 1, version ",
        "ended with 3",
    ], done.stderr
