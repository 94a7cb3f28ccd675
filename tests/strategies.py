"""Hypothesis strategies for kmetad's values."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from hypothesis import strategies as st

from kmetad.metadata import Digest, Resource, Snapshot, SourceState, Token
from kmetad.quantity import Quantity

KEYS = st.sampled_from(["a", "b", "c", "example.com/x", "\udcff", ""])
TEXTS = st.sampled_from(["", "1", "2", "3", "\x00\n", "\udcff", "é😀"])
DIGESTS = st.sampled_from([Digest(b"1"), Digest(b"2"), Digest(b"3")])
RESOURCES = st.builds(
    Resource, st.integers(0, 3), st.sampled_from([None, Quantity("1m"), Quantity("1Mi"), Quantity("1")])
)
TOKENS = st.builds(Token, st.none() | st.integers(0, 3), st.sampled_from([(), ("api",)]), DIGESTS)
STATES = st.builds(
    SourceState,
    st.sampled_from(["healthy", "polling", "lost", "unreadable"]),
    st.integers(0, 3),
    st.sampled_from(["", "gone"]),
)


def _part(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.dictionaries(KEYS, values, max_size=4).map(MappingProxyType)


SNAPSHOTS = st.builds(
    Snapshot,
    labels=_part(TEXTS),
    annotations=_part(TEXTS),
    fields=_part(TEXTS),
    resources=_part(RESOURCES),
    files=_part(DIGESTS),
    tokens=_part(TOKENS),
    trust=_part(DIGESTS),
    sources=_part(STATES),
)
