"""Calls that may take long, beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def aside(function: Callable[..., T], *args: object) -> T:
    """What a function answers or raises, called in a thread of its own.

    Nobody waits for that thread in the end, as asyncio's own executor does: a command that hangs, or a name
    server, mustn't keep the process.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def take(result: T | None, error: BaseException | None) -> None:
        if answer.done():
            return  # who asked has given up
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = function(*args)
        except Exception as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(take, result, error)
        except RuntimeError:
            pass  # the loop has ended meanwhile

    threading.Thread(target=run, name="aside", daemon=True).start()
    return await answer
