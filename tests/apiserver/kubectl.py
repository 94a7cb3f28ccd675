"""kubectl, where there is one, as a user of a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.apiserver.server import DEADLINE


class Kubectl:
    """kubectl with a kubeconfig, in a directory that is its home. Skips the test where there is none."""

    def __init__(self, config: str, directory: Path) -> None:
        program = shutil.which("kubectl")
        if program is None:
            pytest.skip("there is no kubectl here")
        with tempfile.NamedTemporaryFile("w", prefix="kubeconfig-", dir=directory, delete=False) as file:
            file.write(config)
        self.command = [program, "--kubeconfig", file.name]
        self.directory = directory
        self.env = {"HOME": str(directory), "PATH": os.defpath}

    def __call__(self, *args: str, stdin: bytes = b"") -> tuple[int, str, str]:
        """Its exit code, and what it says."""
        done = subprocess.run(
            [*self.command, *args],
            input=stdin,
            capture_output=True,
            timeout=2 * DEADLINE,
            env=self.env,
            cwd=self.directory,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def says(self, *args: str, stdin: bytes = b"") -> str:
        """What it says of something that goes well."""
        code, out, err = self(*args, stdin=stdin)
        assert code == 0, err
        return out

    @contextmanager
    def running(self, *args: str) -> Iterator[subprocess.Popen[str]]:
        """It, for as long as the block."""
        process = subprocess.Popen(
            [*self.command, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=self.env,
            cwd=self.directory,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that a process writes, without its end."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")
