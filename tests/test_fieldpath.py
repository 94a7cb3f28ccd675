"""kmetad.fieldpath: Kubernetes' own names for what a Pod may know."""

from __future__ import annotations

import pytest

from kmetad._sources.textmap import decode
from kmetad.errors import FieldPathError
from kmetad.fieldpath import ANYWHERE, ENV_ONLY, FieldPath, parse
from kmetad.metadata import Resource, Snapshot
from kmetad.quantity import Quantity

POD = Snapshot(
    labels={"app": "web", "example.com/tier": "gold", "empty": ""},
    annotations={"note": 'two\nlines "quoted"', "raw": "\udcff\x7f\U000e0001\u200d\x01é"},
    fields={
        "metadata.name": "web-1",
        "status.podIPs": "10.0.0.1,fd00::1",
        "metadata.labels['zone']": "eu-1",
        "metadata.labels['app']": "of the variable",
    },
    resources={
        "app.limits.cpu": Resource(250, Quantity("1m")),
        "app.limits.memory": Resource(512, Quantity("1Mi")),
        "side.limits.memory": Resource(64, Quantity("1Mi")),
        ".requests.cpu": Resource(1),
        "app.requests.cpu": Resource(2),
    },
)


@pytest.mark.parametrize(
    ("path", "parsed"),
    [
        *((path, FieldPath("field", path)) for path in (*ANYWHERE, *ENV_ONLY)),
        ("metadata.labels", FieldPath("labels", "metadata.labels")),
        ("metadata.annotations", FieldPath("annotations", "metadata.annotations")),
        ("metadata.labels['app']", FieldPath("label", "app")),
        ('metadata.labels["app"]', FieldPath("label", "app")),
        ("metadata.annotations['example.com/a.b_c-D']", FieldPath("annotation", "example.com/a.b_c-D")),
        ("limits.cpu", FieldPath("resource", "limits.cpu")),
        (".limits.cpu", FieldPath("resource", "limits.cpu")),
        ("app.requests.ephemeral-storage", FieldPath("resource", "requests.ephemeral-storage", "app")),
        ("app.limits.hugepages-2Mi", FieldPath("resource", "limits.hugepages-2Mi", "app")),
        ("limits.limits.cpu", FieldPath("resource", "limits.cpu", "limits")),
    ],
)
def test_paths(path: str, parsed: FieldPath) -> None:
    """Every path of Kubernetes' table."""
    assert parse(path) == parsed


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("metadata.lables", "metadata.labels"),
        ("metadata.labels.app", "metadata.labels['app']"),
        ("metadata.labels.example.com/app", "metadata.labels['example.com/app']"),
        ("metadata.label[app]", "metadata.labels['app']"),
        ("metadata.labels[app]", "metadata.labels['app']"),
        ("metadata.annotation['a']", "metadata.annotations['a']"),
        ("status.podip", "status.podIP"),
        ("metadata.nmae", "metadata.name"),
        ("spec.nodename", "spec.nodeName"),
        ("limit.cpu", "limits.cpu"),
        ("requests.memroy", "requests.memory"),
    ],
)
def test_what_was_meant(path: str, meant: str) -> None:
    """An error names what was likely meant."""
    with pytest.raises(FieldPathError) as caught:
        parse(path)
    assert str(caught.value).startswith(f"{path!r} is no field")
    assert f"Did you mean {meant}?" in str(caught.value)


@pytest.mark.parametrize(
    "path",
    ["", "x", "?", "labels", "metadata", "metadata.labels['']", "metadata.labels['a'", "metadata.labels['a\"]"]
    + ["metadata.labels[]", "limits.hugepages-", "limits.nvidia.com/gpu", "app.side.limits.cpu", "app.cpu", "['a']"],
)  # fmt: skip
def test_no_path(path: str) -> None:
    """Anything else is a FieldPathError, and a ValueError."""
    with pytest.raises(FieldPathError, match="is no field") as caught:
        parse(path)
    assert isinstance(caught.value, ValueError)


def test_valid_ones_are_listed() -> None:
    """Where nothing is near, the error lists what there is."""
    with pytest.raises(FieldPathError) as caught:
        parse("something else entirely")
    for path in (*ANYWHERE, *ENV_ONLY, "metadata.labels['KEY']", "limits.RESOURCE", "hugepages-SIZE"):
        assert path in str(caught.value)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("metadata.name", "web-1"),
        ("metadata.uid", None),
        ("status.podIPs", "10.0.0.1,fd00::1"),
        ("metadata.labels['app']", "web"),
        ('metadata.labels["example.com/tier"]', "gold"),
        ("metadata.labels['empty']", ""),
        ("metadata.labels['zone']", "eu-1"),
        ('metadata.labels["zone"]', "eu-1"),
        ("metadata.labels['none']", None),
        ("metadata.annotations['note']", 'two\nlines "quoted"'),
        ("app.limits.cpu", "250m"),
        ("limits.cpu", "250m"),
        ("limits.memory", None),
        ("side.limits.memory", "64Mi"),
        ("other.limits.memory", None),
        ("requests.cpu", "1"),
        ("app.requests.cpu", "2"),
        ("requests.memory", None),
    ],
)
def test_lookup(path: str, text: str | None) -> None:
    """The text at a path: the whole-labels file before single ones, the undeclared container before the only one."""
    assert POD.get(path) == text


def test_whole_maps_are_as_the_kubelet_writes_them() -> None:
    """What the kubelet's file would hold, so that values with newlines stay apart."""
    assert POD.get("metadata.labels") == 'app="web"\nempty=""\nexample.com/tier="gold"'
    whole = POD.get("metadata.annotations")
    assert whole == ('note="two\\nlines \\"quoted\\""\nraw="\\xff\\x7f\\U000e0001\\u200d\\x01é"')
    assert decode(whole.encode(), "") == POD.annotations
    assert Snapshot().get("metadata.labels") is None


def test_lookup_refuses_unknown_paths() -> None:
    """A path that Kubernetes hasn't is an error, and not merely absent."""
    with pytest.raises(FieldPathError):
        Snapshot().get("metadata.nmae")
