"""docs/container.md: its manifests and paths are the bundle's. No engine is here that could run its blocks."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

from container import bundle, stdlib
from tests.container.test_sidecar import COPY
from tests.test_packaging import ROOT

TEXT = (ROOT / "docs" / "container.md").read_text()
INDENTED = [textwrap.dedent(block) for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", TEXT, re.MULTILINE)]
PODS: list[dict[str, Any]] = [
    yaml.safe_load(block)["spec"] for block in INDENTED if block.strip().startswith("apiVersion:")
]


def test_manifests_mount_what_they_declare() -> None:
    """Each mount is of a volume that is there, and kmetad is at its own place in the container that runs it."""
    assert len(PODS) == 2
    for spec in PODS:
        volumes = {volume["name"] for volume in spec["volumes"]}
        mounted = [mount for container in spec["containers"] for mount in container["volumeMounts"]]
        assert {mount["name"] for mount in mounted} <= volumes
        (app,) = spec["containers"]
        assert bundle.PREFIX in {mount["mountPath"] for mount in app["volumeMounts"]}
        assert app["command"][:3] == [f"{bundle.PREFIX}/bin/kmetad", "run", "--"]


def test_the_copy_goes_where_the_app_has_it() -> None:
    """The init container's command is the one that is tested, and its volume the app's."""
    (copy,) = PODS[0]["initContainers"]
    assert copy["command"] == COPY
    (target,) = copy["volumeMounts"]
    assert target["mountPath"] == COPY[1]
    (own,) = [
        mount for mount in PODS[0]["containers"][0]["volumeMounts"] if mount["mountPath"] == bundle.PREFIX
    ]
    assert own["name"] == target["name"]


def test_the_image_volume_is_the_directory_of_the_image() -> None:
    """subPath is relative to the image's root."""
    (own,) = [
        mount for mount in PODS[1]["containers"][0]["volumeMounts"] if mount["mountPath"] == bundle.PREFIX
    ]
    assert f"/{own['subPath']}" == bundle.PREFIX


def test_commands_and_paths_exist() -> None:
    """Targets of make, modules of container/, and where plugins go."""
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"^    make (\w+)", TEXT, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for module in set(re.findall(r"-m container\.(\w+)", TEXT)):
        assert (ROOT / "container" / f"{module}.py").exists(), module
    place = re.search(rf"COPY --from=plugin /plugin {bundle.PREFIX}/(\S+)/site-packages", TEXT)
    assert place is not None
    version = re.search(r"^ARG PYTHON=(\S+)", (ROOT / "container/Containerfile").read_text(), re.MULTILINE)
    assert version is not None
    assert place[1] == str(stdlib.place(Path())).replace(stdlib.VERSION, f"python{version[1]}")
