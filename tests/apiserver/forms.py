"""In which form objects are sent: as they are, as their metadata only, or as a table's rows for kubectl."""

from __future__ import annotations

import calendar
import time
from typing import Any

import yaml

from tests.apiserver.answers import Answer, Headers, Refusal, answer
from tests.apiserver.discovery import Resource
from tests.apiserver.objects import Object
from tests.apiserver.recorded import recorded

_NOT_ACCEPTABLE = (
    "406: Not Acceptable\n\nAvailable representations: "
    "application/json, application/yaml, application/vnd.kubernetes.protobuf"
)
_META = "meta.k8s.io/v1"


class Form:
    """As they are."""

    def one(self, found: Object, resource: Resource, status: int = 200, headers: Headers = ()) -> Answer:
        """The answer that is one object."""
        return self._sent(self.event(found, resource), status, headers)

    def several(self, found: list[Object], resource: Resource, metadata: dict[str, Any]) -> Answer:
        """The answer that is a list."""
        items = [{key: item[key] for key in item if key not in ("kind", "apiVersion")} for item in found]
        return self._sent(
            {
                "kind": f"{resource.kind}List",
                "apiVersion": resource.api_version,
                "metadata": metadata,
                "items": items,
            }
        )

    def event(self, found: Object, resource: Resource) -> Object:
        """The object of a watch's event."""
        return found

    def _sent(self, value: Any, status: int = 200, headers: Headers = ()) -> Answer:
        return answer(value, status, headers)


class _Yaml(Form):
    def _sent(self, value: Any, status: int = 200, headers: Headers = ()) -> Answer:
        return Answer(status, yaml.safe_dump(value).encode(), "application/yaml", headers)


class _Partial(Form):
    def event(self, found: Object, resource: Resource) -> Object:
        return _partial(found)

    def several(self, found: list[Object], resource: Resource, metadata: dict[str, Any]) -> Answer:
        items = [{"metadata": item["metadata"]} for item in found]
        kind = "PartialObjectMetadataList"
        return self._sent({"kind": kind, "apiVersion": _META, "metadata": metadata, "items": items})


class _Table(Form):
    def __init__(self, api_version: str) -> None:
        self._api_version = api_version

    def event(self, found: Object, resource: Resource) -> Object:
        return self._table([found], resource, {"resourceVersion": found["metadata"]["resourceVersion"]})

    def several(self, found: list[Object], resource: Resource, metadata: dict[str, Any]) -> Answer:
        return self._sent(self._table(found, resource, metadata))

    def _table(self, found: list[Object], resource: Resource, metadata: dict[str, Any]) -> Object:
        columns, cells = _COLUMNS.get(resource.kind, (_columns("Name", "Age"), _cells_of_any))
        rows = [{"cells": cells(item), "object": _partial(item)} for item in found]
        return {
            "kind": "Table",
            "apiVersion": self._api_version,
            "metadata": metadata,
            "columnDefinitions": columns,
            "rows": rows,
        }


def negotiated(accept: str) -> Form:
    """The first form of an Accept header that is known. Raises the refusal if none is."""
    for wanted in accept.split(","):
        kind, *given = (part.strip() for part in wanted.split(";"))
        parameters = dict(part.partition("=")[::2] for part in given)
        if kind == "application/yaml":
            return _Yaml()
        if kind not in ("application/json", "application/*", "*/*"):
            continue
        form = parameters.get("as")
        if form == "Table":
            return _Table(f"meta.k8s.io/{parameters.get('v', 'v1')}")
        if form in ("PartialObjectMetadata", "PartialObjectMetadataList"):
            return _Partial()
        if form is None:
            return Form()
    raise Refusal(406, "NotAcceptable", _NOT_ACCEPTABLE, {})


def _partial(found: Object) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": _META, "metadata": found["metadata"]}


def _columns(*names: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "type": "string",
            "format": "name" if name == "Name" else "",
            "description": "",
            "priority": 0,
        }
        for name in names
    ]


def _cells_of_any(found: Object) -> list[Any]:
    return [found["metadata"]["name"], _age(found["metadata"].get("creationTimestamp"))]


def _cells_of_pod(found: Object) -> list[Any]:
    status = found.get("status") or {}
    states = status.get("containerStatuses") or []
    ready = sum(bool(state.get("ready")) for state in states)
    restarts = sum(int(state.get("restartCount", 0)) for state in states)
    waiting = [
        part["reason"]
        for state in states
        for part in (state.get("state") or {}).values()
        if isinstance(part, dict) and part.get("reason")
    ]
    return [
        found["metadata"]["name"],
        f"{ready}/{len(found['spec'].get('containers') or [])}",
        waiting[0] if waiting else status.get("reason") or status.get("phase", "Unknown"),
        str(restarts),
        _age(found["metadata"].get("creationTimestamp")),
        status.get("podIP") or "<none>",
        found["spec"].get("nodeName") or "<none>",
        status.get("nominatedNodeName") or "<none>",
        "<none>",
    ]


def _cells_of_event(found: Object) -> list[Any]:
    about = found.get("involvedObject") or found.get("regarding") or {}
    seen = found.get("lastTimestamp") or found.get("eventTime") or found["metadata"].get("creationTimestamp")
    where = f"{about.get('kind', '').lower()}/{about.get('name', '')}"
    return [
        _age(seen),
        found.get("type", ""),
        found.get("reason", ""),
        where,
        str(found.get("message", found.get("note", ""))).strip(),
        found["metadata"]["name"],
    ]


def _cells_of_config_map(found: Object) -> list[Any]:
    return [found["metadata"]["name"], str(len(found.get("data") or {})), _cells_of_any(found)[1]]


def _cells_of_namespace(found: Object) -> list[Any]:
    name, age = _cells_of_any(found)
    return [name, (found.get("status") or {}).get("phase", ""), age]


_COLUMNS = {
    "Pod": (recorded("pod-table").json["columnDefinitions"], _cells_of_pod),
    "Event": (_columns("Last Seen", "Type", "Reason", "Object", "Message", "Name"), _cells_of_event),
    "ConfigMap": (_columns("Name", "Data", "Age"), _cells_of_config_map),
    "Namespace": (_columns("Name", "Status", "Age"), _cells_of_namespace),
}


def _age(stamp: str | None) -> str:
    """How long ago, shortly."""
    if not stamp:
        return "<unknown>"
    seconds = max(0, int(time.time()) - calendar.timegm(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")))
    for size, unit in ((86400, "d"), (3600, "h"), (120, "m")):
        if seconds >= size:
            return f"{seconds // (60 if unit == 'm' else size)}{unit}"
    return f"{seconds}s"
