"""What the supervisor and its daemon say to each other: one message a packet, over a SOCK_SEQPACKET pair.

A message is a tuple of plain values, packed by ``marshal``: both ends run the same
interpreter, and nothing has to be imported for it.

========================================  =====================================================
the daemon says
========================================  =====================================================
``hello``                                 a new daemon: variables that the one before said are void
``run, settings``                         ``[run]`` as it is now; for the app's next start
``checked``                               neither the TOML nor a plugin has a fault (``--strict``)
``variable, name, value``                 one of the app's next start, in bytes; None takes it back
``environment``                           all variables of one snapshot have been said: they are in force
``ready``                                 the first snapshot is read, and every ``on_start`` returned
``signal, number``                        send it to the app, as ``signal_scope`` says
``restart, reason``                       stop the app, and start it again
``tags, by_stream, complete``             what the app's lines carry: by stream the values of
                                          ``splice.Tags``; ``complete``: nobody has more to say
``count``                                 asks for ``counted``
========================================  =====================================================

========================================  =====================================================
the supervisor says
========================================  =====================================================
``app_started, pid, starts``              the app runs, for the so-manieth time
                                          (0: it doesn't run); told to each new daemon
``app_exited, code, signal, starts``      it ended: its code as a shell has it (128 + n), 0 or the signal
``stop, seconds``                         end within so many seconds
``counted, by_stream``                    lines, bytes, tagged lines and lost bytes of each stream
========================================  =====================================================
"""

from __future__ import annotations

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

VERSION = 1

LONGEST = 1 << 18
"""Bytes of a message. The longest variable that execve(2) takes, 128 KiB, fits, and into a socket's buffer too."""

_FORMAT = 2
"""Of marshal: the last that every Python of today writes in the same way."""


def send(link: socket.socket, kind: str, *values: Any) -> bool:
    """Send a message. False if the other end has gone, or has been asleep for so long that its queue is full."""
    try:
        link.send(marshal.dumps((VERSION, kind, *values), _FORMAT))
    except OSError:
        return False
    return True


def receive(link: socket.socket) -> tuple[str, tuple[Any, ...]] | None:
    """The next message: its kind and its values. None once the other end has gone.

    Raises BlockingIOError where none is there and ``link`` doesn't block, and ValueError
    for what is no message of this version.
    """
    try:
        packet = link.recv(LONGEST)
    except BlockingIOError:
        raise
    except OSError:
        return None
    if not packet:
        return None
    try:
        if not _is_plain(packet):
            raise ValueError("not made of plain values")
        version, kind, *values = marshal.loads(packet)
    except (EOFError, TypeError, ValueError) as error:  # as marshal says that it isn't its own
        raise ValueError(f"no message of kmetad: {error}") from None
    if version != VERSION:
        raise ValueError(f"a message of version {version}, where {VERSION} is spoken")
    if not isinstance(kind, str):
        raise ValueError(f"no message of kmetad: its kind is a {type(kind).__name__}")
    return kind, tuple(values)


_SIZES = {**dict.fromkeys(b"NTF{", 0), ord("i"): 4, ord("g"): 8}
"""Bytes behind the letter of each type that holds no count; a dictionary's end is a letter too."""
_DEEPEST = 20


def _is_plain(packet: bytes) -> bool:
    """Whether marshal would find nothing but plain values there, and all of them.

    marshal believes whatever it reads: for a list it takes as many gigabytes as the list is
    said to need, before it looks for the first item. It also makes code. And a daemon that a
    plugin has broken may send anything at all.
    """
    lacking = [1]  # how many values each container still needs; counts below zero in dictionaries
    at = 0
    while lacking:
        if not lacking[-1]:
            lacking.pop()
            continue
        if at >= len(packet) or len(lacking) > _DEEPEST:
            return False
        kind = packet[at]
        at += 1
        if kind == ord("0") and lacking[-1] < 0 and lacking[-1] % 2:  # instead of another key
            lacking.pop()
            continue
        lacking[-1] -= 1
        if kind in _SIZES:
            at += _SIZES[kind]
            if kind == ord("{"):
                lacking.append(-1)
            continue
        count = int.from_bytes(packet[at : at + 4], "little", signed=True)
        at += 4
        if kind == ord("l"):
            at += 2 * abs(count)
        elif count < 0 or count > len(packet) - at:
            return False
        elif kind == ord("("):
            lacking.append(count)
        elif kind in b"su":
            at += count
        else:
            return False
    return at == len(packet)
