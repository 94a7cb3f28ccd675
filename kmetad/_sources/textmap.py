"""The files ``labels`` and ``annotations``: one ``KEY="VALUE"`` a line, quoted by Go.

The kubelet writes them with ``fieldpath.FormatMap`` (k8s.io/kubernetes,
``pkg/fieldpath``), which quotes by ``strconv.Quote``. Neither JSON nor Python
literals read that: Go writes ``\\a`` and ``\\v``, and means a byte by ``\\xe9``.
"""

from __future__ import annotations

from kmetad.errors import DecodeError

# Go escapes every control character, so these two can stand for what they replace
# in the middle of the work.
_BACKSLASH, _QUOTE = "\x00", "\x01"
_SHORT = (("n", "\n"), ("t", "\t"), ("r", "\r"), ("a", "\a"), ("b", "\b"), ("f", "\f"), ("v", "\v"))
_WIDTH = {"x": 2, "u": 4, "U": 8}
_HEX = frozenset("0123456789abcdefABCDEF")


def decode(data: bytes, file: str) -> dict[str, str]:
    """The map that was written. Bytes that are no UTF-8 come as surrogate escapes.

    A newline at the end, as an editor leaves it, is no fault. ``file`` is for the
    message. Raises DecodeError with the line (from 1) that isn't in this form; the
    message tells no content.
    """
    values: dict[str, str] = {}
    text = data.decode("utf-8", "surrogateescape").removesuffix("\n")
    if not text:
        return values
    # Between two entries stands '"\n', and nowhere else: a newline in a value is escaped.
    entries = text[:-1].split('"\n')
    escapes = "\\" in text
    try:
        for entry in entries:
            key, equals, value = entry.partition('="')
            if escapes and "\\" in value:
                value = _unquote(value)
            elif '"' in value:
                raise _NotQuoted("a quotation mark that isn't escaped")
            if not equals:
                raise _NotQuoted
            values[key] = value
        # All of it at once, which is cheaper than each: is every newline between two entries?
        sound = text[-1] == '"' and text.count("\n") == len(entries) - 1 and len(values) == len(entries)
    except _NotQuoted:
        sound = False
    if not sound:
        raise _fault(text, file)
    return values


class _NotQuoted(Exception):
    """Says what is wrong with one line."""


def _unquote(body: str) -> str:
    """What stood between the quotation marks, with Go's escapes undone. Raises _NotQuoted.

    A value of a megabyte may be full of escapes (a last-applied-configuration is), so
    the usual ones are left to ``str.replace``.
    """
    if _BACKSLASH in body or _QUOTE in body:
        raise _NotQuoted("a control character that isn't escaped")
    body = body.replace("\\\\", _BACKSLASH).replace('\\"', _QUOTE)
    if '"' in body:
        raise _NotQuoted("a quotation mark that isn't escaped")
    for letter, meant in _SHORT:
        if "\\" not in body:
            break
        body = body.replace("\\" + letter, meant)
    if "\\" in body:
        return _decode_codes(body)
    return _restore(body)


def _restore(text: str) -> str:
    return text.replace(_BACKSLASH, "\\").replace(_QUOTE, '"')


def _decode_codes(body: str) -> str:
    """The same for ``\\x``, ``\\u`` and ``\\U``, all that is left by now."""
    first, *rest = body.split("\\")
    out = [_restore(first)]
    bytes_ = False
    for part in rest:
        width = _WIDTH.get(part[:1], 0)
        digits = part[1 : width + 1]
        if not width or len(digits) < width or not _HEX.issuperset(digits):
            raise _NotQuoted("an escape that Go doesn't write")
        code = int(digits, 16)
        if width == 2:
            bytes_ = bytes_ or code >= 0x80
            out.append(chr(code if code < 0x80 else 0xDC00 + code))  # as surrogateescape has it
        elif code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise _NotQuoted("an escape of no character")
        else:
            out.append(chr(code))
        out.append(_restore(part[width + 1 :]))
    value = "".join(out)
    if bytes_:  # single bytes that only together are a character
        value = value.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    return value


def _fault(text: str, file: str) -> DecodeError:
    """The first line that isn't in the form. Slow, and only for a file that is known to be wrong."""
    keys = set()
    for number, line in enumerate(text.split("\n"), 1):
        key, equals, value = line.partition('="')
        reason = 'no KEY="VALUE" as the kubelet writes it'
        try:
            if not equals or value[-1:] != '"':
                raise _NotQuoted(reason)
            if "\\" in value:
                _unquote(value[:-1])
            elif '"' in value[:-1]:
                raise _NotQuoted("a quotation mark that isn't escaped")
            if key in keys:
                raise _NotQuoted("a key that was there before")
        except _NotQuoted as wrong:
            return DecodeError(str(wrong), file=file, line=number)
        keys.add(key)
    return DecodeError("no lines as the kubelet writes them", file=file)
