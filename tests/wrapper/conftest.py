"""What the tests of the wrapper share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.wrapper.wrapped import OTHER, Wrapped, process_1


@pytest.fixture(params=["plain", "process 1"])
def before(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Each test twice: with the wrapper as an ordinary process, and as process 1."""
    return process_1() if request.param == "process 1" else ()


class Toml:
    """Writes a configuration, and is the options that name it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, text: str, *more: str) -> list[str]:
        """``-c FILE``; ``DIR`` in the text is the test's directory."""
        path = self.directory / "kmetad.toml"
        path.write_text(text.replace("DIR", str(self.directory)))
        return ["-c", str(path), *more]


@pytest.fixture
def toml(tmp_path: Path) -> Toml:
    """Makes the options of a configuration."""
    tmp_path.chmod(0o755)
    return Toml(tmp_path)


LOGTAG = """
[volumes.podinfo]
path = "DIR/podinfo"

[plugins.logtag]
tags = { version = "metadata.labels['version']" }
"""
V1 = '{"pod":{"version":"v1"},'
"""How an object begins that LOGTAG has tagged."""


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """The volume of LOGTAG, with a version."""
    made = Volume(tmp_path / "podinfo")
    made.write(labels={"version": "v1"})
    return made


class CrashLoop:
    """An app that is started again and again, and ends each time."""

    def __init__(self, directory: Path, script: str, more: str = "") -> None:
        directory.mkdir()
        self._starts = directory / "starts"
        command = ["sh", "-c", f"echo start >>{self._starts}; {script}"]
        options = Toml(directory)(f'[run]\nrestart = "always"\n{more}')
        self.wrapped = Wrapped(command, options=options)

    def wait(self) -> tuple[int, int, str]:
        """Exit code, how often it was started, and what was said."""
        code = self.wrapped.wait()
        assert self.wrapped.err is not None
        said = [*self.wrapped.err.seen, *self.wrapped.err.rest()]
        return code, len(self._starts.read_text().splitlines()), "\n".join(said)


@pytest.fixture(scope="session", autouse=True)
def crash_loops(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, CrashLoop]]:
    """Apps that never come up. Each takes a quarter of a minute, mostly asleep, so all begin before other tests."""
    if OTHER:
        yield {}
        return
    directory = tmp_path_factory.mktemp("crash-loops")
    with contextlib.ExitStack() as stack:
        loops = {
            "3": CrashLoop(directory / "3", "exit 3"),
            "0": CrashLoop(directory / "0", "exit 0"),
            "exchanged": CrashLoop(directory / "exchanged", "exit 3", "exit_codes = { 3 = 9 }"),
            "signal": CrashLoop(directory / "signal", "kill -KILL $$"),
        }
        for loop in loops.values():
            stack.enter_context(loop.wrapped)
        yield loops
