"""What processes hold over time, and whether that is flat."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression


@dataclass(frozen=True, slots=True)
class Held:
    """By one process; memory in MB (2**20 bytes)."""

    private: float
    """Pages that it alone has written to (Private_Dirty): what a container is charged for."""
    resident: float
    threads: int
    descriptors: int


def held(pid: int) -> Held:
    """By this process now. Raises OSError if it is gone."""
    kilobytes = {}
    with open(f"/proc/{pid}/smaps_rollup") as lines:
        for line in lines:
            words = line.split()
            if words[-1] == "kB":
                kilobytes[words[0]] = int(words[1])
    return Held(
        kilobytes["Private_Dirty:"] / 1024,
        kilobytes["Rss:"] / 1024,
        len(os.listdir(f"/proc/{pid}/task")),
        len(os.listdir(f"/proc/{pid}/fd")),
    )


@dataclass(frozen=True, slots=True)
class Trend:
    """Of a figure over time."""

    count: int
    first: float
    """The mean of the first quarter of it."""
    last: float
    """Of the last quarter."""
    slope: float
    """A minute, over the last four fifths of it."""
    most: float

    def __str__(self) -> str:
        return (
            f"first quarter {self.first:.2f}, last {self.last:.2f}, most {self.most:.2f}, "
            f"{self.slope:+.3f} a minute ({self.count} samples)"
        )


def trend(samples: Sequence[tuple[float, float]]) -> Trend | None:
    """Of (seconds, figure); None of too few."""
    if len(samples) < 8:
        return None
    quarter = len(samples) // 4
    figures = [figure for _, figure in samples]
    rest = samples[len(samples) // 5 :]
    slope = linear_regression([second / 60 for second, _ in rest], [figure for _, figure in rest]).slope
    return Trend(len(samples), fmean(figures[:quarter]), fmean(figures[-quarter:]), slope, max(figures))
