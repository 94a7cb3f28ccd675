"""The plugins of the storm: ``kind`` says which. They write down what they are told, and what became of it."""

from __future__ import annotations

import os
import signal
import time
from random import Random
from typing import Literal, NoReturn

import msgspec

from kmetad import Batch, Context, Snapshot, hookimpl
from tests.soak.journal import Journal, packed, packed_changes


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``every``: in seconds, after how long on the average the deadly one brings the daemon down."""

    journal: str
    kind: Literal["good", "slow", "failing", "deadly"] = "good"
    every: float = 40.0


class Plugin:
    """See the module."""

    def __init__(self, options: Options, context: Context) -> None:
        self._kind = options.kind
        self._name = context.name
        self._random = Random()
        self._journal = Journal(options.journal)
        # By the earliest all have acknowledged something, so none is set aside.
        lives = max(options.every / 4, self._random.expovariate(1 / options.every))
        self._dies_at = time.monotonic() + lives
        self._journal.write("made", pid=os.getpid())

    @hookimpl
    def kmetad_on_start(self, snapshot: Snapshot) -> None:
        now = packed(snapshot)
        self._journal.write("start", lane=self._name, now=now, generation=snapshot.generation)
        self._journal.write("end", lane=self._name, how="return", took=0.0)

    @hookimpl
    def kmetad_on_change(self, batch: Batch) -> None:
        begun = time.monotonic()
        told = packed_changes(batch.changes)
        generation = batch.current.generation
        self._journal.write("enter", lane=self._name, told=told, attempt=batch.attempt, generation=generation)
        if self._kind == "slow":
            time.sleep(0.5)
        elif self._kind == "failing" and self._random.random() < 0.5:
            self._apply_some(told)
            self._end("raise", begun)
            raise RuntimeError("as it does every other time")
        elif self._kind == "deadly" and begun > self._dies_at:
            self._apply_some(told)
            self._die()
        self._journal.write("apply", lane=self._name)
        self._end("return", begun)

    @hookimpl
    def kmetad_on_stop(self) -> None:
        self._journal.write("stop", lane=self._name)
        self._end("return", time.monotonic())

    def _apply_some(self, told: list[list[str]]) -> None:
        some = self._random.sample(told, self._random.randint(0, len(told)))
        self._journal.write("apply", lane=self._name, keys=[change[:2] for change in some])

    def _end(self, how: str, begun: float) -> None:
        self._journal.write("end", lane=self._name, how=how, took=time.monotonic() - begun)

    def _die(self) -> NoReturn:
        while True:
            os.kill(os.getpid(), signal.SIGKILL)
