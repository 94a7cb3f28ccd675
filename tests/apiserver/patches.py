"""Patches: JSON merge (RFC 7386), JSON (RFC 6902), and the strategic merge as far as Pods need it."""

from __future__ import annotations

import copy
from typing import Any

from tests.apiserver.answers import Refusal

MERGE_KEYS = {
    "conditions": "type",
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "podIPs": "ip",
    "hostIPs": "ip",
    "hostAliases": "ip",
    "readinessGates": "conditionType",
    "secrets": "name",
}
"""By which field the elements of a list are told apart; other lists are replaced as a whole."""


def merge(target: Any, patch: Any) -> Any:
    """The JSON merge patch."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def strategic(target: Any, patch: Any) -> Any:
    """The strategic merge patch: lists whose elements have a key are merged by it."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    if patch.get("$patch") == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            merged[field] = [item for item in merged.get(field, ()) if item not in value]
        elif key.startswith("$"):
            continue  # the order of elements, and keys to be retained, are of no matter here
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, list) and key in MERGE_KEYS:
            merged[key] = _elements(merged.get(key) or [], value, MERGE_KEYS[key])
        else:
            merged[key] = strategic(merged.get(key), value)
    return merged


def _elements(target: list[Any], patch: list[Any], key: str) -> list[Any]:
    if any(element.get("$patch") == "replace" for element in patch):
        return [copy.deepcopy(element) for element in patch if element.get("$patch") != "replace"]
    merged = list(target)
    for element in patch:
        own = element.get(key)
        at = next((index for index, old in enumerate(merged) if old.get(key) == own), None)
        if element.get("$patch") == "delete":
            merged = [old for old in merged if old.get(key) != own]
        elif at is None:
            merged.append(strategic({}, element))
        else:
            merged[at] = strategic(merged[at], element)
    return merged


def apply_json(target: Any, patch: Any) -> Any:
    """The JSON patch. Raises the API server's refusal for one that can't be applied."""
    result = copy.deepcopy(target)
    try:
        for operation in patch:
            result = _operate(result, operation)
    except (KeyError, IndexError, TypeError, ValueError, AssertionError):
        message = "the server rejected our request due to an error in our request"
        raise Refusal(422, "Invalid", message, {}) from None
    return result


def _operate(target: Any, operation: dict[str, Any]) -> Any:
    kind, steps = operation["op"], _steps(operation["path"])
    if kind == "test":
        assert _value(target, steps) == operation["value"]
        return target
    if kind in ("move", "copy"):
        source = _steps(operation["from"])
        value = copy.deepcopy(_value(target, source))
        if kind == "move":
            target = _removed(target, source)
        return _added(target, steps, value)
    if kind == "add":
        return _added(target, steps, operation["value"])
    if kind == "replace":
        return _added(_removed(target, steps), steps, operation["value"]) if steps else operation["value"]
    if kind == "remove":
        return _removed(target, steps)
    raise ValueError(kind)


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _value(target: Any, steps: list[str]) -> Any:
    for step in steps:
        target = target[int(step)] if isinstance(target, list) else target[step]
    return target


def _added(target: Any, steps: list[str], value: Any) -> Any:
    if not steps:
        return value
    parent = _value(target, steps[:-1])
    if isinstance(parent, list):
        parent.insert(len(parent) if steps[-1] == "-" else int(steps[-1]), value)
    else:
        parent[steps[-1]] = value
    return target


def _removed(target: Any, steps: list[str]) -> Any:
    parent = _value(target, steps[:-1])
    del parent[int(steps[-1]) if isinstance(parent, list) else steps[-1]]
    return target
