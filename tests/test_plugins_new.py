"""``kmetad plugins new``"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from kmetad._cli.plugins.new import LONGEST, OWN, requirement
from kmetad.testing import Volume
from tests.cli import DEADLINE, Output, inside
from tests.test_packaging import PLUGINS, ROOT
from tests.venvs import above


@dataclass(frozen=True)
class Made:
    """A distribution that was made and installed, and the environment in which it is."""

    said: str
    root: Path
    env: dict[str, str]

    def run(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """A command in its directory, to its end."""
        return subprocess.run(
            argv, cwd=self.root, env=self.env, capture_output=True, text=True, timeout=DEADLINE
        )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """kmetad-cache-warmer, made and installed by the commands that are printed."""
    folder = tmp_path_factory.mktemp("new")
    env = above(folder / "venv")
    argv = ("kmetad", "plugins", "new", "cache-warmer", "--directory", str(folder))
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=DEADLINE)
    assert (done.stderr, done.returncode) == ("", 0)
    install, _, _ = _commands(done.stdout)
    pip = subprocess.run(["bash", "-c", install], env=env, capture_output=True, text=True, timeout=DEADLINE)
    assert pip.returncode == 0, pip.stdout + pip.stderr
    return Made(done.stdout, folder / "kmetad-cache-warmer", env)


def _commands(said: str) -> list[str]:
    return [line.strip() for line in said.partition("next, ")[2].splitlines()[1:]]


def test_what_was_made_is_said(made: Made) -> None:
    """Each file, and three commands to go on with."""
    files = re.findall(r"^  (\S+)$", made.said.partition("next, ")[0], re.MULTILINE)
    assert sorted(files) == [
        "README.md",
        "kmetad_cache_warmer/__init__.py",
        "kmetad_cache_warmer/py.typed",
        "pyproject.toml",
        "tests/test_cache_warmer.py",
    ]
    assert all((made.root / file).is_file() for file in files)
    assert f"made {made.root}:" in made.said
    assert sys.executable not in made.said  # but that of the environment in which it ran
    assert f"({made.root.parent / 'venv' / 'bin' / 'python'})" in made.said
    assert len(_commands(made.said)) == 3


def test_its_own_tests_pass(made: Made) -> None:
    """The second command."""
    _, second, _ = _commands(made.said)
    done = made.run(*shlex.split(second))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^=* ?4 passed", done.stdout, re.MULTILINE), done.stdout


def test_its_own_tests_can_fail(made: Made, tmp_path: Path) -> None:
    """A plugin that does nothing doesn't pass them."""
    code = (made.root / "kmetad_cache_warmer" / "__init__.py").read_text()
    (tmp_path / "kmetad_cache_warmer.py").write_text(code.replace("self.value = value", "pass"))
    test = made.root / "tests" / "test_cache_warmer.py"
    python = (
        "python",
        "-P",
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--override-ini",
        f"pythonpath={tmp_path}",
    )
    done = made.run(*python, str(test))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 failed, 1 passed" in done.stdout


def test_it_is_listed(made: Made) -> None:
    """The third command: found by its entry point, with its hooks and its option."""
    *_, third = _commands(made.said)
    done = made.run(*shlex.split(third))
    _, _, own = done.stdout.partition("cache-warmer  0.1.0  kmetad-cache-warmer\n")
    lines = [line.split(None, 2) for line in own.partition("\n\n")[0].splitlines()]
    assert ["api", "1"] in lines
    assert ["hook", "kmetad_on_start", "Take over what the label is now."] in lines
    assert ["option", "label", 'str, default "log-level"'] in lines


def test_it_reacts_to_a_change(made: Made, tmp_path: Path) -> None:
    """In a daemon, configured by the TOML of its README; and ``kmetad check`` tells it beforehand."""
    volume = Volume(tmp_path / "podinfo")
    volume.write(labels={"log-level": "info"}, annotations={})
    tables = re.findall(
        r"^```toml\n(.*?)^```$", (made.root / "README.md").read_text(), re.MULTILINE | re.DOTALL
    )
    toml = tmp_path / "kmetad.toml"
    simulated = ("--simulate", "label:log-level=debug")
    for table in tables:
        toml.write_text(f'[volumes.podinfo]\npath = "{tmp_path}/podinfo"\n{table}')
        check = made.run("kmetad", "check", "--strict", "-c", str(toml), *simulated)
        assert check.returncode == 0, check.stderr
        assert "takes over log-level = debug" in check.stdout
    argv = ("kmetad", "run", "-c", str(toml))
    with subprocess.Popen(argv, env=made.env, stderr=subprocess.PIPE, text=True) as daemon:
        log = Output(daemon.stderr)
        assert '"new": "info"' in log.until("cache-warmer.followed").replace('":"', '": "')
        volume.label("log-level", "debug")
        assert '"new": "debug"' in log.until("cache-warmer.followed").replace('":"', '": "')
        daemon.terminate()
        assert daemon.wait(DEADLINE) == 0
        log.close()


def test_it_is_as_its_authors_would_have_it(made: Made) -> None:
    """ruff finds no fault, nor does it format anything, as it is set by default; mypy none, and strictly."""
    for argv in (
        (
            "ruff",
            "check",
            "--isolated",
            "--select=E,W,F,I,UP,B,D1,PT,RUF",
            "--ignore=D107",
            "--line-length=100",
            ".",
        ),
        ("ruff", "format", "--isolated", "--line-length=100", "--check", "."),
        ("mypy", "--strict", "--config-file=", "--cache-dir=/dev/null", "kmetad_cache_warmer", "tests"),
    ):
        done = made.run("python", "-m", *argv)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_it_requires(made: Made) -> None:
    """kmetad as it is now, up to the next version that may break it."""
    table = tomllib.loads((made.root / "pyproject.toml").read_text())["project"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert table["dependencies"] == [f"kmetad{requirement(version)}"]
    assert table["entry-points"]["kmetad"] == {"cache-warmer": "kmetad_cache_warmer"}


@pytest.mark.parametrize(
    ("version", "expected"),
    [("0.1.0", ">=0.1,<0.2"), ("0.12.3", ">=0.12,<0.13"), ("1.0.0", ">=1.0,<2"), ("2.3.1", ">=2.3,<3")],
)
def test_required_versions(version: str, expected: str) -> None:
    """Up to the next that may break it."""
    assert requirement(version) == expected


@pytest.mark.parametrize(
    "name", ["x", "greeter", "cache-warmer", "2fa", "class", "import", "a-1-b", "a" * LONGEST]
)
def test_names_that_will_do(name: str, tmp_path: Path) -> None:
    """Dashes, digits and Python's keywords: the package is kmetad_NAME, which can be imported."""
    assert inside("plugins", "new", name, "--directory", str(tmp_path)).returncode == 0
    package = f"kmetad_{name.replace('-', '_')}"
    assert package.isidentifier()
    code = (tmp_path / f"kmetad-{name}" / package / "__init__.py").read_text()
    compile(code, package, "exec")
    project = tomllib.loads((tmp_path / f"kmetad-{name}" / "pyproject.toml").read_text())["project"]
    assert project["name"] == f"kmetad-{name}"
    assert project["entry-points"]["kmetad"] == {name: package}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Greeter", "did you mean greeter?"),
        ("my_plugin", "did you mean my-plugin?"),
        ("cache.warmer", "did you mean cache-warmer?"),
        ("a--b", "did you mean a-b?"),
        ("-", "lower-case letters"),
        ("a-", "did you mean a?"),
        ("a b", "did you mean a-b?"),
        ("../x", "did you mean x?"),
        ("über", "can't be a plugin's name"),
        ("ｆｕｌｌ", "can't be a plugin's name"),
        ("", "can't be a plugin's name"),
        ("a\nb", r'"a\nb" can'),
        ("a" * (LONGEST + 1), f"expected {LONGEST} at most"),
        ("kmetad-greeter", "did you mean greeter?"),
        ("kmetad", "is named kmetad-NAME by itself"),
        ("reload", "kmetad-reload is installed, and brings a plugin reload"),
    ],
    ids=lambda text: ascii(text)[:24],
)
def test_names_that_will_not_do(name: str, message: str, tmp_path: Path) -> None:
    """What is wrong with it, and one that would do; nothing is made."""
    done = inside("plugins", "new", "--directory", str(tmp_path), "--", name)
    assert (done.stdout, done.returncode) == ("", 2)
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", OWN)
def test_names_of_plugins_that_are_not_installed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kmetad's own aren't taken either: somebody would want both."""
    monkeypatch.setattr("kmetad._plugins.installed", list)
    done = inside("plugins", "new", name, "--directory", str(tmp_path))
    assert (done.stdout, done.returncode) == ("", 2)
    assert f"kmetad-{name} is a plugin that kmetad comes with" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_kmetads_own_are_all_known() -> None:
    """Those of this repository."""
    assert sorted(OWN) == sorted(plugin.removeprefix("kmetad-") for plugin in PLUGINS)


def test_a_package_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two packages of one name, one would hide the other."""
    (tmp_path / "kmetad_cache_warmer.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    done = inside("plugins", "new", "cache-warmer", "--directory", str(tmp_path))
    assert (done.stdout, done.returncode) == ("", 2)
    assert "there is a package kmetad_cache_warmer here already" in done.stderr


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Not a directory, a file, or a link that leads nowhere."""
    (tmp_path / "kmetad-directory").mkdir()
    (tmp_path / "kmetad-file").write_text("mine")
    (tmp_path / "kmetad-link").symlink_to(tmp_path / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    for name in ("directory", "file", "link"):
        done = inside("plugins", "new", name, "--directory", str(tmp_path))
        assert (done.stdout, done.returncode) == ("", 2)
        assert f"kmetad-{name} is there already, and is left as it is" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "kmetad-file").read_text() == "mine"


def test_where_nothing_can_be_made(tmp_path: Path) -> None:
    """No such directory, or none in which anything could be made."""
    done = inside("plugins", "new", "greeter", "--directory", str(tmp_path / "none"))
    assert (done.returncode, f"there is no directory {tmp_path}/none; make it first" in done.stderr) == (
        2,
        True,
    )
    done = inside("plugins", "new", "greeter", "--directory", "/proc")
    assert (done.returncode, "kmetad: /proc/kmetad-greeter: " in done.stderr) == (2, True)


def test_half_of_it_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the disk is full: what couldn't be written whole isn't left behind."""

    def full(self: Path, *args: object, **keywords: object) -> int:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    done = inside("plugins", "new", "greeter", "--directory", str(tmp_path))
    assert (done.stdout, done.returncode) == ("", 2)
    assert "README.md: No space left on device; nothing was made" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argv", [("new",), ("new", "a", "b"), ("news",), ("new", "a", "--nothing")])
def test_wrong_usage(argv: tuple[str, ...]) -> None:
    """The exit code is 2, and the message says where to read on."""
    done = inside("plugins", *argv)
    assert (done.stdout, done.returncode) == ("", 2)
    assert "--help)" in done.stderr
