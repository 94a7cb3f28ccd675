"""Durations and sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._config.units import (
    format_duration,
    format_size,
    parse_duration,
    parse_size,
    suggest_durations,
    suggest_sizes,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        # from the table of TestParseDuration of Go's time package
        ("0", 0.0),
        ("5s", 5.0),
        ("30s", 30.0),
        ("1478s", 1478.0),
        ("-5s", -5.0),
        ("+5s", 5.0),
        ("-0", 0.0),
        ("+0", 0.0),
        ("5.0s", 5.0),
        ("5.6s", 5.6),
        ("5.s", 5.0),
        (".5s", 0.5),
        ("1.0s", 1.0),
        ("1.004s", 1.004),
        ("1.0040s", 1.004),
        ("100.00100s", 100.001),
        ("10ns", 10e-9),
        ("11us", 11e-6),
        ("12µs", 12e-6),
        ("12μs", 12e-6),
        ("13ms", 13e-3),
        ("14s", 14.0),
        ("15m", 900.0),
        ("16h", 57600.0),
        ("3h30m", 12600.0),
        ("10.5s4m", 250.5),
        ("-2m3.4s", -123.4),
        ("1h2m3s4ms5us6ns", 3723.004005006),
        ("39h9m14.425s", 140954.425),
        ("52763797000ns", 52.763797),
        ("0.3333333333333333333h", 1200.0),
        ("1m30s", 90.0),
    ],
)
def test_duration(text: str, seconds: float) -> None:
    """What Go reads is read as the same time."""
    assert parse_duration(text) == pytest.approx(seconds, rel=1e-12, abs=0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "-",
        "s",
        ".",
        "-.",
        ".s",
        "+.s",
        "1d",
        "\x85\x85",
        "1.s.",
        "5 s",
        " 5s",
        "5s ",
        "--5s",
        "1e3s",
        "٣s",
    ]
    + ["9223372036854775808ns", "3000000h", "9" * 5000 + "h", "1" * 60 + "s"],
)
def test_no_duration(text: str) -> None:
    """What Go refuses is refused, longer than an int64 of nanoseconds included."""
    with pytest.raises(ValueError, match="duration|longer"):
        parse_duration(text)


@given(st.integers(0, 10**17))
def test_duration_round_trip(ns: int) -> None:
    """What is written is read as the same time, to what a float holds."""
    seconds = ns / 10**9
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, abs=1e-9, rel=1e-12)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.2, "200ms"),
        (90.0, "1m30s"),
        (300.0, "5m"),
        (3600.0, "1h"),
        (1e-9, "1ns"),
        (0.0015, "1ms500us"),
    ],
)
def test_format_duration(seconds: float, text: str) -> None:
    """The shortest form, as people write it."""
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "suggested"),
    [
        ("200", ["200s", "200ms"]),
        (30, ["30s", "30ms"]),
        (0.5, ["0.5s", "0.5ms"]),
        ("5 s", ["5s"]),
        ("5S", ["5s"]),
        ("2sec", ["2s"]),
        ("10 Minutes", ["10m"]),
        ("1d", ["24h"]),
        ("2w", ["336h"]),
        ("soon", []),
        (True, []),
        (None, []),
    ],
)
def test_suggest_durations(value: object, suggested: list[str]) -> None:
    """What people write instead leads to what they meant, and what nobody understands to nothing."""
    assert suggest_durations(value) == suggested


@given(st.one_of(st.text(), st.integers(), st.floats()))
def test_suggestions_are_durations(value: object) -> None:
    """Nothing is suggested that would be refused; nothing raises."""
    for text in suggest_durations(value):
        parse_duration(text)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("128Mi", 2**27),
        ("1Gi", 2**30),
        ("100M", 10**8),
        ("1.5Ki", 1536),
        ("1e3", 1000),
        (4096, 4096),
        ("1m", 1),
    ],
)
def test_size(value: object, size: int) -> None:
    """Sizes are Kubernetes quantities, or numbers of bytes."""
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["128MB", "", "lots", True, 1.5, None, []])
def test_no_size(value: object) -> None:
    """Anything else is none."""
    with pytest.raises(ValueError, match="quantity|size"):
        parse_size(value)


@pytest.mark.parametrize(
    ("value", "suggested"),
    [
        ("128MB", ["128Mi"]),
        ("128m", ["128Mi"]),
        ("128MiB", ["128Mi"]),
        ("1gb", ["1Gi"]),
        ("64 mb", ["64Mi"]),
        (128, ["128Mi"]),
        ("lots", []),
        (True, []),
    ],
)
def test_suggest_sizes(value: object, suggested: list[str]) -> None:
    """Other people's units lead to Kubernetes'."""
    assert suggest_sizes(value) == suggested


@given(st.integers(0, 2**62))
def test_size_round_trip(size: int) -> None:
    """What is written is read as the same size."""
    assert parse_size(format_size(size)) == size
