"""A kubelet in a hurry: a process that swaps some volumes, each so many times a second, until it is told to end."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import time
from collections.abc import Mapping
from random import Random
from typing import NoReturn

from kmetad.testing.kubelet import Volume

Labels = Mapping[str, str]


class Swapper:
    """The process, as the one has it that started it."""

    def __init__(self, directory: str, names: list[str], swaps_a_second: float) -> None:
        """The volumes are there when this returns; they are swapped from ``begin`` on."""
        self._random = Random(" ".join(names))
        self._interval = 1 / swaps_a_second
        self._volumes = {name: Volume(f"{directory}/{name}") for name in names}
        self._labels: dict[str, dict[str, str]] = {name: {} for name in names}
        self._swaps = 0
        for name in names:
            self._swap(name)
        self._swaps = 0
        self._told, self._tell = os.pipe2(os.O_CLOEXEC)
        self._answer, self._answered = os.pipe2(os.O_CLOEXEC)
        self._pid = 0

    def begin(self) -> None:
        """From now on."""
        self._pid = os.fork()
        if self._pid == 0:
            self._live()

    def end(self) -> tuple[int, Labels]:
        """No more. How many swaps there were, and the labels that are in all its volumes now."""
        os.write(self._tell, b".")
        with open(self._answer, "rb") as answer:
            swaps, labels = json.loads(answer.readline())
        os.waitpid(self._pid, 0)
        self._pid = 0
        return swaps, labels

    def kill(self) -> None:
        """If it still runs."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0

    def _live(self) -> NoReturn:
        code = 1
        try:
            gc.freeze()
            self._swap_until_told()
            labels = {key: value for labels in self._labels.values() for key, value in labels.items()}
            os.write(self._answered, json.dumps([self._swaps, labels]).encode() + b"\n")
            code = 0
        finally:
            os._exit(code)

    def _swap_until_told(self) -> None:
        """Evenly; who is late for one is in time for the next."""
        begun = time.monotonic()
        number = 0
        step = self._interval / len(self._volumes)
        while True:
            for name in self._volumes:
                number += 1
                left = max(0.0, begun + number * step - time.monotonic())
                if select.select([self._told], [], [], left)[0]:
                    return
                self._swap(name)

    def _swap(self, name: str) -> None:
        """One label counts; one is among a few; one comes and goes; one changes seldom, one never."""
        random, labels = self._random, self._labels[name]
        labels[f"{name}/count"] = str(int(labels.get(f"{name}/count", "0")) + 1)
        labels[f"{name}/flips"] = random.choice("123")
        labels[f"{name}/stays"] = "1"
        if f"{name}/seldom" not in labels or random.random() < 0.01:
            labels[f"{name}/seldom"] = str(random.random())
        if random.random() < 0.5:
            labels[f"{name}/comes"] = "1"
        else:
            labels.pop(f"{name}/comes", None)
        self._swaps += self._volumes[name].write(labels=labels)
