"""Labels and annotations: ``decode`` against a reading byte by byte, and to Go's quoting and back."""

from __future__ import annotations

from pathlib import Path

from kmetad._goquote import encode
from kmetad._sources.textmap import decode
from kmetad.errors import DecodeError
from tests.soak.targets.target import Target, text

_NASTY = Path(__file__).parents[2] / "data" / "nasty"
_REASONS = {
    'no KEY="VALUE" as the kubelet writes it',
    "a quotation mark that isn't escaped",
    "a control character that isn't escaped",
    "an escape that Go doesn't write",
    "an escape of no character",
    "a key that was there before",
}
_SHORT = {b"a": 7, b"b": 8, b"f": 12, b"n": 10, b"r": 13, b"t": 9, b"v": 11, b"\\": 92, b'"': 34}
_WIDTH = {b"x": 2, b"u": 4, b"U": 8}


def run(data: bytes) -> None:
    """A map, or a DecodeError that tells no content."""
    expected = _slowly(data)
    try:
        values = decode(data, "labels")
    except DecodeError as error:
        _check(error, data, expected)
        return
    assert values == expected
    again = encode(values)
    assert decode(again, "labels") == values
    assert encode(decode(again, "labels")) == again


def _check(error: DecodeError, data: bytes, expected: dict[str, str] | None) -> None:
    assert error.reason in _REASONS, error.reason
    assert 1 <= error.line <= data.count(b"\n") + 1
    # Two control characters serve ``decode`` as marks, and Go writes none: it may refuse what is readable.
    assert expected is None or b"\0" in data or b"\1" in data


def _slowly(data: bytes) -> dict[str, str] | None:
    """The same map; None where there is none."""
    values: dict[str, str] = {}
    data = data.removesuffix(b"\n")
    for line in data.split(b"\n") if data else ():
        key, equals, rest = line.partition(b'="')
        value = _unquoted(rest[:-1]) if rest[-1:] == b'"' else None
        if not equals or value is None or text(key) in values:
            return None
        values[text(key)] = text(value)
    return values


def _unquoted(body: bytes) -> bytes | None:
    out = bytearray()
    at = 0
    while at < len(body):
        char, at = body[at : at + 1], at + 1
        if char == b'"':
            return None
        if char != b"\\":
            out += char
            continue
        kind, at = body[at : at + 1], at + 1
        if kind in _SHORT:
            out.append(_SHORT[kind])
            continue
        width = _WIDTH.get(kind, 0)
        digits, at = body[at : at + width], at + width
        if not width or len(digits) < width or digits.translate(None, b"0123456789abcdefABCDEF"):
            return None
        code = int(digits, 16)
        if width == 2:
            out.append(code)
        elif code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            return None
        else:
            out += chr(code).encode()
    return bytes(out)


TEXTMAP = Target(
    "textmap",
    run,
    seeds=[
        *(path.read_bytes()[:512] for path in sorted(_NASTY.glob("*.annotations"))),
        b'app="web"\ntier="gold"\n',
        rb'a="\a\b\f\n\r\t\v\\\"\x00\xff\u20ac\U0001f600"',
    ],
    words=[
        *(b'="', b'"\n', b"\n", b"\\", b'\\"', b"\\\\", b"\\x", b"\\xc3\\xa9", b"\\u00e9", b"\\ud800"),
        *(b"\\U0010ffff", b"\\U00110000", b"\xc3", b"\xed\xa0\x80", b"\0", b"\1"),
    ],
    longest=512,
)
