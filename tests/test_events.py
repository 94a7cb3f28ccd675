"""kmetad.events: what a change looks like to others."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import MappingProxyType

import pytest

from kmetad.events import Batch, LabelChange, TokenChange, rfc3339
from kmetad.metadata import Digest, Snapshot, Token

FIRST, LAST = "0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_767_323_045_123_456_789, "2026-01-02T03:04:05.123456Z"),
        (-(2**62), "1823-11-12T00:06:21.572612Z"),
        (-62_135_596_800 * 10**9, FIRST),
        (-62_135_596_800 * 10**9 - 1, FIRST),
        (253_402_300_800 * 10**9 - 1, LAST),
        (253_402_300_800 * 10**9, LAST),
        (2**62 * 10**9, LAST),
        (-(2**62) * 10**9, FIRST),
    ],
)
def test_any_time_can_be_shown(ns: int, shown: str) -> None:
    """A tmpfs takes any time for a directory's, and a token any claim; shown is the nearest that has four digits."""
    assert rfc3339(ns) == shown
    change = LabelChange("app", None, "web", "podinfo")
    batch = Batch((change,), Snapshot(), Snapshot(swapped=MappingProxyType({"podinfo": ns})), ns)
    assert batch.time == batch.swapped == datetime.fromisoformat(shown).astimezone(UTC)
    line = json.loads(batch.json_lines())
    assert (line["time"], line["swapped"]) == (shown, shown)
    token = TokenChange.as_json(Token(ns // 10**9, (), Digest(b"")))
    assert token["expires"] == shown[:19] + "Z"
