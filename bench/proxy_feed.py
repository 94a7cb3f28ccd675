"""``python -m bench.proxy_feed``: answers watches, and writes events to them as it is told on its standard input.

It prints its port. Each watch begins with an event. A line ``FIRST COUNT`` has it write one more to each of
so many watches, which are told apart by their ``resourceVersion``. An event is a Pod that says when it was
written: CLOCK_MONOTONIC, in nanoseconds, taken right before the system call.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time

from bench.proxy_pod import HEADERS, pod

WATCHES = "/api/v1/namespaces/lab/pods"
END = b"}}\n"
"""How an event ends."""
WRITTEN = re.compile(rb'"written":"(\d+)"')
_NUMBER = re.compile(rb"[?&]resourceVersion=(\d+)")
_HEAD = "".join(
    (
        "HTTP/1.1 200 OK\r\n",
        *(f"{name}: {value}\r\n" for name, value in HEADERS),
        "Transfer-Encoding: chunked\r\n",
    )
)
_PLACE = "0" * 20
_BEFORE, _, _AFTER = f'{{"type":"MODIFIED","object":{pod(written=_PLACE)}}}\n'.encode().partition(
    _PLACE.encode()
)
_SIZE = b"%x\r\n" % (len(_BEFORE) + len(_PLACE) + len(_AFTER))


class Feed:
    """The open watches, by their number."""

    def __init__(self) -> None:
        self._watches: dict[int, asyncio.StreamWriter] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's watch, and keep it until the other end is gone."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            found = _NUMBER.search(head)
            assert found is not None
            number = int(found[1])
            self._watches[number] = writer
            writer.write(f"{_HEAD}\r\n".encode())
            self.tell(number, 1)  # nginx keeps the head back over HTTP/2 until there is more
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def tell(self, first: int, count: int) -> None:
        """Write one event to each of these."""
        for number in range(first, first + count):
            now = b"%020d" % time.monotonic_ns()
            self._watches[number].write(_SIZE + _BEFORE + now + _AFTER + b"\r\n")


async def _main() -> None:
    feed = Feed()
    server = await asyncio.start_server(feed.serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    while line := await orders.readline():
        first, count = line.split()
        feed.tell(int(first), int(count))


if __name__ == "__main__":
    asyncio.run(_main())
