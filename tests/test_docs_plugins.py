"""docs/plugins.md, walked through from top to bottom: each file is written, each command run, as a reader does it."""

from __future__ import annotations

import re
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli import DEADLINE
from tests.test_packaging import ROOT
from tests.test_readme import Block, blocks, commands
from tests.venvs import above

PAGE = ROOT / "docs" / "plugins.md"
LAB = "/tmp/lab"
"""Where the page works; here it is a directory of the test's own."""


class Shell:
    """One bash, for ``cd``, ``&`` and ``kill %1`` to mean what they do in a terminal."""

    def __init__(self, lab: Path, env: dict[str, str]) -> None:
        self.lab = lab
        self.errors = lab.parent / "stderr"
        with self.errors.open("w") as errors:
            pipe = subprocess.PIPE
            argv = ("bash", "--norc")
            self.bash = subprocess.Popen(
                argv, cwd=lab.parent, env=env, stdin=pipe, stdout=pipe, stderr=errors, text=True
            )

    def run(self, command: str) -> tuple[str, int]:
        """A command's standard output, and its exit code."""
        assert self.bash.stdin is not None
        assert self.bash.stdout is not None
        end = secrets.token_hex(8)
        self.bash.stdin.write(f"{self.here(command)}\necho {end} $?\n")
        self.bash.stdin.flush()
        told = []
        for line in self.bash.stdout:
            if line.startswith(end):
                return "".join(told).replace(str(self.lab), LAB), int(line.split()[1])
            told.append(line)
        raise AssertionError(f"the shell ended in {command!r}: {self.errors.read_text()}")

    def here(self, text: str) -> str:
        """A text with the page's directory as it is here."""
        return text.replace(LAB, str(self.lab))

    def close(self) -> None:
        """End it, and what it still runs."""
        assert self.bash.stdin is not None
        assert self.bash.stdout is not None
        self.bash.stdin.write("kill $(jobs -p) 2>/dev/null; wait\n")
        self.bash.stdin.close()
        self.bash.stdout.close()
        self.bash.wait(DEADLINE)


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """In an environment with kmetad and pytest."""
    (tmp_path / "lab").mkdir()
    made = Shell(tmp_path / "lab", above(tmp_path / "venv"))
    yield made
    made.close()


def file_of(block: Block) -> str | None:
    """The file that a block is the content of, by the paragraph above it; None where that names none."""
    before = "\n".join(PAGE.read_text().splitlines()[: block.line - 1]).rstrip()
    named = re.findall(r"`([\w.]+\.(?:py|toml))`", before.rpartition("\n\n")[2])
    return named[-1] if named and before.endswith(":") else None


def test_every_block_is_walked_through() -> None:
    """A file with its name above it, or commands."""
    for block in blocks(PAGE):
        assert block.language in ("console", "python", "toml"), block.place
        assert (file_of(block) is None) == (block.language == "console"), block.place


def test_the_page_does_what_it_says(shell: Shell) -> None:
    """All of it, in order, and what is shown is what is printed."""
    for block in blocks(PAGE):
        if name := file_of(block):
            (shell.lab / name).write_text(shell.here(block.text))
            (shell.lab / name).chmod(0o644)
            continue
        for command, shown in commands(block):
            _do(shell, command, shown, block.place)


def _do(shell: Shell, command: str, shown: str, place: str) -> None:
    """Run a command; one that looks at a file looks again until it holds what is shown, as a reader would."""
    deadline = time.monotonic() + DEADLINE
    while True:
        told, code = shell.run(command)
        if _same(told, shown) and code == 0:
            return
        if not command.startswith("cat ") or time.monotonic() > deadline:
            assert (told, code) == (shown, 0), f"{place}: {command}\n{shell.errors.read_text()}"
        time.sleep(0.05)


def _same(told: str, shown: str) -> bool:
    """``…`` in what is shown stands for whatever is different elsewhere."""
    return re.fullmatch(re.escape(shown).replace("…", ".*"), told) is not None


def test_links_lead_somewhere() -> None:
    """To files of the repository, and headings in them."""
    links = re.findall(r"\]\(([^)#]+)(?:#([^)]*))?\)", PAGE.read_text())
    assert links
    for file, heading in links:
        if not file.startswith("https://"):
            text = (PAGE.parent / file).read_text()
            headings = [
                re.sub(r"[^\w -]", "", line.lower()) for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
            ]
            assert not heading or heading in [line.replace(" ", "-") for line in headings], (file, heading)
