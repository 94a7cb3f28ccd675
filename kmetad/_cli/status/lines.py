"""The status for people: first whether it is ready and why not, then what there is, a line each."""

from __future__ import annotations

from kmetad._cli.status.form import since_epoch
from kmetad._cli.text import DIM, GREEN, LONGEST, RED, YELLOW, escape, paint, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_WELL = ("healthy", "idle", "settling", "delivering")
_DOUBTFUL = ("polling", "starting", "retrying")


def lines(status: dict[str, Any], now: float, colour: bool) -> list[str]:
    """A status as ``form`` has it; ``now`` in seconds since the epoch."""
    if status["ready"]:
        head = [paint("ready", GREEN, colour)]
    else:
        head = [paint("not ready", RED, colour), *(f"  {escape(why)}" for why in status["unready"])]
    return [
        *head,
        "",
        *table(_general(status, now)),
        *_below("SOURCE STATUS FAULTS ERROR", _sources(status["sources"], colour), colour),
        *_below("PLUGIN STATE KNOWS DONE FAULTS NOTE", _plugins(status["lanes"], now, colour), colour),
    ]


def span(seconds: float) -> str:
    """How long, in its two largest units: ``45s``, ``3m12s``, ``2d4h``."""
    whole = max(0, int(seconds))
    for size, unit, next_size, next_unit in (
        (86400, "d", 3600, "h"),
        (3600, "h", 60, "m"),
        (60, "m", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // next_size
            return f"{whole // size}{unit}" + (f"{rest}{next_unit}" if rest else "")
    return f"{whole}s"


def _general(status: dict[str, Any], now: float) -> Iterable[tuple[str, str]]:
    up = span(now - since_epoch(status["started"]))
    version, pid, generation = escape(status["version"]), status["pid"], status["generation"]
    yield "daemon", f"kmetad {version}, process {pid}, up {up}, generation {generation}"
    config = status["config"]
    file = config["file"]
    yield "config", "none: found by convention" if file is None else escape(file)
    for fault in config["refused"]:
        yield "", f"newer version refused: {escape(fault)}"
    state = status["state"]
    if state is not None:
        error = f": {escape(state['error'])}" if state["error"] else ""
        yield "state", escape(state["dir"]) + error
    app = status["app"]
    if app is not None:
        running = f"process {app['pid']}" if app["pid"] else "doesn't run"
        yield "app", f"{running}, starts: {app['starts']}"
        for name, stream in app["output"].items():
            lost = f"; {stream['lost']} bytes lost" if stream["lost"] else ""
            untouched = max(0, stream["lines"] - stream["tagged"])
            counted = f"{stream['lines']} lines ({stream['bytes']} bytes)"
            yield escape(name), f"{counted}, {stream['tagged']} tagged, {untouched} untouched{lost}"


def _sources(sources: dict[str, Any], colour: bool) -> Iterable[tuple[str, ...]]:
    for name, source in sources.items():
        yield escape(name), _state(source["status"], colour), str(source["faults"]), escape(source["error"])


def _plugins(lanes: list[dict[str, Any]], now: float, colour: bool) -> Iterable[tuple[str, ...]]:
    for lane in lanes:
        known = "-" if lane["generation"] is None else str(lane["generation"])
        numbers = known, str(lane["acknowledged"]), str(lane["faults"])
        yield escape(lane["name"]), _state(lane["state"], colour), *numbers, "; ".join(_notes(lane, now))


def _notes(lane: dict[str, Any], now: float) -> Iterable[str]:
    """What goes on in a lane, and what went wrong last."""
    attempt, hook = lane["attempt"], escape(lane["hook"])
    if hook:
        again = f", try {attempt}" if attempt > 1 else ""
        yield f"in {hook} for {span(lane['hook_seconds'])}{again}"
    elif lane["state"] == "retrying":
        yield f"try {attempt + 1} in {span(lane['retry_seconds'])}"
    elif lane["state"] == "parked":
        yield f"gave up after try {attempt}, until the next change"
    if lane["stuck"]:
        yield f"stuck so far: {lane['stuck']}"
    if lane["crashes"]:
        yield f"the daemon died in it {lane['crashes']} times in a row"
    last = lane["last"]
    if last is not None and last["result"] == "applied" and last["detail"]:
        ago = span(now - since_epoch(last["time"]))
        yield f"{ago} ago {_cut(', '.join(f'{key}: {value}' for key, value in last['detail'].items()))}"
    fault = lane["last_fault"]
    if fault is not None:
        ago = span(now - since_epoch(fault["time"]))
        yield f"{ago} ago {escape(fault['hook'])}: {_cut(fault['error'])}"


def _cut(text: str) -> str:
    return f"{escape(text[:LONGEST])}… ({len(text)} characters)" if len(text) > LONGEST else escape(text)


def _below(head: str, rows: Iterable[tuple[str, ...]], colour: bool) -> list[str]:
    """A table with its head, an empty line above it; nothing if there is no row."""
    rows = list(rows)
    if not rows:
        return []
    return ["", *table([tuple(paint(cell, DIM, colour) for cell in head.split()), *rows])]


def _state(state: str, colour: bool) -> str:
    code = GREEN if state in _WELL else YELLOW if state in _DOUBTFUL else RED
    return paint(escape(state), code, colour)
