"""``python -m tests.soak``: 2,000 schedules of faults, ten minutes of storm, ten million lines."""

from __future__ import annotations

import argparse
import sys
import time

from tests.soak import lines, schedules, storm


def main() -> int:
    """One after the other; 1 if anything is broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__, allow_abbrev=False)
    parser.add_argument("--count", default="2000", metavar="N", help="so many schedules (2000)")
    parser.add_argument("--minutes", default="10", metavar="N", help="of storm (10)")
    parser.add_argument("--lines", default="10000000", metavar="N", help="of an app's log (10000000)")
    options = parser.parse_args()
    begun = time.monotonic()
    broken = schedules.main(["--count", options.count])
    broken |= storm.main(["--minutes", options.minutes])
    broken |= lines.main(["--lines", options.lines])
    print(f"Took {time.monotonic() - begun:.0f} s; {'broken' if broken else 'all held'}.")
    return broken


if __name__ == "__main__":
    sys.exit(main())
