"""The process that wraps the app, as the daemon has it: the other end of the link (``kmetad._link``)."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from kmetad import _link
from kmetad._daemon.environment import encode
from kmetad.status import StreamStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

_COUNTING = 0.5
"""Seconds to wait for an answer that takes well under a millisecond, unless the supervisor is stopped."""

Told = Callable[..., None]
"""Called with what the app did, ``started`` or ``exited``, and the message's values."""


class Supervisor:
    """See the module. Everything may be called from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._link = socket.socket(fileno=descriptor)
        self._link.setblocking(True)
        self._saying = threading.Lock()
        self._hearing = threading.Lock()
        self._news = threading.Condition()
        self.pid = 0
        """The app's, 0 while it doesn't run."""
        self.starts = 0
        self.stop_within: float | None = None
        """Seconds, once the supervisor has asked to stop; None before, and where it has gone."""
        self._ended = False
        self._knows = False
        self._counts: dict[str, StreamStatus] | None = {}

    # -- what the daemon says ---------------------------------------------------------

    def say(self, kind: str, *values: Any) -> bool:
        """One message; waits while the supervisor is asleep and has much to read already. False: it has gone."""
        return self._say_all([(kind, *values)])

    def say_variables(self, variables: Mapping[str, str | None]) -> None:
        """Variables of the app's next start that are different now, and that they are in force.

        Values go as the bytes that execve(2) gets: in a text, what is no UTF-8 would take three times as many.
        """
        said = ((name, None if value is None else encode(value)) for name, value in variables.items())
        self._say_all([*(("variable", *variable) for variable in said), ("environment",)])

    def _say_all(self, messages: Iterable[tuple[Any, ...]]) -> bool:
        with self._saying:
            return all(_link.send(self._link, *message) for message in messages)

    # -- what it hears ----------------------------------------------------------------

    def listen(self, told: Told, stop: Callable[[], None], log: Any) -> None:
        """Hear what the supervisor says, on a thread of its own. ``stop`` is called when it wants that, or has gone."""
        thread = threading.Thread(
            target=self._listen, args=(told, stop, log), name="kmetad-link", daemon=True
        )
        thread.start()

    @property
    def ends(self) -> bool:
        """Whether it has asked to stop, or has gone."""
        return self._ended

    def wait_for_news(self, timeout: float) -> None:
        """Wait, so many seconds at most, until it is known how the app is: of a daemon that begins it isn't."""
        with self._news:
            self._news.wait_for(lambda: self._ended or self._knows, timeout)

    def wait_for_start(self, starts: int, timeout: float) -> bool:
        """Wait, so many seconds at most, until the app runs after more starts than that. False if it doesn't."""
        with self._news:
            self._news.wait_for(lambda: self._ended or (self.pid and self.starts > starts), timeout)
        return bool(self.pid) and self.starts > starts

    def counts(self) -> dict[str, StreamStatus]:
        """What has gone through the app's streams, by its own count; of before, where it takes too long to say."""
        with self._news:
            before, self._counts = self._counts or {}, None
        self.say("count")
        with self._news:
            self._news.wait_for(lambda: self._ended or self._counts is not None, _COUNTING)
            if self._counts is None:
                self._counts = before
            return self._counts

    def hear_no_more(self) -> bool:
        """Leave what comes from here on to whoever has the link after an exec. False: the end was asked for."""
        self._hearing.acquire()
        return not self._ended

    def _listen(self, told: Told, stop: Callable[[], None], log: Any) -> None:
        while True:
            # Sleeps until there is a message, which is taken only where nobody is about to exec.
            try:
                self._link.recv(1, socket.MSG_PEEK)
            except OSError:
                pass  # receive() will tell that it has gone
            with self._hearing:
                try:
                    message = _link.receive(self._link)
                except ValueError as error:
                    log.error("link.misunderstood", error=str(error))
                    continue
                if message is None:
                    self._end(stop)
                    return
                self._heard(*message, told, stop)

    def _heard(self, kind: str, values: tuple[Any, ...], told: Told, stop: Callable[[], None]) -> None:
        if kind == "app_started":
            pid, starts = values
            news = (pid, starts) != (self.pid, self.starts)
            with self._news:
                self.pid, self.starts, self._knows = pid, starts, True
                self._news.notify_all()
            if news and pid:
                told("started", pid, starts)
        elif kind == "app_exited":
            self.pid = 0
            told("exited", *values)
        elif kind == "counted":
            (by_stream,) = values
            with self._news:
                self._counts = {name: StreamStatus(*counted) for name, counted in by_stream.items()}
                self._news.notify_all()
        elif kind == "stop":
            (self.stop_within,) = values
            self._end(stop)

    def _end(self, stop: Callable[[], None]) -> None:
        with self._news:
            self._ended = True
            self._news.notify_all()
        stop()
