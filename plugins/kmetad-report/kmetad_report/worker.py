"""The thread that makes it visible: it looks, compares with what it last made visible, and calls.

Level-triggered: whoever nudges it says only that something may be different. Nothing queues, and no
hook waits for a call.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kmetad.metadata import Snapshot
from kmetad_report import trouble
from kmetad_report.force import Standing
from kmetad_report.publish import Subject
from kmetad_report.wanted import Pod, pod_of

if TYPE_CHECKING:
    from kmetad.api import Client

_INITIAL, _SLOW, _MAX = 1.0, 10.0, 60.0
"""Seconds of the first wait after a failed call, of that where somebody has to do something, and of the longest."""
_AGAIN, _AGAIN_MAX = 0.1, 30.0
"""Seconds until it looks again at what nobody tells of: at first, and at most."""


@dataclass
class _Duty:
    """A subject and its failures."""

    subject: Subject
    failures: int = 0
    until: float = float("-inf")
    said: set[str] = field(default_factory=set)


class Worker:
    """See the module. ``nudge`` and ``stop`` may be called from any thread.

    ``standing`` and ``snapshot`` answer what is; ``client`` makes what calls. ``scale`` stretches
    all waits after failures; ``clock`` is monotonic, in seconds.
    """

    def __init__(
        self,
        name: str,
        subjects: Sequence[Subject],
        log: Any,
        *,
        standing: Callable[[], Standing],
        snapshot: Callable[[], Snapshot],
        client: Callable[[], Client],
        scale: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._duties = [_Duty(subject) for subject in subjects]
        self._log = log
        self._standing = standing
        self._snapshot = snapshot
        self._client = client
        self._scale = scale
        self._clock = clock
        self._uniform = uniform
        self._nudged = threading.Event()
        self._stopping = False
        self._again = _AGAIN
        self._polls = any(subject.on_pod for subject in subjects)  # Events come with what they tell of
        self._home = ""  # the namespace, where only the client knows it
        self._gone: Pod | None = None
        self._nameless = False
        self._thread = threading.Thread(target=self._run, name=f"report-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread, if it isn't yet, and have it look."""
        if self._thread.ident is None:
            self._thread.start()
        self.nudge()

    def nudge(self) -> None:
        """Something may be different."""
        self._nudged.set()

    def stop(self, timeout: float) -> None:
        """End; a call that is under way has so many seconds, and is left alone after that."""
        self._stopping = True
        self._nudged.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    # -- on its own thread ------------------------------------------------------------

    def _run(self) -> None:
        wait: float | None = None
        while True:
            if self._nudged.wait(wait):
                self._nudged.clear()
                self._again = _AGAIN
            if self._stopping:
                return
            try:
                wait = self.look()
            except Exception:  # a fault of this plugin's own: it is said, and the next nudge is a new try
                self._log.exception("report.fault")
                wait = _MAX

    def look(self) -> float | None:
        """Bring up what is behind. Answers the seconds until it has to look again; None: not before a nudge."""
        now = self._standing()
        waits = []
        if now.look_again and self._polls:
            waits.append(self._again)
            self._again = min(2 * self._again, _AGAIN_MAX)
        pod = self._pod()
        if pod is None or pod == self._gone:
            return None
        for duty in self._duties:
            due = duty.subject.due(now, pod)
            if due is None:
                continue
            wait = max(due, duty.until - self._clock())
            if wait > 0:
                waits.append(wait)
            else:
                self._bring(duty, pod)
                return 0.0  # what was true before the call may be no more
        return min(waits, default=None)

    def _pod(self) -> Pod | None:
        pod = pod_of(self._snapshot())
        if pod is None and not self._nameless:
            self._nameless = True
            self._log.warning("report.nameless", remedy=NAMELESS)
        return None if pod is None else replace(pod, namespace=pod.namespace or self._home)

    def _bring(self, duty: _Duty, pod: Pod) -> None:
        subject = duty.subject
        try:
            client = self._client()
            if not pod.namespace:
                self._home = client.namespace
                if not self._home:
                    raise trouble.Unplaced(NAMESPACELESS)
                pod = replace(pod, namespace=self._home)
            told = subject.bring(client, pod)
        except Exception as error:
            self._failed(duty, pod, error)
            return
        if duty.failures:
            self._log.info("report.recovered", what=subject.name, failures=duty.failures)
        duty.failures = 0
        duty.said.clear()
        if told:
            self._log.info("report.visible", what=subject.name, **told)

    def _failed(self, duty: _Duty, pod: Pod, error: Exception) -> None:
        met = trouble.of(error, on_pod=pod.name if duty.subject.on_pod else None)
        if met.gone:
            self._gone = pod
            self._log.warning("report.pod_gone", pod=pod.name, namespace=pod.namespace, error=met.sentence)
            return
        ceiling = min(_MAX, (_SLOW if met.slow else _INITIAL) * 2 ** min(duty.failures, 16)) * self._scale
        duty.failures += 1
        wait = max(self._uniform(ceiling / 2, ceiling), met.after)
        duty.until = self._clock() + wait
        if met.kind in duty.said:
            return
        duty.said.add(met.kind)
        fault = None if met.foreseen else error
        retry = {"retry_in": round(wait, 3)}
        self._log.warning(
            "report.failed", what=duty.subject.name, error=met.sentence, **retry, exc_info=fault
        )


NAMELESS = (
    "the Pod's name isn't known, so nothing can be reported: project metadata.name (and metadata.uid, "
    "metadata.namespace) into the volume, each as a file of its own, or into variables"
)
NAMESPACELESS = (
    "the Pod's namespace isn't known: project metadata.namespace into the volume, as a file of its own, or into a "
    "variable"
)
