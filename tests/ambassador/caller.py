"""A client of a proxy that sends whatever bytes."""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import select
import socket
import sys
import termios
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from types import TracebackType

from kmetad_ambassador.front import Front

from tests.ambassador.wire import Answer, answers
from tests.proxying import DEADLINE, Proxied


class Caller:
    """One connection."""

    def __init__(self, proxied: Proxied) -> None:
        self.sock = proxied.connect()
        self.got = b""
        """Every byte."""
        self.ended = False
        """Whether the proxy has closed it."""

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """To a proxy that has closed it, nothing."""
        try:
            self.sock.sendall(data)
        except OSError:
            pass

    def trickle(self, data: bytes) -> None:
        """Send it again and again, a byte at a time, until something comes."""
        deadline = time.monotonic() + DEADLINE
        for byte in itertools.cycle(data):
            self.send(bytes([byte]))
            if select.select([self.sock], [], [], 0.005)[0]:
                return
            assert time.monotonic() < deadline, "it takes whatever comes"

    def leave(self) -> None:
        """Say that nothing more will come."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    @property
    def unsent(self) -> int:
        """Bytes that haven't come to the proxy's kernel, as far as is known here."""
        return int.from_bytes(fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    def until(self, there: Callable[[bytes], bool]) -> None:
        """Read until this holds for what came, or the proxy has closed it."""
        while not self.ended and not there(self.got):
            try:
                data = self.sock.recv(65536)
            except ConnectionError:
                data = b""
            except TimeoutError:
                raise AssertionError(f"nothing more came than {self.got!r}") from None
            self.got += data
            self.ended = not data

    def until_end(self) -> None:
        """Read until the proxy closes it."""
        self.until(lambda _: False)

    def until_answers(self, count: int, bodiless: Collection[int] = ()) -> None:
        """Read until so many whole answers have come."""

        def there(got: bytes) -> bool:
            return sum(answer.whole for answer in answers(got, bodiless=bodiless)[0]) >= count

        self.until(there)

    def answers(self, bodiless: Collection[int] = (), behind: bytes = b"") -> list[Answer]:
        """What came, with this behind it."""
        found, rest = answers(self.got, ended=self.ended, bodiless=bodiless)
        assert rest == behind, rest
        return found


@contextmanager
def held(proxied: Proxied) -> Iterator[None]:
    """The proxy does nothing meanwhile, so that all that is sent to it is there at once when it looks."""
    stopped, go_on = threading.Event(), threading.Event()

    def stop() -> None:
        stopped.set()
        go_on.wait()

    loop: asyncio.AbstractEventLoop = proxied.running._thread.loop
    loop.call_soon_threadsafe(stop)
    stopped.wait()
    try:
        yield
    finally:
        go_on.set()


def seen(proxied: Proxied) -> None:
    """When this is over, the proxy has looked at all that was sent before: another client has been answered twice."""
    for _ in range(2):
        with Caller(proxied) as other:
            other.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            other.until_answers(1)


def settled(proxied: Proxied, caller: Caller) -> None:
    """Until the proxy has dealt with all that this client has sent, and waits for more of it, or takes no more."""
    proxy = proxied.running._proxy

    async def wait() -> None:
        async with asyncio.timeout(DEADLINE):
            while any(_at_work(front, caller) for front in proxy._fronts):
                await asyncio.sleep(0)

    seen(proxied)  # so that this one has been accepted, before
    asyncio.run_coroutine_threadsafe(wait(), proxied.running._thread.loop).result()


def _at_work(front: Front, caller: Caller) -> bool:
    """Whether this is the proxy's end of that client's connection, and something is still to come of it."""
    sock = front.line._sock
    if front.line.closed or front._leaving or sock.getpeername() != caller.sock.getsockname():
        return False
    waits = front._waiter is not None and not front._waiter.done()
    return not waits or caller.unsent > 0 or bool(select.select([sock], [], [], 0)[0])
