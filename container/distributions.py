"""Which distributions of this environment a bundle carries, and how they are copied."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

GROUPS = ("kmetad", "kmetad.commands")
"""Entry points that make a distribution a plugin of kmetad."""

INSTALLERS = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"}
"""Files of a .dist-info that say how it came here; nothing reads them there."""


def carried() -> list[metadata.Distribution]:
    """kmetad, the plugins that are installed, and all that they require, without their extras; by name."""
    plugins = {
        entry.dist.name for group in GROUPS for entry in metadata.entry_points(group=group) if entry.dist
    }
    wanted, found = ["kmetad", *sorted(plugins)], {}
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name not in found:
            found[name] = metadata.distribution(name)
            wanted += _required(found[name])
    return [found[name] for name in sorted(found)]


def _required(distribution: metadata.Distribution) -> Iterator[str]:
    for text in distribution.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def version(name: str) -> str:
    """The version of one that is installed."""
    return metadata.version(name)


def information(distribution: metadata.Distribution) -> str:
    """The name of its directory of metadata: the installer's spelling, not always that of its name."""
    return next(file.parts[0] for file in distribution.files or () if file.parts[0].endswith(".dist-info"))


def copy(distribution: metadata.Distribution, target: Path) -> dict[Path, Path]:
    """Copy what is imported of it, and its metadata; answers each file's origin."""
    origins = dict(_files(distribution))
    origins |= _editable(distribution)
    for relative, origin in origins.items():
        (target / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin, target / relative)
    return {target / relative: origin for relative, origin in origins.items()}


def _files(distribution: metadata.Distribution) -> Iterator[tuple[Path, Path]]:
    for file in distribution.files or ():
        information = file.parts[0].endswith(".dist-info") and file.name in INSTALLERS
        elsewhere = file.parts[0] == ".." or file.is_absolute()  # scripts, manual pages
        code = "__pycache__" in file.parts or file.suffix == ".pyc"
        if not (information or elsewhere or code or file.suffix == ".pth"):
            yield Path(*file.parts), Path(str(distribution.locate_file(file)))


def _editable(distribution: metadata.Distribution) -> Iterator[tuple[Path, Path]]:
    """Its package in the checkout, named as the distribution, if it was installed by ``pip install --editable``."""
    installed = json.loads(distribution.read_text("direct_url.json") or "{}")
    if not installed.get("dir_info", {}).get("editable"):
        return
    project = Path(unquote(urlsplit(installed["url"]).path))
    for path in sorted((project / distribution.name.replace("-", "_")).rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(project), path
