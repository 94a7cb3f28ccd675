"""Requests as fast as they are answered, on connections that are kept: by wrk."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from bench.proxy_upstream import PATIENCE, TOKEN

# What wrk prints is rounded.
_SCRIPT = """\
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("figures %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one run of wrk."""

    a_second: float
    """Requests."""
    p50: float
    p99: float
    """Microseconds from a request to the end of its answer."""


class Wrk:
    """wrk, with one thread. RuntimeError where it isn't installed."""

    def __init__(self, directory: str) -> None:
        found = shutil.which("wrk")
        if found is None:
            raise RuntimeError("wrk isn't installed: apt-get install wrk")
        self._program = found
        self._script = os.path.join(directory, "figures.lua")
        with open(self._script, "w") as file:
            file.write(_SCRIPT)

    def run(self, url: str, connections: int, seconds: int) -> Figures:
        """Ask with so many connections for so long. RuntimeError if a request failed."""
        options = ["-t1", f"-c{connections}", f"-d{seconds}s", "-s", self._script]
        if url.startswith("https:"):
            options += ["-H", f"Authorization: Bearer {TOKEN}"]
        command = [self._program, *options, url]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + PATIENCE)
        except subprocess.TimeoutExpired as late:
            raise RuntimeError(f"wrk hasn't ended after {late.timeout:g} s") from None
        figures = next((line for line in run.stdout.splitlines() if line.startswith("figures ")), None)
        if figures is None:
            raise RuntimeError(f"wrk said: {(run.stderr or run.stdout).strip()[-300:]}")
        requests, duration, p50, p99, errors = map(int, figures.split()[1:])
        if errors or not requests:
            raise RuntimeError(f"{errors} of {requests} requests failed with {connections} connections")
        return Figures(requests / duration * 1e6, p50, p99)
