"""What ``[plugins.NAME]`` with ``use = "report"`` may hold."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from kmetad.fieldpath import parse

PREFIX = "kmetad.dev/applied-"
"""Of all annotations; the name follows."""

_LONGEST = 63 - len("applied-")
"""A key's part behind the slash has 63 characters at most (Kubernetes: labels and annotations, syntax)."""
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.report]``."""

    applied: dict[str, str] = {}
    """By name, the field path: the annotation ``kmetad.dev/applied-NAME`` holds the value that is in force."""
    after: tuple[str, ...] | None = None
    """Instances that must have come to it; None: all others."""
    condition: str | None = None
    """A Pod condition's type."""
    events: Literal["none", "failures", "all"] = "none"
    """``failures``: and the success that ends one."""
    container: str | None = None
    """Whose app this is; tells the reports of a Pod's containers apart."""

    def __post_init__(self) -> None:
        if not self.applied and self.condition is None and self.events == "none":
            raise ValueError(
                "there is nothing to report: set applied, as { version = \"metadata.labels['version']\" }, "
                'condition, as "kmetad.dev/Applied", or events, as "failures"'
            )
        for name, path in self.applied.items():
            _check_name(name)
            _check_path(name, path)
        if self.after is not None and not self.after:
            raise ValueError("after is empty; name instances, or leave it out for all others")
        if self.condition is not None:
            _check_condition(self.condition)
        if self.container is not None and not _fits(_LABEL, self.container, 63):
            raise ValueError(f"container: {self.container!r} can't be the name of a container")


def _fits(pattern: re.Pattern[str], text: str, longest: int) -> bool:
    return len(text) <= longest and pattern.fullmatch(text) is not None


def _check_name(name: str) -> None:
    if not _fits(_NAME, name, _LONGEST):
        raise ValueError(
            f"applied: {name!r} can't end an annotation's key ({PREFIX}NAME): at most {_LONGEST} letters, digits, "
            "and -, _ or . between them"
        )


def _check_path(name: str, path: str) -> None:
    """Raises FieldPathError for none, and ValueError for one that would hold what is reported."""
    at = parse(path)
    if at.type == "annotations":
        raise ValueError(
            f"applied.{name}: among all annotations are the reported ones, so each report would make a new one; "
            "name single ones, as metadata.annotations['KEY']"
        )
    if at.type == "annotation" and at.key.startswith(PREFIX):
        raise ValueError(f"applied.{name}: {at.key} is itself a report; name what it reports")


def _check_condition(type_: str) -> None:
    """As Kubernetes has it for readiness gates, but with a prefix: without one it could be the kubelet's own."""
    prefix, slash, name = type_.rpartition("/")
    parts = prefix.split(".")
    if (
        not slash
        or len(prefix) > 253
        or not all(_fits(_LABEL, part, 63) for part in parts)
        or not _fits(_NAME, name, 63)
    ):
        raise ValueError(
            f"condition: {type_!r} is no condition's type with a domain before it, as kmetad.dev/Applied"
        )
