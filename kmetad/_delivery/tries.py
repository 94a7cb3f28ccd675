"""What a lane's tries came to, counted; in this life of the daemon."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from types import MappingProxyType
from typing import get_args

from kmetad.status import BOUNDS, Durations, Result


class Tries:
    """Counted on the lane's thread, read from any: each number for itself is right, if not all of the same moment."""

    def __init__(self) -> None:
        self.again = 0
        """Those that weren't the first of their delivery."""
        self._results: dict[str, int] = dict.fromkeys(get_args(Result), 0)
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def add(self, result: Result, seconds: float, attempt: int) -> None:
        """One more: what became of it, how long its hooks took, and which try of its delivery it was, from 1."""
        self._results[result] += 1
        self._buckets[bisect_left(BOUNDS, seconds)] += 1
        self._seconds += seconds
        self.again += attempt > 1

    @property
    def results(self) -> Mapping[str, int]:
        """How many, by what became of them."""
        return MappingProxyType(self._results.copy())

    @property
    def took(self) -> Durations:
        """How long they took."""
        return Durations(BOUNDS, tuple(self._buckets), self._seconds)
