"""``kmetad demo set FIELDPATH=VALUE``: change the demo that is kept in another terminal."""

from __future__ import annotations

import fcntl
import os

from kmetad._cli.demo.stage import DemoError, kept_directory, open_private
from kmetad._cli.wait import split
from kmetad.fieldpath import parse
from kmetad.quantity import Quantity
from kmetad.testing.kubelet import Volume

_LIMITS = {"limits.cpu": ("cpu_limit", Quantity("1m")), "limits.memory": ("mem_limit", Quantity("1Mi"))}
"""Each limit's file in the demo's volume, and its divisor."""


def assign(assignment: str) -> str:
    """Make the change as the kubelet would; answers what was done, for people.

    Raises DemoError, FieldPathError and QuantityError.
    """
    path, value = split(assignment)
    at = parse(path)
    if value is None:
        raise DemoError(
            f"{assignment!r} has no value; expected FIELDPATH=VALUE, as metadata.labels['tier']=gold"
        )
    directory = kept_directory()
    descriptor = open_private(directory)
    try:
        _refuse_if_abandoned(descriptor, directory)
        with open(f"{directory}/kept") as writing:
            fcntl.flock(writing, fcntl.LOCK_EX)  # a volume has one writer at a time
            volume = Volume(f"{directory}/podinfo")
            if at.type == "label":
                swapped = volume.label(at.key, value)
            elif at.type == "annotation":
                swapped = volume.annotate(at.key, value)
            elif at.type == "resource" and at.key in _LIMITS and at.container in ("", "app"):
                file, divisor = _LIMITS[at.key]
                swapped = volume.file(file, str(-(-Quantity(value).milli // divisor.milli)))
            else:
                raise DemoError(
                    f"{path} can't be set in the demo; what can: metadata.labels['KEY'], "
                    "metadata.annotations['KEY'], app.limits.cpu, app.limits.memory"
                )
    finally:
        os.close(descriptor)
    if not swapped:
        return f"{path} is {value} already"
    return f"{path} is {value} now; the demo's terminal shows what came of it"


def _refuse_if_abandoned(descriptor: int, directory: str) -> None:
    """A demo that lives holds the directory's lock; it takes changes once its scenes are over."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        if os.path.exists(f"{directory}/kept"):
            return
        raise DemoError("the demo's scenes aren't over yet; try again in a moment") from None
    raise DemoError("no demo is kept; start one in another terminal: kmetad demo --keep")
