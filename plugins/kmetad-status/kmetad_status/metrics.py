"""What kmetad says of itself, in Prometheus' forms. docs/metrics.md has the table; a test compares.

Read at the scrape, from the status and the snapshot of that moment. No label's key or value, and nothing else that
the cluster's users may write at will, is in it: each such text would be a series of its own for ever.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from kmetad.hookspecs import Context
from kmetad.metadata import Snapshot
from kmetad.status import LaneState, LaneStatus, Status

Samples = list[tuple[tuple[str, ...], float]]
"""Each with its labels' values."""


class Metrics:
    """All metrics of a daemon."""

    def __init__(self, context: Context) -> None:
        # Of its own: what other plugins count with the library's default registry is theirs to show.
        self._registry = CollectorRegistry()
        self._registry.register(_Daemon(context))
        ProcessCollector(registry=self._registry)

    def scraped(self, accept: str) -> tuple[bytes, str]:
        """The text, and its type, as a request's Accept has it."""
        try:
            encode, type_ = choose_encoder(accept)
        except Exception:  # a version that is none: then the form that everybody reads
            encode, type_ = choose_encoder("")
        return encode(self._registry), type_


class _Daemon(Collector):
    def __init__(self, context: Context) -> None:
        self._context = context

    def describe(self) -> list[Metric]:
        """Nothing: to register needs no scrape."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All but the process's own."""
        status, snapshot = self._context.status(), self._context.snapshot()
        yield from _whole(status)
        yield from _pod(status, snapshot)
        yield from _lanes(status.lanes)
        yield from _app(status)


def _whole(status: Status) -> Iterator[Metric]:
    """The daemon as such."""
    build = InfoMetricFamily("kmetad_build", "What runs here: 1.")
    build.add_metric((), {"version": status.version, "python": platform.python_version()})
    yield build
    yield _gauge("kmetad_ready", "Whether kmetad is ready, as `kmetad status` says.", float(status.ready))
    yield _gauge(
        "kmetad_start_time_seconds",
        "When this daemon started, since the epoch. Counters began at 0 then.",
        status.started_ns / 1e9,
    )
    yield _gauge(
        "kmetad_generation", "Of the newest snapshot of the Pod, counted by this daemon.", status.generation
    )
    yield _gauge("kmetad_config_faults", "Faults of the configuration in force.", len(status.config.faults))
    yield _gauge(
        "kmetad_config_refused",
        "Faults of a newer configuration, so that it isn't in force.",
        len(status.config.refused),
    )
    calls = [(tuple(call.split(" ", 1)), float(count)) for call, count in status.counts.api_calls.items()]
    yield _counters(
        "kmetad_api_requests",
        "Requests of plugins to the API server; code error: no answer came.",
        ("method", "code"),
        calls,
    )


def _pod(status: Status, snapshot: Snapshot) -> Iterator[Metric]:
    """What is watched."""
    yield _counters("kmetad_batches", "How often there was a difference.", (), [((), status.counts.batches)])
    yield _counters(
        "kmetad_changes", "Keys that differed.", ("type",), _by_name(status.counts.changes.items())
    )
    yield _counters(
        "kmetad_swaps", "Swaps by the kubelet.", ("source",), _by_name(status.counts.swaps.items())
    )
    sources = status.sources.items()
    yield _gauges(
        "kmetad_source_healthy",
        "Whether what the source says is current: it is read, and watched or polled.",
        ("source",),
        _by_name((name, float(state.speaks)) for name, state in sources),
    )
    yield _counters(
        "kmetad_source_faults",
        "How often the source couldn't be read.",
        ("source",),
        _by_name((name, state.faults) for name, state in sources),
    )
    expiring = [(name, token.expires) for name, token in snapshot.tokens.items() if token.expires is not None]
    now = time.time()
    yield _gauges(
        "kmetad_token_expiration_timestamp_seconds",
        "When the mounted token goes stale, since the epoch.",
        ("source",),
        _by_name(expiring),
    )
    yield _gauges(
        "kmetad_token_remaining_seconds",
        "Until the mounted token goes stale; below 0: since then.",
        ("source",),
        _by_name((name, expires - now) for name, expires in expiring),
    )


def _lanes(lanes: tuple[LaneStatus, ...]) -> Iterator[Metric]:
    """The plugins' instances."""

    def each(name: str) -> Samples:
        return _by_name((lane.name, getattr(lane, name)) for lane in lanes)

    own = ("plugin",)
    yield _gauges(
        "kmetad_lane_lag_seconds",
        "How long the instance has been behind what the Pod is; 0: it knows the newest.",
        own,
        each("behind_seconds"),
    )
    yield _gauges(
        "kmetad_lane_state",
        "1 for the state that the instance is in, 0 for the others.",
        ("plugin", "state"),
        [((lane.name, state), float(lane.state == state)) for lane in lanes for state in get_args(LaneState)],
    )
    yield _counters(
        "kmetad_deliveries",
        "Tries of deliveries, by what became of them.",
        ("plugin", "result"),
        [((lane.name, result), count) for lane in lanes for result, count in lane.results.items()],
    )
    took = HistogramMetricFamily("kmetad_delivery_duration_seconds", "How long tries took.", labels=own)
    for lane in lanes:
        below, buckets = 0, []
        for bound, count in zip((*lane.took.bounds, float("inf")), lane.took.counts, strict=True):
            below += count
            buckets.append(("+Inf" if bound == float("inf") else str(float(bound)), below))
        took.add_metric((lane.name,), buckets, lane.took.sum)
    yield took
    yield _counters(
        "kmetad_delivery_retries", "Tries that weren't the first of their delivery.", own, each("retries")
    )
    yield _counters("kmetad_hook_faults", "Hooks that raised, or returned late.", own, each("faults"))
    yield _counters(
        "kmetad_lane_stuck", "How often a hook ran for longer than lane.timeout.", own, each("stuck")
    )


def _app(status: Status) -> Iterator[Metric]:
    """The app, where kmetad wraps one."""
    if status.app is None:
        return
    yield _gauge("kmetad_app_running", "Whether the app runs.", float(status.app.pid != 0))
    yield _counters("kmetad_app_starts", "Starts of the app.", (), [((), status.app.starts)])
    streams = status.app.output.items()
    lines: Samples = []
    for name, stream in streams:
        lines += [((name, "true"), stream.tagged), ((name, "false"), stream.lines - stream.tagged)]
    yield _counters(
        "kmetad_app_output_lines", "Lines of the app that went through kmetad.", ("stream", "tagged"), lines
    )
    yield _counters(
        "kmetad_app_output_bytes",
        "Bytes of the app that went through kmetad, without tags.",
        ("stream",),
        _by_name((name, stream.bytes) for name, stream in streams),
    )
    yield _counters(
        "kmetad_app_output_lost_bytes",
        "Bytes of the app that couldn't be written.",
        ("stream",),
        _by_name((name, stream.lost) for name, stream in streams),
    )


def _by_name(values: Iterable[tuple[str, float]]) -> Samples:
    return [((name,), value) for name, value in values]


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_, value=value)


def _gauges(name: str, help_: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    family = GaugeMetricFamily(name, help_, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _counters(name: str, help_: str, labels: tuple[str, ...], samples: Samples) -> Metric:
    family = CounterMetricFamily(name, help_, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
