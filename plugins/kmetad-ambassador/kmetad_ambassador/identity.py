"""As whom the API server is asked, for an event loop: what ``kmetad.api`` knows of it, a second old at most.

To look may read files, or run a kubeconfig's command, so it is done in a thread; meanwhile others go on.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kmetad.api import CredentialsError, Server, Trust
from kmetad.api.credentials import NO_HEADERS, NOBODY
from kmetad_ambassador.aside import aside

T = TypeVar("T")

PATIENCE = 0.1
"""Seconds for which a request waits for a look, where what was found last may still do."""
FRESH = 1.0
"""Seconds for which a look is good. A token stays valid for long after the next has come, and after a 401 one looks."""


async def shared(task: asyncio.Task[T]) -> T:
    """The task's result. Who stops waiting for it stops nobody else's, and nobody need wait for a failure.

    ``asyncio.shield`` logs the exception of a task for which its caller no longer waits, from Python 3.14 on.
    """
    await asyncio.wait((task,))
    return task.result()


class Hidden(bytes):
    """What nobody may see, not even where a traceback shows values."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"

    __str__ = __repr__  # that of bytes doesn't look here


@dataclass(frozen=True, slots=True)
class Now:
    """What is in force."""

    headers: Mapping[str, str] = field(repr=False)
    lines: Hidden = field(repr=False)
    """The headers as they are sent."""
    trust: Trust
    context: ssl.SSLContext | None
    """For new connections; None for plain http."""

    def differs(self, other: Now) -> bool:
        """Whether it shows other credentials."""
        return self.headers != other.headers or self.trust.cert != other.trust.cert


class Identity:
    """See the module. For the loop's own thread, ``look_again`` aside."""

    def __init__(self, server: Server, lacks: Callable[[str], object] = lambda why: None) -> None:
        """``lacks`` is told why a look has failed, once for each reason, while what there was goes on."""
        self._server = server
        self._credentials = server.credentials if server.secure else NOBODY
        self._now: Now | None = None
        self._until = 0.0
        self._looking: asyncio.Task[Now] | None = None
        self._overdue: asyncio.Task[Now] | None = None
        """A look that has taken too long already."""
        self._renewing: asyncio.Task[Now | None] | None = None
        self._nothing_until = 0.0
        """Requests that are sent until then needn't look for something else: there was nothing just now."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lacks, self._lacked = lacks, ""

    def now(self, time: float) -> Now | None:
        """What is in force, if that was looked at lately; else ``look``."""
        return self._now if time < self._until else None

    async def look(self) -> Now:
        """Look afresh; who comes meanwhile waits for the same look. Raises CredentialsError.

        Where that takes long, as a command of a kubeconfig may, what was found last is good until it is over.
        """
        looking = self._looking or self._look_anew()
        if self._now is not None:
            if looking is not self._overdue:
                await asyncio.wait((looking,), timeout=PATIENCE)
            if not looking.done():
                self._overdue = looking
                return self._now
        return await shared(looking)

    async def renew(self, sent: Now, at: float) -> Now | None:
        """The server didn't accept what was sent: what it may accept instead; None where there is nothing else.

        ``at``: when it was sent, by the loop's clock. Who asks meanwhile gets the same. Raises CredentialsError.
        """
        if not self._server.secure:
            return None
        now = self._now
        if now is not None and now.differs(sent):
            return now  # another request has been here
        if self._renewing is None:
            if at < self._nothing_until:
                # What changes by itself is seen all the same; a command isn't run for each request.
                now = await shared(self._look_anew())
                return now if now.differs(sent) else None
            self._renewing = self._begin(self._renew(sent))
        return await shared(self._renewing)

    async def reread(self, seen: Now) -> Now | None:
        """The server's certificate couldn't be verified: another look at the CA; None where it is the same.

        Raises CredentialsError.
        """
        await aside(self._credentials.reread)
        now = await shared(self._look_anew())
        return None if now.trust == seen.trust else now

    def look_again(self) -> None:
        """Something has been replaced: the next request looks. May be called from any thread."""
        self._looking = None  # it may have begun before
        self._until = self._nothing_until = 0.0

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task is self._looking:
            self._looking = None
        if task is self._renewing:
            self._renewing = None
        if not task.cancelled():
            task.exception()  # whoever waited has it

    def _look_anew(self) -> asyncio.Task[Now]:
        self._looking = looking = self._begin(self._look())
        return looking

    async def _look(self) -> Now:
        try:
            found = await aside(self._read, self._now)
        except CredentialsError as error:
            if self._now is None:
                raise  # else what there was goes on, until the server doesn't accept it
            found = self._now
            if str(error) != self._lacked:
                self._lacked = str(error)
                self._lacks(self._lacked)
        else:
            self._lacked = ""
        if asyncio.current_task() is self._looking:  # else there has been a reason to look again since
            self._now = found
            self._until = asyncio.get_running_loop().time() + FRESH
        return found

    async def _renew(self, sent: Now) -> Now | None:
        if await aside(self._credentials.renew, sent.headers):
            now = await shared(self._look_anew())
            if now.differs(sent):
                return now
        self._nothing_until = asyncio.get_running_loop().time() + FRESH
        return None

    def _read(self, before: Now | None) -> Now:
        from kmetad.api import tls

        headers = self._credentials.headers() if self._server.secure else NO_HEADERS
        lines = Hidden("".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode("ascii"))
        trust = self._credentials.trust()
        if not self._server.url.startswith("https:"):
            return Now(headers, lines, trust, None)
        if before is None or before.trust != trust:
            try:
                return Now(headers, lines, trust, tls.context(trust, verify=self._server.verify))
            except CredentialsError:
                if before is None:
                    raise  # else the CA is half-written, and the one before goes on
        return Now(headers, lines, before.trust, before.context)
