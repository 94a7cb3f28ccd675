"""Volumes as the kubelet writes them, with the time of each swap.

The order of system calls is that of ``kmetad.testing.kubelet`` (and of the AtomicWriter
that it follows). It is written out here because the clock has to be read right before
the one rename that publishes a generation.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

MARKER = "bench/marker"
"""The label that tells one swap from the next."""

FILES = ("labels", "annotations", "cpu_limit", "cpu_request", "mem_limit", "mem_request")


class Volume:
    """One volume directory; ``files`` is how many of FILES it holds."""

    def __init__(self, path: str, files: int) -> None:
        self.path = path
        self._name = os.path.basename(path)
        self._files = FILES[:files]
        self._generation = ""
        os.mkdir(path, 0o755)
        self.swap(0)

    def swap(self, marker: int) -> int:
        """Publish a generation with this marker; answers the CLOCK_MONOTONIC ns right before the rename."""
        new = os.path.join(self.path, f"..2026_01_02_03_04_05.{self._name}{marker}")
        link, data = os.path.join(self.path, "..data_tmp"), os.path.join(self.path, "..data")
        os.mkdir(new, 0o700)
        os.chmod(new, 0o755)
        for name, content in self._contents(marker):
            file = os.path.join(new, name)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            os.write(descriptor, content)
            os.close(descriptor)
            os.chmod(file, 0o644)
        os.symlink(os.path.basename(new), link)
        published = time.monotonic_ns()
        os.rename(link, data)
        if self._generation:
            for name in self._files:
                os.unlink(os.path.join(self._generation, name))
            os.rmdir(self._generation)
        else:
            for name in self._files:
                os.symlink(f"..data/{name}", os.path.join(self.path, name))
        self._generation = new
        return published

    def _contents(self, marker: int) -> Iterator[tuple[str, bytes]]:
        # Each volume has labels and annotations of its own, so that none hides another's.
        pairs = [f'{self._name}/key-{n}="value {n}"' for n in range(9)]
        for name in self._files:
            if name == "labels":
                yield name, "\n".join([*pairs, f'{self._name}.{MARKER}="{marker}"']).encode()
            elif name == "annotations":
                yield name, "\n".join([*pairs, f'{self._name}/seen="2026-01-02T03:04:05.1Z"']).encode()
            else:
                yield name, b"250"
