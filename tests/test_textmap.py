"""kmetad._sources.textmap: the files that Go quoted."""

from __future__ import annotations

import base64
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmetad._sources.textmap import decode
from kmetad.errors import DecodeError

NASTY = Path(__file__).parent / "data" / "nasty"
ESCAPES = {7: r"\a", 8: r"\b", 9: r"\t", 10: r"\n", 11: r"\v", 12: r"\f", 13: r"\r", 34: r"\"", 92: r"\\"}

KEYS = st.from_regex(
    r"\A([a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,20}[A-Za-z0-9])?\Z"
)
VALUES = (
    st.binary(max_size=60)
    | st.text(max_size=60).map(str.encode)
    | st.text("\\\"'nxuUtabfrv0189aF\n\t\x00\x01\x7f é€😀=\u2028\u200d\ufffd\U000e0001", max_size=40).map(str.encode)
    | st.lists(st.sampled_from([b"\xc3", b"\xa9", b"\xed\xa0\x80", b"\xf0\x9f", b"\\", b'"', b"x"])).map(b"".join)
)  # fmt: skip


def printable(char: str) -> bool:
    """As Go's strconv.IsPrint: letters, marks, numbers, punctuation, symbols, and of spaces only the ASCII one."""
    return char == " " or unicodedata.category(char)[0] in "LMNPS"


def quote(value: bytes) -> bytes:
    """As Go's strconv.Quote, worked out afresh: rune by rune, and byte by byte where there is no rune."""
    out = ['"']
    at = 0
    while at < len(value):
        for width in (1, 2, 3, 4):
            try:
                char = value[at : at + width].decode()
            except UnicodeDecodeError:
                continue
            break
        else:
            out.append(f"\\x{value[at]:02x}")
            at += 1
            continue
        at += width
        code = ord(char)
        if code in ESCAPES:
            out.append(ESCAPES[code])
        elif printable(char):
            out.append(char)
        elif code < 0x20 or code == 0x7F:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return ("".join(out) + '"').encode()


def encode(values: dict[str, bytes]) -> bytes:
    """As the kubelet's fieldpath.FormatMap: sorted, a line each, no newline at the end."""
    return b"\n".join(key.encode() + b"=" + quote(values[key]) for key in sorted(values))


def as_bytes(values: dict[str, str]) -> dict[str, bytes]:
    """The values' bytes, however little UTF-8 they are."""
    return {key: value.encode("utf-8", "surrogateescape") for key, value in values.items()}


@pytest.mark.parametrize(
    "case", sorted(path.name.removesuffix(".annotations") for path in NASTY.glob("*.annotations"))
)
def test_recorded(case: str) -> None:
    """What a real kubelet wrote decodes to what went in, byte for byte."""
    truth = json.loads((NASTY / f"{case}.truth-b64.json").read_text())
    content = (NASTY / f"{case}.annotations").read_bytes()
    expected = {key: base64.b64decode(value) for key, value in truth.items()}
    assert as_bytes(decode(content, "annotations")) == expected
    assert encode(expected) == content  # so the encoder below, and here, is the kubelet's


@given(st.dictionaries(KEYS, VALUES, max_size=5))
@example({"a": bytes(range(256))})
@example({"a": b"\\" * 7 + b'"', "b": b"", "c": b"\xc3\\xa9"})
@example({"a": b'\x00\x01\\\x00\x01"', "b": b"\\x00\\u0001"})
def test_round_trip(values: dict[str, bytes]) -> None:
    """Whatever bytes Go quotes are read back, those that are no UTF-8 included."""
    decoded = decode(encode(values), "labels")
    assert as_bytes(decoded) == values
    assert list(decoded) == sorted(values)
    for (
        key,
        value,
    ) in values.items():  # one spelling each: a reader of the text sees characters where there are any
        assert decoded[key] == value.decode("utf-8", "surrogateescape")


@given(st.dictionaries(KEYS, VALUES, max_size=3), st.data())
def test_damage_never_goes_unnoticed_as_something_else(values: dict[str, bytes], data: st.DataObject) -> None:
    """Cut anywhere, a file is an error, or says a beginning of what it said; never anything else."""
    content = encode(values)
    cut = content[: data.draw(st.integers(0, len(content)))]
    try:
        decoded = decode(cut, "labels")
    except DecodeError:
        return
    assert as_bytes(decoded).items() <= values.items()


@given(st.binary(max_size=80) | st.text('ab="\\\nx41u', max_size=30).map(str.encode))
def test_any_bytes(content: bytes) -> None:
    """Any bytes give a map or a DecodeError with a line that is there; nothing else is ever raised."""
    fault = None
    try:
        decode(content, "labels")
    except DecodeError as error:
        fault = error
    assert fault is None or (fault.file == "labels" and 1 <= fault.line <= content.count(b"\n") + 1)


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"SECRET", 1),
        (b"SECRET=b", 1),
        (b'a="SECRET', 1),
        (b'a=SECRET"', 1),
        (b'a="b"\nSECRET', 2),
        (b'a="b"\n\nc="SECRET"', 2),
        (b'a="b"\nb="SECRET"c"', 2),
        (b'a="b"\nb="SECRET" ', 2),
        (b'a="b"\nb="SECRET"\n\n', 3),
        (b'a="b"\nb="\\SECRET"', 2),
        (b'a="\\n"\nb="SECRET\\', 2),
        (b'a="SECRET\\"', 1),
        (b'a="SECRET\\\\\\"', 1),
        (b'a="1"\nb="2"\nc="SECRET\nd="4"', 3),
        (b'a="1\\n"\nb="SEC\nRET"\nc="3"', 2),
        (b'a="SECRET\\x4"', 1),
        (b'a="SECRET\\x4g"', 1),
        (b'a="SECRET\\x+1"', 1),
        (b'a="SECRET\\u12"', 1),
        (b'a="SECRET\\ud800"', 1),
        (b'a="SECRET\\U00110000"', 1),
        (b'a="SECRET\\101"', 1),
        (b"a=\"SECRET\\'\"", 1),
        (b'a="SECRET\\n"b"', 1),
        (b'a="SECRET\\n\x00"', 1),
        (b'a="1"\na="SECRET"', 2),
        (b'"SECRET"', 1),
        (b"{\"SECRET\": 1}", 1),
        (b"SECRET\x00\xff\xfe", 1),
    ],
)  # fmt: skip
def test_no_quoting(content: bytes, line: int) -> None:
    """What Go never writes is an error with its file and line, and with nothing of what stands there."""
    with pytest.raises(DecodeError) as caught:
        decode(content, "annotations")
    assert caught.value.line == line
    assert str(caught.value).startswith(f"annotations, line {line}: ")
    assert "SEC" not in str(caught.value)
    assert "SEC" not in repr(caught.value)


def test_empty() -> None:
    """A Pod without labels has a file of no bytes; an editor may leave a newline."""
    assert decode(b"", "labels") == {}
    assert decode(b"\n", "labels") == {}
    assert decode(b'a="b"\n', "labels") == {"a": "b"}


def test_equals_signs_in_values() -> None:
    """The first ``="`` ends the key; values may hold as many as they like."""
    assert decode(b'a="b==\\"c=\\""\nd="=e"', "labels") == {"a": 'b=="c="', "d": "=e"}


@pytest.mark.parametrize("filling", [b"x", b'{"a": "\\n"}\n', "é😀".encode(), b"\xff", b"\x00", b"\\"])
def test_a_megabyte(filling: bytes) -> None:
    """An annotations file of 1 MiB and more is read, whatever it holds."""
    value = filling * (2**20 // (len(quote(filling)) - 2) + 1)
    content = encode({"big": value, "small": b"1"})
    assert len(content) >= 2**20
    assert as_bytes(decode(content, "annotations")) == {"big": value, "small": b"1"}


def test_ten_thousand_labels() -> None:
    """10,000 labels are read."""
    labels = {f"key-{number}.example.com/name": str(number).encode() for number in range(10_000)}
    assert as_bytes(decode(encode(labels), "labels")) == labels
