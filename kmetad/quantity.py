"""Kubernetes quantities (``250m``, ``1Gi``, ``1e3``), exact.

The syntax, the rounding and the canonical form are those of ``Quantity`` in
k8s.io/apimachinery, ``pkg/api/resource/quantity.go``. A quantity is an integer
number of billionths inside; there are no floats anywhere.
"""

from __future__ import annotations

from functools import total_ordering
from typing import NoReturn

from kmetad.errors import QuantityError

_NANO = 10**9
_DECIMAL_SI = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY_SI = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL_NAMES = {exponent: name for name, exponent in _DECIMAL_SI.items()}
_BINARY_NAMES = ("", *_BINARY_SI)
_MAX_BINARY = (2**63 - 1) * _NANO  # "Parsing does cap a binarySI quantity, silently, at 2^63-1"
_MAX_DIGITS = 1000  # of a number, an exponent, and an amount: no text may cost much memory or time
_DIGITS = frozenset("0123456789")  # str.isdigit() would take other scripts' digits too

_EXPONENT, _DECIMAL, _BINARY = "DecimalExponent", "DecimalSI", "BinarySI"  # as apimachinery names them


@total_ordering
class Quantity:
    """An amount of a resource, as Kubernetes writes it.

    >>> str(Quantity("0.25")), str(Quantity("1m") * 250), str(Quantity("1Mi") * 2048)
    ('250m', '250m', '2Gi')

    ``str`` gives the canonical form and keeps the family of suffixes (``1024Mi``
    is ``1Gi``, ``1e3`` stays ``1e3``). Two quantities are equal, and hash and sort
    alike, by value: ``1`` is ``1000m``. Immutable.

    As in Kubernetes, what is finer than a billionth is rounded away from zero, and
    with a binary suffix nothing is more than 2**63 - 1. Raises QuantityError where
    the text is no quantity.
    """

    __slots__ = ("_format", "_nano")

    _nano: int
    _format: str

    def __init__(self, text: str) -> None:
        nano, format_ = _parse(text)
        object.__setattr__(self, "_nano", nano)
        object.__setattr__(self, "_format", format_)

    @classmethod
    def _of(cls, nano: int, format_: str) -> Quantity:
        quantity = object.__new__(cls)
        object.__setattr__(quantity, "_nano", nano)
        object.__setattr__(quantity, "_format", format_)
        return quantity

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Quantity can't be changed; make another")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a Quantity can't be changed; make another")

    def __reduce__(self) -> tuple[type[Quantity], tuple[str]]:
        return Quantity, (str(self),)

    def __str__(self) -> str:
        """The canonical form: no fraction, no precision lost, the suffix as large as possible."""
        nano, format_ = self._nano, self._format
        if not nano:
            return "0"
        # Small or fractional amounts are written in decimal, whatever they were read in.
        if format_ == _BINARY and abs(nano) >= 1024 * _NANO and nano % _NANO == 0:
            mantissa, thousands = nano // _NANO, 0
            while mantissa % 1024 == 0 and thousands < len(_BINARY_NAMES) - 1:
                mantissa //= 1024
                thousands += 1
            return f"{mantissa}{_BINARY_NAMES[thousands]}"
        mantissa, exponent = nano, -9
        while mantissa % 1000 == 0:
            mantissa //= 1000
            exponent += 3
        if format_ == _EXPONENT or exponent not in _DECIMAL_NAMES:
            return f"{mantissa}e{exponent}" if exponent else str(mantissa)
        return f"{mantissa}{_DECIMAL_NAMES[exponent]}"

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return self._nano == other._nano if isinstance(other, Quantity) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self._nano < other._nano if isinstance(other, Quantity) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._nano)

    def __bool__(self) -> bool:
        """False for zero."""
        return bool(self._nano)

    def __mul__(self, factor: int) -> Quantity:
        """So many times the amount, exact: ``divisor * number`` undoes a resource's divisor."""
        if not isinstance(factor, int):
            return NotImplemented
        return Quantity._of(self._nano * factor, self._format)

    __rmul__ = __mul__

    def __add__(self, other: Quantity) -> Quantity:
        """The sum, written like the left one."""
        if not isinstance(other, Quantity):
            return NotImplemented
        return Quantity._of(self._nano + other._nano, self._format)

    def __sub__(self, other: Quantity) -> Quantity:
        """The difference, written like the left one."""
        if not isinstance(other, Quantity):
            return NotImplemented
        return Quantity._of(self._nano - other._nano, self._format)

    def __int__(self) -> int:
        """In whole units (cores, bytes), rounded up, as apimachinery's ``Value``."""
        return -(-self._nano // _NANO)

    @property
    def milli(self) -> int:
        """In thousandths, rounded up, as apimachinery's ``MilliValue``: ``Quantity("1.5").milli`` is 1500."""
        return -(-self._nano // 10**6)


def _parse(text: str) -> tuple[int, str]:
    """The billionths, and the family of the suffix."""
    if not isinstance(text, str):
        raise QuantityError(f"a quantity is a text such as '250m', not {type(text).__name__}")
    rest = text[1:] if text[:1] in ("+", "-") else text
    whole = _leading_digits(rest)
    rest = rest[len(whole) :]
    fraction = ""
    if rest[:1] == ".":
        fraction = _leading_digits(rest[1:])
        rest = rest[1 + len(fraction) :]
    digits = whole + fraction
    if not digits or len(digits) > _MAX_DIGITS:
        raise _wrong(text)
    base, exponent = 10, 0
    if rest in _DECIMAL_SI:  # before the exponents: a bare E is exa
        format_, exponent = _DECIMAL, _DECIMAL_SI[rest]
    elif rest in _BINARY_SI:
        format_, base, exponent = _BINARY, 2, _BINARY_SI[rest]
    elif rest[0] in "eE":
        format_, exponent = _EXPONENT, _decimal_exponent(rest[1:], text)
    else:
        raise _wrong(text)
    amount = int(digits) * _NANO
    shift = len(fraction)
    if base == 2:
        amount <<= exponent
    elif exponent >= 0:
        amount *= 10**exponent
    else:
        shift -= exponent
    nano = -(-amount // 10**shift)  # up: "if you want some resources, you should get some resources"
    if nano >= 10**_MAX_DIGITS:  # its canonical form couldn't be read again
        raise _wrong(text)
    if format_ == _BINARY:
        nano = min(nano, _MAX_BINARY)
        if nano < _NANO:
            format_ = _DECIMAL
    return (-nano if text[0] == "-" else nano), format_


def _leading_digits(text: str) -> str:
    end = 0
    while end < len(text) and text[end] in _DIGITS:
        end += 1
    return text[:end]


def _decimal_exponent(exponent: str, text: str) -> int:
    digits = exponent[1:] if exponent[:1] in ("+", "-") else exponent
    if not digits or not _DIGITS.issuperset(digits) or len(digits) > 9 or int(digits) > _MAX_DIGITS:
        raise _wrong(text)
    return int(exponent)


def _wrong(text: str) -> QuantityError:
    shown = text if len(text) <= 40 else f"{text[:40]}…"
    return QuantityError(
        f"{shown!r} is no quantity: expected a number, and after it nothing, "
        "one of n u m k M G T P E, one of Ki Mi Gi Ti Pi Ei, or an exponent such as e3"
    )
