"""``python -m tests.soak.lines``: ten million numbered lines, while labels change and daemons are killed.

Each line has to come once, in order, whole, and with a version that was current: one that was
published by then, and none that is older than that of a line before.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kmetad.testing.kubelet import Volume
from tests.cli import DEADLINE
from tests.soak.oracle import Broken
from tests.wrapper.wrapped import UNMEASURED, Wrapped

TOML = """
[run]
output = "tag"
first_tags_timeout = "30s"

[log]
level = "critical"

[volumes.podinfo]
path = "{directory}/podinfo"

[plugins.logtag]
tags = {{ version = "metadata.labels['version']" }}
"""
APP = """
import os, sys
n = 0
for asked in sys.stdin:
    while left := int(asked):
        some = min(left, 5000)
        data = b"".join(b'{"n":%d}\\n' % k for k in range(n, n + some))
        n += some
        asked = left - some
        while data:
            data = data[os.write(1, data):]
sys.exit(7)
"""
"""Writes as many lines as it is asked for, again and again."""
CODE = 7
_AT_ONCE = 1 << 18


class Reader:
    """Checks line after line."""

    def __init__(self, descriptor: int) -> None:
        self.lines = 0
        self.version = 0
        """Of the last line."""
        self.published = 0
        """The newest that there can be."""
        self._descriptor = descriptor
        self._rest = b""

    def read(self, until: int) -> None:
        """Read until so many lines were seen. Raises Broken."""
        while self.lines < until:
            newest = self.published
            data = os.read(self._descriptor, _AT_ONCE)
            if not data:
                raise Broken(f"the output ends after line {self.lines}: {self._rest!r}")
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                if line != b'{"pod":{"version":"v%d"},"n":%d}' % (self.version, self.lines):
                    self._advance(line, newest)
                self.lines += 1

    def end(self) -> None:
        """Nothing more may come."""
        if left := self._rest + os.read(self._descriptor, _AT_ONCE):
            raise Broken(f"after line {self.lines} comes {left[:200]!r}")

    def _advance(self, line: bytes, newest: int) -> None:
        for version in range(self.version + 1, newest + 1):
            if line == b'{"pod":{"version":"v%d"},"n":%d}' % (version, self.lines):
                self.version = version
                return
        raise Broken(f"line {self.lines}, of version {self.version} to {newest}, is {line[:200]!r}")


@contextmanager
def wrapped(directory: str) -> Iterator[tuple[Wrapped, Volume, Reader]]:
    """The app, behind kmetad."""
    volume = Volume(f"{directory}/podinfo")
    volume.write(labels={"version": "v0"})
    with open(f"{directory}/kmetad.toml", "w") as file:
        file.write(TOML.format(directory=directory))
    reading, writing = os.pipe()
    command = [sys.executable, "-I", "-S", "-c", APP]
    options = ["-c", f"{directory}/kmetad.toml"]
    try:
        with Wrapped(command, options=options, env=UNMEASURED, stdin=-1, stdout=writing) as app:
            os.close(writing)
            yield app, volume, Reader(reading)
    finally:
        os.close(reading)


def check(lines: int, changes: int, kills: int, directory: str) -> str:
    """All of it. Answers what was seen. Raises Broken."""
    killed_at = {(number + 1) * changes // (kills + 1) for number in range(kills)}
    probes = 0
    begun = time.monotonic()
    with wrapped(directory) as (app, volume, reader):
        asked = 0

        def ask(more: int) -> None:
            nonlocal asked
            asked += more
            assert app.process.stdin is not None
            app.process.stdin.write(f"{more}\n")
            app.process.stdin.flush()

        ask(1)
        reader.read(asked)  # the first line has tags
        for change in range(1, changes + 1):
            # The change, and the daemon's end, come while lines flow.
            ask(max(0, lines * change // (changes + 1) - asked))
            reader.read(reader.lines + (asked - reader.lines) // 2)
            daemon = app.daemon() if change in killed_at else 0
            reader.published = change
            if daemon:
                os.kill(daemon, signal.SIGKILL)
            volume.label("version", f"v{change}")
            reader.read(asked)
            deadline = time.monotonic() + DEADLINE
            while reader.version != change:
                if time.monotonic() > deadline:
                    raise Broken(f"no line has version {change}; the last one has {reader.version}")
                ask(1)
                reader.read(asked)
                probes += 1
            if daemon:
                app.daemon(but=daemon)
        ask(max(0, lines - asked))
        reader.read(asked)
        assert app.process.stdin is not None
        app.process.stdin.close()
        reader.end()
        if (code := app.wait()) != CODE:
            raise Broken(f"kmetad exited with {code}, the app with {CODE}")
    seconds = time.monotonic() - begun
    faults = f"{changes} changes, {kills} kills, {probes} of them asked for while waiting for a change"
    return f"{reader.lines} lines, {faults}: all held, {seconds:.0f} s"


def main(arguments: list[str] | None = None) -> int:
    """1 if anything is broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak.lines", description=__doc__, allow_abbrev=False
    )
    parser.add_argument("--lines", type=int, default=10_000_000, metavar="N", help="so many (10000000)")
    parser.add_argument("--changes", type=int, default=100, metavar="N", help="of the label (100)")
    parser.add_argument("--kills", type=int, default=5, metavar="N", help="of the daemon (5)")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kmetad-lines-") as directory:
        try:
            print("Lines:", check(options.lines, options.changes, options.kills, directory), flush=True)
        except Broken as broken:
            print(f"Lines: broken: {broken}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
