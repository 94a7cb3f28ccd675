"""kmetad._delivery.match: which changes a lane is shown."""

from __future__ import annotations

import pytest

from kmetad._delivery.match import Filter, Match
from kmetad.events import AnnotationChange, FileChange, LabelChange
from kmetad.metadata import Digest

APP = LabelChange("app", "a", "b", "podinfo")
SEEN = AnnotationChange("kubernetes.io/config.seen", "1", "2", "podinfo")
NESTED = FileChange("settings/conf.d/a", Digest(b"1"), Digest(b"2"), "settings")


@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("label:app", True),
        ("label:*", True),
        ("*:app", True),
        ("label:a[pq]p", True),
        ("label:APP", False),
        ("annotation:app", False),
        ("label:ap", False),
        ("label:", False),
        ("label", False),
    ],
)
def test_pattern(pattern: str, wanted: bool) -> None:
    """A pattern is a type, or any, and a glob on the whole key, by case."""
    assert Match([pattern])(APP) is wanted


def test_star_crosses_slashes() -> None:
    """``file:settings/*`` means everything in the volume, nested too."""
    assert Match(["file:settings/*"])(NESTED)


def test_filter_without_match_wants_everything_but_noise() -> None:
    """No ``match`` wants all; ``watch.ignore`` is taken away in any case."""
    changes = (APP, SEEN)
    assert Filter()(changes) == changes
    assert Filter(ignore=["annotation:kubernetes.io/config.*"])(changes) == (APP,)
    assert Filter(["annotation:*"], ["annotation:kubernetes.io/config.*"])(changes) == ()
