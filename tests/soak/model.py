"""What the plugins of the schedules do: apply what they are told, or a part of it, and then what fate has for them.

They write into the journal what they have applied. That they were called, with what, and
how that ended is written in their stead (``record``), between the lane and them.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NoReturn

import msgspec

import kmetad
from kmetad._plugins import Instance
from kmetad.events import Batch
from kmetad.metadata import Snapshot
from tests.soak.journal import Journal, packed, packed_changes


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See ``tests.soak.plan.Plugin``; ``seed`` is another one for each life."""

    seed: str
    fates: dict[str, float] = {}
    start_fates: dict[str, float] = {}
    timeout: float = 30.0


class Unspeakable(Exception):
    """An exception whose text can't be had."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Rude(BaseException):
    """One that no ``except Exception`` catches."""


_ERRORS = (
    RuntimeError,
    OSError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    Unspeakable,
    Rude,
    MemoryError,
)


class World:
    """What all plugins of this process share. Set before the daemon runs."""

    journal: Journal
    calm: int
    """A descriptor that is readable once no plugin misbehaves any more, and none waits."""


class Model:
    """The base of the plugins. ``begin`` is called before each of its hooks."""

    def __init__(self, options: Options, context: kmetad.Context) -> None:
        self._options = options
        self._name = context.name
        self._random = Random(f"{options.seed} {context.name}")
        self._keys: list[tuple[str, str]] = []
        self._applied = 0
        self._meets_at = 0
        self._fate = ""

    def begin(self, fates: Mapping[str, float], keys: list[tuple[str, str]]) -> None:
        """A hook is about to be called with these; one of the fates may be met on the way, or behind them all."""
        random = self._random
        chosen = random.random()
        self._fate = ""
        for fate, probability in fates.items():
            chosen -= probability
            if chosen < 0:
                self._fate = fate
                break
        self._keys = keys
        self._meets_at = random.randint(0, len(keys))
        self._applied = 0

    def take_snapshot(self) -> None:
        """Apply all that the hook was called with."""
        self._random.shuffle(self._keys)
        for type_, key in self._keys:
            self.take(type_, key)
        self.finish()

    def take(self, type_: str, key: str) -> None:
        """Apply one change."""
        if self._applied == self._meets_at:
            self._meet()
        World.journal.write("apply", lane=self._name, keys=[[type_, key]])
        self._applied += 1

    def finish(self) -> None:
        """There is no more to apply."""
        if self._applied == self._meets_at:
            self._meet()

    def _meet(self) -> None:
        self._meets_at = -1
        if self._fate and not _is_calm():
            getattr(self, f"_{self._fate}")()

    def _slow(self) -> None:
        _is_calm(within=0.02 * self._random.random())

    def _hang(self) -> None:
        _is_calm(within=None)

    def _late(self) -> None:
        _is_calm(within=1.1 * self._options.timeout)

    def _raise(self) -> NoReturn:
        raise self._random.choice(_ERRORS)("as it is its fate")

    def _retry(self) -> NoReturn:
        raise kmetad.Retry("as it is its fate", after=self._random.choice((None, 0, 0.01)))

    def _skip(self) -> NoReturn:
        raise kmetad.Skip("as it is its fate")

    def _exit(self) -> NoReturn:
        os._exit(3)

    def _kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _alarm(self) -> None:
        """The process dies soon: in what follows upon this hook, if fate wills."""
        signal.setitimer(
            signal.ITIMER_REAL, self._random.choice((0.0001, 0.0005, 0.003)) * self._random.random()
        )


def record(journal: Journal) -> None:
    """From now on all calls of plugins in this process are written down.

    A line before the plugin is entered, and one before it returns to its lane.
    """

    def around(instance: Instance, original: Callable[..., None], *arguments: Any) -> None:
        begun = time.monotonic()
        how = "return"
        try:
            original(instance, *arguments)
        except kmetad.Retry:
            how = "retry"
            raise
        except kmetad.Skip:
            how = "skip"
            raise
        except BaseException:
            how = "raise"
            raise
        finally:
            journal.write("end", lane=instance.name, how=how, took=time.monotonic() - begun)

    originals = Instance.start, Instance.deliver, Instance.stop

    def start(instance: Instance, snapshot: Snapshot) -> None:
        now = packed(snapshot)
        journal.write("start", lane=instance.name, now=now, generation=snapshot.generation)
        plugin = _model(instance)
        plugin.begin(plugin._options.start_fates, [(type_, key) for type_, key, _ in now])
        around(instance, originals[0], snapshot)

    def deliver(instance: Instance, batch: Batch) -> None:
        journal.write(
            "enter",
            lane=instance.name,
            told=packed_changes(batch.changes),
            attempt=batch.attempt,
            before=packed(batch.previous),
            now=packed(batch.current),
            generation=batch.current.generation,
        )
        plugin = _model(instance)
        plugin.begin(plugin._options.fates, [(change.type, change.key) for change in batch.changes])
        around(instance, originals[1], batch)

    def stop(instance: Instance) -> None:
        journal.write("stop", lane=instance.name)
        plugin = _model(instance)
        plugin.begin(plugin._options.start_fates, [])
        around(instance, originals[2])

    Instance.start, Instance.deliver, Instance.stop = start, deliver, stop  # type: ignore[method-assign]


def _model(instance: Instance) -> Model:
    assert isinstance(instance.plugin, Model)
    return instance.plugin


def _is_calm(within: float | None = 0.0) -> bool:
    """Whether it is, or becomes so within these seconds (None: for ever)."""
    return bool(select.select([World.calm], [], [], within)[0])
