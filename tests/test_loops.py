"""kmetad.loops: what goes on in the loop's thread comes back to whoever asked, and nothing is left of it."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from kmetad.errors import OWN_FAILURE
from kmetad.loops import LoopThread
from tests.cli import DEADLINE


async def where() -> str:
    """The thread that this is on."""
    return threading.current_thread().name


async def fail() -> None:
    """Not to be done."""
    raise OSError(98, "taken")


def ended(name: str) -> bool:
    """Whether there is no such thread."""
    return name not in [thread.name for thread in threading.enumerate()]


def test_from_start_to_stop() -> None:
    """Both are answered on the loop's thread; a second stop does nothing."""
    made = LoopThread("served")
    assert made.start(where) == "served"
    made.stop(where)
    made.stop(fail)
    assert ended("served")
    assert made.loop.is_closed()


def test_a_beginning_that_fails() -> None:
    """It is told, and the thread has ended."""
    made = LoopThread("served in vain")
    with pytest.raises(OSError, match="taken"):
        made.start(fail)
    assert ended("served in vain")
    made.stop(where)


def test_an_end_that_fails() -> None:
    """Likewise."""
    made = LoopThread("served")
    made.start(where)
    with pytest.raises(OSError, match="taken"):
        made.stop(fail)
    assert ended("served")


def test_a_loop_that_dies_ends_the_process() -> None:
    """A daemon that is started anew is better than one that looks alive."""
    code = (
        "from kmetad.loops import LoopThread\n"
        "async def begin(): pass\n"
        "def die(): raise KeyboardInterrupt\n"
        "made = LoopThread('served'); made.start(begin)\n"
        "made.loop.call_soon_threadsafe(die); input()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        assert process.wait(DEADLINE) == OWN_FAILURE
