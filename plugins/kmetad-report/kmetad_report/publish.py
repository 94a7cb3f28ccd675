"""What is made visible, a class each: how far behind it is, and the calls that bring it up.

All but ``Events.add`` is the worker's alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from kmetad.events import Outcome, rfc3339
from kmetad.metadata import Snapshot
from kmetad_report import wanted
from kmetad_report.force import History, Standing
from kmetad_report.tally import Entry, Sent, Tally
from kmetad_report.trouble import is_ours, managers
from kmetad_report.wanted import Condition, Pod

if TYPE_CHECKING:
    from kmetad.api import Client


class Subject(Protocol):
    """One thing that is kept as it should be."""

    name: str
    on_pod: bool
    """Whether its calls are about the Pod itself."""

    def due(self, now: Standing, pod: Pod) -> float | None:
        """Seconds until there is something to call for; None if there is nothing."""

    def bring(self, client: Client, pod: Pod) -> Mapping[str, Any]:
        """Make it what it was to be at the last ``due``; answers what to log. Raises what the client does."""


class Shown:
    """The Pod's annotations and condition, in one.

    Both go through ``pods/status``, whose right doesn't let its holder change what Pods run: of a Pod's
    metadata it takes annotations (Kubernetes, pkg/registry/core/pod/strategy.go: podStatusStrategy). A manager's
    apply says all that it wants of them, so they can't be two.

    ``condition``: its type. ``pace``: seconds from one call to the next, at least. ``snapshot`` answers
    what the Pod is.
    """

    name = "pod"
    on_pod = True

    def __init__(
        self,
        history: History,
        condition: str | None,
        apply: Apply,
        snapshot: Callable[[], Snapshot],
        *,
        pace: float,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._history = history
        self._type = condition
        self._apply = apply
        self._snapshot = snapshot
        self._pace = Pace(pace, clock)
        self._now_ns = now_ns
        self._there: There | None = None
        self._annotations: Mapping[str, str] | None = None  # what is wanted; None: it stays
        self._condition: Condition | None = None

    def due(self, now: Standing, pod: Pod) -> float | None:
        """When what is there isn't what should be. What isn't known, or is under way, stays as it is."""
        values = None if now.generation is None else self._history.at(now.generation)
        self._annotations = None if values is None else wanted.as_annotations(values)
        self._condition = None if self._type is None else wanted.condition(now)
        there = self._there
        if there is None or there.pod != pod:
            certain = not self._annotations and wanted.leaves_nothing(self._snapshot())
            same = (self._annotations is None or certain) and self._condition is None
        else:
            same = self._next(there) == there
        return None if same else self._pace.left()

    def bring(self, client: Client, pod: Pod) -> Mapping[str, Any]:
        """One server-side apply: what it held before and doesn't now goes. Before the first, a look."""
        self._pace.start()
        if self._there is None or self._there.pod != pod:
            self._there = self._look(client, pod)
        there = self._there
        next_ = self._next(there)
        if next_ == there:
            return {}
        body: dict[str, Any] = {"metadata": {"annotations": dict(next_.annotations)}}
        if self._type is not None and next_.condition is not None:
            body["status"] = {"conditions": [next_.condition.body(self._type, next_.since)]}
        self._apply.to(client, pod, body)
        self._there = next_
        logged: dict[str, Any] = {"annotations": dict(next_.annotations)}
        if next_.condition is not None and next_.condition != there.condition:
            logged |= {"status": next_.condition.status, "message": next_.condition.message}
        return logged

    def _next(self, there: There) -> There:
        """What is to be there instead."""
        annotations = there.annotations if self._annotations is None else self._annotations
        condition, since = self._condition or there.condition, there.since
        if condition is not None and (there.condition is None or there.condition.status != condition.status):
            since = ""  # it is a transition
        if condition is not None and not since:
            since = rfc3339(self._now_ns(), digits=0)
        return There(there.pod, annotations, condition, since)

    def _look(self, client: Client, pod: Pod) -> There:
        """What an earlier life left: what stays has to be applied again, and ``lastTransitionTime`` moves rarely.

        By a patch of nothing, which answers the Pod: so no right to read it is needed.
        """
        from kmetad.api import path_of

        path = path_of("pods", pod.name, namespace=pod.namespace, subresource="status")
        nothing = {"metadata": pod.metadata()}
        answer = client.patch(path, nothing, type="merge", field_manager=self._apply.manager)
        annotations = wanted.reports(answer, self._apply.manager)
        for each in answer.get("status", {}).get("conditions") or ():
            if each.get("type") == self._type:
                texts = [each.get(key) or "" for key in ("status", "reason", "message", "lastTransitionTime")]
                return There(pod, annotations, Condition(*texts[:3]), texts[3])
        return There(pod, annotations)


@dataclass(frozen=True, slots=True)
class There:
    """What is visible, as far as it is this report's."""

    pod: Pod
    annotations: Mapping[str, str]
    condition: Condition | None = None
    since: str = field(default="", compare=False)
    """When the condition's status came to be that (RFC 3339)."""


class Events:
    """What instances did. ``add`` may be called from any thread."""

    name = "events"
    on_pod = False

    def __init__(
        self,
        tally: Tally,
        manager: str,
        container: str | None,
        log: Any,
        *,
        clock: Callable[[], float] = time.monotonic,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._tally = tally
        self._manager = manager
        self._container = container
        self._log = log
        self._clock = clock
        self._now_ns = now_ns
        self._lock = threading.Lock()

    def add(self, outcome: Outcome) -> None:
        """An instance did this."""
        with self._lock:
            self._tally.add(outcome, self._now_ns())

    def due(self, now: Standing, pod: Pod) -> float | None:
        """When one waits, and another one is allowed."""
        with self._lock:
            return self._tally.wait(self._clock())

    def bring(self, client: Client, pod: Pod) -> Mapping[str, Any]:
        """One Event: made, or counted up. One that is refused doesn't keep those behind it out."""
        from kmetad.api import BadRequest, Forbidden, Invalid

        with self._lock:
            entry, sent = self._tally.next()
            if not entry.name:
                entry.name = f"{pod.name}.{self._now_ns():x}"  # as client-go's recorder names them
            count, left_out = entry.count, self._tally.left_out
        logged = {"reason": entry.message.reason, "message": entry.message.text, "count": count}
        try:
            if sent is None:
                self._make(client, pod, entry, count, left_out)
            elif not self._count_up(client, pod, entry, sent, count):
                return {}
        except (BadRequest, Invalid, Forbidden) as error:
            if isinstance(error, Forbidden) and error.rule is not None:
                raise  # a role's, which is for all of them; else an admission webhook's
            with self._lock:
                self._tally.leave_out(entry, self._clock())
            self._log.warning("report.event_refused", error=str(error), **logged)
            return {}
        with self._lock:
            self._tally.done(entry, count, 0 if sent is not None else left_out, self._clock())
        return logged

    def _count_up(self, client: Client, pod: Pod, entry: Entry, sent: Sent, count: int) -> bool:
        """Say of the Event that is there that it was so often more. False if it isn't there any more."""
        from kmetad.api import NotFound, path_of

        body = {"count": sent.count + count, "lastTimestamp": rfc3339(entry.last_ns, digits=0)}
        path = path_of("events", sent.name, namespace=pod.namespace)
        try:
            client.patch(path, body, type="merge", field_manager=self._manager)
        except NotFound:
            with self._lock:
                self._tally.forget(entry)
            return False
        return True

    def _make(self, client: Client, pod: Pod, entry: Entry, count: int, left_out: int) -> None:
        """Make an Event, which says also how many others were left out before it."""
        from kmetad.api import Conflict, path_of

        said = entry.message
        if left_out:
            more = f"{said.text} (and {left_out} more that were left out)"
            said = wanted.Message(said.type, said.reason, more)
        times = entry.first_ns, entry.last_ns, count
        body = wanted.event(pod, entry.name, said, self._container, times)
        try:
            client.create(path_of("events", namespace=pod.namespace), body, {"fieldManager": self._manager})
        except Conflict as error:
            if error.reason != "AlreadyExists":
                raise  # else: it was made by a try whose answer didn't come


class Apply:
    """Server-side apply to the Pod, by one field manager.

    What another report has is left to it, and raises Conflict; from anybody else it is taken:
    these fields have their names for that.
    """

    def __init__(self, manager: str, log: Any) -> None:
        self.manager = manager
        self._log = log

    def to(self, client: Client, pod: Pod, body: Mapping[str, Any]) -> None:
        """Have the Pod hold this, and nothing else of this manager's."""
        from kmetad.api import Conflict, path_of

        whole = {"apiVersion": "v1", "kind": "Pod", **body}
        whole["metadata"] = pod.metadata() | body["metadata"]
        path = path_of("pods", pod.name, namespace=pod.namespace, subresource="status")
        try:
            client.patch(path, whole, type="apply", field_manager=self.manager)
            return
        except Conflict as error:
            others = managers(error)
            if not others or any(map(is_ours, others)):
                raise
        self._log.info("report.taken_over", of=others, pod=pod.name)
        client.patch(path, whole, type="apply", field_manager=self.manager, force=True)


class Pace:
    """So many seconds from one call to the next, at least."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until = float("-inf")

    def start(self) -> None:
        """A call is made now."""
        self._until = self._clock() + self._seconds

    def left(self) -> float:
        """Seconds until the next."""
        return max(0.0, self._until - self._clock())
