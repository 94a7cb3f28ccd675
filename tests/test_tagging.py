"""What instances give for the app's lines, put together and rendered."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad import LogTags, Snapshot, hookimpl
from kmetad._daemon.tagging import LONGEST, Rendered, Tagging, render
from kmetad._supervisor.splice import Counts, Splicer, Tags
from kmetad.testing import Host
from tests.cli import eventually

VALUES = (
    st.text()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none()
)
FIELDS = st.dictionaries(st.text(), VALUES, max_size=4)


def said(*instances: str, patience: float = 60.0) -> tuple[Tagging, list[tuple[Rendered, bool]]]:
    """With what it says."""
    told: list[tuple[Rendered, bool]] = []
    tagging = Tagging(instances, lambda *what: told.append(what), patience)
    for instance in instances:
        tagging.expect(instance)
    return tagging, told


def test_nobody_tags() -> None:
    """Lines needn't wait."""
    tagging, told = said()
    tagging.begin()
    assert told == [({}, True)]


def test_complete_when_each_has_given() -> None:
    """The later in the TOML wins, whoever comes first; what doesn't change isn't said again."""
    tagging, told = said("a", "b")
    tagging.begin()
    assert told == []
    tagging.take("b", LogTags({"x": "b"}))
    assert told[-1] == (dict.fromkeys(("stdout", "stderr"), (b'"pod":{"x":"b"}', "untouched", b"")), False)
    tagging.take("a", LogTags({"x": "a", "y": 1}, streams=("stdout",), text="prefix"))
    stdout = (b'"pod":{"x":"b","y":1}', "prefix", b"pod.x=b pod.y=1 ")
    assert told[-1] == ({"stdout": stdout, "stderr": (b'"pod":{"x":"b"}', "untouched", b"")}, True)
    tagging.take("a", LogTags({"x": "a", "y": 1}, streams=("stdout",), text="prefix"))
    assert len(told) == 2
    tagging.take("a", None)
    assert told[-1][0]["stdout"] == (b'"pod":{"x":"b"}', "untouched", b"")


def test_one_that_gives_nothing_is_not_waited_for_for_ever() -> None:
    """It may hang: what the others give counts all the same."""
    tagging, told = said("hangs", "b", patience=0.01)
    tagging.take("b", LogTags({"x": "1"}))
    assert told[-1][1] is False
    tagging.begin()
    eventually(lambda: told[-1][1])
    assert told[-1][0]["stdout"] == (b'"pod":{"x":"1"}', "untouched", b"")
    tagging.take("b", LogTags({"x": "2"}))
    assert told[-1] == (dict.fromkeys(("stdout", "stderr"), (b'"pod":{"x":"2"}', "untouched", b"")), True)


def test_where_nobody_gives_anything_nothing_is_said() -> None:
    """Lines go on with the tags of a daemon before this one."""
    tagging, told = said("hangs", patience=0.01)
    tagging.begin()
    eventually(lambda: not any(thread.name == "kmetad-tags" for thread in threading.enumerate()))
    assert told == []


def test_too_much() -> None:
    """Is refused, and what was given before stays."""
    tagging, told = said("a")
    tagging.take("a", LogTags({"x": "1"}))
    assert str(LONGEST) in tagging.take("a", LogTags({"x": "y" * LONGEST}))
    assert len(told) == 1
    assert tagging.take("a", LogTags({"x": "2"})) == ""
    assert len(told) == 2


def test_there_is_room_again() -> None:
    """What was refused counts as soon as there is, unless something else was given since."""
    tagging, told = said("a", "b")
    most = "y" * (LONGEST - 100)
    tagging.take("a", LogTags({"x": most}, streams=("stdout",)))
    tagging.take("b", LogTags({"y": "1"}, streams=("stdout",)))
    assert tagging.take("b", LogTags({"y": most}, streams=("stdout",)))
    assert told[-1][0]["stdout"][0].endswith(b'"y":"1"}')
    tagging.take("a", LogTags({"x": "1"}, streams=("stdout",)))
    assert told[-1][0]["stdout"][0].endswith(most.encode() + b'"}')
    assert tagging.take("a", LogTags({"x": most}, streams=("stdout",)))
    tagging.take("a", LogTags({"x": "2"}, streams=("stdout",)))
    tagging.take("b", None)
    assert told[-1][0]["stdout"][0] == b'"pod":{"x":"2"}'


@pytest.mark.parametrize(
    ("given_", "error"),
    [
        ({"fields": {"a": float("nan")}}, ValueError),
        ({"fields": {"a": []}}, TypeError),
        ({"fields": {}, "streams": ("stdin",)}, ValueError),
        ({"fields": {}, "text": "xml"}, ValueError),
        ({"fields": {"a": 1 << 63}}, ValueError),
        ({"fields": {1: "a"}}, TypeError),
        ({"fields": ["a"]}, TypeError),
        ({"fields": {"a": b"x"}}, TypeError),
        ({"fields": {}, "key": b"pod"}, TypeError),
    ],
)
def test_what_no_line_can_carry(given_: dict[str, Any], error: type[Exception]) -> None:
    """Told where it is made."""
    with pytest.raises(error):
        LogTags(**given_)


def test_what_is_no_tags() -> None:
    """A plugin that answers something else has failed, as by raising."""

    class Plugin:
        @hookimpl
        def kmetad_log_tags(self, snapshot: Snapshot) -> Any:
            return {"version": "1"}

    with pytest.raises(TypeError, match=r"answered dict, expected kmetad\.LogTags"):
        Host(Plugin).instance.log_tags(Snapshot())


def test_what_its_maker_changes_later_is_nobody_s() -> None:
    """Rendered again for another's sake, it is what it was."""
    tagging, told = said("a", "b")
    fields: dict[str, Any] = {"x": "1"}
    tagging.take("a", LogTags(fields))
    fields["x"] = object()
    tagging.take("b", LogTags({"y": "2"}))
    assert told[-1][0]["stdout"][0] == b'"pod":{"x":"1","y":"2"}'


def test_bytes_that_were_no_utf_8() -> None:
    """Some stores refuse half a surrogate pair."""
    rendered = render([LogTags({"a\udcff": "b\udcff"}, key="c\udcff")])
    assert rendered["stdout"][0] == b'"c\\ufffd":{"a\\ufffd":"b\\ufffd"}'


@given(FIELDS, st.sampled_from(["", "pod", "a\nb", "\udcff"]), st.sampled_from(["prefix", "json"]))
def test_no_value_forges_a_line(fields: dict[str, Any], key: str, text: Any) -> None:
    """Whatever somebody patches into the Pod: one line stays one, and an object stays an object."""
    rendered = render([LogTags(fields, key=key, text=text)])
    for stream, values in rendered.items():
        (made,) = Splicer(Counts()).feed(b'{"own":1}\nwords\n', Tags(stream, *values))
        out = b"".join(made)
        assert out.isascii()
        first, second, rest = out.split(b"\n")
        assert not rest
        assert json.loads(first)["own"] == 1
        if text == "prefix":
            assert second.endswith(b"words")
            assert all(32 <= byte < 127 for byte in second)
        else:
            assert json.loads(second)["stream"] in ("stdout", "stderr", *map(repr, fields))


@given(st.dictionaries(st.text('ab "=\\\n\u2028é', min_size=1), st.text('ab "=\\\n\u2028é'), max_size=3))
def test_a_prefix_can_be_read_again(fields: dict[str, str]) -> None:
    """Plain words stand as they are, all others as JSON has them."""
    rendered = render([LogTags(fields, key="", text="prefix")])
    prefix = rendered["stdout"][2].decode() if rendered else ""
    word = r'("(?:[^"\\]|\\.)*"|[^ "=\\]+)'
    found = re.findall(f"{word}={word} ", prefix)
    assert "".join(f"{name}={value} " for name, value in found) == prefix
    read = [[json.loads(part) if part.startswith('"') else part for part in pair] for pair in found]
    assert read == [[name, value] for name, value in fields.items()]
