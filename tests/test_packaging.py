"""What ships: the wheels of kmetad and its plugins, built and installed as a user does it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
INSTALL = "pip install . plugins/*/"
"""How README.md says to install everything from a checkout."""

PLUGINS = sorted(path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml"))


def project(folder: Path) -> dict[str, Any]:
    """The table [project] of a folder's pyproject.toml."""
    table: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return table


def run(*argv: str, env: dict[str, str], timeout: float = 60) -> str:
    """A command's standard output; whatever it says is shown if it fails."""
    done = subprocess.run(argv, cwd=ROOT, env=env, timeout=timeout, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def plain_environment() -> dict[str, str]:
    """This process's environment without what belongs to its own Python or is kmetad's configuration."""
    ours = ("PYTHON", "VIRTUAL_ENV", "COV", "KMETAD_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def build(target: Path, *folders: Path) -> None:
    """The sdist and the wheel of each folder, by the locked hatchling; nothing is downloaded."""
    program = """
import os, sys, hatchling.build
for folder in sys.argv[2:]:
    os.chdir(folder)
    hatchling.build.build_sdist(sys.argv[1])
    hatchling.build.build_wheel(sys.argv[1])
"""
    run(sys.executable, "-P", "-c", program, str(target), *map(str, folders), env=plain_environment())


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of each distribution."""
    folder = tmp_path_factory.mktemp("dist")
    build(folder, ROOT, *(ROOT / "plugins" / name for name in PLUGINS))
    return folder


@pytest.fixture(scope="module")
def wheels(dist: Path) -> dict[str, zipfile.ZipFile]:
    """The wheel of each distribution, by its name."""
    return {path.name.split("-")[0].replace("_", "-"): zipfile.ZipFile(path) for path in dist.glob("*.whl")}


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables of a new virtual environment in which the install command was run."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=True)
    env = plain_environment()
    env["PATH"] = f"{folder / 'bin'}{os.pathsep}{env['PATH']}"
    run("bash", "-c", f"exec {INSTALL}", env=env, timeout=300)
    return env


pytestmark = pytest.mark.timeout(600)  # seconds: packages are downloaded


def test_there_is_a_wheel_of_everything(wheels: dict[str, zipfile.ZipFile]) -> None:
    """Each folder under plugins/ is a distribution of its own, beside kmetad."""
    assert PLUGINS
    assert sorted(wheels) == sorted(["kmetad", *PLUGINS])


@pytest.mark.parametrize("name", ["kmetad", *PLUGINS])
def test_wheel_holds_the_package_and_nothing_else(wheels: dict[str, zipfile.ZipFile], name: str) -> None:
    """One typed package with its metadata, and kmetad's command: no tests, no benchmarks, no stray files."""
    package = name.replace("-", "_")
    scripts = [file for file in wheels[name].namelist() if ".data/" in file]
    assert [file.partition(".data/")[2] for file in scripts] == ["scripts/kmetad"] * (name == "kmetad")
    files = [file for file in wheels[name].namelist() if ".dist-info/" not in file and file not in scripts]
    assert f"{package}/py.typed" in files
    assert {file.split("/")[0] for file in files} == {package}
    data = ("kmetad/_cli/skeleton/", "kmetad_status/page/")  # of `kmetad plugins new`, and the status page
    code = [file for file in files if not file.startswith(data)]
    assert [file for file in code if not file.endswith((".py", "/py.typed"))] == []
    assert [file for file in files if re.search(r"(^|/)(tests?|conftest|test_\w+)(/|\.py$)", file)] == []


@pytest.mark.parametrize("name", ["kmetad", *PLUGINS])
def test_wheel_says_what_it_is(wheels: dict[str, zipfile.ZipFile], name: str) -> None:
    """Licence, Python and README are in the metadata, and kmetad's own licence text is in its wheel."""
    info = {Path(file).name: file for file in wheels[name].namelist() if ".dist-info/" in file}
    metadata = wheels[name].read(info["METADATA"]).decode()
    head, _, readme = metadata.partition("\n\n")
    assert "License-Expression: Apache-2.0" in head
    assert "Requires-Python: >=3.11" in head
    assert readme.strip()
    if name == "kmetad":
        assert b"TERMS AND CONDITIONS" in wheels[name].read(info["LICENSE"])
    else:
        assert "[kmetad]" in wheels[name].read(info["entry_points.txt"]).decode()


def test_sdists_are_whole_and_builds_are_the_same_again(dist: Path, tmp_path: Path) -> None:
    """What is built from the unpacked sdists, elsewhere and later, is what was built here, byte for byte."""
    for folder in ("unpacked", "dist"):
        (tmp_path / folder).mkdir()
    for sdist in dist.glob("*.tar.gz"):
        run("tar", "-C", str(tmp_path / "unpacked"), "-xf", str(sdist), env=plain_environment())
    for metadata in tmp_path.glob("unpacked/*/PKG-INFO"):
        metadata.unlink()  # written into the sdist; no checkout has it
    build(tmp_path / "dist", *(tmp_path / "unpacked").iterdir())
    built = {path.name: path.read_bytes() for path in dist.iterdir()}
    assert len(built) == 2 * (1 + len(PLUGINS))
    again = {path.name: path.read_bytes() for path in (tmp_path / "dist").iterdir()}
    assert [name for name in sorted(built) if again.get(name) != built[name]] == []


def test_the_sdist_holds_what_the_checkout_does(dist: Path) -> None:
    """All that is kept in the repository but CI's own and the plugins, which are distributions of their own."""
    with tarfile.open(next(dist.glob("kmetad-0*.tar.gz"))) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    listed = run("git", "ls-files", "-z", env=plain_environment()).split("\0")
    kept = {name for name in listed if name and (ROOT / name).exists()}
    left = {name for name in kept if name.startswith((".ci/", "plugins/"))}
    assert sorted(kept - left - held) == [], "tool.hatch.build.targets.sdist in pyproject.toml lacks these"
    assert sorted(name for name in held if name.startswith("plugins/")) == []


def test_versions_agree() -> None:
    """pyproject.toml, kmetad.__version__ and the newest entry of the changelog."""
    import kmetad

    newest = re.search(r"^## (\S+?)(,|$)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert project(ROOT)["version"] == kmetad.__version__ == newest[1]


def test_commands_work_where_it_is_installed(clean: dict[str, str]) -> None:
    """The command and ``python -m kmetad`` are there, and the plugins are found by their entry points."""
    version = f"kmetad {project(ROOT)['version']}\n"
    assert run("kmetad", "--version", env=clean) == version
    assert run("python", "-P", "-m", "kmetad", "--version", env=clean) == version
    listed = run("kmetad", "plugins", "list", env=clean)
    for name in PLUGINS:
        for entry in project(ROOT / "plugins" / name)["entry-points"]["kmetad"]:
            assert re.search(rf"^{re.escape(entry)}\b", listed, re.MULTILINE), listed
            assert name in listed


def test_a_plugin_is_made_where_it_is_installed(clean: dict[str, str], tmp_path: Path) -> None:
    """Its templates are in the wheel."""
    run("kmetad", "plugins", "new", "greeter", "--directory", str(tmp_path), env=clean)
    assert (tmp_path / "kmetad-greeter" / "kmetad_greeter" / "py.typed").is_file()


def test_the_command_imports_next_to_nothing(clean: dict[str, str]) -> None:
    """The app starts as soon as the interpreter is up, whatever version of pip wrote the script."""
    script = Path(run("bash", "-c", "command -v kmetad", env=clean).strip()).read_text()
    assert re.findall(r"^ *(?:import|from) +(\S+)", script, re.MULTILINE) == ["sys", "kmetad.__main__"]
    loaded = run("python", "-P", "-c", "import kmetad.__main__, sys; print(*sys.modules)", env=clean).split()
    assert "kmetad.__main__" in loaded
    assert not {"re", "typing", "argparse", "logging", "importlib.metadata"} & set(loaded)


def test_nothing_is_missing_where_it_is_installed(clean: dict[str, str]) -> None:
    """Every module is imported, and every public name fetched, with nothing but the declared dependencies."""
    run("pip", "check", env=clean)
    packages = ["kmetad", *(name.replace("-", "_") for name in PLUGINS)]
    program = f"""
import importlib, pathlib, pkgutil
assert {str(ROOT)!r} not in importlib.import_module("kmetad").__file__
for package in map(importlib.import_module, {packages!r}):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name != "kmetad.testing.pytest_plugin":  # it is for those who have pytest
            importlib.import_module(module.name)
            print(module.name)
import kmetad
print([getattr(kmetad, name) for name in kmetad.__all__])
"""
    imported = run("python", "-P", "-W", "error", "-c", program, env=clean)
    assert "kmetad.hookspecs" in imported.splitlines()
