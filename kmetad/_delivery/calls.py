"""Calling a plugin: one hook at a time, and whatever it raises stays here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import TIMEOUT_MAX
from traceback import clear_frames
from typing import Any, Literal

from kmetad._delivery.remembered import Remembered
from kmetad.events import AnyChange
from kmetad.hookspecs import Fail, Retry, Skip
from kmetad.status import Fault


@dataclass(frozen=True, slots=True)
class Answer:
    """How a hook ended."""

    result: Literal["applied", "failed", "postponed", "skipped"]
    """It returned in time; it raised, or returned late; it asks for later; it skipped."""
    after: float | None = None
    """Of ``postponed``: in so many seconds; None: as ``lane.retry`` says."""
    hopeless: bool = False
    """Of ``failed``: trying again wouldn't help."""
    error: str = ""
    """What it raised, or why it asks for that."""
    detail: Any = None
    """What it returned."""

    @property
    def taken(self) -> bool:
        """There is nothing to try again."""
        return self.result in ("applied", "skipped")

    @property
    def fault(self) -> bool:
        """It counts as one."""
        return self.result == "failed"


_LONGEST = 2000
"""Characters of an exception's text that are kept; the log has all of it."""

_APPLIED = Answer("applied")


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
        self.took = 0.0
        """How long the last one ran, in seconds."""
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
        call: Callable[..., Any],
        *arguments: Any,
        attempt: int = 1,
        told: str = "",
        showing: tuple[AnyChange, ...] = (),
    ) -> Answer:
        """Call the plugin, once what it is shown, or ``told`` between deliveries, is remembered."""
        self._memory.enter(told, showing)
        begun = self._clock()
        self.running = hook, begun
        self._entered()
        answer = _APPLIED
        try:
            returned = call(*arguments)
            if returned is not None:
                answer = Answer("applied", detail=returned)
        except Retry as retry:
            reason, after = _reason(retry), _after(retry)
            self._log.info("plugin.asks_for_later", hook=hook, reason=reason, after=after)
            return Answer("postponed", after=after, error=reason[:_LONGEST])
        except Skip as skip:
            reason = _reason(skip)
            self._log.info("plugin.skipped", hook=hook, reason=reason)
            answer = Answer("skipped", error=reason[:_LONGEST])
        except Fail as fail:
            reason = _reason(fail)
            self._log.error("plugin.failed", hook=hook, attempt=attempt, error=reason)
            return self._fault(hook, reason, hopeless=_of(fail, "retry") is False)
        except BaseException as error:  # a plugin's SystemExit must not end its lane either
            if isinstance(error, MemoryError):
                clear_frames(
                    error.__traceback__
                )  # all that the hook still holds: else there is none to log with
            said = _said(error)
            self._log.error("plugin.raised", hook=hook, attempt=attempt, error=said, exc_info=True)
            return self._fault(hook, said)
        finally:
            self.took = took = self._clock() - begun
            self.running = None
            self._memory.leave()
        if took <= self._timeout:
            return answer
        self._log.error("plugin.late", hook=hook, attempt=attempt, took=round(took, 3), timeout=self._timeout)
        return self._fault(hook, f"returned after {took:.1f} s, later than lane.timeout")

    def _fault(self, hook: str, error: str, *, hopeless: bool = False) -> Answer:
        error = error[:_LONGEST]
        self.faults += 1
        self.last_fault = Fault(time.time_ns(), hook, error)
        return Answer("failed", hopeless=hopeless, error=error)


# What is raised may be of a plugin's own subclass, with any ``__init__``: nothing of it must end the lane.


def _of(raised: BaseException, name: str) -> Any:
    """An attribute; None where there is none to be had."""
    try:
        return getattr(raised, name)
    except BaseException:
        return None


def _reason(raised: Retry | Skip | Fail) -> str:
    """Why, even if there is no text for it."""
    reason = _of(raised, "reason")
    try:
        return _said(raised) if reason is None else str(reason)
    except BaseException as worse:
        return f"{type(raised).__name__}, whose reason can't be had ({type(worse).__name__})"


def _after(retry: Retry) -> float | None:
    """In so many seconds, where that is a time that can be waited for."""
    after = _of(retry, "after")
    return after if type(after) in (int, float) and 0 <= after <= TIMEOUT_MAX else None


def _said(error: BaseException) -> str:
    """An exception's type and text, even if making the text raises, too."""
    try:
        return f"{type(error).__name__}: {error}"
    except BaseException as worse:
        return f"{type(error).__name__}, whose text can't be had ({type(worse).__name__})"
