"""The proxy: listens, lets requests through or refuses them, and stops in order."""

from __future__ import annotations

import asyncio
import os
import select
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from kmetad import listening
from kmetad.api import Server
from kmetad_ambassador import listen, saying
from kmetad_ambassador.back import Pool
from kmetad_ambassador.connect import Connector
from kmetad_ambassador.exchange import Exchange
from kmetad_ambassador.front import Front
from kmetad_ambassador.gate import Gate, Passed
from kmetad_ambassador.identity import Identity
from kmetad_ambassador.incoming import Incoming
from kmetad_ambassador.options import Options
from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.tally import Tally

HEALTH = b"/healthz"
"""The proxy's own: whether it is there. The API server's are /livez and /readyz."""


_STDERR = 2
"""Where kmetad's log goes."""


class Proxy:
    """One proxy to one server. Raises NoServer for an HTTP proxy on the way that it can't go through.

    ``log``: a structlog logger. All but ``look_again`` is for the event loop's own thread.
    """

    def __init__(self, server: Server, options: Options, log: Any) -> None:
        self.tally = Tally(log, options.log_requests, _takes_lines(_STDERR))
        self._options = options
        self._log = log
        self._gate = Gate(options)
        self._identity = Identity(server, self._lacks_credentials)
        connector = Connector(server, options.keepalive.total_seconds())
        self._pool = Pool(connector, self._identity)
        self._host = connector.host.encode("ascii")
        self._path = urlsplit(server.url).path if options.append_server_path else ""
        self._listener: listen.Listener | None = None
        self._socket_stat: os.stat_result | None = None
        self._fronts: set[Front] = set()
        """Those whose connection is open."""
        self._tasks: set[asyncio.Task[None]] = set()
        """Those at work for one of them, also when it has gone."""
        self._exchanges: dict[Exchange, Passed] = {}
        self._closing = False
        self._quiet = asyncio.Event()

    async def start(self) -> str:
        """Listen; answers where: ``127.0.0.1:8001``, ``unix:/path``. Raises OSError."""
        options, loop = self._options, asyncio.get_running_loop()
        loop.set_exception_handler(self._fault)
        if options.unix_socket is not None:
            sock = listening.unix(options.unix_socket, listen.BACKLOG)
            self._socket_stat = os.lstat(options.unix_socket)
            where = f"unix:{options.unix_socket}"
        else:
            sock = listening.tcp(options.address, options.port, listen.BACKLOG)
            host, port = sock.getsockname()[:2]
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._listener = listen.Listener(sock, loop, self._connected, self._exhausted, self._log)
        return where

    async def stop(self, seconds: float) -> None:
        """Take nothing new; what is under way has so many seconds; then cut what is left.

        A watch, which has no end of its own, is ended between two events, as the API server itself does now and then.
        """
        self._closing = True
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        if self._socket_stat is not None and self._options.unix_socket is not None:
            listening.remove(self._options.unix_socket, self._socket_stat)
        for front in [front for front in self._fronts if front.idle_since is not None]:
            front.close()
        for exchange, passed in list(self._exchanges.items()):
            if passed.asked.verb == "watch":
                exchange.end_early()
        try:
            async with asyncio.timeout(seconds):
                while self._fronts or self._tasks:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            self._log.info("ambassador.cut", requests=len(self._exchanges), after=seconds)
        for front in list(self._fronts):
            front.cut()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._pool.close()
        await self._identity.close()

    def look_again(self) -> None:
        """The token or the CA has been replaced: the next request has the new one. May be called from any thread."""
        self._identity.look_again()

    def _lacks_credentials(self, why: str) -> None:
        self._log.warning("ambassador.credentials", reason=why, until="what there was goes on")

    # -- clients -------------------------------------------------------------------------

    def _connected(self, sock: socket.socket) -> None:
        if len(self._fronts) >= 2 * self._options.max_requests:
            for front in self._idle()[:1]:
                front.cut()
        loop, options = asyncio.get_running_loop(), self._options
        front = Front(
            sock,
            loop,
            max_head=options.head_bytes,
            max_body=options.body_bytes,
            idle=options.idle_timeout.total_seconds(),
            on_gone=self._gone,
        )
        self._fronts.add(front)
        task = loop.create_task(self._serve(front))
        self._tasks.add(task)
        task.add_done_callback(self._served)

    def _exhausted(self) -> None:
        """No more descriptors: the older half of those who ask nothing has to go, for others and for the server."""
        idle = self._idle()
        for front in idle[: (len(idle) + 1) // 2]:
            front.cut()

    def _idle(self) -> list[Front]:
        """Those who ask nothing, whoever has done so for the longest first. Who asks has a limit of its own."""
        idle = [(front.idle_since, front) for front in self._fronts if front.idle_since is not None]
        return [front for _, front in sorted(idle, key=lambda each: each[0])]

    def _gone(self, front: Front) -> None:
        self._fronts.discard(front)
        self._quiet.set()

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._quiet.set()

    async def _serve(self, front: Front) -> None:
        """All requests of one client."""
        try:
            while await self._one(front) and not self._closing:
                if front.goes_on:
                    await asyncio.sleep(0)  # who has sent many requests at once isn't alone
            front.close()
        except asyncio.CancelledError:
            front.cut()
            raise
        except Exception:
            self._log.exception("ambassador.fault")
            front.cut()

    async def _one(self, front: Front) -> bool:
        """One request; whether there may be another."""
        try:
            request = await front.next()
        except Refusal as refusal:
            front.write(saying.refused(refusal, last=True, to_head=False))
            self.tally.refusal(refusal, "", b"", None, 0.0)
            return False
        if request is None:
            return False
        begun = asyncio.get_running_loop().time()
        passed: Passed | None = None
        try:
            if request.fault is None and request.method in ("GET", "HEAD") and _is_health(request.target):
                return self._health(front, request)
            self._gate.admit(request)
            passed = self._gate.read(request)
            self._gate.check(request, passed)
            return await self._pass_on(front, request, passed, begun)
        except Refusal as refusal:
            keeps = self._keeps(request)
            front.write(saying.refused(refusal, last=not keeps, to_head=request.method == "HEAD"))
            seconds = asyncio.get_running_loop().time() - begun
            terms = None if passed is None else passed.asked
            self.tally.refusal(refusal, request.method, request.target, terms, seconds)
            return keeps

    async def _pass_on(self, front: Front, request: Incoming, passed: Passed, begun: float) -> bool:
        tally = self.tally
        most = self._options.max_requests
        if len(self._exchanges) >= most:
            raise Refusal(429, "limit", f"{most} requests are under way already (--max-requests)")
        target = self._path.encode("ascii") + passed.target.raw()
        exchange = Exchange(front, request, target, self._host, closing=self._is_closing)
        self._exchanges[exchange] = passed
        tally.active += 1
        refused = False
        keeps = False
        try:
            keeps = await exchange.run(self._identity, self._pool)
        except ConnectionError:
            front.cut()
        except Refusal:
            refused = True
            raise
        finally:
            tally.active -= 1
            del self._exchanges[exchange]
            tally.connections = self._pool.opened
            tally.renewals += exchange.renewed
            if not refused:
                tally.answered(
                    request.method,
                    passed.target.query,
                    passed.asked,
                    exchange.status,
                    exchange.sent,
                    exchange.came,
                    asyncio.get_running_loop().time() - begun,
                    "" if exchange.answer is None else exchange.answer.fault,
                )
        return keeps

    def _fault(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Of a callback, which nobody has called who could be told."""
        self._log.error("ambassador.fault", message=context["message"], exc_info=context.get("exception"))

    def _is_closing(self) -> bool:
        return self._closing

    def _health(self, front: Front, request: Incoming) -> bool:
        """Of the proxy alone; with ``?verbose``, for whom it may tell, its counters, too."""
        lines = []
        if request.target.endswith(b"?verbose"):
            self._gate.admit(request)
            self.tally.connections = self._pool.opened
            lines = [*self.tally.lines(), ""]
        status, text = (503, "stopping") if self._closing else (200, "ok")
        body = "\n".join([*lines, text]).encode()
        keeps = self._keeps(request)
        front.write(
            saying.answer(status, saying.TEXT, body, last=not keeps, to_head=request.method == "HEAD")
        )
        return keeps

    def _keeps(self, request: Incoming) -> bool:
        """Whether another request may follow this one, which the server doesn't see."""
        return request.keep_alive and request.complete and not self._closing


def _takes_lines(fd: int) -> Callable[[], bool]:
    """What tells whether a pipe has room for PIPE_BUF bytes, 4,096 (poll(2), pipe(7)); all else has."""
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return lambda: bool(poll.poll(0))


def _is_health(target: bytes) -> bool:
    return target.partition(b"?")[0] == HEALTH
