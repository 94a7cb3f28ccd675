"""Texts in the configuration, and in the environment."""

from __future__ import annotations

from kmetad._sources.content import NOTHING
from kmetad._sources.environment import Environment
from kmetad._sources.items import Item
from kmetad.errors import FieldPathError, QuantityError
from kmetad.fieldpath import parse
from kmetad.quantity import Quantity
from tests.soak.targets.state import remembered
from tests.soak.targets.target import Take, Target, look, text


def quantity(data: bytes) -> None:
    """A quantity, whose canonical form is the same quantity, or QuantityError."""
    try:
        amount = Quantity(text(data))
    except QuantityError:
        return
    again = Quantity(str(amount))
    assert (again, str(again)) == (amount, str(amount))
    assert int(amount) * 1000 >= amount.milli > (int(amount) - 1) * 1000
    assert str(amount * 3 - amount - amount) == str(amount)


def fieldpath(data: bytes) -> None:
    """A field path, at which a snapshot has something or nothing, or FieldPathError."""
    try:
        parse(text(data))
    except FieldPathError:
        return
    remembered().last.get(text(data))


_NAMES = ("POD_NAME", "MY_POD_IP", "HOST_IPS", "POD_UID", "OTEL_RESOURCE_ATTRIBUTES", "CPU_LIMIT", "A", "B")
_DECLARED = {
    "A": Item(field="metadata.uid"),
    "B": Item(resource="limits.cpu", divisor=Quantity("1m")),
}


def environment(data: bytes) -> None:
    """Variables of any values, declared and conventional: a reading always."""
    take = Take(data)
    variables = {take.one(_NAMES): text(take.bytes()) for _ in range(take.number(5))}
    variables[take.one(_NAMES)] = text(take.rest())
    assert look(Environment("env", variables, _DECLARED), NOTHING) is not None


QUANTITY = Target(
    "quantity",
    quantity,
    [b"250m", b"1.5Gi", b"-0.1e-3", b"1E", b"9" * 30 + b"Ei", b"1e999", b"9" * 1000 + b"e1000"],
    [b"e", b"E", b".", b"+", b"-", b"Ki", b"n", b"e-", b"000", b"9" * 60, "٣".encode()],
    longest=1500,
)
FIELDPATH = Target(
    "fieldpath",
    fieldpath,
    [
        *(b"metadata.labels['app']", b'metadata.annotations["a"]', b"status.podIP", b"app.limits.cpu"),
        *(b"requests.hugepages-2Mi", b"metadata.label", b"metadata.labels.app", b"limits['cpu']"),
    ],
    [b"metadata.", b"labels", b"['", b"']", b'["', b'"]', b"limits.", b"cpu", b"hugepages-", b"."],
    longest=512,
)
ENVIRONMENT = Target(
    "environment",
    environment,
    [
        bytes([2, 0, 4])
        + b"web0"
        + bytes([1, 8])
        + b"10.0.0.1"
        + bytes([4])
        + b"k8s.pod.name=a%20b,k8s.pod.uid=%ff",
        bytes([1, 7, 3]) + b"250" + bytes([6]) + b"x",
        bytes([0, 2]) + b"10.0.0.1,::1",
    ],
    [b"=", b",", b"%", b"%ff", b"k8s.pod.name", b"::1", b"1.2.3.4"],
)
