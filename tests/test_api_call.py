"""Calls that are cut: by others, and because their time is over."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from kmetad.api.call import Call, Deadlines
from tests.cli import DEADLINE, eventually


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def is_over(connection: socket.socket) -> bool:
    """Whether nothing comes any more."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


def test_a_cut_ends_the_connection(pair: tuple[socket.socket, socket.socket]) -> None:
    """Whoever reads is told at once; the other side too."""
    ours, theirs = pair
    with Call() as call:
        call.goes_over(ours, connected=True)
        assert not is_over(ours)
        call.cut()
        assert is_over(ours) and is_over(theirs)
    assert call.ended and not call.late and call.connected


def test_who_cut_it_first(pair: tuple[socket.socket, socket.socket]) -> None:
    """What was stopped isn't late, too."""
    with Call() as call:
        call.cut()
        call.cut(late=True)
    assert call.ended and not call.late


def test_what_is_done_meanwhile_takes_no_time() -> None:
    """A pause is added to what there is."""
    deadlines = Deadlines()
    with Call(time.monotonic() + 0.05, deadlines) as call:
        with call.paused():
            with Call(time.monotonic() + 0.1, deadlines) as other:
                eventually(lambda: other.ended)
            assert not call.ended
        eventually(lambda: call.ended)
        assert call.late


def test_a_forked_child_cuts_nothing_of_its_parents(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is the parent's."""
    ours, _ = pair
    with Call() as call:
        call.goes_over(ours, connected=True)
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: -1)
            call.cut()
        assert not call.ended and not is_over(ours)


def test_a_cut_comes_first(pair: tuple[socket.socket, socket.socket]) -> None:
    """A connection that is made for a call that has ended ends, too."""
    ours, _ = pair
    with Call() as call:
        call.cut()
        call.goes_over(ours, connected=True)
        assert is_over(ours)


def test_the_connection_may_be_closed_before(pair: tuple[socket.socket, socket.socket]) -> None:
    """What owns it closes it whenever it likes; nobody else's descriptor is hit."""
    ours, theirs = pair
    with Call() as call:
        call.goes_over(ours, connected=True)
        ours.close()
        another, its_end = socket.socketpair()  # one of which has the number that is free by now
        with another, its_end:
            call.cut()
            assert not is_over(another) and not is_over(its_end)
        assert is_over(theirs)


def test_time_is_up(pair: tuple[socket.socket, socket.socket]) -> None:
    """It is cut then, and says so."""
    ours, _ = pair
    deadlines = Deadlines()
    with Call(time.monotonic() + 0.05, deadlines) as call:
        call.goes_over(ours, connected=True)
        eventually(lambda: call.ended)
        assert call.late and is_over(ours)


def test_the_earlier_comes_first() -> None:
    """A call with less time than the one that is being waited for isn't forgotten."""
    deadlines = Deadlines()
    with Call(time.monotonic() + 3600, deadlines) as long, Call(time.monotonic() + 0.05, deadlines) as short:
        eventually(lambda: short.ended)
        assert not long.ended
    with Call(time.monotonic() + 0.05, deadlines) as after:
        eventually(lambda: after.ended)


def test_one_thread_for_all_and_none_for_none() -> None:
    """It ends when there is nothing left to wait for, and comes again."""
    deadlines = Deadlines()
    for _ in range(3):
        assert deadlines._thread is None
        with ExitStack() as stack:
            threads = set()
            for _ in range(20):
                stack.enter_context(Call(time.monotonic() + 3600, deadlines))
                threads.add(deadlines._thread)
        with Call(time.monotonic() + 0.05, deadlines) as last:
            threads.add(deadlines._thread)
            eventually(partial(getattr, last, "ended"))
        (thread,) = threads
        assert thread is not None
        thread.join(DEADLINE)
        assert not thread.is_alive()


def test_what_is_left() -> None:
    """Never more than there is, and never nothing, which would mean for ever."""
    assert Call().left(5.0) == 5.0
    assert 3500 < Call(time.monotonic() + 3600).left(1e9) <= 3600
    assert Call(time.monotonic() - 1).left(5.0) == 0.001
