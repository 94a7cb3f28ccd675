"""SPDY and WebSocket as the tests' API server has them, without a server."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.apiserver import spdy, websocket


class Pair:
    """A client's session and a server's, and what each sends."""

    def __init__(self, kind: type[Any]) -> None:
        self.to_server, self.to_client = bytearray(), bytearray()
        self.client = kind(self.to_server.extend, client=True)
        self.server = kind(self.to_client.extend)

    def arrived(self, size: int = 1 << 30) -> list[Any]:
        """What the server makes of what the client has sent, in pieces of so many bytes."""
        data = bytes(self.to_server)
        self.to_server.clear()
        found = []
        for at in range(0, len(data), size):
            found += self.server.receive(data[at : at + size])
        return found

    def back(self) -> list[Any]:
        """What the client makes of what the server has sent."""
        data = bytes(self.to_client)
        self.to_client.clear()
        return self.client.receive(data)


def test_spdys_dictionary() -> None:
    """It is the one that all others have."""
    assert (len(spdy.DICTIONARY), zlib.adler32(spdy.DICTIONARY)) == (1423, 0xE3C6A7C2)


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20)
VALUES = st.text(st.characters(max_codepoint=255), max_size=50)


@settings(deadline=None)
@given(st.lists(st.tuples(st.dictionaries(NAMES, VALUES), st.binary(), st.booleans())), st.integers(1, 100))
def test_spdy_in_pieces(streams: list[tuple[dict[str, str], bytes, bool]], size: int) -> None:
    """However the bytes are cut, what comes out is what went in."""
    pair = Pair(spdy.Session)
    expected: list[spdy.Event] = []
    for headers, data, end in streams:
        stream = pair.client.open(headers)
        pair.client.data(stream, data, end=end)
        expected.append(spdy.Opened(stream, headers))
        expected += [spdy.Data(stream, data)] * bool(data) + [spdy.Ended(stream)] * end
    assert pair.arrived(size) == expected


def test_spdys_other_frames() -> None:
    """Replies, resets, pings both ways, GOAWAY; nothing is sent on what is over; windows are of no interest."""
    pair = Pair(spdy.Session)
    one, two = pair.client.open({"a": "b"}), pair.client.open({"a": "b"}, end=True)
    assert pair.arrived() == [spdy.Opened(1, {"a": "b"}), spdy.Opened(3, {"a": "b"}), spdy.Ended(3)]
    pair.client.data(two, b"dropped")
    assert pair.arrived() == []
    pair.server.reply(one, {"Some": "thing"})
    pair.server.data(one, b"x" * (spdy.MAX_DATA + 1), end=True)
    pair.server.data(one, b"dropped")
    assert pair.back() == [
        spdy.Replied(one, {"some": "thing"}),
        spdy.Data(one, b"x" * spdy.MAX_DATA),
        spdy.Data(one, b"x"),
        spdy.Ended(one),
    ]
    pair.client.reset(one)
    assert pair.arrived() == [spdy.Reset(one, spdy.CANCEL)]
    assert (pair.client.ping(), pair.server.ping()) == (1, 2)
    assert (pair.arrived(), pair.back(), pair.arrived()) == ([], [spdy.Pong(1)], [spdy.Pong(2)])
    pair.server.go_away()
    assert pair.back() == [spdy.GoneAway(3, 0)]
    pair.to_server += struct.pack("!HHIII", 0x8003, spdy.WINDOW_UPDATE, 8, 1, 1000)
    pair.to_server += struct.pack("!HHII", 0x8003, spdy.SETTINGS, 4, 0)
    assert pair.arrived() == []


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!HHI", 0x8002, spdy.PING, 4),  # SPDY/2
        struct.pack("!HHI", 0x8003, 5, 0),  # NOOP, which there is no more
        struct.pack("!HHIH", 0x8003, spdy.PING, 2, 0),
        struct.pack("!HHII", 0x8003, spdy.RST_STREAM, 4, 1),
        struct.pack("!HHIIIH", 0x8003, spdy.SYN_STREAM, 10, 1, 0, 0),
        struct.pack("!HHIIIHI", 0x8003, spdy.SYN_STREAM, 14, 1, 0, 0, 0xFFFF_FFFF),
    ],
)
def test_what_is_not_spdy(data: bytes) -> None:
    """It is a ValueError, with what is wrong."""
    with pytest.raises(ValueError, match=r"frame|headers"):
        spdy.Session(lambda _: None).receive(data)


def test_spdys_headers_are_not_without_end() -> None:
    """Headers that are small until they are unpacked are refused."""
    pair = Pair(spdy.Session)
    pair.client.open({"a": "b" * 1_000_000})
    with pytest.raises(ValueError, match="headers of more than"):
        pair.arrived()


def test_websockets_examples() -> None:
    """RFC 6455's own: the key, a text with and without a mask, in pieces, a ping with its pong."""
    assert websocket.accept("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    sent = bytearray()
    server = websocket.Session(sent.extend)
    masked = bytes.fromhex("818537fa213d7f9f4d5158")
    assert server.receive(masked) == [(websocket.TEXT, b"Hello")]
    client = websocket.Session(sent.extend, client=True)
    assert client.receive(bytes.fromhex("810548656c6c6f")) == [(websocket.TEXT, b"Hello")]
    pieces = bytes.fromhex("010348656c") + bytes.fromhex("890548656c6c6f") + bytes.fromhex("80026c6f")
    assert client.receive(pieces) == [(websocket.TEXT, b"Hello")]
    assert server.receive(bytes(sent)) == [(websocket.PONG, b"Hello")]
    server.message(b"x" * 256)
    assert sent.endswith(bytes.fromhex("827E0100") + b"x" * 256)
    server.message(b"x" * 65536)
    assert sent.endswith(bytes.fromhex("827F0000000000010000") + b"x" * 65536)


@settings(deadline=None)
@given(st.lists(st.sampled_from([0, 1, 125, 126, 65535, 65536]), max_size=4), st.integers(50, 70_000))
def test_websocket_in_pieces(sizes: list[int], size: int) -> None:
    """However the bytes are cut, what comes out is what went in."""
    pair = Pair(websocket.Session)
    messages = [bytes(range(256)) * (each // 256) + b"x" * (each % 256) for each in sizes]
    for message in messages:
        pair.client.message(message)
    assert pair.arrived(size) == [(websocket.BINARY, message) for message in messages]
    pair.client.close(1001, "enough")
    pair.client.message(b"dropped")
    assert pair.arrived(size) == [(websocket.CLOSE, b"\x03\xe9enough")]
    assert pair.back() == [(websocket.CLOSE, b"\x03\xe9enough")]


@pytest.mark.parametrize(
    "data",
    [
        b"\xc2\x80\0\0\0\0",  # compressed, which nobody has agreed on
        b"\x83\x80\0\0\0\0",  # a kind that there isn't
        b"\x82\x00",  # not masked
        b"\x80\x80\0\0\0\0",  # goes on with nothing
        b"\x02\x80\0\0\0\0" * 2,  # begins within another
        b"\x09\x80\0\0\0\0",  # a ping in pieces
        b"\x89\xfe\x01\x00\0\0\0\0",  # a ping that is too long
        b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",  # too much
    ],
)
def test_what_is_not_websocket(data: bytes) -> None:
    """It is a ValueError, with what is wrong."""
    with pytest.raises(ValueError, match=r"frame|message"):
        websocket.Session(lambda _: None).receive(data)
