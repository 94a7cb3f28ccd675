"""Tags in lines: the splicer against a slow reference that takes one line after another."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
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
MORE = st.integers(0, 1 << 9)


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


def fed(splicer: Splicer, data: bytes, tags: Tags | None, *, more: bool = False) -> bytes:
    """All that it answers to what was read."""
    return b"".join(b"".join(made) for made in splicer.feed(data, tags, more=more))


def spliced(
    data: bytes, cuts: list[int], tags: Tags | None, counts: Counts | None = None, more: int = 0
) -> bytes:
    """The same by a splicer, which gets it in pieces. ``more``: bit by bit, behind which there surely is more."""
    splicer = Splicer(counts or Counts())
    ends = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    made = b""
    for start, end in pairwise(ends):
        made += fed(splicer, data[start:end], tags, more=bool(more & 1))
        if more & 3 == 3:  # or so it seemed
            made += fed(splicer, b"", tags)
        more >>= 1
    return made + b"".join(b"".join(end) for end in splicer.end(tags))


@given(STREAMS, CUTS, MORE)
@example(b'{\n  {"a":1}\n{}', [1, 3], 0)
def test_as_the_reference(data: bytes, cuts: list[int], more: int) -> None:
    """However it is split into reads."""
    assert spliced(data, cuts, TAGS, more=more) == reference(data, MEMBERS)


@given(STREAMS, CUTS, MORE)
def test_text_with_a_prefix(data: bytes, cuts: list[int], more: int) -> None:
    """Every line that is no object has it, once."""
    tags = Tags("stdout", MEMBERS, "prefix", b"pod.name=web-0 ")
    assert spliced(data, cuts, tags, more=more) == reference(data, MEMBERS, b"pod.name=web-0 ")


@given(STREAMS, CUTS, MORE)
def test_without_tags_nothing_is_changed(data: bytes, cuts: list[int], more: int) -> None:
    """Nothing is held either, unless there is more to come."""
    assert spliced(data, cuts, None, more=more) == data


@given(STREAMS, CUTS, st.sampled_from([None, TAGS]))
def test_what_there_is_more_of_ends_with_a_line(data: bytes, cuts: list[int], tags: Tags | None) -> None:
    """So that what others write comes between two; but for a line that began before."""
    splicer = Splicer(Counts())
    ends = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, end in pairwise(ends):
        made = fed(splicer, data[start:end], tags, more=True)
        if b"\n" in data[start:end]:
            assert made.endswith(b"\n")


@given(STREAMS, CUTS, MORE)
@example(b'{ "a": ' + b"9" * 5000 + b"}", [], 0)
def test_text_as_json(data: bytes, cuts: list[int], more: int) -> None:
    """Every line that comes out is an object, and holds what came in."""
    out = spliced(data, cuts, Tags("stderr", MEMBERS, "json"), more=more)
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


@given(STREAMS, CUTS, MORE)
def test_counts(data: bytes, cuts: list[int], more: int) -> None:
    """Lines, bytes, and those with tags."""
    counts = Counts()
    spliced(data, cuts, TAGS, counts, more)
    lines = [*data.split(b"\n")[:-1], *([data.split(b"\n")[-1]] if not data.endswith(b"\n") and data else [])]
    assert (counts.lines, counts.bytes) == (len(lines), len(data))
    assert counts.tagged == sum(line.startswith(b'{"') or is_object(line) for line in lines)


def test_counts_with_a_prefix() -> None:
    """Then every line has tags."""
    counts = Counts()
    spliced(b'text\n{"a":1}\n\n{ }\nend', [2, 7], Tags("stdout", MEMBERS, "prefix", b"name=web-0 "), counts)
    assert (counts.lines, counts.tagged) == (5, 5)


def test_depth_without_end() -> None:
    """What is too deep to be read is text, and costs the lines behind it nothing."""
    deep = b'{ "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    assert spliced(deep + b"{ }\n", [], TAGS) == deep + b"{" + MEMBERS + b" }\n"


def test_time_of_text() -> None:
    """When it came, in UTC, to the microsecond."""
    before = datetime.now(UTC)
    line = json.loads(spliced(b"text\n", [], Tags("stdout", MEMBERS, "json")))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line["time"])
    assert before <= datetime.fromisoformat(line["time"]) <= datetime.now(UTC)


def test_few_buffers() -> None:
    """However many lines there are: writev(2) takes no more than 1024."""
    for data in (b'{"a":1}\n' * 5000, b'{"a":1}\ntext\n{ }\n' * 5000, b"text\n" * 5000):
        assert all(len(made) < 10 for made in Splicer(Counts()).feed(data, TAGS))


@pytest.mark.parametrize("line", [b"\n", b"{}\n", b'{"a":1}\n'])
def test_much_comes_bit_by_bit(line: bytes) -> None:
    """Large tags in short lines make little of much; it isn't all there at once."""
    tags = Tags("stdout", b'"a":"' + b"x" * 16_000 + b'"', "prefix", b"x" * 16_000)
    splicer = Splicer(Counts())
    list(splicer.feed(b"beginning", None))
    size = 0
    for made in splicer.feed(b"of a line\n" + line * 1000 + b"end", tags):
        assert sum(map(len, made)) < 1_200_000
        size += sum(map(len, made))
    assert size > 16_000_000


@given(STREAMS, CUTS, st.integers(1, 3), st.integers(1, 8))
def test_what_is_held_is_what_is_in_no_answer(data: bytes, cuts: list[int], lines: int, bits: int) -> None:
    """At any moment: so nothing is lost where splicing fails."""
    splicer = Splicer(Counts())
    tags = Tags("stdout", b"")
    tags.longest = splice._MUCH // lines  # so many at once
    tags.begun, tags.opened, tags.empty = b'{"', b"{", b"{"  # what comes out is what went in
    answered = b""
    ends = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    given_ = b""
    for start, end in pairwise(ends):
        given_ += data[start:end]
        for made in splicer.feed(data[start:end], tags):
            answered += b"".join(made)
            assert answered + b"".join(splicer.held) == given_
            bits -= 1
            if not bits:
                return
        assert answered + b"".join(splicer.held) == given_


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_tags_change_between_lines(chunk: int) -> None:
    """A line that has begun keeps its own to the end."""
    data = b'{"a":"' + b"x" * 5000 + b'"}\n{"b":2}\n'
    splicer = Splicer(Counts())
    out = b""
    for at in range(0, len(data), chunk):
        out += fed(splicer, data[at : at + chunk], Tags("stdout", b'"at":%d' % at))
    first, second, _ = out.split(b"\n")
    assert json.loads(first)["at"] <= chunk
    assert json.loads(second)["at"] >= 5000 - chunk


def test_what_may_be_an_object_is_held_no_longer_than_needed() -> None:
    """Text goes on at once, blanks in front or not; so does a long object."""
    splicer = Splicer(Counts())
    assert fed(splicer, b"  ", TAGS) == b""
    assert fed(splicer, b"- 50 %", TAGS) == b"  - 50 %"
    assert fed(splicer, b"\n{", TAGS) == b"\n"
    assert fed(splicer, b'"a":"xxx', TAGS) == b"{" + MEMBERS + b',"a":"xxx'


def test_a_line_that_is_too_long_to_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it comes in pieces it passes as it is."""
    monkeypatch.setattr(splice, "LONGEST_HELD", 64)
    data = b'{ "a": "' + b"x" * 100 + b'"}\n{ "b": 1}\n'
    expected = data.replace(b'{ "b"', b"{" + MEMBERS + b', "b"')
    for size in (1, 50):
        assert spliced(data, list(range(0, len(data), size)), TAGS) == expected


@pytest.mark.parametrize("size", [1, 50])
def test_a_text_that_is_too_long_for_an_object(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays one line, whatever is in it, and the next one is wrapped again."""
    monkeypatch.setattr(splice, "LONGEST_HELD", 64)
    long = b"x" * 64 + b'{"a":1}' * 20 + b"\n"
    out = spliced(long + b"text\n", list(range(0, len(long), size)), Tags("stdout", MEMBERS, "json"))
    assert out.startswith(long)
    assert json.loads(out[len(long) :])["message"] == "text"
