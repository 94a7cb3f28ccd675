"""Objects as dicts: their form, their selection, and a Pod to begin with."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

from tests.apiserver.access import uid_of
from tests.apiserver.answers import bad_request

Object = dict[str, Any]

_METADATA = (
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)
"""The order in which the API server writes them."""

KNOWN_METADATA = frozenset({*_METADATA, "selfLink"})

_EQUAL = re.compile(r"([^!=\s]+)\s*(==|=|!=)\s*(.*)")
_SET = re.compile(r"(\S+)\s+(in|notin)\s*\((.*)\)")


def pod(
    name: str,
    namespace: str = "default",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **more: Any,
) -> Object:
    """A Pod that runs; ``more`` are further parts of it, merged into ``spec``, ``status`` and ``metadata``."""
    at = "2026-11-23T04:51:23Z"
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": at}
        for kind in ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    ]
    container = {"name": "main", "image": "lab.local/base:1", "resources": {}}
    running = {
        "name": "main",
        "state": {"running": {"startedAt": at}},
        "lastState": {},
        "ready": True,
        "restartCount": 0,
        "image": "lab.local/base:1",
        "imageID": "",
        "started": True,
    }
    made: Object = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid_of(f"{namespace}/{name}"),
            "creationTimestamp": at,
            "labels": dict(labels or {}),
            "annotations": dict(annotations or {}),
        },
        "spec": {"containers": [container], "nodeName": "lab-node", "serviceAccountName": "default"},
        "status": {
            "phase": "Running",
            "conditions": conditions,
            "hostIP": "192.0.2.2",
            "podIP": "192.0.2.2",
            "podIPs": [{"ip": "192.0.2.2"}],
            "startTime": at,
            "containerStatuses": [running],
            "qosClass": "BestEffort",
        },
    }
    for part, change in more.items():
        made[part] = {**made.get(part, {}), **change}
    return made


def normal(given: Object) -> Object:
    """A copy in the order in which the API server writes an object, without what is empty in its metadata."""
    given = copy.deepcopy(given)
    metadata = given.get("metadata") or {}
    for texts in ("labels", "annotations"):
        if metadata.get(texts):
            metadata[texts] = dict(sorted(metadata[texts].items()))
    for empty in ("labels", "annotations", "ownerReferences", "finalizers", "managedFields"):
        if empty in metadata and not metadata[empty]:
            del metadata[empty]
    order = [key for key in _METADATA if key in metadata]
    order += [key for key in metadata if key not in _METADATA]
    first = {"kind": given.get("kind"), "apiVersion": given.get("apiVersion")}
    return {
        **first,
        "metadata": {key: metadata[key] for key in order},
        **{key: value for key, value in given.items() if key not in ("kind", "apiVersion", "metadata")},
    }


def sorted_deeply(given: Any) -> Any:
    """A copy with all maps in the order of their keys."""
    if isinstance(given, dict):
        return {key: sorted_deeply(given[key]) for key in sorted(given)}
    return [sorted_deeply(item) for item in given] if isinstance(given, list) else given


def selects(labels: str, fields: str, candidate: Object) -> bool:
    """Whether a labelSelector and a fieldSelector choose an object."""
    own = candidate["metadata"].get("labels") or {}
    return all(_label(part, own) for part in _parts(labels)) and all(
        _field(part, candidate) for part in _parts(fields)
    )


def _parts(selector: str) -> list[str]:
    return [part.strip() for part in re.split(r",(?![^(]*\))", selector) if part.strip()]


def _label(part: str, own: Mapping[str, str]) -> bool:
    if found := _SET.fullmatch(part):
        among = own.get(found[1]) in [value.strip() for value in found[3].split(",")]
        return among if found[2] == "in" else not among
    if found := _EQUAL.fullmatch(part):
        return (own.get(found[1]) == found[3]) == (found[2] != "!=")
    return part[1:] not in own if part.startswith("!") else part in own


def _field(part: str, candidate: Object) -> bool:
    found = _EQUAL.fullmatch(part)
    if found is None:
        raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
    value: Any = candidate
    for step in found[1].split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return (("" if value is None else str(value)) == found[3]) == (found[2] != "!=")
