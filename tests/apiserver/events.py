"""Events: one kind of objects in two groups, of which the older is laxer."""

from __future__ import annotations

import re
from typing import Any

from tests.apiserver.answers import Cause, bad_request, missing, wrong
from tests.apiserver.discovery import Resource
from tests.apiserver.naming import BAD_PART, BAD_SUBDOMAIN, NAME, SUBDOMAIN
from tests.apiserver.objects import Object

_NEWER = {
    "regarding": "involvedObject",
    "note": "message",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
    "reportingController": "reportingComponent",
}
"""What fields are called in events.k8s.io, and in the core."""

_NEW_ORDER = (
    "eventTime",
    "series",
    "reportingController",
    "reportingInstance",
    "action",
    "reason",
    "regarding",
    "related",
    "note",
    "type",
    "deprecatedSource",
    "deprecatedFirstTimestamp",
    "deprecatedLastTimestamp",
    "deprecatedCount",
)
_OLD_ORDER = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "series",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
)
_ALWAYS: dict[str, Any] = {
    "source": {},
    "firstTimestamp": None,
    "lastTimestamp": None,
    "eventTime": None,
    "reportingComponent": "",
    "reportingInstance": "",
}
_MICRO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_SECONDS = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(.*)")
_MAX_NOTE = 1024


def stored(given: Object, resource: Resource) -> Object:
    """As it is kept: in the core's form."""
    renamed = {_NEWER.get(key, key): value for key, value in given.items()} if resource.group else dict(given)
    full = {**_ALWAYS, **renamed}
    return {"kind": "Event", "apiVersion": "v1", "metadata": given["metadata"], **_ordered(full, _OLD_ORDER)}


def shown(found: Object, resource: Resource) -> Object:
    """As a client of either group sees it."""
    if not resource.group:
        return found
    names = {core: newer for newer, core in _NEWER.items()}
    renamed = {names.get(key, key): value for key, value in found.items()}
    for empty in ("reportingController", "reportingInstance"):
        if not renamed.get(empty):
            renamed.pop(empty, None)
    first = {"kind": "Event", "apiVersion": resource.api_version, "metadata": found["metadata"]}
    return {**first, **_ordered(renamed, _NEW_ORDER)}


def faults(given: Object, resource: Resource) -> list[Cause]:
    """What is wrong with a new one. Raises the refusal for a time that can't be read."""
    _check_time(given.get("eventTime"))
    metadata = given["metadata"]
    about = given.get("involvedObject" if not resource.group else "regarding") or {}
    causes = []
    if about.get("namespace", "default") != metadata["namespace"] and (
        about.get("namespace") or metadata["namespace"] != "default"
    ):
        field = "involvedObject.namespace"
        causes.append(wrong(field, f'"{about.get("namespace", "")}"', "does not match event.namespace"))
    if resource.group:
        causes += _faults_of_newer(given)
    return causes


def _check_time(stamp: Any) -> None:
    if stamp is None or _MICRO.fullmatch(str(stamp)):
        return
    found = _SECONDS.fullmatch(str(stamp))
    layout = "2006-01-02T15:04:05.000000Z07:00"
    rest, wanted = (found[2], ".000000") if found else (str(stamp), "2006")
    raise bad_request(
        'Event in version "v1" cannot be handled as a Event: '
        f'parsing time "{stamp}" as "{layout}": cannot parse "{rest}" as "{wanted}"'
    )


def _faults_of_newer(given: Object) -> list[Cause]:
    causes = []
    prefix = given["metadata"].get("generateName", "")
    if prefix and not re.fullmatch(SUBDOMAIN, re.sub("-$", "a", prefix)):
        causes.append(wrong("metadata.generateName", f'"{prefix}"', BAD_SUBDOMAIN))
    if not given.get("eventTime"):
        causes.append(missing("eventTime"))
    controller = given.get("reportingController", "")
    if not controller:
        causes.append(missing("reportingController"))
        causes.append(wrong("reportingController", '""', "name part must be non-empty"))
    if not re.fullmatch(NAME, controller.rpartition("/")[2]):
        causes.append(wrong("reportingController", f'"{controller}"', BAD_PART))
    for field in ("reportingInstance", "action", "reason"):
        if not given.get(field):
            causes.append(missing(field))
    if given.get("type") not in ("Normal", "Warning"):
        causes.append(wrong("type", '""', f"has invalid value: {given.get('type', '')}"))
    for field, limit in (("reportingInstance", 128), ("action", 128), ("reason", 128)):
        if len(given.get(field, "")) > limit:
            causes.append(wrong(field, '""', f"can have at most {limit} characters"))
    if len(given.get("note", "")) > _MAX_NOTE:
        causes.append(wrong("message", '""', f"can have at most {_MAX_NOTE} characters"))
    return causes


def _ordered(given: Object, order: tuple[str, ...]) -> Object:
    return {key: given[key] for key in order if key in given}
