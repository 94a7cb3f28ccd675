"""What supervisor and daemon say to each other."""

from __future__ import annotations

import marshal
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
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
@example(b"(\xff\xff\xff\x0f")
def test_what_is_no_message_is_refused(packet: bytes) -> None:
    """Unless it happens to be one."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        one.send(packet)
        try:
            message = _link.receive(other)
        except ValueError:
            return
        assert message is not None
        assert marshal.loads(packet) == (_link.VERSION, message[0], *message[1])


LIE = """
import socket, sys
from kmetad import _link
one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
one.send(bytes.fromhex(sys.argv[1]))
peak = lambda: int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
before = peak()
try: _link.receive(other)
except ValueError as error: print(peak() - before, error)
"""


@pytest.mark.parametrize(
    "packet",
    [
        b"(\x00\x00\x00\x01i\x01\x00\x00\x00",  # 16 million values, of which one is there: takes 128 MiB
        b"(\x02\x00\x00\x00i\x01\x00\x00\x00[\x00\x00\x00\x01",
        b"(\x01\x00\x00\x00" * 5000,
        marshal.dumps((1, "ready", compile("0", "", "eval")), 2),
        marshal.dumps((1, "ready", "again", "again"), 4),  # with references
        marshal.dumps((1, "ready"), 2) + b"N",
        b"(\x02\x00\x00\x00i\x01\x00\x00\x00{[\x00\x00\x00\x00N0",
    ],
)
def test_what_marshal_would_believe(packet: bytes) -> None:
    """How long a list is said to be, code, references: only plain values are read, in the memory that they take."""
    command = [sys.executable, "-c", LIE, packet.hex()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    kilobytes, _, error = done.stdout.partition(" ")
    assert error.startswith("no message of kmetad: "), done.stderr
    assert int(kilobytes) < 32 * 1024


def test_another_version_is_refused(pair: tuple[socket.socket, socket.socket]) -> None:
    """It says which."""
    pair[0].send(marshal.dumps((99, "ready"), 2))
    with pytest.raises(ValueError, match="version 99"):
        _link.receive(pair[1])
