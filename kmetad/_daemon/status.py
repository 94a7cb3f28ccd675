"""What the daemon says of itself: a ``kmetad.Status``, and the same as JSON."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

import kmetad
from kmetad.metadata import Snapshot
from kmetad.status import AppStatus, ConfigStatus, Counts, LaneStatus, StateStatus, Status, plain

_LONGEST = 300
"""Characters of a plugin's exception that a sentence repeats; ``last_fault`` has it whole."""


class Introspection:
    """Puts the status together when somebody asks, from any thread; nothing is kept for it.

    The callables answer what there is at that moment. ``volumes`` are those that are declared. ``app``
    and ``state`` are left out where there is none.
    """

    def __init__(
        self,
        file: str | None,
        volumes: Iterable[str],
        snapshot: Callable[[], Snapshot],
        lanes: Callable[[], tuple[LaneStatus, ...]],
        *,
        counts: Callable[[], Counts] = Counts,
        app: Callable[[], AppStatus] | None = None,
        state: Callable[[], StateStatus] | None = None,
    ) -> None:
        self._config = ConfigStatus(file)
        self._volumes = tuple(volumes)
        self._snapshot = snapshot
        self._lanes = lanes
        self._counts = counts
        self._app = app
        self._state = state
        self._started_ns = time.time_ns()

    def found(self, faults: Iterable[str]) -> None:
        """What is wrong with the configuration in force."""
        self._config = replace(self._config, faults=tuple(faults))

    def refused(self, faults: Iterable[str]) -> None:
        """What is wrong with a newer one, so that it isn't in force."""
        self._config = replace(self._config, refused=tuple(faults))

    def status(self) -> Status:
        """How kmetad is now."""
        snapshot, lanes, config = self._snapshot(), self._lanes(), self._config
        unready = (
            *(f"the configuration has a fault: {fault}" for fault in config.faults),
            *_unread(self._volumes, snapshot),
            *(_unbegun(lane) for lane in lanes if lane.generation is None),
        )
        return Status(
            ready=not unready,
            unready=unready,
            version=kmetad.__version__,
            pid=os.getpid(),
            started_ns=self._started_ns,
            generation=snapshot.generation,
            config=config,
            sources=snapshot.sources,
            lanes=lanes,
            app=None if self._app is None else self._app(),
            state=None if self._state is None else self._state(),
            counts=self._counts(),
        )

    def document(self) -> bytes:
        """The same as JSON, in ASCII: bytes that were no UTF-8 are escaped lone surrogates."""
        from json import dumps  # with the first who asks: most daemons are never asked

        return dumps(plain(self.status()), separators=(",", ":")).encode("ascii")


def _unread(volumes: Iterable[str], snapshot: Snapshot) -> Iterable[str]:
    """What can't be said of the Pod now, a sentence each."""
    if not snapshot.sources:
        yield "nothing of the Pod has been read yet"
        return
    for name in volumes:
        state = snapshot.sources.get(name)
        if state is not None and not state.speaks:
            yield f"volume {name} is {state.status}: {state.error}"


def _unbegun(lane: LaneStatus) -> str:
    """Why ``on_start`` of an instance hasn't succeeded."""
    if lane.state == "set-aside":
        times = f"{lane.crashes} times in a row"
        return f"plugin {lane.name} is set aside: the daemon died {times} while it was loaded or in one of its hooks"
    sentence = f"plugin {lane.name}: on_start hasn't succeeded yet"
    if lane.state == "stuck":
        return f"{sentence}; it runs for longer than lane.timeout"
    if lane.last_fault is None:
        return sentence
    error = lane.last_fault.error
    return f"{sentence}: {error[:_LONGEST]}{'…' if len(error) > _LONGEST else ''}"
