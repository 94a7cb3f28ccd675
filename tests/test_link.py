"""What supervisor and daemon say to each other."""

from __future__ import annotations

import marshal
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad import _link

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ends[0], ends[1]:
        yield ends


@given(st.lists(st.tuples(st.text(), st.lists(PLAIN, max_size=3)), max_size=5))
def test_messages_arrive_whole_and_in_order(messages: list[tuple[str, list[Any]]]) -> None:
    """Text of any kind, lone surrogates too."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        for kind, values in messages:
            assert _link.send(one, kind, *values)
            assert _link.receive(other) == (kind, tuple(values))


def test_the_longest_variable_fits(pair: tuple[socket.socket, socket.socket]) -> None:
    """128 KiB is what execve(2) takes of one."""
    value = "x" * (128 * 1024)
    assert _link.send(pair[0], "variable", "NAME", value)
    assert _link.receive(pair[1]) == ("variable", ("NAME", value))


def test_an_end_that_is_gone(pair: tuple[socket.socket, socket.socket]) -> None:
    """None, and False."""
    pair[0].close()
    assert _link.receive(pair[1]) is None
    assert not _link.send(pair[1], "ready")


@given(st.binary(min_size=1, max_size=40))
def test_what_is_no_message_is_refused(packet: bytes) -> None:
    """Unless it happens to be one."""
    try:
        version, kind, *values = marshal.loads(packet)
    except Exception:
        expected = None
    else:
        expected = (kind, tuple(values)) if version == _link.VERSION and isinstance(kind, str) else None
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        one.send(packet)
        if expected is None:
            with pytest.raises(ValueError, match="message of"):
                _link.receive(other)
        else:
            assert _link.receive(other) == expected


def test_another_version_is_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    """It says which."""
    pair[0].send(marshal.dumps((99, "ready")))
    with pytest.raises(ValueError, match="version 99"):
        _link.receive(pair[1])
