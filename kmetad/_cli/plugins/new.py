"""Make a distribution kmetad-NAME with a plugin that works, and a test that passes.

NAME is that of the plugin, as `use` and [plugins.NAME] in the TOML have it: lower-case
letters and digits, with - between them.

examples:
  kmetad plugins new greeter
  kmetad plugins new cache-warmer --directory ~/src
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path
from string import Template

from kmetad.errors import KmetadError

OWN = ("ambassador", "logtag", "reload", "report", "status")
"""The plugins that kmetad itself comes with, installed or not."""
LONGEST = 40
"""Characters of a name: it stands in names of threads, field managers and files, which have limits of their own."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SKELETON = Path(__file__).parent.parent / "skeleton"
_FILES = {
    "README.md": "README.md",
    "pyproject.toml": "pyproject.toml",
    "$package/__init__.py": "plugin.py",
    "$package/py.typed": "py.typed",
    "tests/test_$module.py": "test.py",
}
"""Each file of the distribution, and its template in the skeleton, where an ending ``.in`` follows."""


class NewError(KmetadError):
    """No plugin can be made of this name, or there."""


def arguments(parser: argparse.ArgumentParser, *, again: bool = False) -> None:
    """What the command takes."""
    parser.add_argument("name", metavar="NAME", help="the plugin's name, as greeter")
    parser.add_argument(
        "--directory",
        metavar="DIR",
        default=".",
        help="where to make the directory kmetad-NAME; here without it",
    )


def run(args: argparse.Namespace) -> int:
    """The exit code: 0. Raises NewError."""
    from kmetad._cli.text import escape

    name = checked(args.name)
    _refuse_taken(name)
    made, files = make(name, Path(args.directory).expanduser())
    print(f"made {escape(str(made))}:")
    for file in files:
        print(f"  {file}")
    print(f"\nnext, with the Python that kmetad is installed for ({escape(sys.executable)}):")
    print(f"  cd {_quoted(str(made))} && python -m pip install --editable '.[test]'")
    print("  python -m pytest")
    print("  kmetad plugins list -v")
    return 0


def checked(name: str) -> str:
    """The name of a plugin, if it can be one. Raises NewError, with one that could."""
    from kmetad._cli.text import show

    if not _NAME.fullmatch(name):
        usable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") if name.isascii() else ""
        hint = f"; did you mean {usable}?" if usable else ""
        raise NewError(
            f"{show(name)} can't be a plugin's name: expected lower-case letters (a to z) and digits, "
            f"with single - between them, as cache-warmer{hint}"
        )
    if name == "kmetad" or name.startswith("kmetad-"):
        short = name.removeprefix("kmetad").removeprefix("-")
        hint = f"; did you mean {short}?" if short else ""
        raise NewError(f"{name}: the distribution is named kmetad-NAME by itself{hint}")
    if len(name) > LONGEST:
        raise NewError(f"{name} has {len(name)} characters; expected {LONGEST} at most")
    return name


def make(name: str, directory: Path) -> tuple[Path, list[str]]:
    """Write the distribution; answers its directory, and its files' paths in it. Raises NewError.

    What is there already stays as it is. Of what can't be written whole, nothing is left.
    """
    if not directory.is_dir():
        raise NewError(f"there is no directory {directory}; make it first, or name another with --directory")
    root = directory / f"kmetad-{name}"
    try:
        root.mkdir()
    except FileExistsError:
        raise NewError(
            f"{root} is there already, and is left as it is; take another name, or another --directory"
        ) from None
    except OSError as error:
        raise NewError(f"{root}: {error.strerror}") from None
    names = _names(name)
    files = [Template(file).substitute(names) for file in _FILES]
    try:
        for file, template in zip(files, _FILES.values(), strict=True):
            (root / file).parent.mkdir(exist_ok=True)
            text = (_SKELETON / f"{template}.in").read_text(encoding="utf-8")
            (root / file).write_text(Template(text).substitute(names), encoding="utf-8")
    except OSError as error:
        shutil.rmtree(root, ignore_errors=True)
        raise NewError(f"{error.filename or root}: {error.strerror}; nothing was made") from None
    return root, files


def requirement(version: str) -> str:
    """What works with a plugin written now: this kmetad up to the next that may break it (semantic versioning)."""
    major, minor = (int(part) for part in version.split(".")[:2])
    return f">={major}.{minor},<{major + 1}" if major else f">=0.{minor},<0.{minor + 1}"


def _names(name: str) -> dict[str, str]:
    from kmetad import __version__
    from kmetad.hookspecs import API_VERSION

    module = name.replace("-", "_")
    return {
        "name": name,
        "module": module,
        "package": f"kmetad_{module}",
        "distribution": f"kmetad-{name}",
        "kmetad": f"kmetad{requirement(__version__)}",
        "api_version": str(API_VERSION),
    }


def _refuse_taken(name: str) -> None:
    """Two plugins of one name can't be told apart, and two packages not imported. Raises NewError."""
    from importlib.util import find_spec

    from kmetad._plugins import installed

    for plugin in installed():
        if plugin.name == name:
            raise NewError(
                f"{plugin.distribution} is installed, and brings a plugin {name}; take another name"
            )
    if name in OWN:
        raise NewError(f"kmetad-{name} is a plugin that kmetad comes with; take another name")
    package = _names(name)["package"]
    if find_spec(package) is not None:
        raise NewError(f"there is a package {package} here already; take another name")


def _quoted(path: str) -> str:
    from shlex import quote

    return quote(path)
