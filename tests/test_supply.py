"""requirements/ and docs/supply.md: what is locked fits what is declared, holds no address, and installs."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.test_packaging import PLUGINS, ROOT, plain_environment, run

LOCKS = ROOT / "requirements"
SUPPLY = ROOT / "docs" / "supply.md"
PROJECTS = {
    path: tomllib.loads(path.read_text())
    for path in [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/*.toml")]
}
OURS = {"kmetad", *PLUGINS}

PIN = r"[a-z0-9-]+==[a-z0-9.]+( ; [a-zA-Z0-9_.'<>!= ()]+)?( \\)"
HASH = r"    --hash=sha256:[0-9a-f]{64}( \\)?"


def pins(name: str) -> dict[str, Version]:
    """The versions that a lock file names, by canonical name."""
    found = re.findall(r"^(\S+)==([^\s;]+)", (LOCKS / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): Version(version) for package, version in found}


def requirements(*keys: str) -> Iterator[Requirement]:
    """Every requirement of others that stands under these keys of a pyproject.toml."""
    for table in PROJECTS.values():
        value: Any = table
        for key in keys:
            value = value.get(key, {})
        lists = value.values() if isinstance(value, dict) else [value]
        for one in (Requirement(text) for texts in lists for text in texts if isinstance(text, str)):
            if canonicalize_name(one.name) not in OURS:
                yield one


RUN = [*requirements("project", "dependencies")]
EXTRAS = [*requirements("project", "optional-dependencies")]
BUILD = [*requirements("build-system", "requires")]
TOOLS = [*requirements("dependency-groups")]


@pytest.mark.parametrize("name", sorted(path.name for path in LOCKS.glob("*.txt")))
def test_a_lock_holds_pins_and_hashes_and_nothing_else(name: str) -> None:
    """No address, no option of pip's: where packages come from is everybody's own business."""
    head, *lines = (LOCKS / name).read_text().split("\n# `make lock` writes this file.\n")
    assert re.fullmatch(r"# [\w ,]+\.", head)
    strange = [line for line in lines[0].splitlines() if not re.fullmatch(f"{PIN}|{HASH}", line)]
    assert strange == []
    assert lines[0].count("==") > 5
    assert re.findall(r"\w+:|//|-url|--[a-gi-z]", head + lines[0].replace("sha256:", "")) == []


@pytest.mark.parametrize(
    ("name", "declared"),
    [
        ("build.txt", BUILD),
        ("run.txt", RUN),
        ("tools.txt", [*RUN, *EXTRAS, *TOOLS]),
        ("lowest.txt", [*BUILD, *RUN, *EXTRAS]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_lock_fits_every_project(name: str, declared: list[Requirement]) -> None:
    """Each declared dependency is locked, in a version that its declaration allows."""
    locked = pins(name)
    assert declared
    unfit = [str(one) for one in declared if locked.get(canonicalize_name(one.name)) not in one.specifier]
    assert unfit == [], f"requirements/{name} doesn't fit; run: make lock"


def test_the_locks_agree() -> None:
    """A developer's environment has what the others install, in the same version."""
    tools, build, run_ = pins("tools.txt"), pins("build.txt"), pins("run.txt")
    assert {name: tools.get(name) for name in run_} == run_
    assert {name: version for name, version in build.items() if tools.get(name, version) != version} == {}


def test_the_lowest_versions_are_those_that_are_declared() -> None:
    """What ``make lowest`` tries is the bound itself, so each bound is a release that exists."""
    locked = pins("lowest.txt")
    for one in [*BUILD, *RUN, *EXTRAS]:
        bounds = [Version(part.version) for part in one.specifier if part.operator == ">="]
        assert bounds == [locked[canonicalize_name(one.name)]], (
            f"{one}: no such release? It was {locked[one.name]}"
        )


def spelt() -> dict[str, tuple[str, set[str]]]:
    """The table of docs/supply.md: licence and importers by name."""
    rows = re.findall(
        r"^\| ([a-z0-9-]+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", SUPPLY.read_text(), re.MULTILINE
    )
    return {
        name: (licence, set(importers.split(", "))) for name, licence, importers in rows if name != "name"
    }


def test_the_table_has_each_dependency_and_its_licence() -> None:
    """What is installed at a user's: the names of run.txt and of the extras, with what their metadata say."""
    said = {name: licence for name, (licence, _) in spelt().items()}
    found = {}
    for name in {*pins("run.txt"), *(one.name for one in EXTRAS)}:
        about = metadata.metadata(name)
        found[name] = about.get("License-Expression") or about.get("License")
    assert said == found


def test_the_table_says_who_imports_what() -> None:
    """By the import statements of every module; what nobody imports needn't be installed."""
    distributions = metadata.packages_distributions()
    found: dict[str, set[str]] = {}
    for folder in (ROOT / "kmetad", *ROOT.glob("plugins/*/kmetad_*")):
        for module in folder.rglob("*.py"):
            if "skeleton" not in module.parts:
                for name in imported(module) - {"kmetad", folder.name}:
                    found.setdefault(canonicalize_name(distributions[name][0]), set()).add(folder.name)
    # The test kit is for those who have pytest; who has kubernetes has certifi.
    assert found.pop("pytest") == found.pop("certifi") == {"kmetad"}
    plugins = {name.replace("-", "_") for name in PLUGINS}
    said = {name: importers for name, (_, importers) in spelt().items()}
    said = {
        name: who - {"each plugin"} | plugins if "each plugin" in who else who for name, who in said.items()
    }
    assert found == said


def imported(module: Path) -> set[str]:
    """The top-level names that a module imports, anywhere in it, beside the standard library's."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables of a virtual environment that the commands of docs/supply.md have made."""
    target = tmp_path_factory.mktemp("locked") / "kmetad"
    env = plain_environment()
    commands = re.findall(
        r"^    ((?:python3 -m venv )?/opt/kmetad\S* ?.*)$", SUPPLY.read_text(), re.MULTILINE
    )
    assert len(commands) == 4
    for command in commands:
        run("bash", "-c", command.replace("/opt/kmetad", shlex.quote(str(target))), env=env, timeout=300)
    return env | {"PATH": f"{target / 'bin'}:{env['PATH']}"}


@pytest.mark.timeout(600)  # seconds: packages are downloaded
def test_what_the_lock_installs(locked: dict[str, str]) -> None:
    """Exactly the versions of build.txt and run.txt, and every plugin is found."""
    run("pip", "check", env=locked)
    listed = dict(line.split("==") for line in run("pip", "list", "--format=freeze", env=locked).splitlines())
    installed = {canonicalize_name(name): Version(version) for name, version in listed.items()}
    installed.pop("setuptools", None)  # Python 3.11's venv brings it
    assert {name: version for name, version in installed.items() if name not in OURS} == {
        **pins("build.txt"),
        **pins("run.txt"),
    }
    plugins = run("kmetad", "plugins", "list", env=locked)
    assert [name for name in PLUGINS if name not in plugins] == []


@pytest.mark.parametrize("option", ["--constraint", "--requirement"])
def test_other_bytes_are_refused(tmp_path: Path, option: str) -> None:
    """The Makefile's way of installing, with another wheel than the one that was locked: nothing is installed."""
    wheel = tmp_path / "toy-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("toy.py", "")
        archive.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        archive.writestr(
            "toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("toy-1.0.dist-info/RECORD", "")
    lock = tmp_path / "lock.txt"
    lock.write_text(f"toy==1.0 \\\n    --hash=sha256:{'0' * 64}\n")
    options = re.search(r"^INSTALL := install (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert options is not None
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        *options[1].split(),
        "--no-index",
        "--find-links",
        str(tmp_path),
    ]
    command += ["--target", str(tmp_path / "installed"), option, str(lock)]
    command += ["toy"] if option == "--constraint" else []
    done = subprocess.run(command, env=plain_environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "installed").exists()
