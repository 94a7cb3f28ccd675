"""The daemon as a service: what its service manager (systemd) is told of it, and when.

READY=1 once it is ready, STATUS= how it is whenever that changes, RELOADING=1 before it replaces
itself, STOPPING=1 at its end; and WATCHDOG=1 for as long as its threads answer. All by the main
thread, but for WATCHDOG=1. Where nobody listens, nothing is said and nobody wakes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from kmetad._daemon.notify import Notify
from kmetad.status import Status

_DAY = 86400.0
"""Seconds. Nobody sleeps for longer: poll(2) takes no more than 24 days."""
_LONGEST = 1000
"""Characters of a STATUS=. systemd takes 4096 bytes a message."""


class Service:
    """See the module. ``status`` answers how the daemon is.

    ``wake`` has the main thread ``attend``. ``ask`` has what it is given called once each of the daemon's own
    threads has been through its loop, and never if one of them hangs.
    """

    def __init__(
        self,
        notify: Notify,
        status: Callable[[], Status],
        wake: Callable[[], object],
        ask: Callable[[Callable[[], object]], object],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notify = notify
        self._status = status
        self._wake = wake
        self._ask = ask
        self._clock = clock
        self._usec = notify.watchdog_usec(os.getpid())
        # sd_watchdog_enabled(3) recommends every half of the time.
        self._every = min(self._usec / 2e6, _DAY)
        self._next_beat = clock()
        self._woken = False
        self._begun = self._ready = False
        self._said = ""
        if self._usec:
            # By the default WatchdogSignal=, SIGABRT, it is ended where it hangs: that says where.
            import faulthandler

            faulthandler.enable()

    def changed(self) -> None:
        """How the daemon is may be otherwise now. From any thread."""
        if self._notify and not self._woken:
            self._woken = True
            self._wake()

    def patience(self) -> float | None:
        """In how many seconds there is something to do although nobody wakes; None: never."""
        return max(0.0, self._next_beat - self._clock()) if self._usec else None

    def attend(self) -> None:
        """Say what has changed; have the threads asked whether they live, if it is time to."""
        self._woken = False  # what changes from here on wakes again
        if not self._notify:
            return
        self._say_how_it_is()
        if self._usec and self._clock() >= self._next_beat:
            self._next_beat = self._clock() + self._every
            self._ask(lambda: self._notify.say(WATCHDOG=1))

    def reloading(self, seconds: float) -> None:
        """It is about to replace itself, which may take so many seconds: plugins finish what they do."""
        fields: dict[str, str | int] = {
            "RELOADING": 1,
            "MONOTONIC_USEC": time.monotonic_ns() // 1000,  # as Type=notify-reload asks for, systemd 253
            "STATUS": "Reloading: a new configuration comes into force",
        }
        if self._usec:
            # Until its successor says otherwise: nobody answers for it meanwhile.
            fields["WATCHDOG_USEC"] = self._usec + int(seconds * 1e6)
            fields["WATCHDOG"] = 1
        self._notify.say(**fields)

    def stopping(self) -> None:
        """It ends."""
        self._notify.say(STOPPING=1, STATUS="Stopping: plugins finish what they do")

    def hand_over(self) -> None:
        """This process is replaced now: its successor speaks from here on."""
        self._notify.hand_over()

    def _say_how_it_is(self) -> None:
        status = self._status()
        fields: dict[str, str | int] = {}
        if not self._begun and self._usec:
            fields["WATCHDOG_USEC"] = self._usec  # the one before may have asked for more, see above
        if status.ready and not self._ready:
            fields["READY"] = 1
        if (sentence := describe(status)) != self._said:
            fields["STATUS"] = sentence
        if fields and self._notify.say(**fields):  # else the next time
            self._begun = True
            self._ready = self._ready or status.ready
            self._said = sentence


def describe(status: Status) -> str:
    """How it is, in a line that ``systemctl status`` can show."""
    if status.ready:
        sources = _counted(len(status.sources), "source")
        plugins = _counted(len(status.lanes), "plugin")
        text = f"Ready: {sources}, {plugins}, generation {status.generation}"
    else:
        text = f"Not ready: {'; '.join(status.unready)}"
    if status.config.refused:
        text = f"{text}; a newer configuration has faults and isn't in force: {status.config.refused[0]}"
    text = "".join(c if c.isprintable() else " " for c in text)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
