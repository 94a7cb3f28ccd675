"""Inputs for fuzzing without a fuzzer: good ones, damaged at random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random


def damaged(seeds: Sequence[bytes], words: Sequence[bytes], longest: int, seed: int) -> Iterator[bytes]:
    """First the good ones, then damaged ones without an end, of so many bytes at most; the same for each ``seed``."""
    chance = Random(seed)
    yield from seeds
    while True:
        data = chance.choice(seeds) if chance.random() < 0.95 else chance.randbytes(chance.randrange(longest))
        for _ in range(min(chance.randrange(1, 9), chance.randrange(1, 9))):
            at = chance.randrange(len(data) + 1)
            until = at + chance.choice((0, 0, 1, chance.randrange(64)))
            put = chance.choice(
                (
                    b"",
                    chance.randbytes(chance.randrange(1, 9)),
                    chance.choice(words),
                    data[at : at + chance.randrange(64)],
                    chance.choice(seeds)[at:],
                )
            )
            data = data[:at] + put + (b"" if chance.random() < 0.05 else data[until:])
        yield data[:longest]
