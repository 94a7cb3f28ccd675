"""The variables of the app's next start: ``[run.env]``, and on top of it what plugins give (``kmetad_app_env``).

A variable of ``[run.env]`` that needs a field which isn't known now is left out, as a whole: half a text
would be taken for the whole one. The app then has what the container's own environment says, if that
has the variable.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from kmetad.metadata import Snapshot

if TYPE_CHECKING:
    from kmetad.template import Template

LONGEST = 128 * 1024 - 1
"""Bytes of ``NAME=value``: MAX_ARG_STRLEN of execve(2), with its NUL, where pages are 4 KiB."""

_RUN_ENV = ""
"""Stands for ``[run.env]`` among the instances; none of them has this name."""

Say = Callable[[Mapping[str, str | None]], object]
"""Takes the variables that are different now; None for one that there is no more."""


class Environment:
    """See the module. ``say`` is told what differs, at first and then whenever anything does.

    ``instances`` are in the TOML's order: of two that give one variable, the later wins. Safe for
    use from several threads.
    """

    def __init__(self, templates: Mapping[str, Template], instances: Iterable[str], say: Say) -> None:
        self._templates = templates
        self._say = say
        self._given: dict[str, dict[str, str]] = {_RUN_ENV: {}, **{name: {} for name in instances}}
        self._said: dict[str, str] | None = None
        self._lock = threading.Lock()
        self._faults: dict[str, str] = {}
        self._faults_told: dict[str, str] = {}

    def follow(self, snapshot: Snapshot) -> None:
        """Fill ``[run.env]`` with what the Pod is now. Nothing is logged: see ``news``."""
        if not self._templates and self._said is not None:
            return
        texts: dict[str, str] = {}
        faults: dict[str, str] = {}
        for variable, template in self._templates.items():
            if missing := template.missing(snapshot):
                faults[variable] = f"left out, for there is no {' and no '.join(missing)} now"
            else:
                texts[variable] = template.render(snapshot)
        self._faults = faults | self._put(_RUN_ENV, texts)

    def take(self, instance: str, variables: Mapping[str, str]) -> dict[str, str]:
        """What an instance gives from now on. Answers which of it was refused, and why."""
        return self._put(instance, variables)

    def news(self) -> dict[str, str]:
        """What became of variables of ``[run.env]`` that can't be had, where that wasn't answered before."""
        faults, told = self._faults, self._faults_told
        self._faults_told = faults
        return {name: why for name, why in faults.items() if told.get(name) != why}

    def _put(self, giver: str, variables: Mapping[str, str]) -> dict[str, str]:
        refused: dict[str, str] = {}
        with self._lock:
            before = self._given[giver]
            now = {}
            for name, value in variables.items():
                why = unfit(name, value)
                if not why:
                    now[name] = value
                    continue
                refused[name] = f"refused: {why}"
                if name in before:
                    refused[name] += "; it stays as it was"
                    now[name] = before[name]
            self._given[giver] = now
            self._tell()
        return refused

    def _tell(self) -> None:
        """Say what differs from what was said last; at first also that there is nothing."""
        everything: dict[str, str] = {}
        for given in self._given.values():
            everything |= given
        said = self._said or {}
        differs: dict[str, str | None] = {
            name: value for name, value in everything.items() if said.get(name) != value
        }
        differs.update((name, None) for name in said if name not in everything)
        if differs or self._said is None:
            self._said = everything
            # With the lock held: of two threads that say something, each has to be heard to its end.
            self._say(differs)


def encode(text: str) -> bytes:
    """As the kubelet writes it, and so as the container's own variables are: UTF-8, whatever the locale is.

    Bytes that are no UTF-8 come out as they were. Raises UnicodeEncodeError for other surrogates.
    """
    return text.encode("utf-8", "surrogateescape")


def unfit(name: str, value: str) -> str:
    """Why no environment can hold a variable; empty if one can. The value isn't repeated in it."""
    if not name or "=" in name or "\0" in name:
        return "that is no name of a variable"
    if "\0" in value:
        return "the value holds a NUL"
    try:
        size = len(encode(f"{name}={value}"))
    except UnicodeEncodeError:
        return "the value holds a surrogate that stands for no byte"
    if size > LONGEST:
        return f"with its name it has {size} bytes, and no more than {LONGEST} fit"
    return ""
