"""Who manages which fields of an object, and server-side apply, which goes by it.

A field is a path of the elements that managedFields are written in: ``f:NAME``, ``k:{KEY}`` for
an element of a list, and ``.`` for the map or the element itself.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.apiserver.answers import Refusal
from tests.apiserver.objects import Object, sorted_deeply
from tests.apiserver.patches import MERGE_KEYS

Path = tuple[str, ...]

_ATOMIC = frozenset({"involvedObject", "regarding", "related", "nodeSelector", "securityContext", "state"})
"""Maps that are one field."""

_ALWAYS_THERE = frozenset({"source", "deprecatedSource"})
"""Maps that nobody makes, as Go's structs have them always."""

_NOBODYS = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "selfLink",
        "deletionTimestamp",
        "managedFields",
    }
)
"""What of the metadata no client manages."""


@dataclass(frozen=True)
class Manager:
    """Somebody who changes objects: an entry of managedFields, without its fields."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""

    @property
    def shown(self) -> str:
        """As conflicts call it."""
        words = f'"{self.name}"'
        if self.subresource:
            words += f' with subresource "{self.subresource}"'
        return f"{words} using {self.api_version}" if self.operation == "Update" else words


@dataclass(frozen=True)
class Entry:
    """What one manages, since when."""

    manager: Manager
    time: str
    fields: frozenset[Path]


def entries_of(found: Object) -> list[Entry]:
    """Read an object's managedFields."""
    entries = []
    for told in (found.get("metadata") or {}).get("managedFields") or ():
        manager = Manager(told["manager"], told["operation"], told["apiVersion"], told.get("subresource", ""))
        entries.append(Entry(manager, told.get("time", ""), frozenset(_paths(told.get("fieldsV1") or {}))))
    return entries


def _written(entries: Iterable[Entry]) -> list[Object]:
    """In the API server's order: those who apply first, then by time."""
    kept = [entry for entry in entries if entry.fields]
    kept.sort(key=lambda entry: (entry.manager.operation, entry.time, entry.manager.name))
    return [_entry(entry) for entry in kept]


def _entry(entry: Entry) -> Object:
    told = {
        "manager": entry.manager.name,
        "operation": entry.manager.operation,
        "apiVersion": entry.manager.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": tree(entry.fields),
    }
    return told | ({"subresource": entry.manager.subresource} if entry.manager.subresource else {})


def tree(fields: Iterable[Path]) -> Object:
    """Paths as fieldsV1."""
    made: Object = {}
    for path in fields:
        at = made
        for step in path:
            at = at.setdefault(step, {})
    ordered: Object = sorted_deeply(made)
    return ordered


def _paths(fields: Object, to: Path = ()) -> Iterator[Path]:
    for step, below in fields.items():
        if below:
            yield from _paths(below, (*to, step))
        else:
            yield (*to, step)


def updated(before: Object, after: Object, manager: Manager, now: str) -> list[Object]:
    """The managedFields after a change: who changes a field manages it, and nobody else does any longer."""
    old, new = dict(_leaves(before, manager.subresource)), dict(_leaves(after, manager.subresource))
    changed = {path for path, value in new.items() if path not in old or old[path] != value}
    gone = old.keys() - new.keys()
    if not changed and not gone:
        return list((before.get("metadata") or {}).get("managedFields") or ())
    own: frozenset[Path] = frozenset()
    entries = []
    for entry in entries_of(before):
        if entry.manager == manager:
            own = entry.fields
        else:
            entries.append(replace(entry, fields=entry.fields - changed - gone))
    entries.append(Entry(manager, now, frozenset((own - gone) | changed)))
    return _written(entries)


def applied(
    before: Object, given: Object, manager: Manager, *, force: bool, now: str
) -> tuple[Object, list[Object]]:
    """An object with something applied to it, and its managedFields. Raises the refusal for a conflict."""
    given = _own_part(given, manager.subresource)
    wanted = {path: value for path, value in _leaves(given, manager.subresource) if _counts(path)}
    old = dict(_leaves(before, "*"))
    entries = entries_of(before)
    others = [entry for entry in entries if entry.manager != manager]
    mine = next((entry for entry in entries if entry.manager == manager), None)
    conflicts = [
        (entry.manager, path)
        for entry in others
        for path in sorted(entry.fields & wanted.keys())
        if path[-1] != "." and old.get(path) != wanted[path]
    ]
    if conflicts and not force:
        raise _conflict(conflicts)
    after = _merged(before, given)
    if mine is not None:
        kept = frozenset().union(*(entry.fields for entry in others)) | wanted.keys()
        for path in sorted(mine.fields - kept, key=lambda path: (len(path), path[-1] != ".")):
            _remove(after, path)  # an element before its fields, as it is known by one of them
    lost = {path for _, path in conflicts}
    others = [replace(entry, fields=entry.fields - lost) for entry in others]
    fields = frozenset(wanted)
    since = mine.time if mine is not None and mine.fields == fields else now
    return after, _written([*others, Entry(manager, since, fields)])


def _conflict(conflicts: list[tuple[Manager, Path]]) -> Refusal:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f"conflict with {manager.shown}",
            "field": readable(path),
        }
        for manager, path in conflicts
    ]
    if len(conflicts) == 1:
        manager, path = conflicts[0]
        message = f"Apply failed with 1 conflict: conflict with {manager.shown}: {readable(path)}"
    else:
        lines = []
        for manager in dict.fromkeys(manager for manager, _ in conflicts):
            lines.append(f"conflicts with {manager.shown}:")
            lines += [f"- {readable(path)}" for whose, path in conflicts if whose == manager]
        message = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
    return Refusal(409, "Conflict", message, {"causes": causes})


def readable(path: Path) -> str:
    """A path as conflicts show it: ``.status.conditions[type="Ready"].status``."""
    words = ""
    for step in path:
        if step.startswith("f:"):
            words += f".{step[2:]}"
        elif step.startswith("k:"):
            keys = json.loads(step[2:])
            words += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in keys.items()) + "]"
    return words


def _counts(path: Path) -> bool:
    """Whether an applied path is kept: of maps only what is in them, of lists the elements, too."""
    return path[-1] != "." or path[-2].startswith("k:")


def _own_part(given: Object, subresource: str) -> Object:
    """Without what is reset where it is applied."""
    drop = ("spec",) if subresource == "status" else ("status",)
    metadata = dict(given.get("metadata") or {})
    if subresource == "status":
        metadata.pop("ownerReferences", None)
    return {**{key: value for key, value in given.items() if key not in drop}, "metadata": metadata}


def _leaves(given: Object, subresource: str) -> Iterator[tuple[Path, Any]]:
    """All fields of an object with their values, but those that nobody manages."""
    for key, value in given.items():
        if key in ("kind", "apiVersion") or (key == "status" and not subresource):
            continue
        if key == "metadata":
            own = {name: part for name, part in (value or {}).items() if name not in _NOBODYS}
            for name, part in own.items():
                yield from _below(("f:metadata", f"f:{name}"), name, part)
        elif key in ("spec", "status") and isinstance(value, dict):
            for name, part in value.items():
                yield from _below((f"f:{key}", f"f:{name}"), name, part)
        else:
            yield from _below((f"f:{key}",), key, value)


def _below(path: Path, name: str, value: Any) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value and name not in _ATOMIC:
        if name not in _ALWAYS_THERE:
            yield (*path, "."), None
        for key, part in value.items():
            yield from _below((*path, f"f:{key}"), key, part)
    elif isinstance(value, list) and name in MERGE_KEYS and value:
        yield (*path, "."), None
        for element in value:
            step = _step(name, element)
            yield (*path, step, "."), None
            for key, part in element.items():
                yield from _below((*path, step, f"f:{key}"), key, part)
    elif value not in ({}, []) or name in _ATOMIC:
        yield path, value


def _step(name: str, element: Object) -> str:
    key = MERGE_KEYS[name]
    return "k:" + json.dumps({key: element.get(key)}, separators=(",", ":"))


def _merged(before: Any, given: Any, name: str = "") -> Any:
    if isinstance(given, dict) and name not in _ATOMIC:
        merged = dict(before) if isinstance(before, dict) else {}
        for key, value in given.items():
            merged[key] = _merged(merged.get(key), value, key)
        return merged
    if isinstance(given, list) and name in MERGE_KEYS:
        merged_list = list(before or ())
        for element in given:
            steps = [_step(name, old) for old in merged_list]
            step = _step(name, element)
            if step in steps:
                at = steps.index(step)
                merged_list[at] = _merged(merged_list[at], element)
            else:
                merged_list.append(copy.deepcopy(element))
        return merged_list
    return copy.deepcopy(given)


def _remove(target: Any, path: Path) -> None:
    """Take a field out, in place but for what is shared with the object before."""
    step, rest = path[0], path[1:]
    key = step[2:]
    if not isinstance(target, dict) or key not in target:
        return
    if not rest:
        del target[key]
        return
    value = target[key]
    if rest[0].startswith("k:"):
        elements = list(value)
        for at, element in enumerate(elements):
            if _step(key, element) == rest[0]:
                if rest[1:] == (".",):
                    del elements[at]
                else:
                    elements[at] = dict(element)
                    _remove(elements[at], rest[1:])
                break
        target[key] = elements
    elif rest != (".",):
        target[key] = dict(value) if isinstance(value, dict) else value
        _remove(target[key], rest)
