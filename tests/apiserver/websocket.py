"""WebSocket (RFC 6455), as far as exec, attach and port-forward go: messages both ways.

Bytes in, messages out; nothing here knows a socket. No extension is ever agreed on.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
"""Kinds of frames."""

NORMAL, PROTOCOL_ERROR = 1000, 1002
"""Why a connection is closed."""

MAX_MESSAGE = 64 * 1024 * 1024

_FINAL = 0x80
_MASKED = 0x80
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept(key: str) -> str:
    """The Sec-WebSocket-Accept that a Sec-WebSocket-Key gets."""
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID).digest()).decode("ascii")


class Message(NamedTuple):
    """What came: TEXT or BINARY in whole, a PONG, or a CLOSE with what was said of it."""

    kind: int
    data: bytes


class Session:
    """One side of a connection. ``send`` gets what is to be sent, frame by frame."""

    def __init__(self, send: Callable[[bytes], object], *, client: bool = False) -> None:
        self._send = send
        self._client = client
        self._received = bytearray()
        self._begun: list[bytes] = []  # of a message in several frames
        self._kind = CONTINUATION
        self.closed = False  # a CLOSE was sent; nothing may be sent after it

    def message(self, data: bytes, kind: int = BINARY) -> None:
        """Send a message; dropped if the connection has been closed."""
        if not self.closed:
            self._send(frame(kind, data, masked=self._client))

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Say that nothing more comes."""
        self.message(struct.pack("!H", code) + reason.encode(), CLOSE)
        self.closed = True

    def receive(self, data: bytes) -> list[Message]:
        """What these bytes, with those before, amount to; a PING and a CLOSE are answered.

        Raises ValueError for what isn't WebSocket.
        """
        self._received += data
        messages = []
        while (found := self._frame()) is not None:
            final, kind, payload = found
            if kind == PING:
                self.message(payload, PONG)
            elif kind == CLOSE:
                self.message(payload, CLOSE)
                self.closed = True
                messages.append(Message(CLOSE, payload))
            elif kind == PONG:
                messages.append(Message(PONG, payload))
            elif (kind == CONTINUATION) != bool(self._kind):
                raise ValueError("a message that begins within another, or not at all")
            else:
                self._kind = kind or self._kind
                self._begun.append(payload)
                if final:
                    messages.append(Message(self._kind, b"".join(self._begun)))
                    self._begun.clear()
                    self._kind = CONTINUATION
        return messages

    def _frame(self) -> tuple[bool, int, bytes] | None:
        """The next whole frame: whether it ends a message, its kind, and what is in it."""
        if len(self._received) < 2:
            return None
        first, second = self._received[:2]
        kind, size, at = first & 0x0F, second & 0x7F, 2
        if first & 0x70 or kind not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise ValueError(f"a frame that isn't WebSocket's: {first:#x}")
        if kind >= CLOSE and (size > 125 or not first & _FINAL):
            raise ValueError("a control frame that is too long, or in pieces")
        if bool(second & _MASKED) == self._client:
            raise ValueError("a client's frames are masked, a server's aren't")
        wide = {126: "!H", 127: "!Q"}.get(size)
        if wide:
            if len(self._received) < at + struct.calcsize(wide):
                return None
            (size,) = struct.unpack_from(wide, self._received, at)
            at += struct.calcsize(wide)
        if size > MAX_MESSAGE:
            raise ValueError(f"a message of {size} bytes")
        mask = b""
        if second & _MASKED:
            mask, at = bytes(self._received[at : at + 4]), at + 4
        if len(self._received) < at + size:
            return None
        payload = bytes(self._received[at : at + size])
        del self._received[: at + size]
        return bool(first & _FINAL), kind, _masked(payload, mask) if mask else payload


def frame(kind: int, data: bytes, *, masked: bool = False, final: bool = True) -> bytes:
    """A frame; a client's are masked."""
    begin, mask = bytes([kind | (_FINAL if final else 0)]), _MASKED if masked else 0
    if len(data) < 126:
        begin += bytes([mask | len(data)])
    elif len(data) < 1 << 16:
        begin += bytes([mask | 126]) + struct.pack("!H", len(data))
    else:
        begin += bytes([mask | 127]) + struct.pack("!Q", len(data))
    if not masked:
        return begin + data
    key = os.urandom(4)
    return begin + key + _masked(data, key)


def _masked(data: bytes, mask: bytes) -> bytes:
    """Either way: what is masked twice is as it was."""
    repeated = (mask * (len(data) // 4 + 1))[: len(data)]
    return (int.from_bytes(data, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(data), "big")
