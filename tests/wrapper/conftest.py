"""What the tests of the wrapper share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wrapper.wrapped import process_1


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
