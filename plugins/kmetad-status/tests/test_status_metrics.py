"""/metrics: what docs/metrics.md says, in forms that Prometheus reads."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from kmetad.metadata import Digest, SourceState, Token
from kmetad.status import (
    AppStatus,
    ConfigStatus,
    Counts,
    Durations,
    LaneState,
    LaneStatus,
    StreamStatus,
)
from kmetad.testing import Host
from tests.asking import get

DOCUMENT = Path(__file__).parents[3] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
MARK = "marked-by-the-user"


POLLED = SourceState("polling", 1, "the kernel tells of no changes here")


def full(host: Host) -> None:
    """Everything that a daemon can have to say."""
    took = Durations((0.1, 1.0), (3, 2, 1), 7.5)
    results = {"applied": 4, "failed": 2, "postponed": 0, "skipped": 0}
    lane = LaneStatus(
        "nginx", "retrying", behind_seconds=1.5, faults=2, stuck=1, results=results, retries=3, took=took
    )
    host.status = replace(
        host.status,
        ready=True,
        unready=(),
        version="1.2.3",
        started_ns=1_700_000_000_500_000_000,
        generation=7,
        config=ConfigStatus(None, ("a", "b"), ("c",)),
        sources={"podinfo": SourceState(), "settings": SourceState("lost", 3, MARK), "env": POLLED},
        lanes=(lane, LaneStatus("logs", "idle")),
        app=AppStatus(42, 2, {"stdout": StreamStatus(10, 1000, 8, 5)}),
        counts=Counts(6, {"podinfo": 5}, {"label": 9}, {"GET 200": 11, "PATCH error": 1}),
    )
    host.set(labels={MARK: MARK}, annotations={MARK: MARK}, fields={"metadata.name": MARK})
    token = Token(int(time.time()) + 600, (MARK,), Digest(MARK.encode()))
    host.snapshot = replace(host.snapshot, tokens={"account": token, "eternal": replace(token, expires=None)})


def scraped(where: str, accept: str = "") -> Iterator[Any]:
    """The families, as the library's own parser reads them."""
    got = get(where, "/metrics", Accept=accept)
    assert got.status == 200
    yield from (openmetrics if "openmetrics" in got.headers["content-type"] else plain_text)(got.text)


def test_the_table(host: tuple[Host, str]) -> None:
    """docs/metrics.md has each metric that there is, with its type and labels, and none that isn't."""
    full(host[0])
    found: dict[str, tuple[str, set[str]]] = {}
    for family in scraped(host[1]):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        (labels,) = {frozenset(sample.labels.keys() - {"le"}) for sample in family.samples}
        found[name] = (family.type, set(labels))
        assert family.documentation
    said = {
        name: (type_, set(re.findall(r"\w+", labels)))
        for name, type_, labels in ROW.findall(DOCUMENT.read_text())
    }
    assert found == said


def value(where: str, name: str, **labels: str) -> float:
    """One sample's."""
    (found,) = (
        sample.value
        for family in scraped(where)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )
    return float(found)


VALUES: tuple[tuple[str, dict[str, str], float], ...] = (
    ("kmetad_build_info", {"version": "1.2.3"}, 1),
    ("kmetad_ready", {}, 1),
    ("kmetad_start_time_seconds", {}, 1_700_000_000.5),
    ("kmetad_generation", {}, 7),
    ("kmetad_config_faults", {}, 2),
    ("kmetad_config_refused", {}, 1),
    ("kmetad_batches_total", {}, 6),
    ("kmetad_changes_total", {"type": "label"}, 9),
    ("kmetad_swaps_total", {"source": "podinfo"}, 5),
    ("kmetad_source_healthy", {"source": "podinfo"}, 1),
    ("kmetad_source_healthy", {"source": "settings"}, 0),
    ("kmetad_source_healthy", {"source": "env"}, 1),
    ("kmetad_source_faults_total", {"source": "settings"}, 3),
    ("kmetad_lane_lag_seconds", {"plugin": "nginx"}, 1.5),
    ("kmetad_lane_state", {"plugin": "nginx", "state": "retrying"}, 1),
    ("kmetad_lane_state", {"plugin": "nginx", "state": "idle"}, 0),
    ("kmetad_lane_stuck_total", {"plugin": "nginx"}, 1),
    ("kmetad_deliveries_total", {"plugin": "nginx", "result": "applied"}, 4),
    ("kmetad_deliveries_total", {"plugin": "logs", "result": "failed"}, 0),
    ("kmetad_delivery_duration_seconds_bucket", {"plugin": "nginx", "le": "0.1"}, 3),
    ("kmetad_delivery_duration_seconds_bucket", {"plugin": "nginx", "le": "1.0"}, 5),
    ("kmetad_delivery_duration_seconds_bucket", {"plugin": "nginx", "le": "+Inf"}, 6),
    ("kmetad_delivery_duration_seconds_count", {"plugin": "nginx"}, 6),
    ("kmetad_delivery_duration_seconds_sum", {"plugin": "nginx"}, 7.5),
    ("kmetad_delivery_retries_total", {"plugin": "nginx"}, 3),
    ("kmetad_hook_faults_total", {"plugin": "nginx"}, 2),
    ("kmetad_api_requests_total", {"method": "PATCH", "code": "error"}, 1),
    ("kmetad_api_requests_total", {"method": "GET", "code": "200"}, 11),
    ("kmetad_app_running", {}, 1),
    ("kmetad_app_starts_total", {}, 2),
    ("kmetad_app_output_lines_total", {"stream": "stdout", "tagged": "true"}, 8),
    ("kmetad_app_output_lines_total", {"stream": "stdout", "tagged": "false"}, 2),
    ("kmetad_app_output_bytes_total", {"stream": "stdout"}, 1000),
    ("kmetad_app_output_lost_bytes_total", {"stream": "stdout"}, 5),
)


def test_the_values(host: tuple[Host, str]) -> None:
    """Each is what the status says, and of the moment."""
    full(host[0])
    assert [(name, labels, value(host[1], name, **labels)) for name, labels, _ in VALUES] == list(VALUES)
    remaining = value(host[1], "kmetad_token_remaining_seconds", source="account")
    assert 0 < remaining <= 600
    (token,) = (one for name, one in host[0].snapshot.tokens.items() if name == "account")
    assert value(host[1], "kmetad_token_expiration_timestamp_seconds", source="account") == token.expires
    assert value(host[1], "process_resident_memory_bytes") > 1 << 20
    host[0].status = replace(host[0].status, ready=False)
    assert value(host[1], "kmetad_ready") == 0


def test_one_state_at_a_time(host: tuple[Host, str]) -> None:
    """Each instance has each state, and is in one."""
    full(host[0])
    (family,) = (family for family in scraped(host[1]) if family.name == "kmetad_lane_state")
    assert len(family.samples) == 2 * len(get_args(LaneState))
    assert sum(sample.value for sample in family.samples) == 2


def test_nothing_that_users_write(host: tuple[Host, str]) -> None:
    """No key and no value of a label or annotation, no error's text: neither a series for each, nor a word of it."""
    full(host[0])
    for accept in ("", OPEN):
        assert MARK not in get(host[1], "/metrics", Accept=accept).text


OPENED = "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
ACCEPTS = {
    "none": ("", "text/plain; version=0.0.4; charset=utf-8"),
    "prometheus": (OPEN, OPENED),
    "a browser": ("text/html,*/*;q=0.8", "text/plain; version=0.0.4; charset=utf-8"),
    "odd escaping": (f"{OPEN.partition(',')[0]};escaping=odd", OPENED),
    "nonsense": ("application/openmetrics-text;version=x", "text/plain; version=0.0.4; charset=utf-8"),
}


@pytest.mark.parametrize(("accept", "type_"), ACCEPTS.values(), ids=ACCEPTS.keys())
def test_forms(host: tuple[Host, str], accept: str, type_: str) -> None:
    """The scraper says which it wants; both read the same, by the library's own parsers."""
    full(host[0])
    assert get(host[1], "/metrics", Accept=accept).headers["content-type"] == type_
    families = {family.name: family for family in scraped(host[1], accept)}
    assert families["kmetad_delivery_duration_seconds"].type == "histogram"
    assert families["kmetad_swaps"].samples[0].value == 5


def test_where_no_app_is_wrapped(host: tuple[Host, str]) -> None:
    """There is nothing of one, rather than one that doesn't run."""
    assert not [family.name for family in scraped(host[1]) if family.name.startswith("kmetad_app")]


def test_an_app_of_many_processes(tmp_path: Path) -> None:
    """The variable by which a Gunicorn app's workers share their metrics is the app's, and the daemon has it, too."""
    code = (
        "from kmetad_status.metrics import Metrics; from kmetad import Context;"
        "print(Metrics(Context('status', None)).scraped('')[0].decode())"
    )
    env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONWARNINGS": "error"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "kmetad_ready 0.0" in done.stdout, done.stderr
    assert not list(tmp_path.iterdir())
