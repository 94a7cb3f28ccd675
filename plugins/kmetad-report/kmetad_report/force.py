"""What is in force: how far every instance that counts has come, and what the Pod was there.

Nothing here does I/O.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from kmetad.metadata import Snapshot
from kmetad.status import LaneStatus, Status

Values = Mapping[str, str]
"""By the annotation's name, its text."""

LONGEST = 16 << 10
"""Characters of a value: all annotations of a Pod together may have 256 KiB, and one mustn't keep others out."""
_KEPT = 16
"""Values at different times that are remembered."""


class History:
    """What the reported values were, by generation: as many of them as lanes may be behind. For any thread."""

    def __init__(self, applied: Mapping[str, str]) -> None:
        self._applied = dict(applied)
        self._known: list[tuple[int, Values]] = []  # ascending; each holds until the next
        self._lock = threading.Lock()

    def add(self, snapshot: Snapshot) -> None:
        """The Pod was this."""
        values = values_of(self._applied, snapshot)
        with self._lock:
            known = self._known
            if known and (snapshot.generation <= known[-1][0] or known[-1][1] == values):
                return
            known.append((snapshot.generation, values))
            del known[:-_KEPT]

    def at(self, generation: int) -> Values | None:
        """What they were then; None where that isn't known."""
        with self._lock:
            return next((values for begin, values in reversed(self._known) if begin <= generation), None)


def values_of(applied: Mapping[str, str], snapshot: Snapshot) -> dict[str, str]:
    """What is there now of what is to be reported. Bytes that are no UTF-8, which the API can't hold, are U+FFFD.

    What is longer than ``LONGEST`` is as if it weren't there.
    """
    found = {name: snapshot.get(path) for name, path in applied.items()}
    return {
        name: text.encode(errors="surrogateescape").decode(errors="replace")
        for name, text in found.items()
        if text is not None and len(text) <= LONGEST
    }


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand."""

    generation: int | None = None
    """What all that count have come to; None while one has come to nothing yet."""
    state: Literal["applied", "failed", "pending"] = "pending"
    """Of the last tries together: all succeeded; one failed; neither is known yet."""
    instances: tuple[str, ...] = ()
    """Those that count."""
    why: str = ""
    """Of ``failed``: who, and what was raised."""
    look_again: bool = False
    """Whether something may come to be of which nobody tells."""


def standing(status: Status, own: str, after: Sequence[str] | None = None) -> Standing:
    """How things stand by what kmetad says of itself. ``own`` is the instance that reports.

    Without ``after`` all others count, and a configuration with faults is a failure: what it
    leaves out isn't among them.
    """
    lanes = [lane for lane in status.lanes if (lane.name != own if after is None else lane.name in after)]
    names = tuple(lane.name for lane in lanes)
    if after is not None:
        missing = [name for name in after if name not in names]
        if missing:
            why = f"there is no instance {', '.join(missing)}"
            return Standing(None, "failed" if status.pid else "pending", names, why)
    elif status.config.faults:
        return Standing(None, "failed", names, f"the configuration has a fault: {status.config.faults[0]}")
    come_to = [lane.generation for lane in lanes]
    slowest = min((at for at in come_to if at is not None), default=status.generation)
    generation = None if None in come_to else slowest
    again = any(_silent(lane, status.generation) for lane in lanes)
    for lane in lanes:
        if why := _failure(lane, status.generation):
            return Standing(generation, "failed", names, why, again)
    applied = generation is not None and all(_succeeded(lane, status.generation) for lane in lanes)
    return Standing(generation, "applied" if applied else "pending", names, "", again)


def _behind(lane: LaneStatus, newest: int) -> bool:
    return lane.generation is None or lane.generation < newest


def _failure(lane: LaneStatus, newest: int) -> str:
    """Why the last try is one that failed; empty if it isn't, or is past."""
    if lane.state == "set-aside":
        return f"{lane.name} is set aside: kmetad died {lane.crashes} times in a row in its hooks"
    if lane.last is not None and lane.last.result == "failed" and _behind(lane, newest):
        return f"{lane.name}: {lane.last.error}"
    return ""


def _succeeded(lane: LaneStatus, newest: int) -> bool:
    """Whether its last try did, or nothing was left to try.

    That ``on_start`` succeeded says nothing of an instance that goes on where it was, and may have failed there.
    """
    if not _behind(lane, newest):
        return True
    return lane.last is not None and lane.last.changes > 0 and lane.last.result in ("applied", "skipped")


def _silent(lane: LaneStatus, newest: int) -> bool:
    """Whether it may come to the newest with no ``Outcome``.

    So it does where its filter leaves nothing, or its first ``on_start`` succeeds. One that is in
    ``on_change``, or waits for its next try, has an Outcome ahead, and one that gave up needs a new change.
    """
    if not _behind(lane, newest) or lane.state in ("retrying", "parked", "stuck", "set-aside", "stopped"):
        return False
    return not (lane.state == "delivering" and lane.hook == "on_change")
