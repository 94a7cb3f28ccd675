"""A snapshot as ``kmetad get`` prints it."""

from __future__ import annotations

import subprocess
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad import podview
from kmetad.metadata import Resource, Snapshot
from kmetad.quantity import Quantity

POD = Snapshot(
    labels={"app": "web", "tier": "gold"},
    annotations={"note": "two\nlines"},
    fields={
        "metadata.name": "web-1",
        "metadata.namespace": "shop",
        "metadata.labels['zone']": "eu-1",
        "metadata.labels['app']": "stale",
        "metadata.annotations['only']": "declared",
        "spec.nodeName": "node-7",
        "status.podIP": "10.0.0.1",
        "status.podIPs": "10.0.0.1,fd00::1",
    },
    resources={
        "app.limits.cpu": Resource(1500, Quantity("1m")),
        "app.requests.memory": Resource(64, Quantity("1Mi")),
        "app.limits.ephemeral-storage": Resource(2),
    },
)


def test_json_has_the_shape_of_a_pod() -> None:
    """Kubernetes' own names and shapes; what isn't known is absent; numbers only without a divisor."""
    assert podview.pod(POD) == {
        "metadata": {
            "name": "web-1",
            "namespace": "shop",
            "labels": {"app": "web", "tier": "gold", "zone": "eu-1"},
            "annotations": {"note": "two\nlines", "only": "declared"},
        },
        "spec": {"nodeName": "node-7"},
        "status": {"podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
        "resources": {
            "app": {
                "limits": {"cpu": "1500m", "ephemeral-storage": 2},
                "requests": {"memory": "64Mi"},
            }
        },
    }


def test_nothing_known_is_an_empty_pod() -> None:
    """No empty sections."""
    assert podview.pod(Snapshot()) == {}
    assert podview.rows(Snapshot()) == []
    assert podview.environment(Snapshot()) == []
    assert podview.otel(Snapshot()) == ""


def test_each_row_s_path_leads_to_its_value() -> None:
    """What the table names can be given to ``kmetad get``."""
    rows = podview.rows(POD)
    assert len(rows) == len({path for path, _ in rows}) == 13
    for path, text in rows:
        assert POD.get(path) == text


def test_rows_come_in_a_pod_s_order() -> None:
    """Metadata, spec, status, resources."""
    assert [path for path, _ in podview.rows(POD)][:3] == [
        "metadata.name",
        "metadata.namespace",
        "metadata.labels['app']",
    ]
    assert podview.rows(POD)[-1][0] == "app.requests.memory"


@pytest.mark.parametrize("container", ["", "app"])
def test_the_container_of_a_resource(container: str) -> None:
    """Where no container was declared it is the empty text, in JSON too."""
    snapshot = Snapshot(resources={f"{container}.limits.cpu": Resource(250, Quantity("1m"))})
    assert podview.pod(snapshot) == {"resources": {container: {"limits": {"cpu": "250m"}}}}
    assert podview.rows(snapshot) == [(f"{container}.limits.cpu".strip("."), "250m")]


def test_one_value_as_json() -> None:
    """A text, a whole map, a bare number, or nothing."""
    assert podview.value(POD, "metadata.labels['app']") == "web"
    assert podview.value(POD, 'metadata.labels["zone"]') == "eu-1"
    assert podview.value(POD, "metadata.annotations") == {"note": "two\nlines", "only": "declared"}
    assert podview.value(POD, "app.limits.cpu") == "1500m"
    assert podview.value(POD, "limits.ephemeral-storage") == 2
    assert podview.value(POD, "app.limits.cpu") == "1500m"
    assert podview.value(POD, "limits.memory") is None
    assert podview.value(POD, "metadata.uid") is None
    assert podview.value(Snapshot(), "metadata.labels") is None


def test_environment_has_the_usual_names() -> None:
    """Only what is known, in the names that people already use."""
    assert podview.environment(POD) == [
        "POD_NAME=web-1",
        "POD_NAMESPACE=shop",
        "POD_IP=10.0.0.1",
        "POD_IPS=10.0.0.1,fd00::1",
        "NODE_NAME=node-7",
        "CPU_LIMIT=1500m",
        "MEMORY_REQUEST=64Mi",
    ]


NASTY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


@given(NASTY)
def test_a_shell_reads_back_what_was_quoted(name: str) -> None:
    """Whatever a value holds, ``eval`` of the line sets exactly it."""
    line = podview.environment(Snapshot(fields={"metadata.name": name}))[0]
    script = f'{line}\nprintf %s "$POD_NAME"'
    shown = subprocess.run(["sh", "-c", script], capture_output=True, check=True).stdout
    assert shown.decode() == name


@given(NASTY, NASTY)
def test_otel_survives_any_value(name: str, node: str) -> None:
    """Split at commas and equals signs and decoded, as OpenTelemetry's SDKs do, the values come back."""
    snapshot = Snapshot(fields={"metadata.name": name, "spec.nodeName": node})
    text = podview.otel(snapshot)
    pairs = dict(pair.split("=") for pair in text.split(","))
    assert {key: unquote_to_bytes(value).decode() for key, value in pairs.items()} == {
        "k8s.pod.name": name,
        "k8s.node.name": node,
    }
    assert text.isascii()
    assert not set(text) & set(' "\\;')  # W3C Baggage: no baggage-octets
