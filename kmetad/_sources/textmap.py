"""The files ``labels`` and ``annotations``: one ``KEY="VALUE"`` a line, quoted by Go.

The kubelet writes them with ``fieldpath.FormatMap`` (k8s.io/kubernetes,
``pkg/fieldpath``), which quotes by ``strconv.Quote``. Neither JSON nor Python
literals read that: Go writes ``\\a`` and ``\\v``, and means a byte by ``\\xe9``.
"""

from __future__ import annotations

from kmetad.errors import DecodeError

_SHORT = {
    b"a": b"\a",
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b"\\": b"\\",
    b'"': b'"',
}
_WIDTH = {b"x": 2, b"u": 4, b"U": 8}
_HEX = frozenset(b"0123456789abcdefABCDEF")


def decode(data: bytes, file: str) -> dict[str, str]:
    """The map that was written. Bytes that are no UTF-8 come as surrogate escapes.

    ``file`` is for the message. Raises DecodeError with the line (from 1) that isn't
    in this form; the message tells no content.
    """
    values: dict[str, str] = {}
    if not data:
        return values
    # Decoding the whole at once is the fast way; only values with escapes need bytes.
    for number, line in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
        key, equals, value = line.partition('="')
        if not equals or value[-1:] != '"':
            raise DecodeError('no KEY="VALUE" as the kubelet writes it', file=file, line=number)
        value = value[:-1]
        if "\\" in value:
            try:
                value = _unquote(value.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")
            except ValueError as error:
                raise DecodeError(str(error), file=file, line=number) from None
        elif '"' in value:
            raise DecodeError("a quotation mark that isn't escaped", file=file, line=number)
        if key in values:
            raise DecodeError("a key that was there before", file=file, line=number)
        values[key] = value
    return values


def _unquote(body: bytes) -> bytes:
    """What stood between the quotation marks, with Go's escapes undone. Raises ValueError."""
    out = bytearray()
    at = 0
    while (slash := body.find(b"\\", at)) >= 0:
        _plain(out, body[at:slash])
        kind = body[slash + 1 : slash + 2]
        short = _SHORT.get(kind)
        if short is not None:
            out += short
            at = slash + 2
            continue
        width = _WIDTH.get(kind, 0)
        at = slash + 2 + width
        digits = body[slash + 2 : at]
        if not width or len(digits) < width or not _HEX.issuperset(digits):
            raise ValueError("an escape that Go doesn't write")
        code = int(digits, 16)
        if kind == b"x":
            out.append(code)
        elif code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise ValueError("an escape of no character")
        else:
            out += chr(code).encode()
    _plain(out, body[at:])
    return bytes(out)


def _plain(out: bytearray, text: bytes) -> None:
    if b'"' in text:
        raise ValueError("a quotation mark that isn't escaped")
    out += text
