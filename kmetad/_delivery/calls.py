"""Calling a plugin: one hook at a time, and whatever it raises stays here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kmetad._delivery.remembered import Remembered
from kmetad.events import AnyChange
from kmetad.hookspecs import Retry, Skip
from kmetad.status import Fault


@dataclass(frozen=True, slots=True)
class Answer:
    """How a hook ended."""

    taken: bool
    """It returned in time, or skipped."""
    fault: bool = False
    """It raised, or returned late. Neither taken nor a fault: it asks for later."""
    after: float | None = None
    """In so many seconds; None: as ``lane.retry`` says."""


_LONGEST = 2000
"""Characters of an exception's text that are kept; the log has all of it."""

_TAKEN = Answer(taken=True)
_FAULT = Answer(taken=False, fault=True)


class Calls:
    """A plugin's hooks as its lane calls them, all from one thread; the counts may be read from any.

    ``timeout`` in seconds: a hook that returns after it has failed. ``entered`` is called before
    each hook. ``clock``: monotonic, in seconds.
    """

    def __init__(
        self,
        log: Any,
        memory: Remembered,
        timeout: float,
        *,
        entered: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.running: tuple[str, float] | None = None
        """The hook that runs now and when it was entered, by ``clock``; None if none does."""
        self.faults = 0
        self.last_fault: Fault | None = None
        self._log = log
        self._memory = memory
        self._timeout = timeout
        self._entered = entered
        self._clock = clock

    def call(
        self,
        hook: str,
        call: Callable[..., None],
        *arguments: Any,
        attempt: int = 1,
        told: bool = False,
        showing: tuple[AnyChange, ...] = (),
    ) -> Answer:
        """Call the plugin, once what it is shown is remembered."""
        self._memory.enter(told, showing)
        begun = self._clock()
        self.running = hook, begun
        self._entered()
        try:
            call(*arguments)
        except Retry as retry:
            self._log.info("plugin.asks_for_later", hook=hook, reason=retry.reason, after=retry.after)
            return Answer(taken=False, after=retry.after)
        except Skip as skip:
            self._log.info("plugin.skipped", hook=hook, reason=skip.reason)
        except BaseException as error:  # a plugin's SystemExit must not end its lane either
            said = _said(error)
            self._note(hook, said)
            self._log.error("plugin.raised", hook=hook, attempt=attempt, error=said, exc_info=True)
            return _FAULT
        finally:
            self.running = None
            self._memory.leave()
        took = self._clock() - begun
        if took <= self._timeout:
            return _TAKEN
        self._note(hook, f"returned after {took:.1f} s, later than lane.timeout")
        self._log.error("plugin.late", hook=hook, attempt=attempt, took=round(took, 3), timeout=self._timeout)
        return _FAULT

    def _note(self, hook: str, error: str) -> None:
        self.faults += 1
        self.last_fault = Fault(time.time_ns(), hook, error[:_LONGEST])


def _said(error: BaseException) -> str:
    """An exception's type and text, even if making the text raises, too."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException as worse:
        return f"{type(error).__name__}, whose text can't be had ({type(worse).__name__})"
