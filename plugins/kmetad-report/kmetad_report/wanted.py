"""What is to be seen, as the API has it: the Pod's name, annotations, a condition, texts that can be shown.

Nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kmetad.events import Outcome, rfc3339
from kmetad.metadata import Snapshot
from kmetad_report.force import Standing, Values
from kmetad_report.options import PREFIX

COMPONENT = "kmetad-report"
"""The beginning of every field manager, and who Events come from."""

LONGEST = 960
"""Bytes of a message. Events have 1,024 (events.k8s.io: noteLengthLimit), and a little may follow it."""

_KEYS = 10


@dataclass(frozen=True, slots=True)
class Pod:
    """Which one this is, as far as that is known; parts that aren't are empty."""

    name: str
    namespace: str = ""
    uid: str = ""
    node: str = ""

    def metadata(self) -> dict[str, str]:
        """What stands at its head in a patch. With the uid, a later Pod of this name isn't taken for it."""
        return {"name": self.name} | ({"uid": self.uid} if self.uid else {})


def pod_of(snapshot: Snapshot) -> Pod | None:
    """The Pod; None where its name isn't known."""
    fields = snapshot.fields
    name = fields.get("metadata.name", "")
    rest = (fields.get(path, "") for path in ("metadata.namespace", "metadata.uid", "spec.nodeName"))
    return Pod(name, *rest) if name else None


def manager(instance: str, container: str | None) -> str:
    """The field manager: another for each container and each instance (meta/v1: 128 characters at most)."""
    of_container = f"-{container}" if container else ""
    # A container's name holds no dot, so these can't be mistaken for each other.
    return f"{COMPONENT}{of_container}{'' if instance == 'report' else f'.{instance}'}"[:128]


def as_annotations(values: Values) -> dict[str, str]:
    """The annotations that say what is in force."""
    return {PREFIX + name: text for name, text in sorted(values.items())}


def reports(pod: Mapping[str, Any], manager: str) -> dict[str, str]:
    """The annotations of a Pod that a field manager has applied."""
    metadata = pod.get("metadata", {})
    there = metadata.get("annotations") or {}
    own: set[str] = set()
    for entry in metadata.get("managedFields") or ():
        if entry.get("manager") == manager and entry.get("operation") == "Apply":
            fields = entry.get("fieldsV1", {}).get("f:metadata", {}).get("f:annotations", {})
            own |= {name.removeprefix("f:") for name in fields}
    return {key: text for key, text in sorted(there.items()) if key in own}


def leaves_nothing(snapshot: Snapshot) -> bool:
    """Whether it is certain that no report of an earlier life is there: annotations are, and none is one.

    The kubelet adds its own to the file, so it is never empty where it is projected.
    """
    return bool(snapshot.annotations) and not any(key.startswith(PREFIX) for key in snapshot.annotations)


@dataclass(frozen=True, slots=True)
class Condition:
    """A Pod condition but for its type and time."""

    status: str
    reason: str
    message: str

    def body(self, type_: str, since: str) -> dict[str, str]:
        """As it stands in the Pod's status. ``since``: when ``status`` came to be this (RFC 3339)."""
        return {
            "type": type_,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "lastTransitionTime": since,
        }


def condition(now: Standing) -> Condition | None:
    """What it is to be; None: it stays as it is, or absent, which a readiness gate takes for False."""
    if now.state == "pending":
        return None
    if now.state == "failed":
        return Condition("False", "Failed", printable(now.why))
    if not now.instances:
        return Condition("True", "Applied", "kmetad has seen what the Pod is; no other instance is told")
    return Condition("True", "Applied", printable(f"applied by {', '.join(now.instances)}"))


def printable(text: str, longest: int = LONGEST) -> str:
    """The text on one line, without what could pass for another, and no longer than so many bytes."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    data = shown.encode(errors="replace")
    if len(data) <= longest:
        return data.decode()
    return data[: longest - 3].decode(errors="ignore") + "…"


@dataclass(frozen=True, slots=True)
class Message:
    """What an Event says; equal ones are the same Event, counted."""

    type: str
    reason: str
    text: str


def message(outcome: Outcome) -> Message | None:
    """What is to be said of a try; None of one that was put off."""
    if outcome.result == "postponed":
        return None
    keys = [
        f"{change.type}:{change.key}" + (f"={change.new}" if change.type == "label" and change.new else "")
        for change in outcome.changes[:_KEYS]
    ]
    more = len(outcome.changes) - len(keys)
    told = ", ".join(keys) + (f" and {more} more" if more else "") or "what there is at its start"
    if outcome.result == "failed":
        return Message("Warning", "ApplyFailed", printable(f"{outcome.instance}: {outcome.error} ({told})"))
    if outcome.result == "skipped":
        why = f": {outcome.error}" if outcome.error else ""
        return Message("Normal", "Skipped", printable(f"{outcome.instance} skipped {told}{why}"))
    return Message("Normal", "Applied", printable(f"{outcome.instance} applied {told}"))


def event(pod: Pod, name: str, said: Message, container: str | None, times: tuple[int, int, int]) -> Any:
    """An Event (core/v1). ``times``: first and last, in ns since the epoch, and how many there were."""
    first, last, count = times
    involved: dict[str, str] = {"apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace}
    involved |= pod.metadata()
    if container:
        involved["fieldPath"] = f"spec.containers{{{container}}}"
    source: Mapping[str, str] = {"component": COMPONENT} | ({"host": pod.node} if pod.node else {})
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": pod.namespace},
        "involvedObject": involved,
        "type": said.type,
        "reason": said.reason,
        "message": said.text,
        "source": source,
        "reportingComponent": COMPONENT,
        "reportingInstance": pod.name,
        "firstTimestamp": rfc3339(first, digits=0),
        "lastTimestamp": rfc3339(last, digits=0),
        "count": count,
    }
