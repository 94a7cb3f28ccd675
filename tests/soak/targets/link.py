"""The socket between supervisor and daemon: any packet at all."""

from __future__ import annotations

import socket
from functools import cache

from kmetad import _link
from tests.soak.targets.target import Target


def run(data: bytes) -> None:
    """A message, the end, or ValueError; never the end of who receives it."""
    ours, theirs = _pair()
    theirs.send(data)
    try:
        message = _link.receive(ours)
    except ValueError:
        return
    assert (message is None) == (not data)
    assert message is None or (isinstance(message[0], str) and isinstance(message[1], tuple))


@cache
def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def _seeds() -> list[bytes]:
    ours, theirs = _pair()
    seeds = []
    for message in (
        ("hello",),
        ("variable", "NAME", b"value"),
        ("variable", "NAME", None),
        ("signal", 15),
        ("run", ("a", 1.5, True, (1, 2), {"k": (1,)})),
        ("app_exited", 143, 15, 2**40),
    ):
        _link.send(theirs, *message)
        seeds.append(ours.recv(_link.LONGEST))
    return [*seeds, b"(\1\0\0\0" * 200]


LINK = Target(
    "link",
    run,
    _seeds(),
    words=[
        *(
            b"(",
            b"[",
            b"{",
            b"0",
            b"N",
            b"s",
            b"u",
            b"l",
            b"g",
            b"i\1\0\0\0",
            b"\xff\xff\xff\x7f",
            b"\xff\xff\xff\xff",
        ),
        *(b"c\0\0\0\0", b"r\0\0\0\0", b"(\1\0\0\0" * 10),
    ],
)
