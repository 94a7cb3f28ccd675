"""``python -m bench``: everything in one interleaved run; ``--quick`` for a first impression."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
import time
from dataclasses import replace

from bench import bundle, calls, idle, install, latency, lines, proxy, report, start
from bench.latency import Scenario

SCENARIOS = tuple(Scenario(volumes, files, 20) for volumes in (1, 10, 100) for files in (1, 6))
QUICK = (Scenario(1, 1, 4), Scenario(1, 6, 4))
PARTS = ("start", "latency", "idle", "lines", "calls", "proxy", "bundle")
MEMORY_FILES = "/dev/shm"  # a tmpfs, as volumes of the kubelet are


def main() -> int:
    """Print the tables; 0 unless the bench itself can't run."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="one volume, a few rounds, a short idle time")
    parser.add_argument("--idle", type=float, metavar="SECONDS", help="how long to count idle wake-ups (20)")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of each scenario (20; quick: 4)")
    parser.add_argument("--starts", type=int, metavar="N", help="starts of each wrapper (40; quick: 10)")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part alone; may be repeated")
    options = parser.parse_args()
    parts = options.only or PARTS
    if sys.platform != "linux":
        print("bench: needs Linux: it measures inotify and reads /proc", file=sys.stderr)
        return 1
    seconds = options.idle or (5.0 if options.quick else 20.0)
    parent = MEMORY_FILES if os.access(MEMORY_FILES, os.W_OK) else None
    directory = tempfile.mkdtemp(prefix="kmetad-bench-", dir=parent)
    programs = tempfile.mkdtemp(prefix="kmetad-bench-")  # nothing can be executed from a container's /dev/shm
    started = time.monotonic()
    machine = f"Python {platform.python_version()}, Linux {platform.release()}, {os.cpu_count()} cores"
    print(f"{machine}, volumes in {directory}")
    try:
        installed = install.install(programs)
        starts, latencies, idles, tagged, called, proxied = [], [], [], None, None, []
        if "start" in parts:
            starts = start.measure(options.starts or (10 if options.quick else 40), installed, directory)
            print("\n" + report.start_table(starts, installed), flush=True)
        for number, planned in enumerate(QUICK if options.quick else SCENARIOS):
            if "latency" in parts:
                scenario = replace(planned, rounds=options.rounds or planned.rounds)
                home = os.path.join(directory, f"latency{number}")
                os.mkdir(home)
                figures = latency.measure(scenario, home)
                latencies.append((scenario, figures))
                print("\n" + report.latency_table(scenario, figures), flush=True)
        if "idle" in parts:
            idles = idle.measure(seconds, (1,) if options.quick else (1, 10, 100), installed, directory)
            print("\n" + report.idle_table(idles, seconds), flush=True)
        if "lines" in parts:
            tagged = lines.measure(2 if options.quick else 7, 100 if options.quick else 500, directory)
            print("\n" + report.lines_table(tagged), flush=True)
        if "calls" in parts:
            called = calls.measure(100 if options.quick else 500, installed, directory)
            print("\n" + report.calls_table(called), flush=True)
        if "proxy" in parts:
            proxied = proxy.measure(2 if options.quick else 5, installed, directory)
            print("\n" + report.proxy_tables(proxied, proxy.kubectl_version()), flush=True)
        if "bundle" in parts:
            bundled = bundle.measure(options.starts or (10 if options.quick else 40), installed, programs)
            print("\n" + report.bundle_table(bundled), flush=True)
        print("\n" + report.targets(latencies, starts, idles, tagged, called, proxied))
        print(f"Took {time.monotonic() - started:.0f} s; load {os.getloadavg()[0]:.1f}.")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(programs, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
