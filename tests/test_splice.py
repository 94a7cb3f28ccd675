"""Tags in lines: the splicer against a slow reference that takes one line after another."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kmetad._supervisor import splice
from kmetad._supervisor.splice import Counts, Splicer, Tags

MEMBERS = b'"pod":{"name":"web-0","version":"1"}'
TAGS = Tags("stdout", MEMBERS)

PIECES = [
    b"{", b"}", b'"', b'{"', b'{"a":1}', b"{}", b"{ }", b'{ "a": [1, {"b": null}]}', b"\n", b"\r\n", b" ", b"\t", b"\r",
    b"\0", b"\xef\xbb\xbf", b"\xff", b"[", b"[1]", b"{{ x }}", b'"a"', b":", b",", b"1e999", b"NaN", b'{ "a": NaN}',
    b"text", b'{"a":\n', b'\n{"b":2}\n', b'{ "\xc3\xa9": "\\ud800"}',
    b'{ "a": ' + b"9" * 5000 + b"}", b'{ "a": "\x01"}',
]  # fmt: skip
STREAMS = st.one_of(st.binary(max_size=60), st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join))
CUTS = st.lists(st.integers(0, 80), max_size=8)


def read(line: bytes) -> Any:
    """As JSON. Raises ValueError."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    # As a float every number is short enough for Python.
    return json.loads(line.decode(), parse_constant=refuse, parse_int=float)


def is_object(line: bytes) -> bool:
    """Whether a line is a JSON object, and nothing else."""
    try:
        return isinstance(read(line), dict)
    except ValueError:
        return False


def reference(data: bytes, members: bytes, prefix: bytes = b"") -> bytes:
    """What is to come out, obviously."""
    lines = data.split(b"\n")
    made = []
    for number, line in enumerate(lines):
        if line.startswith(b'{"') or is_object(line):
            blank, _, rest = line.partition(b"{")
            comma = b"" if rest.lstrip().startswith(b"}") else b","
            made.append(blank + b"{" + members + comma + rest)
        elif line or number < len(lines) - 1:
            made.append(prefix + line)
        else:
            made.append(b"")  # nothing follows the last newline
    return b"\n".join(made)


def spliced(data: bytes, cuts: list[int], tags: Tags | None, counts: Counts | None = None) -> bytes:
    """The same by a splicer, which gets it in pieces."""
    splicer = Splicer(counts or Counts())
    ends = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    made = [splicer.feed(data[start:end], tags) for start, end in pairwise(ends)]
    return b"".join(b"".join(part) for part in [*made, splicer.end(tags)])


@given(STREAMS, CUTS)
@example(b'{\n  {"a":1}\n{}', [1, 3])
def test_as_the_reference(data: bytes, cuts: list[int]) -> None:
    """However it is split into reads."""
    assert spliced(data, cuts, TAGS) == reference(data, MEMBERS)


@given(STREAMS, CUTS)
def test_text_with_a_prefix(data: bytes, cuts: list[int]) -> None:
    """Every line that is no object has it, once."""
    tags = Tags("stdout", MEMBERS, "prefix", b"pod.name=web-0 ")
    assert spliced(data, cuts, tags) == reference(data, MEMBERS, b"pod.name=web-0 ")


@given(STREAMS, CUTS)
def test_without_tags_nothing_is_changed(data: bytes, cuts: list[int]) -> None:
    """Nothing is held either."""
    assert spliced(data, cuts, None) == data


@given(STREAMS, CUTS)
@example(b'{ "a": ' + b"9" * 5000 + b"}", [])
def test_text_as_json(data: bytes, cuts: list[int]) -> None:
    """Every line that comes out is an object, and holds what came in."""
    out = spliced(data, cuts, Tags("stderr", MEMBERS, "json"))
    for before, line in zip(data.split(b"\n"), out.split(b"\n"), strict=True):
        if before.startswith(b'{"'):
            continue  # may be broken, and is nobody's concern
        if is_object(before):
            assert read(line)["pod"] == {"name": "web-0", "version": "1"}
        elif line:
            made = json.loads(line)
            assert made["stream"] == "stderr"
            assert made["pod"]["name"] == "web-0"
            assert made["message"] == before.removesuffix(b"\r").decode("utf-8", "backslashreplace")
        else:
            assert not before


@given(st.lists(st.dictionaries(st.text(), st.integers() | st.text() | st.none()), max_size=5))
def test_objects_stay_objects(objects: list[dict[str, Any]]) -> None:
    """With the tags, and all that they had."""
    data = "".join(json.dumps(value) + "\n" for value in objects).encode()
    made = [json.loads(line) for line in spliced(data, [], TAGS).splitlines()]
    assert made == [{"pod": {"name": "web-0", "version": "1"}} | value for value in objects]


@given(STREAMS, CUTS)
def test_counts(data: bytes, cuts: list[int]) -> None:
    """Lines, bytes, and those with tags."""
    counts = Counts()
    spliced(data, cuts, TAGS, counts)
    lines = [*data.split(b"\n")[:-1], *([data.split(b"\n")[-1]] if not data.endswith(b"\n") and data else [])]
    assert (counts.lines, counts.bytes) == (len(lines), len(data))
    assert counts.tagged == sum(line.startswith(b'{"') or is_object(line) for line in lines)


def test_counts_with_a_prefix() -> None:
    """Then every line has tags."""
    counts = Counts()
    spliced(b'text\n{"a":1}\n\n{ }\nend', [2, 7], Tags("stdout", MEMBERS, "prefix", b"name=web-0 "), counts)
    assert (counts.lines, counts.tagged) == (5, 5)


def test_few_buffers() -> None:
    """However many lines there are: writev(2) takes no more than 1024."""
    for data in (b'{"a":1}\n' * 5000, b'{"a":1}\ntext\n{ }\n' * 5000, b"text\n" * 5000):
        assert len(Splicer(Counts()).feed(data, TAGS)) < 10


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_tags_change_between_lines(chunk: int) -> None:
    """A line that has begun keeps its own to the end."""
    data = b'{"a":"' + b"x" * 5000 + b'"}\n{"b":2}\n'
    splicer = Splicer(Counts())
    out = b""
    for at in range(0, len(data), chunk):
        out += b"".join(splicer.feed(data[at : at + chunk], Tags("stdout", b'"at":%d' % at)))
    first, second, _ = out.split(b"\n")
    assert json.loads(first)["at"] <= chunk
    assert json.loads(second)["at"] >= 5000 - chunk


def test_what_may_be_an_object_is_held_no_longer_than_needed() -> None:
    """Text goes on at once, blanks in front or not; so does a long object."""
    splicer = Splicer(Counts())
    assert splicer.feed(b"  ", TAGS) == []
    assert b"".join(splicer.feed(b"- 50 %", TAGS)) == b"  - 50 %"
    assert b"".join(splicer.feed(b"\n{", TAGS)) == b"\n"
    assert b"".join(splicer.feed(b'"a":"xxx', TAGS)) == b"{" + MEMBERS + b',"a":"xxx'


def test_a_line_that_is_too_long_to_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it comes in pieces it passes as it is."""
    monkeypatch.setattr(splice, "LONGEST_HELD", 64)
    data = b'{ "a": "' + b"x" * 100 + b'"}\n{ "b": 1}\n'
    expected = data.replace(b'{ "b"', b"{" + MEMBERS + b', "b"')
    for size in (1, 50):
        assert spliced(data, list(range(0, len(data), size)), TAGS) == expected
