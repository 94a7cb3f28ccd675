"""kmetad.quantity: Kubernetes' quantities, exact."""

from __future__ import annotations

import copy
import pickle
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad.errors import KmetadError, QuantityError
from kmetad.metadata import Resource
from kmetad.quantity import Quantity

DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
NANO = Fraction(1, 10**9)

NUMBERS = st.from_regex(r"\A[0-9]{1,20}(\.[0-9]{0,12})?\Z") | st.from_regex(r"\A\.[0-9]{1,12}\Z")
SUFFIXES = st.sampled_from([*DECIMAL, *BINARY]) | st.from_regex(r"\A[eE][+-]?[0-9]{1,2}\Z")
SIGNS = st.sampled_from(["", "+", "-"])
QUANTITIES = st.builds(lambda *parts: Quantity("".join(parts)), SIGNS, NUMBERS, SUFFIXES)


def truth(sign: str, number: str, suffix: str) -> Fraction:
    """What the text means, worked out with fractions and rounded as apimachinery documents."""
    value = Fraction(number if number[-1] != "." else number + "0")
    if suffix in DECIMAL:
        value *= Fraction(10) ** DECIMAL[suffix]
    elif suffix in BINARY:
        value *= 1024 ** BINARY[suffix]
    else:
        value *= Fraction(10) ** int(suffix[1:])
    nanos = -(-value // NANO)
    value = nanos * NANO
    if suffix in BINARY:
        value = min(value, Fraction(2**63 - 1))
    return -value if sign == "-" else value


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("250m", "250m"),
        ("0.25", "250m"),
        ("1Gi", "1Gi"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("-1.5Gi", "-1536Mi"),
        ("1e3", "1e3"),
        ("1E3", "1e3"),
        ("12e6", "12e6"),
        ("15e5", "1500e3"),
        ("1e+3", "1e3"),
        ("1e-3", "1e-3"),
        ("1e0", "1"),
        ("1E", "1E"),
        ("100u", "100u"),
        ("1000u", "1m"),
        ("2000m", "2"),
        ("+3k", "3k"),
        (".5", "500m"),
        ("5.", "5"),
        ("007", "7"),
        ("0", "0"),
        ("-0", "0"),
        ("0Gi", "0"),
        ("1.2345", "1234500u"),
        ("0.9n", "1n"),
        ("-0.1n", "-1n"),
        ("0.000000000001Ki", "2n"),
        ("0.5Ki", "512"),
        ("1000Ki", "1000Ki"),
        ("1025", "1025"),
        ("0.5", "500m"),
        ("1.0001Ki", "1024102400u"),
        ("8Ei", "9223372036854775807"),
        ("99Ei", "9223372036854775807"),
        ("18446744073709551616", "18446744073709551616"),
        ("1000E", "1e21"),
        ("1e-12", "1e-9"),
    ],
)
def test_canonical_form(text: str, canonical: str) -> None:
    """As apimachinery writes it: no fraction, nothing lost, the suffix as large as possible."""
    assert str(Quantity(text)) == canonical
    assert repr(Quantity(text)) == f"Quantity({canonical!r})"


@pytest.mark.parametrize(
    "text",
    ["", " ", "-", "+", ".", "Gi", "m", "1 ", " 1", "1\n", "1 m", "1KiB", "1K", "1ki", "1mi", "1MI", "1e", "1e+", "e3"]
    + ["1e1.5", "1ee3", "1e3m", "1.2.3", "--1", "+-1", "1,5", "1_000", "0x10", "inf", "NaN", "١", "1²", "1\0", "1e²"]
    + ["1e99999999999999", "1e-99999999999999", "9" * 5000, "1." + "0" * 5000, "1e991", "9" * 999 + "e999"],
)  # fmt: skip
def test_no_quantity(text: str) -> None:
    """Anything else is refused, however long, as a ValueError that says what is expected."""
    with pytest.raises(QuantityError, match="is no quantity: expected a number") as caught:
        Quantity(text)
    assert isinstance(caught.value, (KmetadError, ValueError))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["1e990", "9" * 991, "9" * 801 + "e190", "-" + "9" * 973 + "E", "1e-1000"])
def test_the_largest_and_the_smallest(text: str) -> None:
    """Whatever can be read can be written, and read again."""
    quantity = Quantity(text)
    assert Quantity(str(quantity)) == quantity
    assert pickle.loads(pickle.dumps(quantity)) == quantity


def test_no_text() -> None:
    """A float has lost what it was; only texts are taken."""
    with pytest.raises(QuantityError, match="not float"):
        Quantity(0.25)  # type: ignore[arg-type]


@given(SIGNS, NUMBERS, SUFFIXES)
def test_exact(sign: str, number: str, suffix: str) -> None:
    """Every text of the syntax has exactly its value, to the billionth, away from zero."""
    quantity = Quantity(sign + number + suffix)
    expected = truth(sign, number, suffix)
    assert quantity == Quantity("1n") * int(expected / NANO)
    assert int(quantity) == -(-expected // 1)
    assert quantity.milli == -(-expected * 1000 // 1)
    assert bool(quantity) is (expected != 0)


@given(QUANTITIES)
def test_canonical_form_reads_back(quantity: Quantity) -> None:
    """What ``str`` writes is a quantity of the same value, and is its own canonical form."""
    text = str(quantity)
    if abs(int(quantity)) < 2**63 - 1:  # only sums and products go beyond what a binary suffix may hold
        assert Quantity(text) == quantity
        assert str(Quantity(text)) == text
    assert "." not in text


@given(QUANTITIES, QUANTITIES)
def test_order_is_that_of_values(one: Quantity, other: Quantity) -> None:
    """Sorted, compared and hashed by value, whatever the suffix; sums and differences are exact."""
    assert (one < other) + (one == other) + (one > other) == 1
    assert (one <= other) is not (one > other)
    assert one - other + other == one
    assert (one - other == Quantity("0")) is (one == other)


def test_equal_by_value() -> None:
    """``1`` is ``1000m``, and they are one key of a dictionary."""
    assert Quantity("1") == Quantity("1000m") == Quantity("1e0")
    assert len({Quantity("1Gi"), Quantity("1024Mi"), Quantity("1073741824")}) == 1
    assert Quantity("1k") < Quantity("1Ki")
    assert Quantity("1") != 1
    assert Quantity("1") != "1"


@pytest.mark.parametrize(
    ("divisor", "number", "quantity"),
    [
        ("1m", 250, "250m"),
        ("1m", 2000, "2"),
        ("1", 2, "2"),
        ("1Mi", 512, "512Mi"),
        ("1Mi", 2048, "2Gi"),
        ("1k", 3, "3k"),
        ("1Gi", 0, "0"),
        ("1Ei", 16, "16Ei"),
    ],
)
def test_value_times_divisor(divisor: str, number: int, quantity: str) -> None:
    """The kubelet's bare integer times its divisor is the quantity, in the divisor's suffixes."""
    assert str(Quantity(divisor) * number) == str(number * Quantity(divisor)) == quantity
    assert str(Resource(number, Quantity(divisor))) == quantity


def test_no_divisor() -> None:
    """Without a divisor the value stays a bare number, and says so."""
    assert Resource(250).quantity is None
    assert str(Resource(250)) == "250"


@given(st.integers(0, 2**63 - 1), st.sampled_from(["1m", "1", "1k", "1M", "1Ki", "1Mi", "1Gi"]))
def test_a_divisor_rounds_up(nanos: int, text: str) -> None:
    """What the kubelet writes, ``ceil(quantity / divisor)``, comes back as the quantity or a little more."""
    quantity, divisor = Quantity("1n") * nanos, Quantity(text)
    written = -(-nanos // int(Fraction(divisor.milli, 1000) / NANO))
    read = Resource(written, divisor).quantity
    assert read is not None
    assert quantity <= read < quantity + divisor


@pytest.mark.parametrize("factor", [0.5, "2", None, Quantity("1")])
def test_only_integers_multiply(factor: object) -> None:
    """No float slips in."""
    with pytest.raises(TypeError):
        Quantity("1") * factor  # type: ignore[operator]
    with pytest.raises(TypeError):
        Quantity("1") + 1  # type: ignore[operator]
    with pytest.raises(TypeError):
        Quantity("1") - 1  # type: ignore[operator]
    with pytest.raises(TypeError):
        assert Quantity("1") < 2  # type: ignore[operator]


def test_immutable() -> None:
    """Nothing of it can be set or deleted, and copies are equal."""
    quantity = Quantity("1500Mi")
    with pytest.raises(AttributeError):
        quantity._nano = 1
    with pytest.raises(AttributeError):
        quantity.other = 1  # type: ignore[attr-defined]
    with pytest.raises(AttributeError):
        del quantity._nano
    assert str(copy.deepcopy(quantity)) == str(pickle.loads(pickle.dumps(quantity))) == "1500Mi"
