"""kmetad._sources.environment: what a process was told at its start."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._sources.content import NOTHING, Content, Source
from kmetad._sources.environment import Environment
from kmetad._sources.items import Item
from kmetad.metadata import Resource, Snapshot
from kmetad.quantity import Quantity

DATA = Path(__file__).parent / "data" / "kubelet"
UID = "28989a40-a9b7-4076-9382-29cc53fda193"


def recorded() -> dict[str, str]:
    """The environment of a real container (`env`'s output; one value goes over two lines)."""
    environ: dict[str, str] = {}
    name = ""
    for line in (DATA / "web-env.txt").read_text().splitlines():
        if line.split("=")[0].replace("_", "").isalnum() and "=" in line:
            name, _, environ[name] = line.partition("=")
        else:
            environ["MULTI_ANN"] += "\n" + line
    return environ


def read(environ: dict[str, str], declared: dict[str, Item] | None = None) -> Content:
    """The first reading of it."""
    return Environment("env", environ, declared).read(NOTHING)


def test_it_is_a_source() -> None:
    """It has what a watcher asks of a source, and nothing to watch."""
    env: Source = Environment("env", {})
    assert (env.name, env.path, env.swapped, env.fingerprint()) == ("env", None, False, None)
    assert env.read(NOTHING) == NOTHING


def test_recorded() -> None:
    """What a real container has under the usual names, and nothing else."""
    content = read(recorded())
    assert content.fields == {
        "metadata.name": "web",
        "metadata.namespace": "lab",
        "metadata.uid": UID,
        "spec.nodeName": "lab-node",
        "status.hostIP": "192.0.2.2",
        "status.podIP": "192.0.2.2",
    }
    assert content.resources == {}
    assert content.faults == ()


def test_recorded_and_declared() -> None:
    """With declarations, the rest of it too: other names, labels, quantities."""
    declared = {
        "CPU_REQ_M": Item(resource="requests.cpu", container="web", divisor=Quantity("1m")),
        "MEM_LIM_MI": Item(resource="limits.memory", divisor=Quantity("1Mi")),
        "SA_NAME": Item(field="spec.serviceAccountName"),
        "ZONE_LABEL": Item(field="metadata.labels['zone']"),
        "MULTI_ANN": Item(field="metadata.annotations['multi']"),
    }
    content = read(recorded(), declared)
    pod = Snapshot(fields=content.fields, resources=content.resources)
    assert pod.get("requests.cpu") == pod.get("web.requests.cpu") == "250m"
    assert pod.get("limits.memory") == "512Mi"
    assert pod.get("spec.serviceAccountName") == "app"
    assert pod.get("metadata.labels['zone']") == "us-west"
    assert pod.get("metadata.annotations['multi']") == 'line1\nline2 "q" \\ 😀'
    assert pod.get("metadata.name") == "web"


@pytest.mark.parametrize("prefix", ["", "MY_", "K8S_", "KUBE_"])
def test_conventional_names(prefix: str) -> None:
    """Each name, with each of its usual prefixes."""
    environ = {
        "POD_NAME": "web-1",
        "POD_NAMESPACE": "lab",
        "POD_UID": UID,
        "POD_IP": "fd00::1",
        "POD_IPS": "10.0.0.1,fd00::1",
        "HOST_IP": "192.0.2.2",
        "HOST_IPS": "192.0.2.2",
        "NODE_NAME": "node-1.example.com",
        "SERVICE_ACCOUNT": "app",
        "CPU_LIMIT": "2",
        "CPU_REQUEST": "1",
        "MEMORY_LIMIT": "536870912",
        "MEMORY_REQUEST": "0",
    }
    content = read({prefix + name: value for name, value in environ.items()})
    assert content.fields == {
        "metadata.name": "web-1",
        "metadata.namespace": "lab",
        "metadata.uid": UID,
        "status.podIP": "fd00::1",
        "status.podIPs": "10.0.0.1,fd00::1",
        "status.hostIP": "192.0.2.2",
        "status.hostIPs": "192.0.2.2",
        "spec.nodeName": "node-1.example.com",
        "spec.serviceAccountName": "app",
    }
    assert content.resources == {
        ".limits.cpu": Resource(2),
        ".requests.cpu": Resource(1),
        ".limits.memory": Resource(536870912),
        ".requests.memory": Resource(0),
    }
    assert content.faults == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("POD_NAME", "Not A Name"),
        ("POD_NAME", ""),
        ("POD_NAME", "web-1\n"),
        ("POD_NAME", "web..1"),
        ("POD_NAME", "a" * 254),
        ("POD_NAMESPACE", "a.b"),
        ("POD_NAMESPACE", "a" * 64),
        ("POD_UID", "1"),
        ("POD_UID", UID.upper()),
        ("POD_IP", "here"),
        ("POD_IP", "10.0.0"),
        ("POD_IP", "10.0.0.256"),
        ("POD_IP", "10.0.0.1,10.0.0.2"),
        ("POD_IP", "\0"),
        ("POD_IP", "\udcff"),
        ("POD_IP", "fd00::1%eth0"),
        ("POD_IPS", "10.0.0.1,"),
        ("HOST_IP", "localhost"),
        ("NODE_NAME", "$(NODE)"),
        ("SERVICE_ACCOUNT", "/var/run/account.json"),
        ("CPU_LIMIT", "250m"),
        ("CPU_LIMIT", "-1"),
        ("CPU_LIMIT", "9" * 5000),
        ("MEMORY_LIMIT", "512Mi"),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name"),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.name=Not%20A%20Name,=,,service.name=a"),
        ("OTEL_RESOURCE_ATTRIBUTES", "k8s.pod.uid=%ZZ"),
    ],
)
def test_somebody_elses_variable(name: str, value: str) -> None:
    """A usual name with a value that can't be meant is no metadata, and no fault."""
    assert read({name: value}) == NOTHING


def test_static_pods_have_another_uid() -> None:
    """The uid of a static Pod is a hash of its manifest, 32 digits without hyphens."""
    assert read({"POD_UID": "0123456789abcdef" * 2}).fields == {"metadata.uid": "0123456789abcdef" * 2}


def test_open_telemetry() -> None:
    """Attributes, percent-decoded, after all that has a variable of its own."""
    attributes = (
        "service.name=a, k8s.pod.name = web%2D1 ,k8s.namespace.name=lab,k8s.node.name=node-1,k8s.pod.uid="
        + UID
    )
    content = read({"OTEL_RESOURCE_ATTRIBUTES": attributes, "KUBE_NODE_NAME": "node-2"})
    assert content.fields == {
        "metadata.name": "web-1",
        "metadata.namespace": "lab",
        "metadata.uid": UID,
        "spec.nodeName": "node-2",
    }


def test_who_speaks_first() -> None:
    """What was declared, then the plain names, then those with prefixes."""
    environ = {"POD_NAME": "plain", "MY_POD_NAME": "mine", "WHO": "declared"}
    assert read(environ).fields == {"metadata.name": "plain"}
    assert read(environ, {"WHO": Item(field="metadata.name")}).fields == {"metadata.name": "declared"}
    assert read(environ, {"POD_NAME": Item(field="metadata.uid")}).fields == {
        "metadata.uid": "plain",
        "metadata.name": "mine",
    }


def test_declared_but_not_set() -> None:
    """It is a fault, with what to do; the others go on."""
    content = read({"POD_NAME": "web"}, {"MISSING": Item(field="metadata.uid")})
    assert content.fields == {"metadata.name": "web"}
    assert len(content.faults) == 1
    assert "MISSING isn't set; declare it" in content.faults[0]


def test_declared_but_no_number() -> None:
    """A resource that is no bare integer is a fault that doesn't show the value."""
    content = read({"CPU": "SECRET"}, {"CPU": Item(resource="limits.cpu", divisor=Quantity("1m"))})
    assert content.resources == {}
    assert "the variable CPU is no bare integer" in content.faults[0]
    assert "SECRET" not in repr(content)


def test_an_empty_declared_value() -> None:
    """A label that isn't there gives an empty variable, which is a value."""
    assert read({"TIER": ""}, {"TIER": Item(field="metadata.labels['tier']")}).fields == {
        "metadata.labels['tier']": ""
    }


def test_readings_share() -> None:
    """A second reading is the first one's objects, read-only."""
    env = Environment("env", {"POD_NAME": "web", "CPU_LIMIT": "1"})
    first = env.read(NOTHING)
    second = env.read(first)
    assert second.fields is first.fields
    assert second.resources is first.resources
    with pytest.raises(TypeError):
        first.fields["x"] = "y"  # type: ignore[index]


@given(
    st.dictionaries(
        st.sampled_from(
            ["POD_NAME", "POD_IP", "POD_IPS", "CPU_LIMIT", "POD_UID", "OTEL_RESOURCE_ATTRIBUTES"]
        ),
        st.text()
        | st.from_regex(r"\A[0-9a-f.:,%=-]*\Z")
        | st.binary().map(lambda value: value.decode("utf-8", "surrogateescape")),
    )
)
def test_any_values(environ: dict[str, str]) -> None:
    """No value of a usual name is ever an error."""
    assert read(environ).faults == ()
