"""Labels and annotations as the kubelet writes them: Go's quoting, for whoever writes what it would."""

from __future__ import annotations

from collections.abc import Mapping


def encode(texts: Mapping[str, str]) -> bytes:
    """The file of labels or annotations: a line ``KEY="VALUE"`` each, sorted by bytes, no newline at the end.

    As Kubernetes' ``pkg/fieldpath`` formats a map.
    """
    lines = sorted((key.encode(errors="surrogateescape"), quote(value)) for key, value in texts.items())
    return b"\n".join(key + b"=" + value for key, value in lines)


def quote(text: str) -> bytes:
    r"""``text`` as Go's ``strconv.Quote`` writes it, in UTF-8 and with the quotes around it.

    Bytes that are no UTF-8, which are surrogate escapes in ``text``, come out as ``\xNN``.
    What is printable is Unicode's to say: of characters that are newer than this Python's
    Unicode (``unicodedata.unidata_version``), Go may print some that are escaped here.
    Raises UnicodeEncodeError for surrogates that escape no byte, as no Go string holds them.
    """
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return b'"%b"' % text.encode("ascii")
    # Escapes that together spell a character are that character to Go, which sees bytes.
    text = text.encode(errors="surrogateescape").decode(errors="surrogateescape")
    return f'"{"".join(map(_quoted, text))}"'.encode()


_SHORT = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    "\\": r"\\",
    '"': r"\"",
}


def _quoted(character: str) -> str:
    """One character as it stands inside Go's quotes."""
    short = _SHORT.get(character)
    if short is not None:
        return short
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a surrogate escape: the byte is in its low half
        return f"\\x{code & 0xFF:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
