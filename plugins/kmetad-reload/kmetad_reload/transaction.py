"""What becomes of one delivery: validate, act, verify; and if that fails, what is to be done about it.

All of it together has the lane's timeout, less a little, so that a step that hangs is ended
here and the lane is never stuck.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from kmetad import Batch, Fail
from kmetad_reload.options import refused
from kmetad_reload.steps import Step

_SHARE = 0.9
"""Of the lane's timeout: the rest is for what goes on between the steps."""
_FOR_FAILURE = 1 / 3
"""Of that, kept for ``on_failure`` where there is one."""
_SHOWN = 100
"""Characters of a value that was refused."""


@dataclass(frozen=True, slots=True)
class Check:
    """A step that is tried again until it succeeds, in seconds."""

    step: Step
    within: float
    interval: float


@dataclass(frozen=True, slots=True)
class Transaction:
    """See the module. ``seconds``: the lane's timeout."""

    values: Mapping[str, list[str]]
    validate: Step | None
    actions: Sequence[Step]
    verify: Check | None
    on_failure: Step | None
    seconds: float
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def run(self, batch: Batch) -> dict[str, str]:
        """Do all of it. Answers what was done; raises Fail, which says what was not, and what was."""
        allow(self.values, batch)
        end = self.clock() + self.seconds * _SHARE
        reserved = self.seconds * _SHARE * _FOR_FAILURE if self.on_failure is not None else 0.0

        def left() -> float:
            return max(0.0, end - reserved - self.clock())

        detail: dict[str, str] = {}
        if self.validate is not None:
            try:
                detail["validated"] = self.validate.do(batch, left())
            except Fail as fail:
                raise Fail(f"validate: {fail.reason}; nothing was done", retry=fail.retry) from None
        done: list[str] = []
        for number, step in enumerate(self.actions, 1):
            try:
                done.append(step.do(batch, left()))
            except Fail as fail:
                place = f"action {number} of {len(self.actions)}: " if len(self.actions) > 1 else ""
                before = f"; done before it: {', '.join(done)}" if done else ""
                raise Fail(f"{place}{fail.reason}{before}", retry=fail.retry) from None
        detail["did"] = ", ".join(done)
        if self.verify is not None:
            try:
                detail["verified"] = self._verify(self.verify, batch, left)
            except Fail as fail:
                reaction = self._react(batch, end)
                raise Fail(f"verify: {fail.reason}{reaction}", retry=fail.retry) from None
        return detail

    def describe(self, batch: Batch) -> Iterable[str]:
        """What it would do, a line each."""
        try:
            allow(self.values, batch)
        except Fail as fail:
            yield f"refuses it, and does nothing: {fail.reason}"
            return
        if self.validate is not None:
            yield f"validate: {self.validate.describe(batch)}; if that fails, nothing is done"
        for step in self.actions:
            yield step.describe(batch)
        if (check := self.verify) is not None:
            again = f"again every {check.interval:g} s until it succeeds, {check.within:g} s at most"
            yield f"verify: {check.step.describe(batch)}, {again}"
        if self.on_failure is not None:
            yield f"if it can't be verified: {self.on_failure.describe(batch)}"

    def advice(self) -> Iterable[str]:
        """What can't be done here as things are now."""
        check = None if self.verify is None else self.verify.step
        named = [("validate", self.validate), *(("", step) for step in self.actions)]
        for name, step in (*named, ("verify", check), ("on_failure", self.on_failure)):
            if step is not None:
                yield from (f"{name}: {sentence}" if name else sentence for sentence in step.advice())

    def _verify(self, check: Check, batch: Batch, left: Callable[[], float]) -> str:
        """Try it until it succeeds."""
        begun = self.clock()
        seconds = min(check.within, left())
        while True:
            try:
                return check.step.do(batch, max(0.0, min(begun + seconds - self.clock(), left())))
            except Fail as fail:
                if not fail.retry:
                    raise
                if begun + seconds - self.clock() <= check.interval:
                    raise Fail(f"not within {seconds:.3g} s: {fail.reason}") from None
            self.sleep(check.interval)

    def _react(self, batch: Batch, end: float) -> str:
        """``on_failure``; answers what came of it, as the end of a sentence."""
        if self.on_failure is None:
            return ""
        try:
            return f"; on_failure: {self.on_failure.do(batch, max(0.0, end - self.clock()))}"
        except Fail as fail:
            return f"; on_failure failed as well: {fail.reason}"


def allow(values: Mapping[str, list[str]], batch: Batch) -> None:
    """Raises Fail for a value that isn't allowed: trying again wouldn't help, another value would."""
    for change in batch.changes:
        if not isinstance(change.new, str):
            continue
        allowed = refused(values, change.type, change.key, change.new)
        if allowed is not None:
            shown = repr(change.new[:_SHOWN]) + ("…" if len(change.new) > _SHOWN else "")
            raise Fail(
                f"{change.type} {change.key} is {shown}, which is refused: allowed are {', '.join(allowed)}",
                retry=False,
            )
